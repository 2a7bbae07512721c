"""`python -m semanticbm COMMAND` and the command `semanticbm`: the command line, or one line if it cannot start."""

import os
import sys


def main() -> None:
    """Run the command line; say in one line what is missing if a package that it needs is not there."""
    if sys.argv[1:2] == ["grade"] and not sys.flags.isolated and os.name == "posix":
        from semanticbm.commands.isolation import isolated

        os.execv(sys.executable, isolated(sys.argv[1:]))
    try:
        from semanticbm.commands.cli import main as run
    except ImportError as error:
        missing = (
            f"{error.name} is missing" if isinstance(error, ModuleNotFoundError) else f"a package is broken ({error})"
        )
        print(f"semanticbm: {missing}: run make setup, or pip install --force-reinstall semanticbm.", file=sys.stderr)
        raise SystemExit(2) from None
    run()


if __name__ == "__main__":
    main()
