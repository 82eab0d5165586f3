"""What could run somebody else's code is not in the package, nor among what it needs."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "orpo"
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def imported() -> Iterator[tuple[Path, str]]:
    """Every module that any file imports, with what it takes from it."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((path, f"{node.module}.{alias.name}") for alias in node.names)


def calls() -> Iterator[tuple[Path, str, ast.Call]]:
    """Every call of a name or of an attribute of one."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield path, ast.unparse(node.func), node


def test_nothing_is_pickled() -> None:
    pickling = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
    assert [(path, name) for path, name in imported() if name.split(".")[0] in pickling] == []
    functions = {
        *("torch.load", "torch.save", "np.save", "np.savez", "numpy.save", "joblib.dump"),
        *("dist.all_gather_object", "dist.broadcast_object_list", "dist.gather_object"),
    }
    assert [(path, name) for path, name, _ in calls() if name in functions] == []
    loads = [node for _, name, node in calls() if name in ("np.load", "numpy.load")]
    assert [node for node in loads if any(keyword.arg == "allow_pickle" for keyword in node.keywords)] == []


def test_no_text_is_run_as_code() -> None:
    assert [
        (path, name) for path, name, _ in calls() if name in ("eval", "exec", "os.system", "os.popen")
    ] == []
    given = [(path, keyword.arg) for path, _, node in calls() for keyword in node.keywords]
    assert [place for place in given if place[1] == "shell"] == []


def test_code_of_a_hub_is_never_run() -> None:
    for path, name, node in calls():
        for keyword in node.keywords:
            if keyword.arg == "trust_remote_code":
                assert ast.unparse(keyword.value) == "False", (path, name)


def test_chat_templates_are_rendered_by_transformers_sandbox_only() -> None:
    """Our own pages are rendered by jinja2 with everything escaped, from files of the package."""
    ours = {PACKAGE / part / "page.py" for part in ("doctor", "pages", "preview")}
    uses = {(path, name) for path, name in imported() if name.startswith("jinja2.")}
    harmless = ("jinja2.exceptions.", "jinja2.TemplateError", "jinja2.sandbox.")
    assert {path for path, name in uses if not name.startswith(harmless)} <= ours
    environments = [(path, node) for path, name, node in calls() if name == "Environment"]
    assert environments
    for path, node in environments:
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert options.get("autoescape") == "True", path


def test_pages_allow_nothing_but_their_own_style() -> None:
    pages = list(PACKAGE.rglob("*.html.jinja"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "default-src 'none'" in text or text.startswith('{% extends "pages/base.html.jinja" %}'), page
    for part in PACKAGE.rglob("*.jinja"):
        text = part.read_text(encoding="utf-8")
        assert "<script" not in text, part
        assert "| safe" not in text, part


def test_no_clock_that_can_jump_measures_time() -> None:
    """A laptop that sleeps, or a clock that is set, does not change what is said of speed and time left."""
    clocks = ("time.time", "datetime.now", "datetime.utcnow")
    uses = {path.relative_to(PACKAGE).as_posix() for path, name, _ in calls() if name in clocks}
    assert uses <= {
        "rundir/lock.py",  # says since when, to people
        "chat/api.py",  # reads the date of a server's answer
    }


FLOORS = {
    "torch": ("2.10", "weights-only loaders corrupt memory before (CVE-2026-24747)"),
    "transformers": ("5.3", "config.json names code that is run before (CVE-2026-4372)"),
    "jinja2": ("3.1.6", "templates get out of their sandbox before (CVE-2024-56326, CVE-2025-27516)"),
    "datasets": ("4.0", "data sets are scripts before"),
}


@pytest.mark.parametrize("name", FLOORS)
def test_releases_with_known_holes_are_not_installed(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = {parsed.name: parsed for parsed in map(Requirement, project["dependencies"])}
    floor, _ = FLOORS[name]
    (lowest,) = [Version(part.version) for part in requirements[name].specifier if part.operator == ">="]
    assert lowest >= Version(floor)
