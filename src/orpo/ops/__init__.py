"""Numerics: stable log-odds, log-probabilities of segments, collectives."""
