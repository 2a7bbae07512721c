"""The book as one file to take along: EPUB and PDF, from the same chapters and the same runs of their cells as the pages.

All chapters become one pandoc document without any HTML: code blocks, figures, tables and boxes in pandoc's own terms.
Pandoc writes it as EPUB, or as Typst, which the `typst` package sets as a PDF, with its own fonts and no network. So
both files are the same whichever builder made the pages.

When it misleads: what moves on the screen is a still picture here, and long printed outputs are cut after 40 lines.
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from semanticbm.builder import pandoc
from semanticbm.builder.build import BuildFailed, all_labels, cited_keys, read_documents
from semanticbm.builder.cells import Cell, cells_of
from semanticbm.builder.crossref import Label, is_reference, resolve
from semanticbm.builder.execute import run_chapters
from semanticbm.builder.project import Chapter, Project
from semanticbm.builder.render import (
    FILTERS,
    FOLD_LINES,
    CellRenderer,
    ChapterRenderer,
    callout,
    fragments_of,
    local_target,
    nocite,
    plain_text,
)

THEME = Path(__file__).with_name("theme")
NAME = "semanticbm"
FULL_WIDTH = 760  # pixels of a picture that fills the page
CHARACTERS_A_LINE = 95  # of a table on paper
SHORT_CELL = 18  # characters that should stay on one line, such as an interval
PLACE = '<div class="notebook-links" id="take-along">'


# --------------------------------------------------------------------------------------------------------------------
# Cells


class PaperCells(CellRenderer):
    """Cells and outputs in pandoc's own terms; pictures go to a folder."""

    def __init__(self, page, folder: Path):
        super().__init__(page)
        self.folder = folder

    def code(self, cell: Cell) -> list[dict]:
        """The code, unless it is hidden."""
        return [] if cell.options.get("echo") is False else [code_block(cell.code, "python")]

    def text(self, text: str, kind: str) -> list[dict]:
        """Printed output; the end of a long one is left out."""
        lines = plain_text(text).splitlines()
        rest = [f"... ({len(lines) - FOLD_LINES} more lines)"] if len(lines) > FOLD_LINES else []
        return [code_block("\n".join(lines[:FOLD_LINES] + rest), "output")]

    def markdown(self, text: str) -> list[dict]:
        """An output that came as markdown."""
        return pandoc.parse_many([text])[0]

    def picture(self, name: str, data: dict, metadata: dict, alt: str) -> dict:
        """A picture as wide as on the pages, at most as wide as the text."""
        file = self.folder / f"{self.page.chapter.path.stem}-{name}.png"
        file.write_bytes(base64.b64decode(data["image/png"]))
        width = min(100, round(100 * metadata.get("image/png", {}).get("width", FULL_WIDTH) / FULL_WIDTH))
        attributes = pandoc.attributes(width=f"{width}%")
        return {"t": "Para", "c": [{"t": "Image", "c": [attributes, [pandoc.string(alt)], [str(file), ""]]}]}

    def captioned(self, content: list[dict], caption: str, label: Label | None, is_table: bool) -> list[dict]:
        """A figure, or a table with its caption; what else the cell printed stands before it."""
        words = pandoc.parse_many([caption])[0][0]["c"]
        number = [pandoc.strong([pandoc.string(f"{label.text}.")]), {"t": "Space"}] if label else []
        long_caption = [None, [{"t": "Plain", "c": number + words}]]
        name = label.name if label else ""
        tables = [block for block in content if block["t"] == "Table"]
        if is_table and tables:
            tables[0]["c"][0][0], tables[0]["c"][1] = name, long_caption
            return content
        pictures = [block for block in content if block["t"] == "Para"]
        others = [block for block in content if block["t"] != "Para"]
        plain = [dict(block, t="Plain") for block in pictures]
        return [*others, {"t": "Figure", "c": [pandoc.attributes(name), long_caption, plain]}]


def code_block(code: str, kind: str) -> dict:
    """A block of code. `kind`: "python", or "output" for what was printed."""
    return {"t": "CodeBlock", "c": [pandoc.attributes(classes=(kind,)), code]}


# --------------------------------------------------------------------------------------------------------------------
# Chapters


def typst(text: str, inline: bool = False) -> dict:
    """A piece of Typst, which other formats leave out."""
    return {"t": "RawInline" if inline else "RawBlock", "c": ["typst", text]}


class PaperChapter(ChapterRenderer):
    """Rewrites one chapter's tree for paper."""

    def __init__(self, project: Project, chapter: Chapter, outputs: list[list[dict]], folder: Path):
        super().__init__(project, chapter, outputs)
        self.cells = PaperCells(self.page, folder)

    def code_block(self, element: dict) -> dict:
        """Code that is only shown."""
        return element

    def box(self, element: dict) -> list[dict]:
        """A callout: a box with a bold title."""
        kind = next(name for name in element["c"][0][1] if name.startswith("callout-"))
        parts = callout(element)
        title = {"t": "Para", "c": [pandoc.strong(parts[1]["c"])]}
        inside = pandoc.div([title, *parts[3:-1]], classes=("box", kind.replace("callout", "box")))
        return pandoc.replace([typst(f'#callout("{kind}")['), inside, typst("]")], self.change)

    def table(self, table: dict) -> list[dict]:
        """A table whose columns are as wide as they need."""
        return [{"t": "Table", "c": pandoc.replace(table["c"], self.change)}]

    def equation(self, formula: dict, label: Label) -> list[dict]:
        """A numbered formula: the number at the right."""
        number = pandoc.span([pandoc.string(f"({label.number})")], classes=("equation-number",))
        return [
            typst("#numbered[", True),
            pandoc.span([formula, typst("][", True), number], label.name),
            typst("]", True),
        ]

    def heading(self, element: dict) -> dict:
        """A heading with its number; its name is made unique in the whole book."""
        header = super().heading(element)
        header["c"][1][0] = self.unique(header["c"][1][0])
        return header

    def unique(self, name: str) -> str:
        """A name for use in one document: labels are unique already, other names get the chapter's."""
        return name if is_reference(name) or not name else f"{self.chapter.path.stem}-{name}"

    def link(self, element: dict) -> dict:
        """A link inside the book leads to its place; one to a file of the project becomes plain words."""
        attributes, content, (target, title) = element["c"]
        content = pandoc.replace(content, self.change)
        path, mark = local_target(self.chapter, target), target.partition("#")[2]
        if path is None:
            target = f"#{self.unique(mark)}" if target.startswith("#") else target
            return {"t": "Link", "c": [attributes, content, [target, title]]}
        page = self.project.page_of(path)
        if page is None:
            return pandoc.span(content)
        mark = mark or _first_heading(page)
        name = mark if is_reference(mark) else f"{page.path.stem}-{mark}"
        return {"t": "Link", "c": [attributes, content, [f"#{name}", title]]}


def _first_heading(chapter: Chapter) -> str:
    headings = [element for element in pandoc.parse(chapter.source)["blocks"] if element["t"] == "Header"]
    return headings[0]["c"][1][0]


def _inside(blocks: list[dict]) -> list[dict]:
    """References as links inside one document; no HTML; table columns as wide as they need, or as the page allows."""

    def change(element: dict) -> list[dict] | None:
        if element["t"] in ("RawBlock", "RawInline") and element["c"][0].startswith("html"):
            return []
        if element["t"] == "Link" and "quarto-xref" in element["c"][0][1]:
            attributes, content, (target, title) = element["c"]
            return [{"t": "Link", "c": [attributes, content, ["#" + target.partition("#")[2], title]]}]
        if element["t"] == "Table":
            columns = [
                [side, width] for (side, _), width in zip(element["c"][2], column_widths(element["c"]), strict=True)
            ]
            content = [*element["c"][:2], columns, *element["c"][3:]]
            return [{"t": "Table", "c": pandoc.replace(content, change)}]
        return None

    return pandoc.replace(blocks, change)


def column_widths(table: list) -> list[dict]:
    """Pandoc's widths of a table's columns: none where its longest cells fit side by side.

    Else each column gets room for its longest word or short cell, and more the longer its longest cell, by the square root:
    a column of passages becomes wide and low, and one of numbers stays narrow.
    """
    rows = [*table[3][1], *(row for body in table[4] for row in (*body[2], *body[3]))]
    texts = [[pandoc.text_of(cell[4]) for cell in cells] for _, cells in rows]
    longest = [max(map(len, column)) for column in zip(*texts, strict=False)]
    if sum(longest) <= CHARACTERS_A_LINE or any(len(row) != len(table[2]) for row in texts):
        return [{"t": "ColWidthDefault"} for _ in table[2]]
    word = [
        max((len(one) for text in column for one in text.split()), default=0) for column in zip(*texts, strict=True)
    ]
    whole = [cell if cell <= SHORT_CELL else of_word for of_word, cell in zip(word, longest, strict=True)]
    wanted = [max(least + 3, 4 * cell**0.5) for least, cell in zip(whole, longest, strict=True)]
    return [{"t": "ColWidth", "c": width / sum(wanted)} for width in wanted]


def one_document(project: Project, report: Callable[[str], None], folder: Path) -> dict:
    """All chapters as one tree, their pictures in `folder`. Raises `BuildFailed` if a cell fails."""
    documents = read_documents(project.chapters)
    cells = {chapter: cells_of(document) for chapter, document in documents.items()}
    runs, failures = run_chapters(project, cells, report)
    if failures:
        raise BuildFailed("no file was made, because code in the book failed:\n" + "\n".join(failures))
    labels = all_labels(documents)
    pandoc.parse_many([text for c, d in documents.items() for text in fragments_of(d, runs[c].outputs)])
    blocks = []
    for chapter, document in documents.items():
        renderer = PaperChapter(project, chapter, runs[chapter].outputs, folder)
        changed = pandoc.replace(document["blocks"], renderer.change)
        blocks += _inside(resolve(changed, chapter, labels))
    version = next(iter(documents.values()))["pandoc-api-version"]
    return {"pandoc-api-version": version, "meta": {"nocite": nocite(cited_keys(documents))}, "blocks": blocks}


# --------------------------------------------------------------------------------------------------------------------
# Files


def _arguments(project: Project) -> list[str]:
    settings = {
        "title": project.title,
        "subtitle": project.subtitle,
        "author": project.author,
        "lang": "en",
        "project-root": str(project.root),
        "link-citations": "true",
    }
    arguments = [f"--metadata={name}:{value}" for name, value in settings.items() if value]
    if project.bibliography.is_file():
        arguments += ["--citeproc", f"--bibliography={project.bibliography}"]
    widget = project.root / FILTERS[1]
    return arguments + ([f"--lua-filter={widget}"] if widget.is_file() else [])


def write_epub(project: Project, document: dict, file: Path) -> None:
    """The book as EPUB 3."""
    arguments = [
        *_arguments(project),
        "--mathml",
        "--toc",
        "--toc-depth=2",
        "--split-level=1",
        f"--css={THEME / 'epub.css'}",
    ]
    pandoc.write_file(document, "epub3", file, arguments)


def write_pdf(project: Project, document: dict, file: Path) -> None:
    """The book as PDF, on A4."""
    import typst as typesetter

    body = pandoc.write(document, "typst", [*_arguments(project), "--wrap=none"])
    values = {"title": project.title, "subtitle": project.subtitle, "author": project.author}
    head = "".join(f'#let {name} = "{_typst_text(value)}"\n' for name, value in values.items())
    source = file.with_suffix(".typ")
    source.write_text(head + (THEME / "paper.typ").read_text(encoding="utf-8") + body, encoding="utf-8")
    try:
        typesetter.compile(str(source), output=str(file), root="/")
    except RuntimeError as error:
        raise BuildFailed(f"the PDF could not be set: {str(error).splitlines()[0]}") from None


def _typst_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


WRITERS = {"epub": write_epub, "pdf": write_pdf}


def write_files(project: Project, formats: Sequence[str], report: Callable[[str], None]) -> list[Path]:
    """Make the files, put them beside the pages, and link them on the first page if there is one.

    formats: "epub", "pdf". Returns their paths. Raises `BuildFailed` if a cell fails; then nothing changes.
    """
    project.cache.mkdir(parents=True, exist_ok=True)
    files = []
    with tempfile.TemporaryDirectory(prefix="paper-", dir=project.cache) as name:
        document = one_document(project, report, Path(name))
        for format in formats:
            made = Path(name) / f"{NAME}.{format}"
            WRITERS[format](project, document, made)
            files.append(project.output / made.name)
            project.output.mkdir(exist_ok=True)
            made.replace(files[-1])
    link_on_first_page(project.output)
    return files


def files_made(output: Path) -> dict[str, bytes]:
    """{name: content} of the files that lie beside the pages."""
    files = [output / f"{NAME}.{format}" for format in WRITERS]
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def put_back(output: Path, files: Mapping[str, bytes]) -> None:
    """Lay files beside pages that were built again, and link them."""
    for name, content in files.items():
        (output / name).write_bytes(content)
    link_on_first_page(output)


def link_on_first_page(output: Path) -> None:
    """Fill the first page's line of links with the files that are there."""
    page = output / "index.html"
    if not page.is_file():
        return
    made = [format for format in WRITERS if (output / f"{NAME}.{format}").is_file()]
    links = "".join(f'<a href="{NAME}.{format}" download>The book as {format.upper()}</a>' for format in made)
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(rf"{re.escape(PLACE)}.*?</div>", f"{PLACE}{links}</div>", text, count=1), encoding="utf-8")
