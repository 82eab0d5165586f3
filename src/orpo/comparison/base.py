"""The model before training, as a run of no steps: so it is evaluated as those that were trained from it."""

from __future__ import annotations

from pathlib import Path

from orpo.comparison.plan import Plan
from orpo.config import LoadedConfig, RunConfig, dump_config, load_config
from orpo.config.compare import BASE
from orpo.modeling.load import load_model, load_tokenizer
from orpo.modeling.save import save_model
from orpo.rundir import RunDirectory, writing


def base_run(plan: Plan, like: Path) -> Path:
    """The directory of the model before training, written if it is not there.

    Args:
        plan: of the comparison.
        like: a finished run that starts from the model, whose data, template and lengths it gets.

    Raises:
        ConfigError, NetworkError: the model cannot be loaded.
        ResourceError: it cannot be written.
    """
    run, base = RunDirectory(like), RunDirectory(plan.output / BASE)
    if base.config.exists():
        return base.path
    loaded = load_config(run.config)
    model = loaded.config.model
    source = load_model(model.name, revision=model.revision, dtype=model.dtype)
    tokenizer = load_tokenizer(str(run.model))
    with writing(base.path):
        base.path.mkdir(parents=True, exist_ok=True)
        save_model(
            source.model, tokenizer, base.model, merge=False, stop_ids=_stop_ids(tokenizer), card=_CARD
        )
    base.write_definition(run.read_definition())
    base.write_config(dump_config(LoadedConfig(_without_training(loaded.config, base), loaded.provenance)))
    return base.path


_CARD = "The model before training, for comparison with those that were trained from it.\n"


def _without_training(config: RunConfig, base: RunDirectory) -> RunConfig:
    """The configuration with the weights as they are."""
    model = config.model.model_copy(update={"lora": None, "quantization": None})
    return config.model_copy(update={"model": model, "output": str(base.path)})


def _stop_ids(tokenizer: object) -> tuple[int, ...]:
    eos = getattr(tokenizer, "eos_token_id", None)
    return (eos,) if isinstance(eos, int) else ()
