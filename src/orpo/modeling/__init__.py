"""Models: loading, adapters, scoring and saving."""
