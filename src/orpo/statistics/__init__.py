"""Figures of an evaluation with their uncertainty, as pure functions; docs/evaluation.md has the formulas."""
