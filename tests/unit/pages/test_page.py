from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from orpo.pages.page import render
from tests.pages import assert_self_contained

TEMPLATE = "doctor/page.html.jinja"


def test_the_base_needs_no_script_and_no_network_and_forbids_both() -> None:
    assert_self_contained(render("pages/base.html.jinja", {}))


def test_what_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render(TEMPLATE, {}, dict.fromkeys(("percent", "advice", "contents", "responses_named"), str))
