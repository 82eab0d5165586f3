"""What every section of the configuration is."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Base of every section: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, populate_by_name=True
    )

    shorthand: ClassVar[str | None] = None
    """The key that a plain string in place of the section means."""

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, value: object) -> object:
        return {cls.shorthand: value} if cls.shorthand and isinstance(value, str) else value


PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
