"""The least that stands in for a real part where the test is about something else."""

from __future__ import annotations


class BareTokenizer:
    """What the training loop asks of a tokenizer."""

    pad_token_id: int | None = None
