from __future__ import annotations

import pytest

from orpo.chat.service import parameters
from orpo.errors import ConfigError

DEFAULTS = {"temperature": 0, "max_tokens": 1024}


def test_parameters_are_added_changed_and_removed() -> None:
    assert parameters("{}", DEFAULTS) == {"temperature": 0, "max_tokens": 1024}
    assert parameters('{"max_tokens": null, "seed": 1, "temperature": 0.5}', DEFAULTS) == {
        "temperature": 0.5,
        "seed": 1,
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("[1]", "expected a JSON object"),
        ('{"stream": true, "n": 2}', "cannot set n, stream"),
    ],
)
def test_what_is_no_set_of_parameters_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parameters(text, DEFAULTS)
