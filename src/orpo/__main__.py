"""`python -m orpo` is `orpo`."""

from orpo.cli import main

main()
