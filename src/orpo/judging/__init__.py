"""`orpo judge`: which of two responses is better, by a model behind an API or by a program."""
