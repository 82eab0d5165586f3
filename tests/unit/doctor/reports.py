"""A report to show, small and full of hostile text."""

from __future__ import annotations

import numpy as np

from orpo.data import Pair, RowCounts, SourceReport
from orpo.doctor.findings import Problem, Severity, example, found
from orpo.doctor.lengths import summarise
from orpo.doctor.report import NotRun, Part, Report
from orpo.doctor.signal import Signal
from orpo.doctor.truncation import cuts
from orpo.statistics.rates import Rate

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e[bold]x[/bold] &amp; \x00"

FATAL = Problem("bad_thing", Severity.FATAL, "something bad", "Mend it.")
NOTE = Problem("small_thing", Severity.NOTE, f"small {HOSTILE}", f"Think. {HOSTILE}")


def hostile_report() -> Report:
    """A report whose every text from outside is hostile."""
    lengths = np.array([(10, 20, 30), (200, 150, 40), (5, 600, 8)])
    counts = RowCounts(read=4, kept=3)
    counts.drop(HOSTILE, HOSTILE)
    source = SourceReport(
        name=HOSTILE,
        split=HOSTILE,
        splits=(HOSTILE,),
        schema="strings",
        detected=HOSTILE,
        unused_columns=(),
        counts=counts,
        fingerprint="sha256:0",
        example=Pair(HOSTILE, HOSTILE, HOSTILE, HOSTILE),
    )
    part = Part(
        use="train",
        pairs=3,
        singles=0,
        sources=(source,),
        lengths=summarise(lengths, "tokens"),
        length_bias=Rate(2, 3),
        signal=Signal(Rate(2, 3), Rate(0, 0)),
        languages={"en": 2, "und": 1},
        cuts=cuts(lengths, 512),
    )
    hits = [example(HOSTILE, HOSTILE)]
    return Report(
        parts=(part,),
        findings=(*found(FATAL, "train", hits, 3), *found(NOTE, "train", hits * 2, 3)),
        not_run=(NotRun("other_check", "needs a model"), NotRun("third_check", "needs a model")),
        settings={"max_dropped": 0.2, "model": HOSTILE, "max_length": 512},
    )
