"""The first cell of the notebooks, as Colab runs it, in environments without the library.

Everything comes from a file server on 127.0.0.1: the project's address (a git repository), the package index. Colab's own
module is faked. What gets installed is a stand-in for the library, so that a run takes seconds; one test takes the real wheel.
"""

import http.server
import shutil
import subprocess
import threading
import zipfile
from functools import partial
from pathlib import Path

import nbformat
import pytest

from semanticbm.builder.notebooks import FOLDER, first_cell
from semanticbm.builder.repository import github_name, web_address

ROOT = Path(__file__).resolve().parents[2]
NAME = "semanticbm-0.1.0-py3-none-any.whl"
STAND_IN = "import sys\nprint('OK stand-in')\nprint('WARN said on stderr', file=sys.stderr)\n"
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "semanticbm"
version = "0.1.0"
optional-dependencies = {offline = []}
"""
COLAB = """
import shutil
from pathlib import Path

class drive:
    def mount(place):
        if not Path("allow-drive").exists():
            raise ValueError("mount failed")
        target = Path(place) / "MyDrive" / "course"
        target.mkdir(parents=True)
        shutil.copy(Path("allow-drive").read_text(), target)

class files:
    def upload():
        if not Path("to-upload").exists():
            return {}
        wheel = Path(Path("to-upload").read_text())
        shutil.copy(wheel, wheel.name)
        return {wheel.name: wheel.read_bytes()}
"""
METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: {}\nProvides-Extra: offline\n{}"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(path, modules, needs=""):
    """A wheel with these modules: {path inside: text}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for module, text in modules.items():
            archive.writestr(module, text)
        archive.writestr(f"{info}/METADATA", METADATA.format(name, version, needs))
        archive.writestr(f"{info}/WHEEL", WHEEL)
        archive.writestr(f"{info}/RECORD", "")
    return path


MODULES = {"semanticbm/__init__.py": "", "semanticbm/__main__.py": STAND_IN}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A file server with a package index and a git repository: (its folder, its address)."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "empty").mkdir()
    write_wheel(folder / "simple" / "semanticbm" / NAME, MODULES)
    source = tmp_path_factory.mktemp("source")
    for name, text in {"pyproject.toml": PROJECT, **MODULES}.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(source)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(source), str(folder / "book.git")], check=True)
    subprocess.run(["git", "-C", str(folder / "book.git"), "update-server-info"], check=True)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class Session:
    """A fresh Colab session: an environment without the library, an empty folder, Colab's faked module."""

    def __init__(self, tmp_path, new_environment, index):
        self.folder = tmp_path / "content"
        self.folder.mkdir()
        fake = tmp_path / "fake" / "google" / "colab"
        fake.mkdir(parents=True)
        (fake / "__init__.py").write_text(COLAB)
        self.environment = new_environment(
            tmp_path / "venv", PYTHONPATH=str(fake.parents[1]), PIP_INDEX_URL=index, PIP_CONFIG_FILE="/dev/null"
        )

    def run(self, address="", before="", seconds=300):
        """Run the cell there."""
        cell = first_cell(address).replace('"/content/drive"', repr(str(self.folder / "drive")))
        return self.environment.run(
            self.environment.python, "-c", f"{before}\n{cell}", cwd=self.folder, seconds=seconds
        )


@pytest.fixture
def session(tmp_path, small_environment, server):
    """A session whose package index has nothing."""
    return Session(tmp_path, small_environment, f"{server[1]}/empty/")


def assert_works(done, place):
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{place}: installed" in done.stdout
    assert "OK stand-in" in done.stdout and "WARN said on stderr" in done.stdout, "all that the doctor says is shown"


def test_from_the_address(session, server):
    assert_works(session.run(f"{server[1]}/book.git"), "the project's address")
    again = session.run(f"{server[1]}/book.git")
    assert "installed" not in again.stdout and "OK stand-in" in again.stdout, "the second run installs nothing"


def test_from_an_address_that_is_a_file(session, server):
    assert_works(session.run(f"{server[1]}/simple/semanticbm/{NAME}"), "the project's address")


@pytest.mark.long
def test_from_the_index_when_the_address_fails(tmp_path, small_environment, server):
    done = Session(tmp_path, small_environment, f"{server[1]}/simple/").run(f"{server[1]}/nothing.git")
    assert "the project's address: no (" in done.stdout
    assert_works(done, "the package index")


def test_from_a_wheel_beside_the_notebook(session, server):
    old = write_wheel(session.folder / "semanticbm-0.0.1-py3-none-any.whl", {"semanticbm/__init__.py": "1/0"})
    shutil.copy(server[0] / "simple" / "semanticbm" / NAME, session.folder)
    assert old.exists()
    done = session.run()
    assert "the package index: no (" in done.stdout
    assert_works(done, NAME)


@pytest.mark.long
def test_from_drive(session, server):
    (session.folder / "allow-drive").write_text(str(server[0] / "simple" / "semanticbm" / NAME))
    assert_works(session.run(), f"{NAME} in Drive")


def test_from_the_upload_dialog_after_a_first_try_that_failed(session, server):
    failed = session.run()
    assert failed.returncode == 1 and "colab-kit.zip" in failed.stderr and "mount failed" in failed.stdout
    (session.folder / "to-upload").write_text(str(server[0] / "simple" / "semanticbm" / NAME))
    assert_works(session.run(), NAME)


def test_a_damaged_wheel_is_no_end(session, server):
    (session.folder / NAME).write_bytes(b"nonsense")
    (session.folder / "to-upload").write_text(str(server[0] / "simple" / "semanticbm" / NAME))
    done = session.run()
    assert f"{NAME}: no (" in done.stdout
    assert_works(done, NAME)


def test_outside_colab_it_says_what_to_do(session):
    shutil.rmtree(Path(session.environment.variables["PYTHONPATH"]))
    done = session.run()
    assert done.returncode == 1 and "colab-kit.zip" in done.stderr and "ModuleNotFoundError" in done.stdout


def test_an_empty_folder_of_the_same_name_is_no_installation(session, server):
    (session.folder / "semanticbm" / "semanticbm").mkdir(parents=True)
    assert_works(session.run(f"{server[1]}/book.git"), "the project's address")


def test_a_package_that_changed_under_the_session_asks_for_a_restart(session, server):
    write_wheel(
        session.folder / "demo" / "pandas-99.0-py3-none-any.whl", {"pandas/__init__.py": "__version__ = '99.0'"}
    )
    needs = "Requires-Dist: pandas==99.0\n"
    write_wheel(session.folder / NAME, MODULES, needs)
    session.environment.variables["PIP_FIND_LINKS"] = str(session.folder / "demo")
    loaded = "import sys, types; sys.modules['pandas'] = types.SimpleNamespace(__version__='2.0', __spec__=None)"
    done = session.run(before=loaded)
    assert done.returncode == 1 and "Restart the session" in done.stderr and "pandas" in done.stderr
    assert session.run().returncode == 0, "after the restart it works"


def test_torch_is_kept_unless_the_library_needs_another(session, server):
    """The version that is there is a constraint; pip may change it only if it finds no other way."""
    write_wheel(session.folder / "demo" / "numpy-99.0-py3-none-any.whl", {"numpy/__init__.py": "__version__ = '99.0'"})
    session.environment.variables["PIP_FIND_LINKS"] = str(session.folder / "demo")
    write_wheel(session.folder / NAME, MODULES, "Requires-Dist: numpy>=1\n")
    show = [session.environment.python, "-c", "from importlib.metadata import version; print(version('numpy'))"]
    before = session.environment.run(*show, cwd=session.folder).stdout
    assert_works(session.run(), NAME)
    assert session.environment.run(*show, cwd=session.folder).stdout == before != "99.0\n"
    assert not (session.folder / "keep.txt").exists()


def test_the_first_cell_of_every_notebook_is_this_one():
    paths = sorted((ROOT / FOLDER).glob("*.ipynb"))
    cells = {nbformat.read(path, as_version=4).cells[1].source for path in paths}
    assert len(paths) >= 14 and len(cells) == 1
    address = next(line for line in cells.pop().splitlines() if line.startswith("REPOSITORY = "))
    assert nbformat.read(paths[0], as_version=4).cells[1].source == first_cell(address.split('"')[1])


@pytest.mark.long
def test_with_the_real_wheel(tmp_path, new_environment, server, wheel):
    session = Session(tmp_path, new_environment, f"{server[1]}/empty/")
    shutil.copy(wheel, session.folder)
    done = session.run(seconds=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{wheel.name}: installed" in done.stdout and "classroom model: scores as its card says" in done.stdout


# --------------------------------------------------------------------------------------------------------------------
# Addresses


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b"),
        ("https://github.com/a/b/", "https://github.com/a/b"),
        ("git@github.com:a/b.git", "https://github.com/a/b"),
        ("ssh://git@github.com/a/b.git", "https://github.com/a/b"),
        ("ssh://git@gitlab.example.org:2222/a/b.git", "https://gitlab.example.org/a/b"),
        ("https://user:secret@github.com/a/b.git", "https://github.com/a/b"),
        ("http://127.0.0.1:8000/book.git", "http://127.0.0.1:8000/book"),
        ("/home/me/book", ""),
        ("../book", ""),
        ("file:///home/me/book", ""),
        ("C:\\books\\book", ""),
        ("", ""),
    ],
)
def test_a_remote_becomes_an_address_without_secrets(remote, address):
    assert web_address(remote) == address


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://github.com/a/b", "a/b"),
        ("https://github.com/a/b.git", "a/b"),
        ("https://example.org/a/b", ""),
        ("", ""),
    ],
)
def test_only_github_addresses_give_badges(address, name):
    assert github_name(address) == name


def test_a_fork_has_its_own_badges(tmp_path):
    from semanticbm.builder.notebooks import notebooks
    from semanticbm.builder.project import read_project

    (tmp_path / "book").mkdir()
    (tmp_path / "_quarto.yml").write_text("book: {title: Small, chapters: [index.qmd, book/01-one.qmd]}\n")
    (tmp_path / "index.qmd").write_text("# Preface\n")
    (tmp_path / "book" / "01-one.qmd").write_text("# One\n\n```{python}\n1\n```\n")
    assert read_project(tmp_path).repository == ""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    origin = "git@github.com:teacher/book.git"
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", origin], check=True)
    text = notebooks(read_project(tmp_path))[Path("book/colab/01-one.ipynb")]
    assert "colab.research.google.com/github/teacher/book/blob/main/book/colab/01-one.ipynb" in text
    assert 'REPOSITORY = \\"https://github.com/teacher/book\\"' in text


# --------------------------------------------------------------------------------------------------------------------
# The kit


@pytest.mark.long
def test_the_kit_has_wheel_notebooks_and_how_to(tmp_path):
    from semanticbm.builder.colab_kit import write_kit
    from semanticbm.builder.project import read_project

    write_kit(read_project(ROOT), tmp_path / "dist" / "colab-kit.zip")
    with zipfile.ZipFile(tmp_path / "dist" / "colab-kit.zip") as archive:
        names = [name.removeprefix("colab-kit/") for name in archive.namelist()]
    assert "HOWTO.md" in names and sum(name.endswith(".whl") for name in names) == 1
    assert sorted(name for name in names if name.endswith(".ipynb")) == sorted(
        path.name for path in (ROOT / FOLDER).glob("*.ipynb")
    )
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ["colab-kit.zip"]
