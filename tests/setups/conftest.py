"""Environments for the tests of set-ups: every package of this one is there, except semanticbm; nothing is downloaded."""

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the variables with which its programs run."""

    folder: Path
    variables: dict[str, str]

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    def run(self, *command: str | Path, cwd: Path, seconds: float = 300) -> subprocess.CompletedProcess:
        """Run a program and capture what it says."""
        return subprocess.run(
            list(map(str, command)), cwd=cwd, env=self.variables, capture_output=True, text=True, timeout=seconds
        )


def clean_variables(**more: str) -> dict[str, str]:
    """The variables of this process without those that lead to this clone."""
    hidden = ("PYTHONPATH", "SEMANTICBM_RESULTS", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1"} | more


FEW = ("pip", "setuptools", "_distutils_hack", "wheel", "packaging", "numpy", "torch", "pandas")


def with_packages(folder: Path, *names: str):
    """A function that makes environments without semanticbm. `folder`: links to the packages go there, all or the named."""
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        wanted = not names or path.name.partition("-")[0].lower() in names
        if wanted and "semanticbm" not in path.name and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)

    def make(place: Path, **variables: str) -> Environment:
        venv.create(place, with_pip=False, symlinks=True)
        site = place / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        (site / "packages.pth").write_text(f"{folder}\n", encoding="utf-8")
        return Environment(place, clean_variables(**variables))

    return make


@pytest.fixture(scope="session")
def new_environment(tmp_path_factory):
    """A function that makes an environment with all packages but semanticbm in a folder."""
    return with_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def small_environment(tmp_path_factory):
    """The same with few packages: pip looks for conflicts among all that are there, for seconds each time."""
    return with_packages(tmp_path_factory.mktemp("few-packages"), *FEW)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this clone, built without a network."""
    from semanticbm.builder.colab_kit import build_wheel

    return build_wheel(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def installed(wheel, new_environment, tmp_path_factory) -> Environment:
    """An environment in which the wheel is installed and no clone is near."""
    environment = new_environment(tmp_path_factory.mktemp("installed") / "venv")
    empty = tmp_path_factory.mktemp("empty")
    options = ("--no-deps", "--no-index", "--no-warn-conflicts")
    done = environment.run(environment.python, "-m", "pip", "install", *options, wheel, cwd=empty)
    assert done.returncode == 0, done.stdout + done.stderr
    return environment
