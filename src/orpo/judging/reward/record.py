"""What a reward model was asked, and whether it may judge, as plain data for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from orpo.judging.reward.judge import RewardJudge


def reward_record(judge: RewardJudge) -> dict[str, Any]:
    """What `reward_model` is in the record of `orpo judge`; docs/judging.md describes it."""
    fitness = judge.fitness
    return {
        "name": judge.model_name,
        "standing": fitness.standing,
        "source": fitness.source,
        "assessment": None if fitness.assessment is None else fitness.assessment.model_dump(),
        "held_out_dropped": dict(fitness.dropped),
        **asdict(judge.asked),
    }
