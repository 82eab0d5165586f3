"""Sources become token ids, and what became of every row is said and recorded."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from orpo.config import DataSection
from orpo.data.pairs import TokenizedPair
from orpo.errors import ConfigError, DataError
from orpo.modeling.load import LoadedModel, LoadedTokenizer, load_model, load_without_weights
from orpo.objectives import ORPO, Objective, RewardModel
from orpo.run.data import PreparedData, prepare_data
from tests.rows import rows, write_rows
from tests.tiny import save_tiny_model

DEFAULT = ORPO()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder / "pairs.jsonl", 20)
    save_tiny_model(folder / "model")
    return folder


def prepare(
    folder: Path,
    train_rows: list[dict[str, Any]] | None = None,
    source: LoadedModel | LoadedTokenizer | None = None,
    objective: Objective = DEFAULT,
    **section: Any,
) -> PreparedData:
    config = DataSection.model_validate({"train": str(folder / "pairs.jsonl")} | section)
    source = source or load_without_weights(str(folder / "model"))
    return prepare_data(config, objective, source, 7, train_rows, None, None)


class Boundless(LoadedModel):
    """A model of an architecture without a limit of positions."""

    @property
    def max_positions(self) -> int | None:
        return None


def test_max_length_is_by_default_the_models_positions_or_2048(folder: Path, tmp_path: Path) -> None:
    assert prepare(folder).max_length == 128
    roomy = load_model(str(save_tiny_model(tmp_path / "roomy", positions=4096)))
    assert prepare(folder, source=roomy).max_length == 2048
    boundless = Boundless(roomy.model, roomy.tokenizer, None)
    assert prepare(folder, source=boundless).max_length == 2048
    assert prepare(folder, source=boundless, max_length=9999).max_length == 9999


def test_more_than_the_models_positions_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="at most the model's 128 positions, got 129"):
        prepare(folder, max_length=129)


def test_a_fraction_holds_out_pairs_of_the_training_file(folder: Path) -> None:
    data = prepare(folder, eval=0.25)
    assert data.eval is not None
    assert (len(data.train), len(data.eval)) == (15, 5)
    assert not {pair.where for pair in data.train} & {pair.where for pair in data.eval}


def test_several_sources_follow_one_another_and_are_recorded_one_by_one(folder: Path) -> None:
    other = write_rows(folder / "other.jsonl", 3)
    data = prepare(folder, train=[str(folder / "pairs.jsonl"), str(other)], eval=str(other))
    assert len(data.train) == 23
    assert [source["read"] for source in data.record["train"]] == [20, 3]
    assert [source["path"] for source in data.record["eval"]] == [str(other)]
    assert data.record["tokens"]["train"]["kept"] == 23


TRANSCRIPT = [
    {"chosen": f"\n\nHuman: {i}?\n\nAssistant: yes", "rejected": f"\n\nHuman: {i}?\n\nAssistant: no"}
    for i in range(3)
]


@pytest.mark.parametrize(("template", "used"), [("none", "none"), ("auto", "transcript")])
def test_transcripts_are_messages_unless_there_is_no_template(folder: Path, template: str, used: str) -> None:
    source = load_model(str(folder / "model"))
    data = prepare(folder, TRANSCRIPT, source, template=template)
    assert data.template.name == used
    text = source.tokenizer.decode([*data.train[0].prompt, *data.train[0].chosen])
    assert text == "\n\nHuman: 0?\n\nAssistant: yes</s>"


@pytest.mark.parametrize(("objective", "said"), [(ORPO(), 1), (RewardModel(), 0)])
def test_margins_that_the_objective_does_not_use_are_mentioned_once(
    objective: Objective, said: int, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = [row | {"margin": i} for i, row in enumerate(rows(8))]
    with caplog.at_level(logging.INFO, logger="orpo"):
        data = prepare(folder, given, objective=objective, eval=0.25)
    assert sorted(pair.margin for part in (data.train, data.eval or ()) for pair in part) == [*range(8)]
    message = "margins of the pairs are not used: only a reward model's loss has them"
    assert caplog.messages.count(message) == said


def test_what_became_of_the_rows_is_said_with_an_example_in_harmless_characters(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = {"prompt": "\x1b[31mred\n", "chosen": "a", "rejected": "b", "score": 1}
    same = {"prompt": "p", "chosen": "a", "rejected": "a", "score": 1}
    with caplog.at_level(logging.INFO, logger="orpo"):
        prepare(folder, [hostile, same, same, *rows(2)])
    detected = "strings (`chosen` and `rejected` continue the text of `prompt`)"
    assert f"train: rows in memory: detected: {detected}" in caplog.messages
    assert "train: columns not used: score" in caplog.messages
    assert "train: 3 of 5 rows kept\n  dropped 2: identical responses (first: row 2)" in caplog.messages
    assert "  example row 1\n    prompt    �[31mred↵\n    chosen    a\n    rejected  b" in caplog.messages


def test_the_options_of_a_source_are_those_of_the_configuration(folder: Path, tmp_path: Path) -> None:
    judged = [{"q": f"{i}?", "a": "yes", "b": "no", "label": i % 3, "split": "x"} for i in range(9)]
    file = tmp_path / "judged.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in judged), encoding="utf-8")
    columns = {"prompt": "q", "responses": ["a", "b"], "preferred": "label"}
    source = {
        "path": str(file),
        "columns": columns | {"values": {"0": 0, "1": 1, "2": "tie"}},
        "where": {"label": "!= 1"},
    }
    data = prepare(folder, train=source)
    assert data.record["train"][0]["dropped"] == {"tie": 3, "does not meet `where`: label != 1": 3}
    assert data.record["train"][0]["detected"] == "columns (as the source's `columns` say)"
    assert len(data.train) == 3


def origins(pairs: Iterable[TokenizedPair]) -> list[str]:
    return [pair.where for pair in pairs]


def test_a_second_run_reads_what_the_first_one_made(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"cache": str(tmp_path / "cache"), "eval": 0.25}
    first = prepare(folder, **settings)
    with caplog.at_level(logging.INFO, logger="orpo"):
        again = prepare(folder, **settings)
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert f"train: read from cache {entry}" in caplog.messages
    assert again.eval is not None
    assert first.eval is not None
    assert list(again.train) == list(first.train)
    assert list(again.eval) == list(first.eval)
    assert again.record == first.record


def test_what_is_held_out_does_not_depend_on_the_cache(folder: Path) -> None:
    kept, in_memory = (prepare(folder, train_rows, eval=0.25).eval for train_rows in (None, rows(20)))
    assert kept is not None
    assert in_memory is not None
    assert [pair.prompt for pair in kept] == [pair.prompt for pair in in_memory]


def test_limits_change_what_is_used_and_not_what_is_kept(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [write_rows(tmp_path / name, size) for name, size in (("a.jsonl", 12), ("b.jsonl", 9))]

    def mixed(**limits: list[float]) -> PreparedData:
        train = [
            {"path": str(path)} | {key: values[i] for key, values in limits.items()}
            for i, path in enumerate(paths)
        ]
        return prepare(folder, train=train, cache=str(tmp_path / "cache"))

    whole = mixed()
    assert len(whole.train) == 21
    with caplog.at_level(logging.INFO, logger="orpo"):
        data = mixed(weight=[2, 1], max_rows=[10, 9])
    assert len(data.train) == 15
    assert f"train: {paths[0]}: left out by max_rows: 2" in caplog.messages
    assert f"train: {paths[1]}: left out by weight: 4" in caplog.messages
    assert [(one["kept"], one["used"], one["left_out"]) for one in data.record["train"]] == [
        (12, 10, {"max_rows": 2}),
        (9, 5, {"weight": 4}),
    ]
    assert caplog.text.count("read from cache") == 2
    used = origins(data.train)
    assert len(set(used)) == 15
    assert used == [where for where in origins(whole.train) if where in used]


def test_rows_in_memory_are_read_as_the_source_that_they_replace(folder: Path) -> None:
    judged = [{"q": f"{i}?", "a": "yes", "b": "no", "n": i} for i in range(6)]
    source = {"path": "gone.jsonl", "columns": {"prompt": "q", "chosen": "a", "rejected": "b"}}
    data = prepare(folder, judged, train=source | {"where": {"n": "> 1"}, "max_rows": 3})
    assert len(data.train) == 3
    assert (data.record["train"][0]["path"], data.record["train"][0]["kept"]) == ("rows in memory", 4)


def test_weights_are_all_or_none_before_anything_is_tokenised(folder: Path, tmp_path: Path) -> None:
    sources = [{"path": str(folder / "pairs.jsonl"), "weight": 1}, str(folder / "pairs.jsonl")]
    with pytest.raises(ConfigError, match="either every source of a list has a weight or none"):
        prepare(folder, train=sources, cache=str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def write(path: Path, values: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in values), encoding="utf-8")
    return str(path)


def test_single_responses_join_pairs_and_are_counted_apart(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = write(tmp_path / "sft.jsonl", [{"prompt": f"{i} and", "completion": " so"} for i in range(3)])
    with caplog.at_level(logging.INFO, logger="orpo"):
        data = prepare(folder, train=[str(folder / "pairs.jsonl"), alone])
    message = "train: 20 pairs and 3 single responses, which join the supervised term only"
    assert message in caplog.messages
    assert data.record["used"] == {"train": {"pairs": 20, "singles": 3, "of_no_use": 0}}
    assert "  example " + alone + ":1\n    prompt    0 and\n    response   so" in caplog.messages


def test_what_has_no_singles_says_nothing_of_them(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orpo"):
        data = prepare(folder, eval=0.25)
    assert "single" not in caplog.text
    assert "eval: 5 of these examples held out" in caplog.messages
    assert data.record["used"] == {
        "train": {"pairs": 15, "singles": 0, "of_no_use": 0},
        "eval": {"pairs": 5, "singles": 0, "of_no_use": 0},
    }


def conversations(count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": [{"role": "user", "content": f"{i}?"}], "chosen": "yes", "rejected": "no"}
        for i in range(count)
    ]


def test_the_template_is_chosen_for_the_first_examples_of_every_source(folder: Path, tmp_path: Path) -> None:
    talk = write(tmp_path / "talk.jsonl", conversations(3))
    data = prepare(folder, train=[str(folder / "pairs.jsonl"), talk])
    assert data.template.name == "transcript"
    assert len(data.train) == 23


def test_messages_that_no_template_was_chosen_for_are_named(folder: Path, tmp_path: Path) -> None:
    late = write(tmp_path / "late.jsonl", [*rows(150), *conversations(1)])
    with pytest.raises(DataError, match=r"late\.jsonl:151: this prompt is made of messages") as caught:
        prepare(folder, train=late)
    assert "data.template" in str(caught.value.hint)


@pytest.mark.parametrize("nll_turns", ["final", "all"])
def test_answers_are_found_where_the_objective_asks_for_them(
    folder: Path, nll_turns: Literal["final", "all"]
) -> None:
    turns = [("user", "1?"), ("assistant", "so"), ("user", "2?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    talk = [{"prompt": messages, "chosen": "yes", "rejected": "no"}]
    data = prepare(folder, talk, objective=ORPO(nll_turns=nll_turns))
    assert [len(pair.answers) for pair in data.train] == [nll_turns == "all"]
