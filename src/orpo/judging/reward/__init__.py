"""A reward model as a judge: every response gets a value by itself, and the higher one wins."""
