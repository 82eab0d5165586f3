"""The kinds of data sets that are known by their columns; to know another one is one entry more."""

from orpo.data.schemas.base import Layout, Schema, Settings
from orpo.data.schemas.detect import choose_layout, choose_schema, describe
from orpo.data.schemas.registry import SCHEMAS

__all__ = ["SCHEMAS", "Layout", "Schema", "Settings", "choose_layout", "choose_schema", "describe"]
