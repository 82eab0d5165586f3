"""`orpo judge`: which of two responses is better, by a model behind an API, a reward model or a program."""
