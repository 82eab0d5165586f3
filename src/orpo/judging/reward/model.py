"""A reward model, found and put together: a run of ours, or any sequence-classification model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from orpo.config import load_config
from orpo.data.pairs import Prompt
from orpo.data.rendering import Dropped
from orpo.data.specials import eos_id
from orpo.data.templates import recorded_template
from orpo.errors import ConfigError
from orpo.judging.reward.texts import Text, Writer, choose_writer
from orpo.judging.reward.values import Valuer
from orpo.modeling.hub import loading
from orpo.modeling.kinds import JUDGE, REWARD_MODEL
from orpo.modeling.load import DTYPES, load_model
from orpo.modeling.padding import require_padding
from orpo.modeling.saved import Base, load_saved
from orpo.modeling.scorer import unwrapped
from orpo.ops.distributed import join_world
from orpo.rundir import RunDirectory
from orpo.rundir.directory import CONFIG, DEFINITION
from orpo.rundir.records import Assessment, read_run


@dataclass(frozen=True)
class Rewarded:
    """What a reward model makes of a response."""

    value: float
    tokens: int
    """Of prompt and response, as far as it reads them."""

    is_cut: bool


@dataclass(frozen=True)
class RewardModel:
    """Gives values to responses."""

    name: str
    write: Writer
    values: Callable[[Sequence[Text], Callable[[int], None]], list[float]]
    assessment: Assessment | None = None
    """What its own run has found out about it."""

    def __call__(
        self, both: Sequence[tuple[Prompt, str]], on_done: Callable[[int], None] = lambda done: None
    ) -> list[Rewarded | Dropped]:
        """The value of each response to its prompt, or why there is none.

        Args:
            both: prompts with responses.
            on_done: called with the number of those that are done.

        Raises:
            ResourceError, NumericsError: see `Valuer`.
            DataError, ConfigError: the model's chat template cannot be used.
        """
        written = self.write(both)
        texts = [one for one in written if isinstance(one, Text)]
        values = iter(self.values(texts, on_done))
        return [
            Rewarded(next(values), len(one), one.is_cut) if isinstance(one, Text) else one for one in written
        ]


def open_reward_model(name: str) -> RewardModel:
    """The reward model of a name.

    Args:
        name: a run directory or its `model`, another folder, or a Hub id.

    Raises:
        ConfigError: it is none, or cannot be loaded.
        CheckpointError: the run has saved none, or not all of it.
        DataError: a file of the run is damaged.
        NetworkError: the Hub did not answer or refused.
    """
    with join_world() as world:
        device = world.device
    run = _run_directory(Path(name).expanduser())
    if run is not None:
        return _open_run(run, device)
    # A processor computes in float32 whatever a GPU is given.
    dtype = _stored_dtype(name) if device.type == "cuda" else "float32"
    source = load_model(name, dtype=dtype, kind=JUDGE)
    write = choose_writer(source.tokenizer, positions=source.max_positions, trained=None)
    return RewardModel(name, write, _valuer(source.model, source.tokenizer, device))


def _open_run(run: Path, device: torch.device) -> RewardModel:
    records, config = read_run(run), load_config(run / CONFIG).config.model
    definition, summary = records.definition, records.summary
    if not definition.model.is_reward_model:
        raise ConfigError(
            f"expected a reward model, but {run} has trained a language model with "
            f"objective.name: {definition.objective.name}",
            hint="Train a judge with objective.name: reward.",
        )
    is_adapter = config.lora is not None and not config.lora.merge
    model, tokenizer = load_saved(
        RunDirectory(run).model,
        Base(config.name, config.revision, config.quantization) if is_adapter else None,
        dtype=config.dtype,
        kind=REWARD_MODEL,
    )
    recorded = definition.template
    template = recorded_template(
        tokenizer, recorded.name, recorded.sha256, wraps_text=recorded.sha256 is not None
    )
    return RewardModel(
        run.resolve().name,
        choose_writer(tokenizer, positions=None, trained=(template, definition.data.max_length)),
        _valuer(unwrapped(model), tokenizer, device),
        summary.assessment if summary is not None else None,
    )


def _run_directory(folder: Path) -> Path | None:
    """The run that a folder is, or is the model of."""
    places = (folder, folder.resolve().parent) if folder.resolve().name == "model" else (folder,)
    return next((place for place in places if (place / DEFINITION).is_file()), None)


def _stored_dtype(name: str) -> str:
    """The type that a model's weights are stored in, which is what it was made for."""
    with loading("model", name, None) as place:
        stored = AutoConfig.from_pretrained(place, trust_remote_code=False).dtype
    return next((key for key, dtype in DTYPES.items() if dtype == stored), "float32")


def _valuer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> Valuer:
    config = model.config.get_text_config()
    if config.pad_token_id is None:  # then it takes the value of a row's last token, whatever that is
        eos = eos_id(tokenizer)
        require_padding(model, tokenizer, () if eos is None else (eos,))
    assert isinstance(config.pad_token_id, int)
    return Valuer(model.to(device).eval(), config.pad_token_id)  # type: ignore[arg-type]
