"""The notebooks from top to bottom with nothing but the wheel: no clone, no files. All of them: `make notebooks-proof`."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEMS = sorted(path.stem for path in (ROOT / "book" / "colab").glob("*.ipynb"))
SAMPLE = "01-bm25"  # the quickest: its first cell has the doctor load the model from the wheel and score with it
RUN = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=1200, startup_timeout=300, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.fixture(scope="module")
def with_kernel(installed, tmp_path_factory):
    """The environment with the wheel, and a kernel of its own."""
    empty = tmp_path_factory.mktemp("empty")
    done = installed.run(installed.python, "-m", "ipykernel", "install", "--sys-prefix", cwd=empty)
    assert done.returncode == 0, done.stderr
    return installed


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "stem", [pytest.param(stem, marks=[] if stem == SAMPLE else pytest.mark.long) for stem in STEMS]
)
def test_notebooks_run_from_the_wheel_alone(with_kernel, tmp_path, stem):
    target = tmp_path / "run.ipynb"
    source = ROOT / "book" / "colab" / f"{stem}.ipynb"
    done = with_kernel.run(with_kernel.python, "-c", RUN, source, target, cwd=tmp_path, seconds=1700)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [cell for cell in json.loads(target.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    said = "".join("".join(output.get("text", "")) for output in cells[0]["outputs"])
    assert str(with_kernel.folder) in said and "FAIL" not in said, "the doctor of the wheel spoke"
