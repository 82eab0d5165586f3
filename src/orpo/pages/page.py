"""Templates of pages: what is put into them is text, and none of it can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from orpo.pages.texts import folded
from orpo.text import printable

Filter = Callable[..., object]


def render(template: str, values: Mapping[str, object], filters: Mapping[str, Filter] | None = None) -> str:
    """A page from a template that extends `pages/base.html.jinja`.

    Args:
        template: its path within the package.
        values: what it shows, escaped where it does not say that it is markup.
        filters: by name, beside `printable` and `folded`.
    """
    environment = Environment(
        loader=PackageLoader("orpo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cast(Any, environment).filters |= {"printable": printable, "folded": folded, **(filters or {})}
    return environment.get_template(template).render(**values)
