"""Files, mappings, provenance."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orpo.config import (
    DataSection,
    LoadedConfig,
    ModelSection,
    RunConfig,
    SourceSection,
    load_config,
    parse_config,
)
from orpo.config.load import MAX_BYTES
from orpo.config.objectives import KTOSection, ORPOSection, SFTSection
from orpo.config.reference import EXAMPLE
from orpo.errors import ConfigError
from tests.unit.config.conftest import MINIMAL

Load = Callable[..., LoadedConfig]
Refused = Callable[..., ConfigError]


def test_the_example_of_the_documentation_loads_as_written(load: Load) -> None:
    config = load(EXAMPLE).config
    assert config.model == ModelSection(name="HuggingFaceTB/SmolLM2-135M")
    assert config.data == DataSection(
        train=(SourceSection(path="HuggingFaceH4/ultrafeedback_binarized"),), max_length=2048
    )
    assert config.objective == ORPOSection()
    assert config.training.learning_rate == 8e-6
    assert config.output == "runs/smollm2-orpo"


def test_every_value_knows_where_it_came_from(load: Load) -> None:
    provenance = load(
        MINIMAL + "objective:\n  lambda: 0.2\ntraining: {seed: 1}\n",
        "training.epochs=2",
        "model.dtype=bfloat16",
    ).provenance
    expected = {
        "model.name": "config.yaml:1",
        "model.dtype": "command line",
        "model.lora": "default",
        "data.train.path": "config.yaml:3",
        "data.train.split": "default",
        "data.eval": "default",
        "output": "config.yaml:4",
        "objective.lambda": "config.yaml:6",
        "objective.definition": "default",
        "training.seed": "config.yaml:7",
        "training.epochs": "command line",
        "training.report_to": "default",
    }
    assert {key: provenance[key] for key in expected} == expected


@pytest.mark.parametrize("train", ["a", "[a]", "{path: a}", "[{path: a}]"])
def test_one_source_has_one_name_however_it_is_written(load: Load, train: str) -> None:
    provenance = load(MINIMAL.replace("pairs.jsonl", train)).provenance
    assert provenance["data.train.path"] == "config.yaml:3"
    assert provenance["data.train.split"] == "default"


def test_sources_in_a_list_have_positions(load: Load) -> None:
    provenance = load(MINIMAL.replace(" pairs.jsonl", "\n    - a\n    - path: b\n      split: c")).provenance
    lines = {key: origin for key, origin in provenance.items() if key.startswith("data.train")}
    assert lines["data.train.0.path"] == "config.yaml:4"
    assert lines["data.train.0.split"] == "default"
    assert lines["data.train.1.split"] == "config.yaml:6"


def test_a_mapping_from_python_is_checked_like_a_file() -> None:
    loaded = parse_config(
        {"model": "m", "data": {"train": Path("a") / "b", "eval": 0.1}, "output": "o"}, ["training.seed=3"]
    )
    assert loaded.config.data.train == (SourceSection(path=str(Path("a") / "b")),)
    assert loaded.provenance["data.eval"] == "train()"
    assert loaded.provenance["training.seed"] == "command line"
    assert loaded.provenance["training.epochs"] == "default"


def test_mistakes_in_a_mapping_name_the_caller() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"model": object(), "data": {"train": "t"}, "lr": 1}, origin="compare()")
    assert sorted(caught.value.message.splitlines()) == [
        "compare(): `model`: expected text (its `name`) or a mapping with keys such as `name`, "
        "got an object of type object",
        "compare(): missing key `output`: The run directory. It must be new or empty.",
        "compare(): unknown key `lr`: it is `training.learning_rate` here",
    ]


def test_a_configuration_from_python_is_its_own_mapping() -> None:
    config = RunConfig(
        model=ModelSection(name="m"),
        data=DataSection(train=(SourceSection(path="t"),)),
        objective=ORPOSection(lambda_=0.25),
        output="o",
    )
    loaded = parse_config(config)
    assert loaded.config == config
    assert loaded.provenance["objective.lambda"] == "train()"
    assert loaded.provenance["objective.definition"] == "default"


def test_an_objective_made_in_python_keeps_its_name() -> None:
    model, data = ModelSection(name="m"), DataSection(train=(SourceSection(path="t"),))
    for objective in (SFTSection(), KTOSection(beta=0.5)):
        config = RunConfig(model=model, data=data, objective=objective, output="o")
        assert parse_config(config).config.objective == objective


def test_provenance_cannot_be_changed(load: Load) -> None:
    with pytest.raises(TypeError):
        load(MINIMAL).provenance["output"] = "x"  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\n\n"])
def test_an_empty_file_is_named(refused: Refused, text: str) -> None:
    error = refused(text)
    assert error.message.startswith("config.yaml: the file is empty")
    assert error.hint is not None
    assert "`model`" in error.hint


@pytest.mark.parametrize(
    ("text", "got"), [("- a\n", "a list"), ("hello\n", "a single value"), ("3", "a single value")]
)
def test_a_file_that_is_no_mapping_is_refused(refused: Refused, text: str, got: str) -> None:
    assert refused(text).message == f"config.yaml:1: expected a mapping of keys to values, got {got}"


def test_a_syntax_error_has_its_line(refused: Refused) -> None:
    assert refused(MINIMAL + "a: b: c\n").message == (
        "config.yaml:5: not valid YAML: mapping values are not allowed here"
    )


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    loaded = load_config(file)
    assert loaded.config.output == "run"
    assert loaded.provenance["output"] == f"{file}:4"


def message_and_hint(path: Path) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.__context__ is None
    return caught.value.message, caught.value.hint or ""


def test_a_missing_file_gets_the_nearest_one(tmp_path: Path) -> None:
    for name in ("llama.yaml", "mistral.yml", "notes.txt"):
        tmp_path.joinpath(name).touch()
    assert message_and_hint(tmp_path / "lama.yaml") == (
        f"{tmp_path}/lama.yaml: no such file",
        f"Did you mean {tmp_path}/llama.yaml?",
    )
    assert message_and_hint(tmp_path / "mistral")[1] == f"Did you mean {tmp_path}/mistral.yml?"
    assert (
        message_and_hint(tmp_path / "zzz.yaml")[1]
        == f"Configuration files in {tmp_path}: llama.yaml, mistral.yml"
    )


def test_a_missing_file_in_a_missing_or_empty_directory_says_so(tmp_path: Path) -> None:
    assert (
        message_and_hint(tmp_path / "a" / "b.yaml")[1] == f"The directory {tmp_path}/a does not exist either."
    )
    assert message_and_hint(tmp_path / "b.yaml")[1] == f"There is no .yaml file in {tmp_path}."


def test_a_directory_lists_its_files(tmp_path: Path) -> None:
    tmp_path.joinpath("a.yaml").touch()
    assert message_and_hint(tmp_path) == (
        f"{tmp_path}: a directory; expected a configuration file",
        f"Configuration files in {tmp_path}: a.yaml",
    )


def test_a_file_that_is_not_utf_8_has_the_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"model: a\noutput: \xff\xfe\n")
    assert message_and_hint(file)[0] == f"{file}:2: not UTF-8 text"


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("# " + "x" * MAX_BYTES)
    assert "larger than 64 KiB" in message_and_hint(file)[0]


def test_loading_a_configuration_imports_no_torch() -> None:
    code = (
        "import sys, orpo.config, orpo.config.reference\n"
        "orpo.config.parse_config({'model': 'm', 'data': {'train': 't'}, 'output': 'o'})\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'peft', 'accelerate') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "train.parquet", "pairs.jsonl.gz"])
def test_data_in_the_place_of_a_configuration_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"prompt": "a"}\n{"prompt": "b"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{name}: expected a configuration in YAML") as caught:
        load_config(tmp_path / name)
    assert "`data.train`" in str(caught.value.hint)
