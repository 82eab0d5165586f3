"""What an evaluation writes about itself, and what it goes on with."""

from __future__ import annotations

import logging
import platform
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from orpo.chat.replies import Reply
from orpo.chat.spending import Account
from orpo.errors import ConfigError, DataError, Interrupted
from orpo.evaluation.diversity import diversity
from orpo.evaluation.embedders import Embedder
from orpo.evaluation.figures import mean, share
from orpo.formats.alpaca_eval import ModelOutput
from orpo.formats.records import write_list
from orpo.run.resume import changes, changes_table, flat
from orpo.rundir import locked
from orpo.rundir.evaluations import (
    Data,
    DiversityEvaluation,
    EvaluationDirectory,
    EvaluationRecord,
    GenerationEvaluation,
    ResponseRow,
    Spent,
    Subject,
)
from orpo.rundir.records import Scalar

log = logging.getLogger(__name__)

_FREE = {"settings.embedder", "of.name", "of.path"}
"""What may change between calls that go on with each other; new figures follow from a new embedder."""


@contextmanager
def begun(
    directory: EvaluationDirectory,
    of: Subject,
    settings: Mapping[str, Scalar],
    data: Data,
    command: str,
    *,
    overwrite: bool,
) -> Generator[EvaluationRecord | None]:
    """An evaluation that begins in a directory or goes on there, and that no other process works on; None if
    it is finished.  Arguments and errors as for `begin`.

    Raises:
        ConfigError: another process works on it.
        Interrupted: asked to end within the block, and the same command goes on.
    """
    with locked(directory.path, option="--output DIR"):
        record = begin(directory, of, settings, data, command, overwrite=overwrite)
        if record.status == "finished":
            log.info("%s: evaluated already, with the same settings", directory.path)
            yield None
            return
        try:
            yield record
        except Interrupted as stop:
            raise Interrupted(stop.reason, resumable=True) from None


def begin(
    directory: EvaluationDirectory,
    of: Subject,
    settings: Mapping[str, Scalar],
    data: Data,
    command: str,
    *,
    overwrite: bool,
) -> EvaluationRecord:
    """The record of an evaluation that begins in a directory, or of the same one that began there before.

    Args:
        directory: where.
        of: what is evaluated.
        settings: how.
        data: on what.
        command: that began it, for people.
        overwrite: whether another evaluation, or a damaged one, may be removed.

    Raises:
        ConfigError: another evaluation is there, and may not be removed.
        DataError: what is there is damaged.
        ResourceError: the directory cannot be written.
    """
    new = EvaluationRecord(
        status="unfinished",
        of=of,
        command=command,
        versions={"python": platform.python_version()}
        | {name: version(name) for name in ("orpo", "torch", "transformers", "tokenizers")},
        settings=dict(settings),
        data=data,
    )
    before = _before(directory, overwrite=overwrite)
    if before is not None and (found := changes(_identity(before), _identity(new))):
        if not overwrite:
            raise ConfigError(
                f"{directory.path} holds an evaluation with other settings:\n{changes_table(found)}",
                hint="Take back the changes, choose another directory with --output PATH, or begin anew with "
                "--overwrite.",
            )
        before = None
    if before is None:
        directory.clear()
    else:
        if before.status == "finished" and before.settings == new.settings:
            return before
        new = before.model_copy(update={"status": "unfinished", "settings": new.settings})
    directory.write_record(new)
    return new


def _before(directory: EvaluationDirectory, *, overwrite: bool) -> EvaluationRecord | None:
    """What is there; what cannot be read may be overwritten."""
    try:
        if overwrite:
            directory.go_on()
        return directory.record()
    except DataError:
        if not overwrite:
            raise
        return None


def _identity(record: EvaluationRecord) -> dict[str, object]:
    parts = record.model_dump(mode="json", include={"of", "settings", "data"})
    return {key: value for key, value in flat(parts).items() if key not in _FREE}


def conclude(
    directory: EvaluationDirectory,
    record: EvaluationRecord,
    datasets: Mapping[int, str | None],
    *,
    samples: int,
    embedder: Embedder | None,
    account: Account | None = None,
) -> None:
    """Write the figures of the responses, and the first of each prompt in AlpacaEval's format.

    Args:
        directory: with the responses.
        record: until now.
        datasets: the data set that AlpacaEval's tools are told, by the number of the prompt.
        samples: of each prompt.
        embedder: for the figures of diversity; None for none.
        account: with a server, whose prices responses of earlier calls are counted at too.

    Raises:
        ResourceError: the directory cannot be written.
    """
    rows = sorted(directory.go_on(), key=lambda row: (row.prompt_index, row.sample))
    outputs = [
        _model_output(row, record.of.name, datasets.get(row.prompt_index)) for row in rows if not row.sample
    ]
    write_list(directory.model_outputs, outputs)
    directory.write_record(
        record.model_copy(
            update={
                "status": "unfinished" if len(rows) < len(datasets) * samples else "finished",
                "generation": _generation(rows, len(datasets), samples, account) if rows else None,
                "diversity": _diversity(rows, samples, embedder) if embedder is not None else None,
            }
        )
    )


def _model_output(row: ResponseRow, generator: str, dataset: str | None) -> ModelOutput:
    given = {} if dataset is None else {"dataset": dataset}
    return ModelOutput(instruction=row.instruction, output=row.response, generator=generator, **given)


def _generation(
    rows: Sequence[ResponseRow], prompts: int, samples: int, account: Account | None
) -> GenerationEvaluation:
    numbers = [row.prompt_index for row in rows] if samples > 1 else None
    tokens = [row.tokens for row in rows if row.tokens is not None]
    return GenerationEvaluation(
        prompts=prompts,
        samples=samples,
        responses=len(rows),
        failed=prompts * samples - len(rows),
        truncated=share([row.truncated for row in rows], numbers),
        empty=share([not row.response.strip() for row in rows], numbers),
        mean_tokens=mean(tokens, numbers) if len(tokens) == len(rows) else None,
        mean_characters=mean([len(row.response) for row in rows], numbers),
        spent=None if account is None else _spent(rows, account),
    )


def _spent(rows: Sequence[ResponseRow], account: Account) -> Spent:
    replies = (Reply(text="", prompt_tokens=row.prompt_tokens, completion_tokens=row.tokens) for row in rows)
    usage = account.price(replies)
    return Spent(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        answers_without_tokens=usage.uncounted,
        cost=usage.cost,
    )


def _diversity(rows: Sequence[ResponseRow], samples: int, embedder: Embedder) -> DiversityEvaluation | None:
    """Of the prompts with all samples; None without one."""
    by_prompt: defaultdict[int, list[str]] = defaultdict(list)
    for row in rows:
        by_prompt[row.prompt_index].append(row.response)
    whole = [texts for texts in by_prompt.values() if len(texts) == samples]
    return diversity(whole, embedder) if whole else None
