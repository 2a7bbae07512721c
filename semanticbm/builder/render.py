"""From a chapter's tree and the outputs of its cells to the HTML of its page, without the shell around it."""

from __future__ import annotations

import base64
import copy
import html
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from semanticbm.builder import pandoc
from semanticbm.builder.cells import Cell, is_cell, is_inline_value, read_cell
from semanticbm.builder.crossref import Label, Numbering, equation_label, resolve
from semanticbm.builder.project import Chapter, Project

FOLD_LINES = 40
CALLOUTS = {"note": "Note", "tip": "Tip", "warning": "Warning", "important": "Important", "caution": "Caution"}
WIDGET = "widget"
FILTERS = [Path("book/theme/colab.lua"), Path("book/theme/widget.lua")]
DROP_REFERENCES = Path(__file__).with_name("theme") / "drop-references.lua"
_COLOUR_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Page:
    """One finished page: its HTML, its headings as (level, id, title), and pictures and files that go with it.

    `assets`: {address inside the book: bytes}. `files`: sources that a link points to, relative to the project.
    """

    chapter: Chapter
    html: str = ""
    headings: list[tuple[int, str, str]] = field(default_factory=list)
    assets: dict[str, bytes] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)

    @property
    def title(self) -> str:
        """The chapter's title with its number, for menus."""
        return next((title for level, _, title in self.headings if level == 1), self.chapter.path.stem)


# --------------------------------------------------------------------------------------------------------------------
# Code and outputs


def code_html(code: str, language: str) -> str:
    """Highlighted code."""
    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    body = highlight(code, lexer, HtmlFormatter(cssclass="highlight", wrapcode=True))
    return f'<div class="language-{html.escape(language or "text")}">{body}</div>'


def fold(body: str, summary: str, kind: str) -> str:
    """A closed box that opens on click."""
    return f'<details class="fold {kind}"><summary>{summary}</summary>{body}</details>'


def plain_text(text: str) -> str:
    """Printed output as a terminal leaves it: no colours, and of a line written over only the last state."""
    lines = _COLOUR_CODES.sub("", text).rstrip().splitlines()
    return "\n".join(line.rsplit("\r", 1)[-1] for line in lines)


def text_html(text: str, kind: str) -> str:
    """Printed output; long ones are folded."""
    text = plain_text(text)
    body = f'<pre class="cell-output {kind}"><code>{html.escape(text)}</code></pre>'
    lines = text.count("\n") + 1
    return fold(body, f"Output: {lines} lines", "output") if lines > FOLD_LINES else body


def markdown_blocks(text: str) -> list[dict]:
    """An output that came as markdown; tables get a frame that scrolls sideways, code is highlighted."""
    return [_framed(block) for block in pandoc.parse_many([text])[0]]


def framed_table(table: dict) -> dict:
    """A table in a frame that scrolls sideways, with the keyboard too.

    It has a class, since the theme puts a frame of its own around a table without, and no key reaches that one.
    """
    (identifier, classes, pairs), *rest = table["c"]
    table = {"t": "Table", "c": [[identifier, [*classes, "framed"], pairs], *rest]}
    return {"t": "Div", "c": [pandoc.attributes(classes=("table-scroll",), tabindex="0"), [table]]}


def _framed(block: dict) -> dict:
    if block["t"] == "Table":
        return framed_table(block)
    if block["t"] == "CodeBlock":
        (_, classes, _), code = block["c"]
        return pandoc.raw(f'<div class="cell-output source">{code_html(code, next(iter(classes), ""))}</div>')
    return block


def _joined_streams(outputs: list[dict]) -> list[dict]:
    """Outputs with consecutive pieces of one stream put together."""
    joined: list[dict] = []
    for output in outputs:
        if output["output_type"] == "stream" and joined and joined[-1].get("name") == output["name"]:
            joined[-1] = dict(joined[-1], text=joined[-1]["text"] + output["text"])
        else:
            joined.append(output)
    return joined


class CellRenderer:
    """Turns cells with their outputs into blocks, and keeps the pictures."""

    def __init__(self, page: Page):
        self.page = page

    def picture(self, name: str, data: dict, metadata: dict, alt: str) -> dict:
        """An image element; the bytes go to the page's assets."""
        address = f"figures/{self.page.chapter.path.stem}/{name}.png"
        self.page.assets[address] = base64.b64decode(data["image/png"])
        size = metadata.get("image/png", {})
        sizes = "".join(f' {side}="{int(size[side])}"' for side in ("width", "height") if side in size)
        source = html.escape(self.page.chapter.link_to(address))
        return pandoc.raw(f'<img class="figure" src="{source}" alt="{html.escape(alt, quote=True)}"{sizes}>')

    def output(self, cell: Cell, output: dict, name: str) -> list[dict]:
        """The blocks for one output."""
        if output["output_type"] == "stream":
            if output["name"] == "stderr" and cell.options.get("warning") is False:
                return []
            if output["name"] == "stdout" and cell.options.get("output") == "asis":
                return self.markdown(output["text"])
            return self.text(output["text"], output["name"])
        data = output.get("data", {})
        if "text/markdown" in data:
            return self.markdown(data["text/markdown"])
        if "image/png" in data:
            return [self.picture(name, data, output.get("metadata", {}), str(cell.options.get("fig-alt", "")))]
        return self.text(data["text/plain"], "stdout") if "text/plain" in data else []

    def text(self, text: str, kind: str) -> list[dict]:
        """Printed output. `kind`: "stdout" or "stderr"."""
        return [pandoc.raw(text_html(text, kind))]

    def markdown(self, text: str) -> list[dict]:
        """An output that came as markdown."""
        return markdown_blocks(text)

    def captioned(self, content: list[dict], caption: str, label: Label | None, is_table: bool) -> list[dict]:
        """Outputs as a figure or table with a caption."""
        return [captioned(content, caption, label, is_table)]

    def code(self, cell: Cell) -> list[dict]:
        """The code as the reader sees it: shown, folded, or not at all."""
        if cell.options.get("echo") is False:
            return []
        body = code_html(cell.code, "python")
        return [pandoc.raw(fold(body, "Code", "code") if cell.options.get("code-fold") else body)]

    def results(self, cell: Cell, outputs: list[dict], number: int) -> list[dict]:
        """The blocks for all outputs of a cell."""
        if cell.options.get("output") is False:
            return []
        name = cell.label or f"cell-{number}"
        shown = _joined_streams(_without_figure_reprs(outputs))
        blocks = []
        for place, output in enumerate(shown):
            blocks += self.output(cell, output, name if not place else f"{name}-{place}")
        return blocks

    def cell(self, cell: Cell, outputs: list[dict], number: int, label: Label | None) -> dict:
        """The whole cell: code, then outputs, in a figure or a table with its caption if it has one."""
        results = self.results(cell, outputs, number)
        caption = cell.options.get("fig-cap") or cell.options.get("tbl-cap")
        if results and caption:
            is_table = "tbl-cap" in cell.options
            results = self.captioned(results, str(caption), label, is_table)
        return pandoc.div([*self.code(cell), *results], classes=("cell",))


def _without_figure_reprs(outputs: list[dict]) -> list[dict]:
    """Leave out the text form of a figure ("<Axes: ...>"), which notebooks print beside the figure itself."""
    has_picture = any("image/png" in output.get("data", {}) for output in outputs)

    def is_repr(output):
        return output["output_type"] == "execute_result" and set(output["data"]) == {"text/plain"}

    return [output for output in outputs if not (has_picture and is_repr(output))]


def captioned(content: list[dict], caption: str, label: Label | None, is_table: bool) -> dict:
    """A figure or table with its numbered caption: tables have it above, figures below."""
    words = pandoc.parse_many([caption])[0]
    inlines = words[0]["c"] if words else []
    if label is not None:
        number = pandoc.span([pandoc.string(f"{label.text}:")], classes=("caption-label",))
        inlines = [number, {"t": "Space"}, *inlines]
    kind = "table" if is_table else "picture"
    begin = f'<figure class="{kind}"{f" id={chr(34)}{label.name}{chr(34)}" if label else ""}>'
    text = [pandoc.raw("<figcaption>"), {"t": "Plain", "c": inlines}, pandoc.raw("</figcaption>")]
    return pandoc.div([pandoc.raw(begin), *(text + content if is_table else content + text), pandoc.raw("</figure>")])


# --------------------------------------------------------------------------------------------------------------------
# The rest of the chapter


def callout(element: dict) -> list[dict]:
    """A callout as the theme draws it: an "admonition" with a title, or a box to open if collapse="true"."""
    (identifier, classes, pairs), content = element["c"]
    kind = next(name.removeprefix("callout-") for name in classes if name.startswith("callout-"))
    options, title = dict(pairs), [pandoc.string(CALLOUTS.get(kind, kind.capitalize()))]
    if "title" in options:
        title, content = pandoc.parse_many([options["title"]])[0][0]["c"], content
    elif content and content[0]["t"] == "Header":
        title, content = content[0]["c"][2], content[1:]
    name = f' id="{identifier}"' if identifier else ""
    if "collapse" in options:
        opened = " open" if options["collapse"] == "false" else ""
        tags = f'<details class="{kind}"{name}{opened}><summary>', "</summary>", "</details>"
    else:
        tags = f'<div class="admonition {kind}"{name}><p class="admonition-title">', "</p>", "</div>"
    return [pandoc.raw(tags[0]), {"t": "Plain", "c": title}, pandoc.raw(tags[1]), *content, pandoc.raw(tags[2])]


def is_callout(element: dict) -> bool:
    """True for a Quarto callout."""
    return element["t"] == "Div" and any(name.startswith("callout-") for name in element["c"][0][1])


def numbered_equation(
    element: dict, numbering: Numbering, show: Callable[[dict, Label], list[dict]]
) -> list[dict] | None:
    """A paragraph whose displayed formula carries a label: the formula with its number at the right."""
    content = element["c"]
    if element["t"] not in ("Para", "Plain") or not any(equation_label(inline) for inline in content):
        return None
    result: list[dict] = []
    for inline in content:
        found = equation_label(inline)
        if not found:
            result.append(inline)
            continue
        formula = max(place for place, part in enumerate(result) if part["t"] == "Math")
        label = numbering.label("eq", found[0])
        rest = [pandoc.string(found[1])] if found[1] else []
        result[formula:] = [*show(result[formula], label), *rest]
    return [{"t": element["t"], "c": result}]


def _table_with_number(element: dict, label: Label) -> dict:
    table = copy.deepcopy(element)
    caption = table["c"][1][1]
    number = pandoc.span([pandoc.string(f"{label.text}:")], classes=("caption-label",))
    if caption:
        caption[0]["c"] = [number, {"t": "Space"}, *caption[0]["c"]]
    return table


class ChapterRenderer:
    """Walks one chapter's tree once, in reading order, and replaces what pandoc does not know."""

    def __init__(self, project: Project, chapter: Chapter, outputs: list[list[dict]]):
        self.project, self.chapter = project, chapter
        self.page = Page(chapter)
        self.cells = CellRenderer(self.page)
        self.outputs = iter(enumerate(outputs, start=1))
        self.numbering = Numbering(chapter)
        self.in_box = 0

    def change(self, element: dict) -> list[dict] | None:
        """The replacement of one element, or None to keep it and look inside."""
        kind = element["t"]
        if is_cell(element):
            return [self.cell(read_cell(element))]
        if is_inline_value(element):
            return self.inline_value()
        if kind == "CodeBlock":
            return [self.code_block(element)]
        if is_callout(element):
            self.in_box += 1
            blocks = self.box(element)
            self.in_box -= 1
            return blocks
        if kind == "Header":
            return None if self.in_box else [self.heading(element)]
        return self.other(element)

    def other(self, element: dict) -> list[dict] | None:
        """Tables, formulas, and links to other files of the project."""
        kind = element["t"]
        if kind == "Table" and element["c"][0][0]:
            element = _table_with_number(element, self.numbering.label("tbl", element["c"][0][0]))
        if kind == "Table":
            return self.table(element)
        if kind in ("Para", "Plain"):
            paragraph = numbered_equation(element, self.numbering, self.equation)
            return paragraph and [dict(part, c=pandoc.replace(part["c"], self.change)) for part in paragraph]
        if kind == "Link":
            return [self.link(element)]
        return None

    def code_block(self, element: dict) -> dict:
        """Code that is only shown."""
        return pandoc.raw(code_html(element["c"][1], next(iter(element["c"][0][1]), "")))

    def box(self, element: dict) -> list[dict]:
        """A callout."""
        return pandoc.replace(callout(element), self.change)

    def table(self, table: dict) -> list[dict]:
        """A table in a frame that scrolls sideways."""
        return [framed_table({"t": "Table", "c": pandoc.replace(table["c"], self.change)})]

    def equation(self, formula: dict, label: Label) -> list[dict]:
        """A numbered formula."""
        number = pandoc.span([pandoc.string(f"({label.number})")], classes=("equation-number",))
        return [pandoc.span([formula, number], label.name, ("equation",))]

    def cell(self, cell: Cell) -> dict:
        """A cell with its outputs."""
        number, outputs = next(self.outputs)
        kind = cell.label.partition("-")[0]
        label = self.numbering.label(kind, cell.label) if kind in ("fig", "tbl") else None
        return self.cells.cell(cell, outputs, number, label)

    def inline_value(self) -> list[dict]:
        """The value of an inline expression, read as markdown."""
        _, outputs = next(self.outputs)
        text = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
        blocks = pandoc.parse_many([text])[0] if is_markup(text) else None
        return blocks[0]["c"] if blocks else [pandoc.string(text)]

    def heading(self, element: dict) -> dict:
        """A heading with its number in front."""
        level, (name, classes, pairs), content = element["c"]
        label = self.numbering.heading(level, name, pandoc.text_of(content), classes)
        title = f"{label.number} {label.title}".strip() if label.number else label.title
        self.page.headings.append((level, name, title))
        if label.number:
            number = pandoc.span([pandoc.string(label.number)], classes=("section-number",))
            content = [number, {"t": "Space"}, *content]
        return {"t": "Header", "c": [level, [name, classes, pairs], pandoc.replace(content, self.change)]}

    def link(self, element: dict) -> dict:
        """A link: to a chapter's source it leads to its page; any other file of the project is copied into the book."""
        attributes, content, (target, title) = element["c"]
        content = pandoc.replace(content, self.change)
        path = local_target(self.chapter, target)
        if path is None:
            return {"t": "Link", "c": [attributes, content, [target, title]]}
        if chapter := self.project.page_of(path):
            mark = target.partition("#")[2]
            target = self.chapter.link_to(chapter.url) + (f"#{mark}" if mark else "")
        else:
            self.page.files.add(path)
        return {"t": "Link", "c": [attributes, content, [target, title]]}


def is_markup(text: str) -> bool:
    """True if a computed text may hold markdown; a plain number needs no pandoc."""
    return bool(re.search(r"[*_`$\[\]<>\\]", text))


def fragments_of(document: dict, outputs: list[list[dict]]) -> list[str]:
    """All pieces of markdown outside a chapter's own text: captions, titles of callouts, outputs, computed values."""
    elements = list(pandoc.elements(document["blocks"]))
    cells = [read_cell(element) for element in elements if is_cell(element) or is_inline_value(element)]
    found = [dict(element["c"][0][2]).get("title") for element in elements if is_callout(element)]
    for cell, results in zip(cells, outputs, strict=True):
        found += [cell.options.get("fig-cap"), cell.options.get("tbl-cap")]
        found += [output["data"].get("text/markdown") for output in results if "data" in output]
        text = "".join(output.get("text", "") for output in results if output.get("name") == "stdout")
        found += [text] if cell.inline and is_markup(text) else []
    return [str(text) for text in found if text]


def local_target(chapter: Chapter, target: str) -> Path | None:
    """The file of the project that a link points to, relative to the project; None for other kinds of link."""
    if re.match(r"^([a-z]+:|#|//)", target) or not target:
        return None
    return Path(os.path.normpath(chapter.path.parent / target.partition("#")[0]))


def render(
    project: Project,
    chapter: Chapter,
    document: dict,
    outputs: list[list[dict]],
    labels: dict[str, Label],
    keys: set[str],
) -> Page:
    """The finished page of one chapter. `keys`: everything that the book cites (for the page of references)."""
    renderer = ChapterRenderer(project, chapter, outputs)
    blocks = resolve(pandoc.replace(document["blocks"], renderer.change), chapter, labels)
    metadata = {
        "repository": project.repository,
        "chapter-file": chapter.path.as_posix(),
        "project-root": str(project.root),
    }
    is_references = any(element["t"] == "Div" and element["c"][0][0] == "refs" for element in pandoc.elements(blocks))
    meta = {"nocite": nocite(keys)} if is_references else {}
    filters = [project.root / path for path in FILTERS if (project.root / path).is_file()]
    filters += [] if is_references else [DROP_REFERENCES]
    page = renderer.page
    body = pandoc.to_html({**document, "blocks": blocks, "meta": meta}, project.bibliography, metadata, filters)
    references = next((other for other in project.chapters if other.path.stem == "references"), None)
    if references and not is_references:
        body = body.replace('href="#ref-', f'href="{chapter.link_to(references.url)}#ref-')
    body = body.replace('<math display="block"', '<math display="block" tabindex="0"')  # wide ones scroll, by keys too
    page.html = _title(project) + body if chapter.url == "index.html" else body
    notebook = Path("book/colab") / f"{chapter.path.stem}.ipynb"
    if (project.root / notebook).is_file():
        page.files.add(notebook)
    return page


def _title(project: Project) -> str:
    """The book's own title, above the preface."""
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in (project.title, project.subtitle) if line)
    return f'<header class="book-title">{lines}</header>\n'


def nocite(keys: set[str]) -> dict:
    """Metadata that puts entries into the list of references, cited or not."""
    citations = [
        {
            "citationId": key,
            "citationPrefix": [],
            "citationSuffix": [],
            "citationNoteNum": 0,
            "citationHash": 0,
            "citationMode": {"t": "NormalCitation"},
        }
        for key in sorted(keys)
    ]
    return {"t": "MetaInlines", "c": [{"t": "Cite", "c": [citations, [pandoc.string("all")]]}]}
