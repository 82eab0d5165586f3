"""The paper's formulas (Hong, Lee, Thorne 2024), written with exact-enough arithmetic and nothing of orpo.

mpmath at 60 digits: no cancellation near P = 1 hides in here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Log-probabilities of every scored token of one pair; a response that is missing has none.

    `reference` are the log-probabilities of the chosen and the rejected response under a reference model.
    """

    prompt: Sequence[float]
    chosen: Sequence[float]
    rejected: Sequence[float]
    weight: float = 1.0
    reference: tuple[float, float] = (0.0, 0.0)


Oracle = Callable[[Sequence[TokenPair]], Real]
"""A loss of a batch of pairs."""


def mean(values: Sequence[float]) -> Real:
    return mp.fsum(values) / len(values)


def weighted_mean(values: Sequence[Real], weights: Sequence[float]) -> Real:
    return mp.fsum(mpf(w) * v for w, v in zip(weights, values, strict=True)) / mp.fsum(weights)


def of_pairs(pairs: Sequence[TokenPair], loss: Callable[[TokenPair], Real]) -> Real:
    """The weighted mean of a loss over the pairs that have both responses; 0 if there are none."""
    whole = [p for p in pairs if p.chosen and p.rejected]
    return weighted_mean([loss(p) for p in whole], [p.weight for p in whole]) if whole else mpf(0)


def sigmoid(x: Real) -> Real:
    return 1 / (1 + mp.exp(-x))


def nll(pairs: Sequence[TokenPair], definition: str, turns: str = "final") -> Real:
    """The supervised term: `paper` per response, then over responses; else pooled over all scored tokens.

    With `turns` all, the response is every scored token of the conversation.
    """
    answered = [p for p in pairs if p.chosen]
    if definition == "paper":
        scored = [(*p.prompt, *p.chosen) if turns == "all" else p.chosen for p in answered]
        return weighted_mean([-mean(tokens) for tokens in scored], [p.weight for p in answered])
    by_token = [(-mpf(t), p.weight) for p in answered for t in (*p.prompt, *p.chosen)]
    return weighted_mean([value for value, _ in by_token], [weight for _, weight in by_token])


def orpo_loss(
    pairs: Sequence[TokenPair],
    lambda_: float,
    definition: str,
    turns: str = "final",
    contrast: str = "odds",
) -> Real:
    """Eq. 6 over a batch; single responses are in the NLL only, weights are those of means."""

    def penalty(p: TokenPair) -> Real:
        a_w, a_l = mean(p.chosen), mean(p.rejected)
        return or_loss(a_w, a_l) if contrast == "odds" else -mp.log(sigmoid(a_w - a_l))

    return nll(pairs, definition, turns) + mpf(lambda_) * of_pairs(pairs, penalty)


def simpo_loss(pairs: Sequence[TokenPair], beta: float, gamma: float) -> Real:
    """SimPO, Eq. 6: -log sigmoid(beta a_w - beta a_l - gamma)."""
    return of_pairs(
        pairs, lambda p: -mp.log(sigmoid(mpf(beta) * (mean(p.chosen) - mean(p.rejected)) - mpf(gamma)))
    )


def ratios(p: TokenPair) -> tuple[Real, Real]:
    """log(pi / pi_ref) of both responses."""
    return mp.fsum(p.chosen) - mpf(p.reference[0]), mp.fsum(p.rejected) - mpf(p.reference[1])


def dpo_loss(pairs: Sequence[TokenPair], beta: float, epsilon: float) -> Real:
    """DPO, Eq. 7, with the share epsilon of labels turned round."""

    def loss(p: TokenPair) -> Real:
        chosen, rejected = ratios(p)
        margin = mpf(beta) * (chosen - rejected)
        return -(1 - mpf(epsilon)) * mp.log(sigmoid(margin)) - mpf(epsilon) * mp.log(sigmoid(-margin))

    return of_pairs(pairs, loss)


def ipo_loss(pairs: Sequence[TokenPair], beta: float) -> Real:
    """IPO, Eq. 17, with log-ratios averaged over tokens."""

    def loss(p: TokenPair) -> Real:
        chosen, rejected = ratios(p)
        return (chosen / len(p.chosen) - rejected / len(p.rejected) - 1 / (2 * mpf(beta))) ** 2

    return of_pairs(pairs, loss)


def kto_loss(
    pairs: Sequence[TokenPair], beta: float, divergence: float, desirable: float, undesirable: float
) -> Real:
    """KTO, Eq. 8: mean over responses of lambda_y - v, as w (1 - v)."""
    losses: list[Real] = []
    weights: list[float] = []
    for p in pairs:
        chosen, rejected = ratios(p)
        if p.chosen:
            losses.append(mpf(desirable) * (1 - sigmoid(mpf(beta) * (chosen - mpf(divergence)))))
            weights.append(p.weight)
        if p.rejected:
            losses.append(mpf(undesirable) * (1 - sigmoid(mpf(beta) * (mpf(divergence) - rejected))))
            weights.append(p.weight)
    return weighted_mean(losses, weights)


def reward_loss(pairs: Sequence[tuple[Real, ...]], margin: float, center: float) -> Real:
    """Bradley-Terry with margins, and the term that centres rewards; pairs are (r_w, r_l, weight, margin)."""
    losses = [
        -mp.log(sigmoid(mpf(chosen) - mpf(rejected) - (mpf(margin) + mpf(own))))
        + mpf(center) * (mpf(chosen) + mpf(rejected)) ** 2
        for chosen, rejected, _, own in pairs
    ]
    return weighted_mean(losses, [weight for _, _, weight, _ in pairs])
