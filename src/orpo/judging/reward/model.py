"""A reward model, found and put together: a run of ours, or any sequence-classification model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import AutoConfig, PreTrainedModel

from orpo.config import read_recorded
from orpo.data.pairs import Prompt
from orpo.data.rendering import Dropped
from orpo.data.specials import eos_id
from orpo.data.templates import Template
from orpo.errors import ConfigError
from orpo.judging.reward.texts import Text, Writer, choose_writer
from orpo.judging.reward.values import Valuer
from orpo.modeling.hub import loading
from orpo.modeling.kinds import JUDGE, REWARD_MODEL
from orpo.modeling.load import DTYPES, LoadedModel, load_model, load_tokenizer
from orpo.modeling.padding import make_room, require_padding
from orpo.modeling.scorer import unwrapped
from orpo.ops.distributed import join_world
from orpo.rundir import RunDirectory
from orpo.rundir.directory import DEFINITION
from orpo.rundir.records import Assessment, RunRecords, read_run


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
        DataError: a file of the run is damaged.
        NetworkError: the Hub did not answer or refused.
    """
    with join_world() as world:
        device = world.device
    run = _run_directory(Path(name).expanduser())
    if run is None:
        # A processor computes in float32 whatever a GPU is given.
        dtype = _stored_dtype(name) if device.type == "cuda" else "float32"
        source = load_model(name, dtype=dtype, kind=JUDGE)
        return _put_together(name, source, source.model.to(device))  # type: ignore[arg-type]
    records = read_run(run)
    source, model = _load_trained(RunDirectory(run), records)
    definition, tokenizer = records.definition, source.tokenizer
    own = tokenizer.get_chat_template() if definition.template.sha256 is not None else None
    return _put_together(
        run.resolve().name,
        source,
        model.to(device),  # type: ignore[arg-type]
        trained=(
            Template(definition.template.name, own, wraps_text=own is not None),
            definition.data.max_length,
        ),
        assessment=records.summary.assessment if records.summary is not None else None,
    )


def _run_directory(folder: Path) -> Path | None:
    """The run that a folder is, or is the model of."""
    places = (folder, folder.resolve().parent) if folder.resolve().name == "model" else (folder,)
    return next((place for place in places if (place / DEFINITION).is_file()), None)


def _load_trained(run: RunDirectory, records: RunRecords) -> tuple[LoadedModel, PreTrainedModel]:
    """What the run has trained, with its tokenizer; adapters are put into the model that they belong to."""
    trained = records.definition.model
    if not trained.is_reward_model:
        raise ConfigError(
            f"expected a reward model, but {run.path} has trained a language model with "
            f"objective.name: {records.definition.objective.name}",
            hint="Train a judge with objective.name: reward.",
        )
    if not run.model.is_dir():
        raise ConfigError(
            f"{run.path} has no model yet", hint="It is written when the run ends; wait, or go on with it."
        )
    settings = {one.key: one.value for one in read_recorded(run.config)}
    dtype = str(settings.get("model.dtype", "float32"))
    if trained.lora is None or trained.lora["merge"]:
        source = load_model(str(run.model), dtype=dtype, kind=JUDGE)
        return source, source.model
    quantization = settings.get("model.quantization")
    base = load_model(
        trained.name,
        revision=trained.revision,
        dtype=dtype,
        quantization=str(quantization) if quantization is not None else None,
        kind=REWARD_MODEL,
    )
    source = LoadedModel(base.model, load_tokenizer(str(run.model)), base.commit)
    make_room(source.model, source.tokenizer)  # for the pad token that training may have added
    require_padding(source.model, source.tokenizer, ())
    return source, unwrapped(PeftModel.from_pretrained(source.model, str(run.model)))


def _stored_dtype(name: str) -> str:
    """The type that a model's weights are stored in, which is what it was made for."""
    with loading("model", name, None) as place:
        stored = AutoConfig.from_pretrained(place, trust_remote_code=False).dtype
    return next((key for key, dtype in DTYPES.items() if dtype == stored), "float32")


def _put_together(
    name: str,
    source: LoadedModel,
    model: PreTrainedModel,
    *,
    trained: tuple[Template, int] | None = None,
    assessment: Assessment | None = None,
) -> RewardModel:
    tokenizer, config = source.tokenizer, model.config.get_text_config()
    if config.pad_token_id is None:  # then it takes the value of a row's last token, whatever that is
        eos = eos_id(tokenizer)
        require_padding(model, tokenizer, () if eos is None else (eos,))
    assert isinstance(config.pad_token_id, int)
    write = choose_writer(tokenizer, positions=source.max_positions, trained=trained)
    return RewardModel(name, write, Valuer(model.eval(), config.pad_token_id), assessment)
