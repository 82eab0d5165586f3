"""YAML text to a tree with lines."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orpo.config.tree import MAX_NODES, Origin, Problem, Table, config_error, from_python, parse_yaml, plain


def parse(text: str) -> tuple[Any, list[Problem]]:
    node, problems = parse_yaml(text, lambda line: Origin("f", line))
    return None if node is None else plain(node), problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("8e-6", 8e-6),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-1", -1),
        ("010", 10),
        ("0x10", 16),
        ("true", True),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("'64'", "64"),
        ("!!str 64", "64"),
        ("=", "="),
    ],
)
def test_scalars_are_read_as_yaml_1_2_reads_them(text: str, value: object) -> None:
    result, problems = parse(f"key: {text}")
    assert not problems
    assert result == {"key": value}
    assert type(result["key"]) is type(value)


def test_every_child_knows_the_line_of_its_key() -> None:
    node, _ = parse_yaml("a: 1\nb:\n  c: 2\n\n  d:\n    - 3\n", lambda line: Origin("f", line))
    assert isinstance(node, Table)
    b = node.children["b"]
    assert isinstance(b, Table)
    assert [str(child.origin) for child in (node.children["a"], b, *b.children.values())] == [
        "f:1",
        "f:2",
        "f:3",
        "f:5",
    ]


def test_a_duplicate_key_is_named_with_both_lines() -> None:
    _, problems = parse("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert list(map(str, problems)) == ["f:4: duplicate key `a.b`, first given at line 2"]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: c: d\n", 2, "mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", 2, "cannot start any token"),
        ("a: [1,\n", 1, "flow"),
        ("a: 1\nb: 'x\n", 2, "quoted scalar"),
        ("a: *nowhere\n", 1, "undefined alias"),
        ("a: 1\n--- \nb: 2\n", 2, "another document"),
        ("a: 1\nb: \x07\n", 2, "control character"),
        ('a: "\\UFFFFFFFF"\n', 1, "not valid YAML"),
        ("a: !fn x\n", 1, "tags"),
        ("a: !!python/object:os.system x\n", 1, "tags"),
        ("a: 1\n? [b]\n: 2\n", 2, "plain text"),
        ("a: !!int x\n", 1, "cannot be read as int"),
        ("a: " + "9" * 5000, 1, "cannot be read as int"),
    ],
)
def test_what_is_not_a_configuration_text_has_a_line_and_a_reason(text: str, line: int, part: str) -> None:
    _, problems = parse(text)
    assert [problem.origin.line for problem in problems] in ([line], [line + 1])
    assert part in str(problems[0])


def test_a_tab_is_explained() -> None:
    _, [problem] = parse("a:\n\tb: 1\n")
    assert problem.hint == "YAML is indented with spaces, not with tabs."


def test_syntax_messages_do_not_repeat_the_text() -> None:
    _, [problem] = parse("password: *hunter2\n")
    assert str(problem) == "f:1: not valid YAML: found undefined alias …"
    _, [problem] = parse("a: [1, 2")
    assert "expected ',' or ']', but got '<stream end>'" in str(problem)


def test_aliases_work() -> None:
    assert parse("a: &x {b: 1}\nc: *x\n")[0] == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_few_lines_cannot_stand_for_billions_of_values() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    started = time.perf_counter()
    result, [problem] = parse("\n".join(lines))
    assert result is None
    assert str(MAX_NODES) in str(problem)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: *x}", "a: &x [*x, *x]", "- " * 3000, "{a: " * 500])
def test_endless_nesting_ends(text: str) -> None:
    result, problems = parse(text)
    assert result is None
    assert "not a configuration" in str(problems[0])


def test_reusing_an_anchor_is_no_warning() -> None:
    assert parse("a: &x 1\nb: &x 2\nc: *x\n") == ({"a": 1, "b": 2, "c": 2}, [])


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet=st.sampled_from("ab: -[]{},&*!%#'\"|>?@`\\\t\n1~<U"), max_size=30))
def test_no_text_escapes_as_an_exception(text: str) -> None:
    node, problems = parse_yaml(text, lambda line: Origin("f", line))
    assert all(problem.origin.line and problem.origin.line <= text.count("\n") + 1 for problem in problems)
    assert node is not None or problems or not plainly_something(text)


def plainly_something(text: str) -> bool:
    return any(character in "ab1" for character in text) and not any(c in text for c in "#%-")


def test_problems_are_listed_by_line_then_by_order_on_the_command_line() -> None:
    problems = [
        Problem(Origin("command line", order=2), "fifth"),
        Problem(Origin("f", 10), "second", hint="do it"),
        Problem(Origin("command line", order=1), "fourth", hint="do it"),
        Problem(Origin("f"), "third"),
        Problem(Origin("f", 9), "first"),
    ]
    error = config_error(problems)
    assert [line.rpartition(" ")[2] for line in error.message.splitlines()] == [
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
    ]
    assert error.hint == "do it"


def test_python_values_become_the_same_tree() -> None:
    node = from_python({"a": {"b": (1, 2)}, 3: None}, Origin("train()"))
    assert plain(node) == {"a": {"b": [1, 2]}, "3": None}
