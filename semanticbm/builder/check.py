"""`semanticbm book --check`: refuse what would break one of the two builds, before anything is built.

Most problems can be seen without running code: a mark that only Quarto or only the preview understands, a reference or
citation that leads nowhere, a label that stands twice, a chapter that is not in the list. Only if all this is in order
are the cells run (from the cache where nothing changed), to find the ones that fail.

When it misleads: it checks form. A chapter that passes can still say something wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from semanticbm.builder import pandoc
from semanticbm.builder.build import all_labels, read_document
from semanticbm.builder.cells import Cell, cells_of
from semanticbm.builder.crossref import Label, is_reference, labels_of
from semanticbm.builder.execute import run_chapters
from semanticbm.builder.project import Chapter, Project
from semanticbm.builder.render import CALLOUTS, WIDGET, local_target
from semanticbm.builder.traps import trap_problems
from semanticbm.errors import UserError

CELL_OPTIONS = {"label", "echo", "fig-cap", "fig-alt", "tbl-cap", "code-fold", "output", "warning"}
FRONT_MATTER = {"title"}
ONLY_WEB = {"text/html", "application/javascript", "application/vnd.jupyter.widget-view+json"}
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_DIV = re.compile(r"^\s*:{3,}\s*(\S.*)$")
_OUTSIDE_FILE = re.compile(
    r"""<(script|img|iframe|link|source|video)\b[^>]*\b(?:src|href)\s*=\s*["']?(?:https?:)?//""", re.IGNORECASE
)
_KNOWN_BLOCK = re.compile(r"\{\s*(#refs|\.callout-(" + "|".join(CALLOUTS) + r")|\." + WIDGET + r")\b")
_OTHER_ENGINE = re.compile(r"^\{(\w+)\}(.?)")


def place(chapter: Chapter, message: str, needle: str = "", line: int = 0) -> str:
    """One problem as "file:line: message"; the line is where `needle` first stands."""
    if needle and not line:
        line = next((number for number, text in enumerate(chapter.source.splitlines(), 1) if needle in text), 0)
    return f"{chapter.path}:{line}: {message}" if line else f"{chapter.path}: {message}"


# --------------------------------------------------------------------------------------------------------------------
# The list of chapters


def chapter_list_problems(project: Project) -> list[str]:
    """Chapters that are listed and not there, there and not listed, or listed twice."""
    listed = Counter(chapter.path for chapter in project.chapters)
    sources = [*project.root.glob("*.qmd"), *(project.root / "book").rglob("*.qmd")]
    present = {path.relative_to(project.root) for path in sources}
    return (
        [f"{path}: listed in _quarto.yml, but there is no such file." for path in listed if path not in present]
        + [
            f"{path}: not listed in _quarto.yml: add it to chapters or appendices."
            for path in sorted(present)
            if path not in listed
        ]
        + [f"{path}: listed {count} times in _quarto.yml." for path, count in listed.items() if count > 1]
    )


# --------------------------------------------------------------------------------------------------------------------
# The common subset


def prose_lines(source: str) -> Iterator[tuple[int, str]]:
    """The numbered lines that are not inside a code block."""
    fence = ""
    for number, line in enumerate(source.splitlines(), start=1):
        mark = _FENCE.match(line)
        if mark and (not fence or mark.group(1).startswith(fence)):
            fence = "" if fence else mark.group(1)
        elif not fence:
            yield number, line


def markup_problems(chapter: Chapter) -> Iterator[str]:
    """Fenced divs and shortcodes outside the subset."""
    for number, line in prose_lines(chapter.source):
        if "{{<" in line:
            yield place(chapter, "only Quarto knows shortcodes ({{< ... >}}): write plain markdown.", line=number)
        div = _DIV.match(line)
        if div and not _KNOWN_BLOCK.match(div.group(1)):
            yield place(
                chapter,
                f"the block ::: {div.group(1)} is outside the subset: only callouts ({', '.join(CALLOUTS)}) and widgets are.",
                line=number,
            )


def element_problems(chapter: Chapter, document: dict) -> Iterator[str]:
    """Elements that the two builders would treat differently, or that need the network."""
    for name in sorted(set(document["meta"]) - FRONT_MATTER):
        yield place(
            chapter,
            f"front matter {name!r} is outside the subset: set it for the whole book in _quarto.yml.",
            f"{name}:",
        )
    for element in pandoc.elements(document["blocks"]):
        kind, content = element["t"], element.get("c")
        if kind in ("Image", "Figure"):
            yield place(chapter, "a picture file is outside the subset: draw the figure in a cell.", "![")
        elif kind in ("RawBlock", "RawInline"):
            yield from _raw_problems(chapter, *content)
        elif kind == "Code":
            yield from _inline_problems(chapter, content[1])
        elif kind == "Div" and WIDGET in content[0][1]:
            yield from _widget_problems(chapter, dict(content[0][2]).get("file", ""))
    headings = [element for element in pandoc.elements(document["blocks"]) if element["t"] == "Header"]
    if [heading["c"][0] for heading in headings].count(1) != 1:
        yield place(chapter, "a chapter needs exactly one heading of level 1 (# Title {#sec-name}).")


def _raw_problems(chapter: Chapter, language: str, text: str) -> Iterator[str]:
    if language not in ("html", "html5"):
        yield place(chapter, f"raw {language} is outside the subset: only raw HTML is.", f"{{={language}}}")
    elif match := _OUTSIDE_FILE.search(text):
        tag, needle = match.group(1), match.group(0)
        yield place(chapter, f"<{tag}> loads a file from the network: the book must read offline.", needle)


def _widget_problems(chapter: Chapter, name: str) -> Iterator[str]:
    file = chapter.root / name
    if not name.endswith(".html") or not file.is_file():
        yield place(chapter, f"a widget needs a file: there is no page {name or '(file=...)'}.", f".{WIDGET}")
        return
    if not file.with_suffix(".png").is_file():
        yield place(chapter, f"{name} has no still picture beside it for print: add {Path(name).stem}.png.", name)
    yield from _raw_problems(chapter, "html", file.read_text(encoding="utf-8"))


def _inline_problems(chapter: Chapter, code: str) -> Iterator[str]:
    mark = _OTHER_ENGINE.match(code)
    if mark and (mark.group(1) != "python" or mark.group(2) != " "):
        yield place(chapter, f"inline value `{code}`: write {{python}}, one space, and an expression.", code)


def cell_problems(chapter: Chapter, cells: list[Cell]) -> Iterator[str]:
    """Options outside the subset, missing captions and alternative texts, labels that stand twice in one chapter."""
    labels = Counter(cell.label for cell in cells if cell.label)
    for cell in cells:
        if cell.inline:
            continue
        if cell.language != "python":
            yield place(chapter, f"a cell in {cell.language}: only python cells are run.", line=cell.line)
        for name in cell.options:
            if name not in CELL_OPTIONS:
                yield place(
                    chapter,
                    f"cell option {name!r} is outside the subset ({', '.join(sorted(CELL_OPTIONS))}).",
                    line=cell.line,
                )
        if labels[cell.label] > 1:
            yield place(chapter, f"duplicate label {cell.label}: each label may stand once.", line=cell.line)
        yield from _caption_problems(chapter, cell)


def _caption_problems(chapter: Chapter, cell: Cell) -> Iterator[str]:
    needed = {"fig-": ("fig-cap", "fig-alt"), "tbl-": ("tbl-cap",)}
    for prefix, options in needed.items():
        for option in options:
            if cell.label.startswith(prefix) and not cell.options.get(option):
                yield place(chapter, f"{cell.label} has no {option}: add one.", line=cell.line)
        if options[0] in cell.options and not cell.label.startswith(prefix):
            yield place(chapter, f"a cell with {options[0]} needs a label that begins with {prefix}", line=cell.line)


# --------------------------------------------------------------------------------------------------------------------
# Labels, references, citations, links


def label_problems(documents: dict[Chapter, dict]) -> Iterator[str]:
    """Labels that stand twice in the book."""
    first: dict[str, Label] = {}
    for chapter, document in documents.items():
        for label in labels_of(chapter, document):
            if not is_reference(label.name):
                continue
            if label.name in first:
                other = first[label.name].chapter.path
                yield place(chapter, f"duplicate label {label.name}: it also stands in {other}.", label.name)
            first.setdefault(label.name, label)


def reference_problems(chapter: Chapter, document: dict, labels: dict[str, Label], keys: set[str]) -> Iterator[str]:
    """References to labels that do not exist, citations that are not in the bibliography."""
    for element in pandoc.elements(document["blocks"]):
        if element["t"] != "Cite":
            continue
        names = [citation["citationId"] for citation in element["c"][0]]
        if 0 < sum(map(is_reference, names)) < len(names):
            text = f"[@{'; @'.join(names)}]"
            yield place(chapter, f"{text} mixes references and citations: split the bracket.", f"@{names[0]}")
        for name in names:
            if is_reference(name) and name not in labels:
                yield place(chapter, f"unresolved reference @{name}: no such label in the book.", f"@{name}")
            elif not is_reference(name) and name not in keys:
                yield place(chapter, f"unresolved citation @{name}: no such entry in the bibliography.", f"@{name}")
            elif name.startswith("sec-") and not chapter.number:
                message = f"@{name} stands in an unnumbered chapter, where Quarto prints a whole title: write a link."
                yield place(chapter, message, f"@{name}")


def _anchors(document: dict) -> set[str]:
    """Identifiers of everything in a chapter that a link can point to."""
    found = set()
    for element in pandoc.elements(document["blocks"]):
        content = element.get("c")
        if element["t"] == "Header":
            found.add(content[1][0])
        elif element["t"] in ("Div", "Span", "Table", "CodeBlock"):
            found.add(content[0][0])
        elif element["t"] in ("RawBlock", "RawInline"):
            found.update(re.findall(r"""\bid\s*=\s*["']?([\w-]+)""", content[1]))
    return found


def link_problems(project: Project, chapter: Chapter, documents: dict[Chapter, dict]) -> Iterator[str]:
    """Links to files or places of the project that do not exist."""
    labels = {label.name for label in labels_of(chapter, documents[chapter])}
    for element in pandoc.elements(documents[chapter]["blocks"]):
        if element["t"] != "Link":
            continue
        target = element["c"][2][0]
        path, mark = local_target(chapter, target), target.partition("#")[2]
        page = project.page_of(path) if path else chapter
        if path and not page and not (project.root / path).is_file():
            yield place(chapter, f"broken link: there is no file {path}.", target)
        elif (path or target.startswith("#")) and page in documents and mark:
            known = labels if page == chapter else {label.name for label in labels_of(page, documents[page])}
            if mark not in known | _anchors(documents[page]):
                yield place(chapter, f"broken link: {page.path} has no place {mark!r}.", target)


# --------------------------------------------------------------------------------------------------------------------
# Everything


def read_all(project: Project) -> tuple[dict[Chapter, dict], dict[Chapter, list[Cell]], list[str]]:
    """The trees and cells of all chapters that can be read, and one problem for each that cannot."""
    documents, cells, problems = {}, {}, []
    for chapter in project.chapters:
        if not (project.root / chapter.path).is_file():
            continue  # reported as a problem of the list
        try:
            document = read_document(chapter)
            cells[chapter] = cells_of(document)
            documents[chapter] = document
        except UserError as error:
            problems.append(f"{chapter.path}: {error}")
    return documents, cells, problems


def static_problems(project: Project) -> tuple[list[str], dict[Chapter, list[Cell]]]:
    """All problems that can be seen without running code, and the cells of each chapter."""
    documents, cells, problems = read_all(project)
    labels, keys = all_labels(documents), pandoc.citation_keys(project.bibliography)
    problems = [*chapter_list_problems(project), *problems, *label_problems(documents)]
    for chapter, document in documents.items():
        problems += markup_problems(chapter)
        problems += [place(chapter, text, line=line) for line, text in trap_problems(chapter.source, document)]
        problems += element_problems(chapter, document)
        problems += cell_problems(chapter, cells[chapter])
        problems += reference_problems(chapter, document, labels, keys)
        problems += link_problems(project, chapter, documents)
    return list(dict.fromkeys(problems)), cells


def check_book(project: Project, report: Callable[[str], None]) -> list[str]:
    """Every problem of the book's sources, one line each; cells are run only if the sources themselves are in order."""
    problems, cells = static_problems(project)
    if problems:
        return problems
    runs, failures = run_chapters(project, cells, report)
    return failures + [
        f"{chapter.path}, {cell.place}: shows HTML or a script, for which Quarto loads scripts from the network: show a "
        "table with semanticbm.plots.display.table, an interactive figure as a ::: {.widget} block."
        for chapter, run in runs.items()
        for cell, outputs in zip(cells[chapter], run.outputs, strict=True)
        if any(ONLY_WEB & set(output.get("data", {})) for output in outputs)
    ]
