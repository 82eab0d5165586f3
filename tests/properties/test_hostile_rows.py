"""Whatever rows hold, each is kept or counted as dropped, or the source is refused with a message."""

from __future__ import annotations

import math
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from orpo.data.pairs import Example, RowCounts, responses_of
from orpo.data.read import read_examples
from orpo.data.rows import Row
from orpo.data.schemas import SCHEMAS, Layout, Settings
from orpo.data.schemas.numbered import NUMBERS, Numbered
from orpo.data.spec import MemorySource, Policy, SourceSpec
from orpo.data.table import to_arrow
from orpo.errors import OrpoError
from tests.unit.data.schemas.test_registry import CASES
from tests.unit.data.schemas.test_single import SINGLE_CASES

text = st.text(max_size=6) | st.sampled_from(
    [
        *("", " ", "\0", "\ud83d", "\x1b[31m", "nan", "1e999", "tie", "x" * 5000),
        *("\n\nHuman: a\n\nAssistant:", "<extra_id_1>User\n", "<extra_id_1>", "[{'role': 'user'}]"),
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | text
    | st.binary(max_size=3)
    | st.just(object())
)
roles = st.sampled_from(["user", "assistant", "system", "gpt", "tool", "", None, 7]) | text
keys = st.sampled_from(
    ["role", "content", "from", "value", "type", "text", "tool_calls", "messages", "offset"]
)
keys |= st.sampled_from(["input", "output", "answer", "rank", "response", "overall_score"]) | text


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    message = st.fixed_dictionaries({"role": roles, "content": inner})
    part = st.fixed_dictionaries({"type": st.sampled_from(["text", "image", None]), "text": inner})
    items = inner | message | part
    return st.lists(items, max_size=3) | st.tuples(items, items) | st.dictionaries(keys, inner, max_size=3)


values = st.recursive(scalars, nested, max_leaves=8)
columns = sorted(
    {name for schema in SCHEMAS for layout in schema.layouts.values() for name in layout.columns}
)
LAYOUTS: list[Layout] = [layout for schema in SCHEMAS for layout in schema.layouts.values()]
LAYOUTS += [
    Numbered(layout, number, number.key) for layout in LAYOUTS if not layout.joins_rows for number in NUMBERS
]


def accounted(counts: RowCounts, rows: int) -> bool:
    return counts.kept + sum(counts.dropped.values()) == rows


def has_usable_weight(example: Example) -> bool:
    return math.isfinite(example.weight) and example.weight > 0


@given(st.data(), st.sampled_from(LAYOUTS))
@settings(max_examples=400, deadline=None)
def test_every_layout_accounts_for_every_row(data: st.DataObject, layout: Layout) -> None:
    row = st.dictionaries(st.sampled_from(layout.columns), values)
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    counts = RowCounts()
    numbered = [Row(f"row {number}", row) for number, row in enumerate(rows, 1)]
    policy, keep_unpaired = data.draw(st.sampled_from(get_args(Policy))), data.draw(st.booleans())
    options = Settings(policy=policy, keep_unpaired=keep_unpaired)
    examples = list(layout.examples(numbered, options, counts))
    to_arrow(examples)
    assert accounted(counts, len(rows))
    assert all(map(has_usable_weight, examples))


@given(st.lists(st.dictionaries(st.sampled_from(columns) | text, values), max_size=4))
@settings(max_examples=150, deadline=None)
def test_every_source_is_read_or_refused_with_a_message(rows: list[dict[str, Any]]) -> None:
    try:
        counts = read_examples([rows], role="train").counts
    except OrpoError:
        return
    assert accounted(counts, len(rows))


@st.composite
def spoilt(draw: st.DrawFn, good: Any) -> Any:
    """A value with something else somewhere in it."""
    if isinstance(good, dict) and good and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(good)))
        return good | {key: draw(spoilt(good[key]))}
    if isinstance(good, list) and good and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(good) - 1))
        return [*good[:place], draw(spoilt(good[place])), *good[place + 1 :]]
    return draw(values)


GOOD_ROWS = {name: row for name, (_, row, _) in (CASES | SINGLE_CASES).items()}


@given(st.data(), st.sampled_from(sorted(GOOD_ROWS)))
@settings(max_examples=500, deadline=None)
def test_a_row_of_a_known_data_set_with_one_bad_value_is_kept_or_counted(
    data: st.DataObject, name: str
) -> None:
    good = GOOD_ROWS[name]
    key = data.draw(st.sampled_from(sorted(good)))
    bad = good | {key: data.draw(spoilt(good[key]))}
    table = read_examples([[good, good, good, bad]], role="train")
    assert table.counts.kept in (3, 4)
    assert accounted(table.counts, 4)
    assert len(table) == table.counts.kept


@given(values, values)
@settings(max_examples=150, deadline=None)
def test_a_column_that_the_user_named_is_understood_or_its_row_is_counted(weight: Any, label: Any) -> None:
    good = {"q": "a", "r": "b", "label": True, "weight": 2}
    for columns, keep_unpaired in (({"weight": "weight"}, False), ({"label": "label"}, True)):
        source = MemorySource(
            [good, good | {"r": "c", "weight": weight, "label": label}],
            SourceSpec("x", columns={"prompt": "q", "response": "r", **columns}),
        )
        table = read_examples([source], role="train", keep_unpaired=keep_unpaired)
        assert accounted(table.counts, 2)
        assert table.counts.kept == sum(len(responses_of(example)) for example in table)
        assert all(map(has_usable_weight, table))
