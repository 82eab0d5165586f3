"""The paper's formulas (Hong, Lee, Thorne 2024), written with exact-enough arithmetic and nothing of orpo.

mpmath at 60 digits: no cancellation near P = 1 hides in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpmath import mp, mpf

Real = Any
"""An `mpf`: mpmath makes its number type when it is imported, which type checkers cannot follow."""

mp.dps = 60


def odds(a: float) -> Real:
    """Eq. 4: odds = P / (1 - P), with P = e^a."""
    p = mp.exp(mpf(a))
    return p / (1 - p)


def log_odds(a: float) -> Real:
    return mp.log(odds(a))


def log_odds_ratio(a_w: float, a_l: float) -> Real:
    """Logarithm of Eq. 5."""
    return mp.log(odds(a_w) / odds(a_l))


def or_loss(a_w: float, a_l: float) -> Real:
    """Eq. 7: L_OR = -log sigmoid(log odds ratio)."""
    return -mp.log(1 / (1 + mp.exp(-log_odds_ratio(a_w, a_l))))


def or_gradient(a_w: float, a_l: float) -> tuple[Real, Real]:
    """d L_OR / d(a_w, a_l) = -delta * h, the paper's Eq. 8 to 10 with the minus sign that it drops.

    delta = 1 / (1 + odds_w / odds_l); h = grad log P_w / (1 - P_w) - grad log P_l / (1 - P_l).
    """
    delta = 1 / (1 + odds(a_w) / odds(a_l))
    return -delta / (1 - mp.exp(mpf(a_w))), delta / (1 - mp.exp(mpf(a_l)))


@dataclass(frozen=True)
class TokenPair:
    """Log-probabilities of every scored token of one pair; without `rejected`, of one response."""

    prompt: Sequence[float]
    chosen: Sequence[float]
    rejected: Sequence[float]
    weight: float = 1.0


def mean(values: Sequence[float]) -> Real:
    return mp.fsum(values) / len(values)


def weighted_mean(values: Sequence[Real], weights: Sequence[float]) -> Real:
    return mp.fsum(mpf(w) * v for w, v in zip(weights, values, strict=True)) / mp.fsum(weights)


def orpo_loss(pairs: Sequence[TokenPair], lambda_: float, definition: str, turns: str = "final") -> Real:
    """Eq. 6 over a batch: `paper` per pair, `trl` with the NLL pooled over prompt and chosen tokens.

    Single responses are in the NLL only; a weight multiplies what a pair adds to a mean, and counts in it.
    With `turns` all, the paper's response is every scored token of the conversation.
    """
    whole = [p for p in pairs if p.rejected]
    penalties = [or_loss(mean(p.chosen), mean(p.rejected)) for p in whole]
    penalty = weighted_mean(penalties, [p.weight for p in whole]) if whole else mpf(0)
    if definition == "paper":
        scored = [(*p.prompt, *p.chosen) if turns == "all" else p.chosen for p in pairs]
        nll = weighted_mean([-mean(tokens) for tokens in scored], [p.weight for p in pairs])
    else:
        by_token = [(-mpf(t), p.weight) for p in pairs for t in (*p.prompt, *p.chosen)]
        nll = weighted_mean([value for value, _ in by_token], [weight for _, weight in by_token])
    return nll + mpf(lambda_) * penalty
