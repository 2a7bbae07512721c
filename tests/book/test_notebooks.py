"""Notebooks: in step with the chapters, complete, and runnable."""

import json
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from semanticbm.builder import notebooks as colab
from semanticbm.builder.project import read_project

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
project: {type: book}
repository: https://github.com/somebody/somebook
book: {title: Small book, chapters: [index.qmd, book/01-one.qmd]}
"""
CHAPTER = """# One {#sec-one}

Look at @fig-line and @eq-sum[^1]. The sum is `{python} 1 + 1` and {braces} stay.

[^1]: A remark.

$$
a + b
$$ {#eq-sum}

```{python}
#| label: fig-line
#| fig-cap: "A line."
#| fig-alt: "A line"
model = semanticbm.load("classroom")
collection = semanticbm.load_collection("classroom")
```

::: {.callout-note title="A box"}
Inside the box.
:::

<div id="w"></div>

<script>let x = 1;</script>
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The cells of the notebook of one small chapter."""
    root = tmp_path_factory.mktemp("book")
    (root / "book").mkdir()
    (root / "_quarto.yml").write_text(SETTINGS)
    (root / "index.qmd").write_text("# Preface {.unnumbered}\n\n`{python} 1`\n")
    (root / "book" / "01-one.qmd").write_text(CHAPTER)
    texts = colab.notebooks(read_project(root))
    assert list(texts) == [Path("book/colab/01-one.ipynb")]
    notebook = nbformat.reads(texts[Path("book/colab/01-one.ipynb")], as_version=4)
    nbformat.validate(notebook)
    return notebook.cells


def sources(cells, kind):
    return [cell.source for cell in cells if cell.cell_type == kind]


def test_the_first_cell_links_to_colab_and_the_second_installs_without_torch(cells):
    assert "research.google.com/github/somebody/somebook/blob/main/book/colab/01-one.ipynb" in cells[0].source
    assert "https://github.com/somebody/somebook" in cells[1].source
    assert '"--constraint", "keep.txt"' in cells[1].source and '("torch", "numpy")' in cells[1].source
    assert "doctor" in cells[1].source
    compile(cells[1].source, "setup", "exec")


def test_the_chapter_runs_on_the_model_that_was_picked(cells):
    code = next(source for source in sources(cells, "code") if "load_collection" in source)
    assert "semanticbm.load(MODEL)" in code
    assert 'load_collection("classroom")' in code, "the collection stays"
    assert "#|" not in code


def test_references_notes_and_labels_are_written_out(cells):
    prose = "\n".join(sources(cells, "markdown"))
    assert "**Figure 1.1:** A line." in prose and r"\tag{1.1}" in prose
    assert "@fig" not in prose and "{#" not in prose
    computed = next(source for source in sources(cells, "code") if "fill(" in source)
    assert "Figure 1.1 and Equation 1.1 (A remark.)" in computed.replace("\N{NO-BREAK SPACE}", " ")


def test_a_paragraph_with_values_prints_them(cells):
    computed = next(source for source in sources(cells, "code") if "fill(" in source)
    space = {}
    exec(computed.replace("\nfill(", "\nresult = fill("), space)
    assert "The sum is 2 and {braces} stay." in space["result"].data


def test_boxes_and_interactive_figures_are_kept(cells):
    assert any("> **A box**" in source and "Inside the box." in source for source in sources(cells, "markdown"))
    page = next(source for source in sources(cells, "code") if source.startswith("%%html"))
    assert '<div id="w">' in page and "<script>let x = 1;</script>" in page


def test_without_a_gpu_the_classroom_model_is_picked(monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert colab.pick_model() == "classroom" and "No GPU" in capsys.readouterr().out
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("semanticbm.loading.checkpoints.hub_in_reach", lambda: False)
    assert colab.pick_model() == "classroom" and "out of reach" in capsys.readouterr().out
    monkeypatch.setattr("semanticbm.loading.checkpoints.hub_in_reach", lambda: True)
    assert colab.pick_model() == "minilm-l12"


def test_the_committed_notebooks_are_in_step_with_the_chapters():
    files = (ROOT / colab.FOLDER).glob("*.ipynb")
    stored = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in files}
    address = re.search(r'REPOSITORY = \\"(.*?)\\"', stored[colab.FOLDER / "01-bm25.ipynb"]).group(1)
    made = colab.notebooks(replace(read_project(ROOT), repository=address))  # a fork's origin is not what was committed
    assert sorted(stored) == sorted(made), "run: python -m semanticbm.builder.notebooks"
    for path, text in made.items():
        assert json.loads(stored[path]) == json.loads(text), (
            f"{path} is not in step: run python -m semanticbm.builder.notebooks"
        )
        assert stored[path] == text
