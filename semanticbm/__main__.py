"""`python -m semanticbm COMMAND` and the command `semanticbm`: the command line, or one line if it cannot start."""

import sys


def main() -> None:
    """Run the command line; say in one line what is missing if a package that it needs is not there."""
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
