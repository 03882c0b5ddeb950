"""`python -m espalier`: the command line, as `torchrun -m espalier` starts it."""

from espalier.cli.main import main

main()
