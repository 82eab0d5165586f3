"""Words and pictures about a run, for people."""
