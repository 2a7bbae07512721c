"""The shell around the pages: navigation, search, themes, by MkDocs with the Material theme, all of it offline.

MkDocs wants markdown pages. It gets pages that hold only a title; when it has rendered one of them, the plugin below
puts the finished HTML and its headings in. So search, table of contents and "next" links know the real content.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

from semanticbm.builder.project import Project
from semanticbm.builder.render import Page

os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")

from mkdocs.commands.build import build as mkdocs_build
from mkdocs.config import load_config
from mkdocs.plugins import BasePlugin
from mkdocs.structure.toc import get_toc

THEME = Path(__file__).with_name("theme")
FEATURES = [
    "navigation.sections",
    "navigation.footer",
    "navigation.top",
    "navigation.tracking",
    "toc.follow",
    "search.suggest",
    "search.highlight",
    "content.code.copy",
    "content.footnote.tooltips",
]
PALETTES = [
    ("(prefers-color-scheme: light)", "default", "weather-sunny", "Switch to the dark theme"),
    ("(prefers-color-scheme: dark)", "slate", "weather-night", "Switch to the light theme"),
]


class FinishedPages(BasePlugin):
    """Puts the finished HTML of each page into MkDocs' empty one."""

    def __init__(self, pages: dict[str, Page]):
        super().__init__()
        self.pages = pages

    def on_page_content(self, html, page, config, files):
        """MkDocs asks for the content of one page."""
        finished = self.pages[page.file.src_uri]
        page.toc = get_toc(nested_headings(finished.headings))
        return finished.html

    def on_post_page(self, output, page, config):
        """Give the search its name, which screen readers announce; the theme has none."""
        return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def nested_headings(headings: list[tuple[int, str, str]]) -> list[dict]:
    """Headings as the tree that MkDocs takes; levels 1 to 3."""
    root: list[dict] = []
    path: list[dict] = []
    for level, name, title in headings:
        if level > 3 or not name:
            continue
        node = {"level": level, "id": name, "name": title, "children": []}
        while path and path[-1]["level"] >= level:
            path.pop()
        (path[-1]["children"] if path else root).append(node)
        path.append(node)
    return root


def _source_name(page: Page) -> str:
    return page.chapter.path.with_suffix(".md").as_posix()


def _navigation(pages: list[Page]) -> list[dict]:
    def entry(page):
        return {page.title: _source_name(page)}

    chapters = [entry(page) for page in pages if not page.chapter.is_appendix]
    appendices = [entry(page) for page in pages if page.chapter.is_appendix]
    return [*chapters, {"Appendices": appendices}] if appendices else chapters


def _settings(project: Project, pages: list[Page], docs: Path, output: Path) -> dict:
    palettes = [
        {
            "media": media,
            "scheme": scheme,
            "primary": "custom",
            "accent": "custom",
            "toggle": {"icon": f"material/{icon}", "name": name},
        }
        for media, scheme, icon, name in PALETTES
    ]
    return {
        "site_name": project.title,
        "site_description": project.subtitle,
        "docs_dir": str(docs),
        "site_dir": str(output),
        "use_directory_urls": False,
        "nav": _navigation(pages),
        "extra_css": ["book.css"],
        "theme": {
            "name": "material",
            "language": "en",
            "font": False,
            "palette": palettes,
            "features": FEATURES,
            "icon": {"logo": "material/book-open-page-variant"},
        },
        "plugins": ["search", "offline"],
        "extra": {"polyfills": ["iframe-worker.js"], "generator": False},
        "copyright": "MIT licence.",
        **({"repo_url": project.repository, "repo_name": "Source"} if project.repository else {}),
    }


def _write_sources(pages: list[Page], docs: Path) -> None:
    for page in pages:
        file = docs / _source_name(page)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"---\ntitle: {json.dumps(page.title)}\n---\n", encoding="utf-8")
    for name in ("book.css", "iframe-worker.js"):
        shutil.copy(THEME / name, docs / name)


def _copy_extras(project: Project, pages: list[Page], output: Path) -> None:
    for page in pages:
        for address, content in page.assets.items():
            file = output / address
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        for path in page.files:
            if (project.root / path).is_file():
                (output / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(project.root / path, output / path)


def build_site(project: Project, pages: list[Page]) -> Path:
    """Write the whole site and put it in place of the old one; return its first page."""
    logging.getLogger("mkdocs").setLevel(logging.ERROR)
    project.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="site-", dir=project.cache) as folder:
        docs, output = Path(folder) / "pages", Path(folder) / "site"
        _write_sources(pages, docs)
        config = load_config(config_file=_config_file(docs.parent), **_settings(project, pages, docs, output))
        config.plugins["finished pages"] = FinishedPages({_source_name(page): page for page in pages})
        mkdocs_build(config)
        _copy_extras(project, pages, output)
        (output / "404.html").unlink(missing_ok=True)  # a page for servers: its addresses begin at their root
        _put_in_place(output, project.output)
    return project.output / "index.html"


def _put_in_place(new: Path, place: Path) -> None:
    """Let a whole folder take the place of another in two renames."""
    if place.exists():
        shutil.move(place, new.with_name("old"))
    shutil.move(new, place)


def _config_file(folder: Path) -> str:
    """MkDocs insists on a configuration file; ours is empty, the settings are given by name."""
    file = folder / "mkdocs.yml"
    file.write_text("site_name: book\n", encoding="utf-8")
    return str(file)
