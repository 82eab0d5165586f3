"""The data doctor: what is wrong with preference pairs, and what to do about it."""
