"""`orpo compare`: several ways to train, with the same budget and seeds, side by side."""
