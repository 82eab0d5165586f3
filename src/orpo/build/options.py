"""What the user chooses by name; apart from the rest, so that the command line starts fast."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """The form of the files."""

    JSONL = "jsonl"
    PARQUET = "parquet"


class NearDuplicates(StrEnum):
    """What to do with training examples whose prompt is nearly one of the evaluation's."""

    DROP = "drop"
    KEEP = "keep"
