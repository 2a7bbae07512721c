"""A Jupyter notebook for each chapter, made from the chapter and never edited by hand.

`python -m semanticbm.builder.notebooks` writes them to book/colab/. A test makes them again and compares, so a chapter and its
notebook cannot drift apart. The output is deterministic: same chapters, same bytes.

What becomes what: prose becomes markdown cells, with numbers for cross-references and citations in words; code cells
keep their code; a paragraph that holds computed values becomes a small code cell that prints it; an interactive
figure becomes an HTML cell. The first cell installs the library from wherever it can be had (`colab/first_cell.py`), without
touching the torch that the machine has, and shows what `semanticbm doctor` finds; the second picks the model.

When it misleads: prose speaks of the classroom model. On a machine with a GPU and the model hub the notebook runs
`minilm-l12` instead, so there the numbers in the outputs are another model's.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from semanticbm.builder.repository import github_name

FOLDER = Path("book/colab")
_LOAD_CLASSROOM = re.compile(r"""\bload\((["'])classroom\1""")
_VALUE_MARK = "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}{}\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}"

FIRST_CELL = Path(__file__).with_name("colab") / "first_cell.py"

PICK = """\
from semanticbm.builder.notebooks import pick_model

MODEL = pick_model()"""


# --------------------------------------------------------------------------------------------------------------------
# What notebooks call


def pick_model() -> str:
    """The paper's model where there is a GPU and the hub, the classroom model elsewhere; says which and why."""
    import torch  # here, because writing notebooks needs neither torch nor a model

    from semanticbm.loading.checkpoints import hub_in_reach

    if not torch.cuda.is_available():
        print("No GPU: this notebook runs the classroom model.")
        return "classroom"
    if not hub_in_reach():
        print("The model hub is out of reach: this notebook runs the classroom model.")
        return "classroom"
    print("GPU and model hub found: this notebook runs minilm-l12. The prose speaks of the classroom model.")
    return "minilm-l12"


def fill(text: str, *values: object):
    """A paragraph with computed values, for display in a notebook: the marks 0, 1, ... in `text` are replaced."""
    from IPython.display import Markdown

    for number, value in enumerate(values):
        shown = value if isinstance(value, str) else getattr(value, "_repr_markdown_", value.__str__)()
        text = text.replace(_VALUE_MARK.format(number), shown)
    return Markdown(text)


# --------------------------------------------------------------------------------------------------------------------
# From the chapter's tree to cells


class NotebookWriter:
    """Makes the notebook of one chapter."""

    def __init__(self, project, chapter, document: dict, labels: dict):
        from semanticbm.builder.crossref import Numbering

        self.project, self.chapter, self.document, self.labels = project, chapter, document, labels
        self.numbering = Numbering(chapter)
        self.cells: list[dict] = []
        self.prose: list[dict] = []

    def notebook(self) -> nbformat.NotebookNode:
        """The whole notebook."""
        from semanticbm.builder.crossref import resolve

        self.add_markdown(self.heading())
        self.add_code(first_cell(self.project.repository), form=True)
        self.add_code(PICK)
        for block in resolve(self.document["blocks"], self.chapter, self.labels):
            self.block(block)
        self.flush()
        for number, cell in enumerate(self.cells):
            cell["id"] = f"cell-{number}"
        metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
            "accelerator": "GPU",
            "colab": {"provenance": []},
        }
        return nbformat.v4.new_notebook(cells=self.cells, metadata=metadata)

    def heading(self) -> str:
        """The first cell: what this is, and the link to Colab."""
        text = f"Notebook of *{self.project.title}*, made from `{self.chapter.path}`. Run the cells from top to bottom."
        name = github_name(self.project.repository)
        if not name:
            return text
        address = f"https://colab.research.google.com/github/{name}/blob/main/{FOLDER}/{self.chapter.path.stem}.ipynb"
        badge = "https://colab.research.google.com/assets/colab-badge.svg"
        return f"[![Open in Colab]({badge})]({address})\n\n{text}"

    # One method for each kind of cell

    def add_markdown(self, text: str) -> None:
        """A markdown cell."""
        if text.strip():
            self.cells.append(nbformat.v4.new_markdown_cell(text.strip()))

    def add_code(self, code: str, form: bool = False) -> None:
        """A code cell; Colab hides the code of a `form`."""
        self.cells.append(nbformat.v4.new_code_cell(code, metadata={"cellView": "form"} if form else {}))

    def flush(self) -> None:
        """Write the prose collected so far."""
        blocks, self.prose = self.prose, []
        if blocks:
            self.add_markdown(self.markdown(blocks))

    def markdown(self, blocks: list[dict]) -> str:
        """Blocks as the markdown that notebooks know."""
        from semanticbm.builder import pandoc

        document = {**self.document, "blocks": pandoc.replace(blocks, self.plain), "meta": {}}
        return pandoc.to_markdown(document, self.project.bibliography)

    # One case for each kind of block

    def block(self, block: dict) -> None:
        """Add one block of the chapter."""
        from semanticbm.builder import cells, render

        if cells.is_cell(block):
            self.code_cell(cells.read_cell(block))
        elif render.is_callout(block):
            self.callout(render.callout(block))
        elif block["t"] == "Div" and render.WIDGET in block["c"][0][1]:
            self.widget(block)
        elif block["t"] in ("RawBlock", "Div"):
            self.html(block)
        elif any(cells.is_inline_value(element) for element in _elements(block)):
            self.computed(block)
        else:
            self.prose.append(self.numbered(block))

    def code_cell(self, cell) -> None:
        """A chapter's cell, and under a figure or table its caption."""
        self.flush()
        self.add_code(_LOAD_CLASSROOM.sub("load(MODEL", cell.code), form=cell.options.get("echo") is False)
        caption, kind = cell.options.get("fig-cap") or cell.options.get("tbl-cap"), cell.label.partition("-")[0]
        if caption and kind in ("fig", "tbl"):
            self.add_markdown(f"**{self.numbering.label(kind, cell.label).text}:** {caption}")

    def callout(self, blocks: list[dict]) -> None:
        """A callout: a quotation with a bold title, or, if it holds cells, its parts one after the other."""
        from semanticbm.builder.cells import is_cell, is_inline_value

        title = {"t": "Para", "c": [{"t": "Strong", "c": blocks[1]["c"]}]}
        content = blocks[3:-1]
        if any(is_cell(element) or is_inline_value(element) for element in _elements(content)):
            self.prose.append(title)
            for block in content:
                self.block(block)
        else:
            self.prose.append({"t": "BlockQuote", "c": [title, *(self.numbered(block) for block in content)]})

    def html(self, block: dict) -> None:
        """Raw HTML, such as an interactive figure: a cell that shows it. Neighbours join into one cell."""
        from semanticbm.builder import pandoc

        page = pandoc.to_html({**self.document, "blocks": [block], "meta": {}}, Path("none")).strip()
        self.flush()
        last = self.cells[-1]
        if last["cell_type"] == "code" and last["source"].startswith("%%html"):
            last["source"] += f"\n{page}"
        elif page and not page.startswith('<div id="refs"'):
            self.add_code(f"%%html\n{page}", form=True)

    def widget(self, block: dict) -> None:
        """An interactive figure from a file: a cell that holds all of it, and its caption."""
        (_, _, pairs), caption = block["c"]
        self.flush()
        page = (self.project.root / dict(pairs)["file"]).read_text(encoding="utf-8")
        self.add_code(f"%%html\n{page.strip()}", form=True)
        self.prose += caption

    def computed(self, block: dict) -> None:
        """A paragraph with computed values: a cell that prints it."""
        from semanticbm.builder import pandoc
        from semanticbm.builder.cells import is_inline_value, read_cell

        codes: list[str] = []

        def mark(element: dict) -> list[dict] | None:
            if not is_inline_value(element):
                return None
            codes.append(read_cell(element).code)
            return [pandoc.string(_VALUE_MARK.format(len(codes) - 1))]

        self.flush()
        text = self.markdown(pandoc.replace([self.numbered(block)], mark)).strip()
        values = "".join(f"\n    {code}," for code in codes)
        self.add_code(f"from semanticbm.builder.notebooks import fill\n\nfill({_literal(text)},{values}\n)", form=True)

    # Inside prose

    def numbered(self, block: dict) -> dict:
        """The block with the number of its table or equation written out."""
        from semanticbm.builder.crossref import equation_label

        block = copy.deepcopy(block)
        if block["t"] == "Table" and block["c"][0][0]:
            return self.table(block)
        if block["t"] not in ("Para", "Plain"):
            return block
        content: list[dict] = []
        for inline in block["c"]:
            found = equation_label(inline)
            if found:
                formula = next(part for part in reversed(content) if part["t"] == "Math")
                formula["c"][1] = formula["c"][1].rstrip() + rf" \tag{{{self.numbering.label('eq', found[0]).number}}} "
                inline = {"t": "Str", "c": found[1]}
            content.append(inline)
        return {**block, "c": content}

    def table(self, table: dict) -> dict:
        """A table whose caption became a bold line above it."""
        from semanticbm.builder import pandoc

        label = self.numbering.label("tbl", table["c"][0][0])
        words = [inline for block in table["c"][1][1] for inline in block["c"]]
        table["c"][1] = [None, []]
        table["c"][0] = pandoc.attributes()
        title = {"t": "Strong", "c": [pandoc.string(f"{label.text}:")]}
        return pandoc.div([{"t": "Para", "c": [title, {"t": "Space"}, *words]}, table])

    def plain(self, element: dict) -> list[dict] | None:
        """What notebooks do not know: notes become brackets, links inside the book become words."""
        from semanticbm.builder import pandoc

        if element["t"] == "Note":
            words = [inline for block in element["c"] if block["t"] in ("Para", "Plain") for inline in block["c"]]
            return [pandoc.string(" ("), *pandoc.replace(words, self.plain), pandoc.string(")")]
        if element["t"] == "Link" and not re.match(r"^https?:", element["c"][2][0]):
            return pandoc.replace(element["c"][1], self.plain)
        if element["t"] == "Header":
            level, _, content = element["c"]
            return [{"t": "Header", "c": [level, pandoc.attributes(), pandoc.replace(content, self.plain)]}]
        if element["t"] == "Div":
            return pandoc.replace(element["c"][1], self.plain)
        return None


def _elements(node) -> Iterator[dict]:
    from semanticbm.builder.pandoc import elements

    return elements(node)


def first_cell(repository: str) -> str:
    """The code of the first cell: it installs the library from wherever it can be had, beginning with `repository`."""
    code = FIRST_CELL.read_text(encoding="utf-8").strip()
    return code.replace('REPOSITORY = ""', f"REPOSITORY = {json.dumps(repository)}")


def _literal(text: str) -> str:
    """A readable Python literal for a paragraph."""
    raw = f'r"""{text}"""'
    return raw if '"""' not in text and not text.endswith(('"', "\\")) else repr(text)


# --------------------------------------------------------------------------------------------------------------------
# All chapters


def notebooks(project) -> dict[Path, str]:
    """The text of every notebook by its path; chapters without code have none."""
    from semanticbm.builder.build import all_labels, read_documents
    from semanticbm.builder.cells import cells_of

    present = [chapter for chapter in project.chapters if (project.root / chapter.path).is_file()]
    documents = read_documents(present)
    labels = all_labels(documents)
    chosen = [chapter for chapter in present if chapter.path.parent.name == "book" and cells_of(documents[chapter])]
    made = {chapter: NotebookWriter(project, chapter, documents[chapter], labels).notebook() for chapter in chosen}
    return {FOLDER / f"{chapter.path.stem}.ipynb": to_text(notebook) for chapter, notebook in made.items()}


def to_text(notebook: nbformat.NotebookNode) -> str:
    """A notebook as text, the same for the same content."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_notebooks(project) -> list[Path]:
    """Write all notebooks; remove those whose chapter is gone. Returns the paths that changed."""
    texts, changed = notebooks(project), []
    (project.root / FOLDER).mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        file = project.root / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            changed.append(path)
    for file in (project.root / FOLDER).glob("*.ipynb"):
        if FOLDER / file.name not in texts:
            file.unlink()
            changed.append(FOLDER / file.name)
    return changed


def main() -> None:
    """Write the notebooks of the book in the current folder."""
    from semanticbm.builder.project import read_project

    changed = write_notebooks(read_project())
    print("\n".join(f"wrote {path}" for path in changed) or "all notebooks are in step with their chapters")


if __name__ == "__main__":
    main()
