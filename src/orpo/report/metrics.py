"""The metrics that people are shown, by their names in the logs."""

from __future__ import annotations

from collections.abc import Mapping

HELD_OUT: Mapping[str, str] = {
    "loss": "loss",
    "nll_loss": "supervised loss (NLL)",
    "rewards/accuracies": "pair accuracy",
    "rewards/margins": "reward margin",
    "log_odds_chosen": "mean log odds ratio",
    "logps/chosen": "mean log-probability, chosen",
    "logps/rejected": "mean log-probability, rejected",
    "kl": "KL divergence, estimated",
    "brier": "Brier score",
}
"""Of the held-out pairs; those that a run has not are left out."""
