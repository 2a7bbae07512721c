"""`python -m semanticbm COMMAND`: the same as the command `semanticbm`."""

from semanticbm.commands.cli import main

main()
