"""Small models of many families."""
