"""From examples to token ids on disk: what a source becomes is made once, kept, and read from there."""

from orpo.data.preparation.cache import PreparedSource, prepare_source
from orpo.data.preparation.recipe import Reading, Recipe, Tokenization
from orpo.data.preparation.storing import storing

__all__ = [
    "PreparedSource",
    "Reading",
    "Recipe",
    "Tokenization",
    "prepare_source",
    "storing",
]
