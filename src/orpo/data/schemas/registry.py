"""Every schema, in the order in which rows are tried."""

from orpo.data.schemas.base import Schema
from orpo.data.schemas.compared import COMPARED
from orpo.data.schemas.paired import PAIRED
from orpo.data.schemas.scored import SCORED
from orpo.data.schemas.single import SINGLE
from orpo.data.schemas.unpaired import UNPAIRED_SCHEMAS

SCHEMAS: tuple[Schema, ...] = (*PAIRED, *COMPARED, *SCORED, *UNPAIRED_SCHEMAS, *SINGLE)
"""A row is of the first schema that fits: one that already has a chosen and a rejected response is a pair,
whatever else it has; one that is to be imitated has nothing that tells of good and bad."""
