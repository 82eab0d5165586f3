"""The configuration of a run, as frozen data.

The docstring under each field is the only source of its help: ``docs/config.md`` is generated from it.
Components never see these classes' root; `orpo.run` hands each one plain values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from orpo.config.objectives import ObjectiveSection, ORPOSection
from orpo.config.section import NonNegativeFloat, PositiveFloat, PositiveInt, Section


def _one_source(value: object) -> object:
    """A single source is a list of one."""
    if isinstance(value, list | tuple):
        return cast(object, value)
    return (value,)


def _fraction_or_count(value: float) -> float:
    if value >= 1 and value != int(value):
        raise ValueError(f"expected a fraction below 1 or a whole number of steps, got {value}")
    return value


def _verdicts(values: dict[str, object]) -> dict[str, object]:
    if not all(value == "tie" or (type(value) is int and value in (0, 1)) for value in values.values()):
        raise ValueError("expected 0, 1 or tie for each label")
    return values


def _conditions(where: dict[str, object]) -> dict[str, object]:
    for column, value in where.items():
        for one in cast("list[object]", value if isinstance(value, list) else [value]):
            if not isinstance(one, str | int | float):
                raise ValueError(f"expected a value, a list of values or a comparison for {column}")
    return where


class LoraSection(Section):
    """Train low-rank adapters (LoRA, through PEFT) instead of the model's own weights."""

    r: PositiveInt = 16
    """Rank of the adapters."""

    alpha: PositiveFloat = 32.0
    """Scale of the adapters: their product is multiplied by `alpha / r`."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout in the adapters. Above 0, the promise that micro-batch splits change nothing does not hold."""

    target: str | list[str] = "all-linear"
    """Modules that get an adapter: `all-linear`, which leaves out the head; a list of module names such as
    `[q_proj, v_proj]`; or a regular expression that their whole names match."""

    rslora: bool = False
    """Multiply the adapters' product by `alpha / sqrt(r)` instead, which lets high ranks learn (rsLoRA)."""

    dora: bool = False
    """Train the length of each row of the adapted matrices apart from its direction (DoRA). Slower."""

    modules_to_save: tuple[str, ...] = Field(default=(), strict=False)
    """Modules that are trained whole and saved beside the adapters, such as `[embed_tokens, lm_head]`."""

    merge: bool = False
    """Save merged weights in `model/` instead of the adapter."""


class ModelSection(Section):
    """The model to align. A plain string means `name`."""

    shorthand = "name"

    name: str
    """A local folder or a Hub id."""

    revision: str | None = None
    """Hub revision: branch, tag or commit."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type in which the weights are kept. Those of `bfloat16` that are trained are updated as float32, with
    two more bytes for each; `float16` is for weights under LoRA adapters only."""

    random_init: bool = False
    """Start from random weights of the model's shape instead of its pretrained ones."""

    quantization: Literal["nf4"] | None = None
    """Keep the linear layers under LoRA adapters in 4 bits (QLoRA): `nf4`, 4-bit NormalFloat of bitsandbytes
    (`pip install "orpo[bitsandbytes]"`). `dtype` is that of the others. `lora.merge` undoes it."""

    lora: LoraSection | None = None
    """LoRA adapters; absent means full fine-tuning."""


class ColumnsSection(Section):
    """Which columns hold what: `prompt` or `messages`, and `chosen` and `rejected`, or `response`, or
    `responses`, `preferred` and `values`, or `candidates`, `text` and `score` or `rank`; or only `weight` or
    `margin`."""

    prompt: str | None = None
    """Column of the prompt. Text with `chosen` and `rejected`, or `response`, of text is continued by them;
    any other prompt is a chat's, as with `messages`."""

    messages: str | None = None
    """Column of a list of messages, or of the text of the user's turn."""

    system: str | None = None
    """Column of the system turn's text."""

    chosen: str | None = None
    """Column of the better response: text, or messages of which it is the last."""

    rejected: str | None = None
    """Column of the worse response."""

    response: str | None = None
    """Column of the only response: text, or messages of which it is the last. It joins the supervised term
    only, unless `label` says more."""

    label: str | None = None
    """Column that says whether `response` is a good one: true or 1, else false or 0. A good and a bad one to
    the same prompt make a pair."""

    responses: list[str] | None = None
    """Columns of two responses of which `preferred` says which one is better."""

    preferred: str | list[str] | None = None
    """Column of the label; or a list of columns, of votes of which more than half must agree. A column may
    hold a list of votes too."""

    values: Annotated[dict[str, object], AfterValidator(_verdicts)] | None = None
    """What labels mean: `0` the first of `responses`, `1` the second, or `tie`; for example `{"A": 0, "B": 1,
    "C": tie}`."""

    candidates: str | None = None
    """Column of a list of objects, each a response with its score."""

    text: str | None = None
    """Key of the response in `candidates`."""

    score: str | None = None
    """Key of its score, higher is better."""

    rank: str | None = None
    """Key of its rank, lower is better."""

    weight: str | None = None
    """Column of a number above 0: how much what the row holds counts, in every mean. Where no other key is
    given, the rest is as the columns' names tell."""

    margin: str | None = None
    """Column of a number: how much better the chosen response is, for `objective.name: reward`. Absent, with
    all other keys but `weight`: the column `margin`, if it holds numbers."""


class SourceSection(Section):
    """Where rows come from. A plain string means `path`."""

    shorthand = "path"

    path: str
    """A local file (`.jsonl`, `.json`, `.csv`, `.parquet`; also `.gz` and `.zst`), a folder of them, or a Hub
    id."""

    config: str | None = None
    """Configuration of a Hub dataset."""

    data_dir: str | None = None
    """Folder of a Hub dataset to read, such as HH's `harmless-base`."""

    split: str | None = None
    """Split to read. Absent: the one that the source's names suggest (`train`, `train_prefs`; `test`,
    `eval` …)."""

    revision: str | None = None
    """Hub revision: branch, tag or commit."""

    columns: ColumnsSection | None = None
    """Which columns hold what. Absent: as the columns' names tell; what was detected is printed."""

    criterion: str | None = None
    """Which judgement to learn from, for data sets with several: `better` or `safer` for PKU-SafeRLHF, a
    rating such as `helpfulness` for HelpSteer2."""

    policy: Literal["best-vs-worst", "best-vs-random", "all-above-margin"] | None = None
    """Which pairs several scored responses to a prompt make. Absent: `best-vs-worst`."""

    min_margin: NonNegativeFloat = 0.0
    """Drop pairs whose scores, ranks or graded labels differ by less. Ties are always dropped."""

    where: Annotated[dict[str, object], AfterValidator(_conditions)] | None = None
    """Keep only rows that meet these conditions: by column, a value, a list of values of which any will do,
    or a comparison such as `">= 2"` or `"!= tie"`."""

    weight: PositiveFloat | None = None
    """Share of this source in what is used of the list, relative to the weights of the others. Nothing is
    repeated: the source that runs out first sets the size. Every source of a list has a weight, or none."""

    max_rows: PositiveInt | None = None
    """Use at most so many examples of this source, drawn by `training.seed` and kept in order."""

    def reading(self) -> dict[str, Any]:
        """The keys that say what is read and how, without those that say how much of it is used."""
        return self.model_dump(exclude={"weight", "max_rows"})


Sources = Annotated[
    tuple[SourceSection, ...], BeforeValidator(_one_source), Field(min_length=1, strict=False)
]


class DataSection(Section):
    """Preference pairs: where they are and how they become tokens."""

    train: Sources
    """A source or a list of sources to train on."""

    eval: Annotated[float, Field(gt=0, lt=1)] | Sources | None = None
    """Held-out pairs: a source, a list of sources, or the fraction of the training pairs to hold out."""

    max_length: Literal["auto"] | PositiveInt = "auto"
    """Most tokens of prompt + response in either branch. `auto`: 2048, or the model's positions if fewer."""

    truncation: Literal["cut", "drop"] = "cut"
    """Responses that do not fit in `max_length`: `cut` them at the end, or `drop` the pair. A pair whose
    prompt leaves no room is always dropped. Both are counted."""

    template: str = "auto"
    """Chat template for messages and HH transcripts. `auto`: the model's own, or `transcript` where it has
    none. `none`: transcripts stay plain text. Else a bundled name (`transcript`, `chatml`) or a `.jinja`
    file. Prompts that are plain strings stay plain with `auto`."""

    cache: str = "auto"
    """Folder in which token ids are kept for the next run on the same data, tokenizer and settings. `auto`:
    `tokens` in `$ORPO_CACHE`, or in `orpo` in the user's cache folder. It may be deleted at any time."""

    workers: Literal["auto"] | PositiveInt = "auto"
    """Processes that tokenise, which changes speed only. `auto`: one for a small source, else as many as
    there are cores, at most 16."""


class TrainingSection(Section):
    """The optimisation and the hardware it runs on."""

    batch_size: PositiveInt = 64
    """Pairs per optimizer step, over all devices."""

    max_tokens: Literal["auto"] | PositiveInt = "auto"
    """Tokens, padding included, that one forward pass may hold on one device. It changes memory and speed,
    never the result. `auto`: as many as make it fast (4096 on a CPU, 65536 on a GPU) and, by a measured step,
    fit into memory. When memory runs out it is halved."""

    layout: Literal["auto", "shared", "packed", "padded"] = "auto"
    """How pairs are given to the model: `shared` computes each prompt once, `packed` has no padding, `padded`
    works for every model. They change speed and memory, never the result. `auto`: the first of the three
    that a self-check finds exact for the model."""

    epochs: PositiveFloat = 1.0
    """Passes over the training pairs."""

    max_steps: PositiveInt | None = None
    """Optimizer steps; wins over `epochs`."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 8e-6
    """Highest learning rate."""

    schedule: Literal[
        "constant",
        "constant_with_warmup",
        "cosine",
        "cosine_with_restarts",
        "inverse_sqrt",
        "linear",
        "polynomial",
    ] = "cosine"
    """Learning-rate schedule, by its name in transformers."""

    warmup: Annotated[NonNegativeFloat, AfterValidator(_fraction_or_count)] = 0.1
    """Linear warm-up: a fraction of all steps if below 1, else a number of steps."""

    optimizer: Literal["adamw", "adamw_8bit", "adafactor", "lion", "lion_8bit", "muon"] = "adamw"
    """Update rule. `adamw_8bit`, `lion` and `lion_8bit` need bitsandbytes
    (`pip install "orpo[bitsandbytes]"`). `muon` is for the matrices of the layers, and AdamW updates the
    others. `adafactor` takes `learning_rate` as it is. Lion wants a third to a tenth of AdamW's rate."""

    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay, applied to matrices only."""

    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay of the mean gradient."""

    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """AdamW's decay of the mean squared gradient."""

    adam_epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon."""

    router_loss: Literal["auto"] | NonNegativeFloat = "auto"
    """Coefficient of the load-balancing loss of a mixture of experts, whatever the objective. `auto`: that of
    the model's configuration, and none for other models. 0 leaves it out."""

    max_grad_norm: PositiveFloat | None = 1.0
    """Clip the gradient to this global norm; `null` to leave it."""

    max_skipped_steps: Annotated[int, Field(ge=0)] = 0
    """Steps whose loss or gradient is not finite that a run may leave out. No update is made in such a step;
    the run ends at the first one above this number."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the matrix products (autocast). `auto`: bfloat16 on a GPU that has it, else float32. Processors
    with AVX512-BF16 or AMX are faster with `bfloat16` too."""

    compile: bool = False
    """Compile the parts of the model's layers with torch.compile, once for all lengths. On a CPU, where it
    needs a C++ compiler, steps take as long as without it; on a GPU that has not been measured."""

    gradient_checkpointing: Literal["selective", "offload"] | bool = False
    """Recompute activations in the backward pass. `selective`: all but the results of matrix products and
    attention; refused for the few models whose layers write over these. `true`: each layer's, from its
    input, which takes about a third more time. `offload`: as `true`, and beside a GPU these inputs wait in
    the host's memory. It never changes the result."""

    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several processes hold the model: each one whole (`ddp`), or each a share of weights, gradients and
    optimizer state (`fsdp`: FSDP2), which takes more communication. It never changes the result."""

    cpu_offload: bool = False
    """Keep weights, gradients and optimizer state in the host's memory and bring them to the GPU layer by
    layer, with `parallel: fsdp`, also of a single process. Much slower."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of the data order, of held-out fractions and of random weights."""

    shuffle: bool = True
    """Shuffle the pairs of each epoch; `false` keeps the file's order."""

    log_every: PositiveInt = 10
    """Steps between rows of `metrics.jsonl`."""

    eval_every: PositiveInt | None = None
    """Steps between evaluations; absent: only before the first step and at the end."""

    select: Literal["last", "best"] = "last"
    """Which step `model/` is of: the last, or the one with the lowest evaluation loss."""

    checkpoint_every: Literal["auto"] | PositiveInt | None = "auto"
    """Steps between checkpoints, from which `orpo train --resume` goes on; the last step has one too. `auto`:
    a tenth of the run, so that at most a tenth is lost. `null`: only when the run is asked to end, and with
    `select: best` at the best step."""

    keep_checkpoints: PositiveInt | None = 2
    """How many checkpoints to keep, the newest; older ones are deleted once a newer one is safe on disk.
    `null` keeps all. The one of the best step is kept beside them with `select: best`."""

    report_to: tuple[str, ...] = Field(default=(), strict=False)
    """Trackers, by their names in transformers: `tensorboard`, `wandb`, `mlflow`, `trackio` …"""


class RunConfig(Section):
    """Everything that determines a run."""

    model: ModelSection
    """The model to align: a local folder or a Hub id, or a mapping."""

    data: DataSection
    """Preference pairs."""

    objective: ObjectiveSection = ORPOSection()
    """What is optimised."""

    training: TrainingSection = TrainingSection()
    """The optimisation."""

    output: str
    """The run directory. It must be new or empty."""
