"""Attention over packed rows: a module per backend, one description of a row for all of them."""
