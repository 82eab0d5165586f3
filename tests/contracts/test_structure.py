"""The house keeps its order: layers, public names, docstrings, the file map, and a test file per module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import orpo
from orpo import errors

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "orpo"


def tool_settings(name: str) -> dict[str, list[dict[str, list[str]]]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][name]


# Layers


def test_the_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken." in done.stdout


def test_every_part_of_the_package_has_a_layer() -> None:
    (layers,) = (c["layers"] for c in tool_settings("importlinter")["contracts"] if "layers" in c)
    named = {module for layer in layers for module in layer.split(" | ")}
    parts = {f"orpo.{path.stem}" for path in PACKAGE.iterdir() if path.suffix == ".py" or is_package(path)}
    assert parts - {"orpo.__init__", "orpo.__main__"} == named


def test_every_objective_is_independent_of_the_others() -> None:
    (modules,) = (c["modules"] for c in tool_settings("importlinter")["contracts"] if "modules" in c)
    objectives = {path.stem for path in (PACKAGE / "objectives").glob("*.py")} - {"__init__", "base", "terms"}
    assert set(modules) == {f"orpo.objectives.{name}" for name in objectives}


def is_package(path: Path) -> bool:
    return (path / "__init__.py").exists()


# A fast start


@pytest.mark.parametrize(
    "statement",
    [
        "import orpo",
        "import orpo.config, orpo.errors, orpo.rundir, orpo.text, orpo.quickstart.task",
        "import orpo.report.card, orpo.report.curves, orpo.report.page, orpo.report.record, orpo.cli.report",
        "import sys; sys.argv = ['orpo', '--help']; from orpo.cli import main; main()",
        "import sys; sys.argv = ['orpo', 'train', '--help']; from orpo.cli import main; main()",
    ],
    ids=["import orpo", "config", "report", "orpo --help", "orpo train --help"],
)
def test_what_should_start_fast_imports_no_torch(statement: str) -> None:
    program = f"try:\n    {statement}\nfinally:\n    import sys; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stderr.split())
    assert "orpo" in loaded
    assert not loaded & {"torch", "transformers", "peft", "datasets", "accelerate", "pandas", "pyarrow"}


# Public names


def test_every_public_name_resolves() -> None:
    assert len(set(orpo.__all__)) == len(orpo.__all__)
    for name in orpo.__all__:
        assert getattr(orpo, name).__name__ == name
        assert getattr(orpo, name).__doc__


def test_public_names_are_those_that_type_checkers_see() -> None:
    """`__all__` is sorted as ruff sorts it (RUF022); here, that it is complete."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (seen,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = [alias.name for node in seen.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == sorted(orpo.__all__)


def test_every_error_that_a_user_can_cause_is_public() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert kinds <= set(orpo.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'orpo' has no attribute 'nothing'"):
        orpo.nothing  # noqa: B018


def test_exit_codes_are_the_documented_ones() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind.__name__: kind.exit_code for kind in kinds} == {
        "OrpoError": 1,
        "ConfigError": 2,
        "DataError": 3,
        "CheckpointError": 4,
        "NumericsError": 5,
        "ResourceError": 6,
        "NetworkError": 7,
        "Interrupted": 75,
    }
    assert errors.EXIT_AT_ONCE == 130


# Files


def test_every_module_says_what_it_is_for() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    first_lines = {path: (ast.get_docstring(tree) or "").split("\n\n")[0] for path, tree in trees.items()}
    assert [path for path, line in first_lines.items() if not line.endswith((".", ":"))] == []


def test_the_file_map_lists_every_file_of_the_package_once() -> None:
    """Folders that end in `/` stand for everything in them."""
    listed = re.findall(r"^\s*(src/orpo/\S*)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    folders = tuple(path for path in listed if path.endswith("/"))
    files = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path, count in Counter(listed).items() if count > 1} == set()
    assert files - set(listed) == {path for path in files if path.startswith(folders)}
    assert set(listed) - files == set(folders)
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_unit_tests_mirror_the_package() -> None:
    unit = ROOT / "tests" / "unit"
    for test in unit.rglob("test_*.py"):
        folder = PACKAGE / test.relative_to(unit).parent
        name = test.stem.removeprefix("test_")
        assert (folder / f"{name}.py").exists(), f"{test.relative_to(ROOT)} tests no module"


def test_the_promises_name_tests_that_there_are() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = set(
        re.findall(r"`(?:tests/)?((?:unit|e2e|faults|contracts|properties)/[\w/.]*)(?:::\w*…)?`", text)
    )
    assert len(named) > 20
    assert [path for path in named if not (ROOT / "tests" / path).exists()] == []
