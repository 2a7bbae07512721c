"""`python -m semanticbm COMMAND` and the command `semanticbm`: the command line, or one line if it cannot start."""

import os
import sys

PARENT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def isolated(arguments: list[str]) -> list[str]:
    """The command that runs the same in a Python of its own with -I: no settings of the environment, no current folder.

    Others' files may lie in the current folder, and one of them may be called like a module that is imported here.
    """
    here = os.path.realpath(os.getcwd())
    places = [place for place in sys.path if place and (os.path.realpath(place) != here or here == PARENT)]
    code = f"import sys; sys.path[:] = {places!r}; sys.argv[0] = 'semanticbm'; from semanticbm.__main__ import main; main()"
    return [sys.executable, "-I", "-c", code, *arguments]


def main() -> None:
    """Run the command line; say in one line what is missing if a package that it needs is not there."""
    if sys.argv[1:2] == ["grade"] and not sys.flags.isolated and os.name == "posix":
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
