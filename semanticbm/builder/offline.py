"""What the pages of a built book load, whichever builder made it: everything must lie in the book's own folder.

A reader opens the book from disk, in a train or behind a school's firewall. A font or script from the network then
leaves a page half drawn, and it tells a stranger who reads what. So every address that a page loads by itself (not the
links that a reader follows) is resolved: it must be a file inside the folder.

When it misleads: scripts can build addresses while they run. The browser test watches the requests themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lxml import etree
from lxml import html as lxml_html

from semanticbm.errors import UserError

LOADED = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "embed": ("src",),
    "track": ("src",),
    "audio": ("src",),
    "video": ("src", "poster"),
    "input": ("src",),
    "object": ("data",),
    "image": ("href", "{http://www.w3.org/1999/xlink}href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
LOADING_LINKS = {
    "stylesheet",
    "icon",
    "apple-touch-icon",
    "preload",
    "prefetch",
    "modulepreload",
    "manifest",
    "preconnect",
    "dns-prefetch",
}
_IN_STYLE = re.compile(r"""@import\s+(?:url\(\s*)?["']?([^"')\s;]+)|url\(\s*["']?([^"')]+?)["']?\s*\)""")
_IN_SCRIPT = re.compile(r"""(?:^|[;\s])import\s*(?:[\w{}*,\s]+from\s*)?["'](https?://[^"']+)""")
_INLINE = ("data:", "#", "about:", "blob:", "javascript:")


def _addresses_in_style(text: str) -> Iterator[str]:
    for match in _IN_STYLE.finditer(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)):
        yield match.group(1) or match.group(2)


def _split_srcset(value: str) -> list[str]:
    return [part.split()[0] for part in value.split(", ") if part.split()]


def loaded_by(page: lxml_html.HtmlElement) -> Iterator[str]:
    """The addresses that a page loads by itself."""
    for element in page.iter(etree.Element):
        for name in LOADED.get(element.tag, ()):
            value = element.get(name)
            if value:
                yield from _split_srcset(value) if name == "srcset" else [value]
        if element.tag == "link" and LOADING_LINKS & set((element.get("rel") or "").lower().split()):
            yield element.get("href") or ""
        if element.tag == "style":
            yield from _addresses_in_style(element.text_content())
        if element.tag == "script":
            yield from _IN_SCRIPT.findall(element.text_content())
        yield from _addresses_in_style(element.get("style") or "")


def problem_of(address: str, file: Path, folder: Path) -> str:
    """Why `file` must not load `address`; "" if it is a file inside `folder`."""
    address = address.strip()
    if not address or address.lower().startswith(_INLINE):
        return ""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return f"loads {address} from the network"
    if address.startswith("/"):
        return f"loads {address}, which is not relative: it is not found when the page is opened from disk"
    target = (file.parent / unquote(parts.path)).resolve()
    if not target.is_relative_to(folder.resolve()):
        return f"loads {address}, which lies outside the book"
    return "" if target.exists() else f"loads {address}, which is not there"


def _addresses_of(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".css":
        yield from _addresses_in_style(text)
    elif text.strip():
        yield from loaded_by(
            lxml_html.document_fromstring(text.encode("utf-8"), lxml_html.HTMLParser(encoding="utf-8"))
        )


def output_problems(folder: Path) -> list[str]:
    """One line for each address that a page or style sheet below `folder` loads and that is no file there.

    folder: a built book. Raises `UserError` if it has no index.html.
    """
    if not (folder / "index.html").is_file():
        raise UserError(f"{folder} is no built book: it has no index.html. Build one with semanticbm book.")
    problems = []
    for file in sorted([*folder.rglob("*.html"), *folder.rglob("*.css")]):
        found = (problem_of(address, file, folder) for address in _addresses_of(file))
        problems += [f"{file.relative_to(folder)}: {problem}." for problem in found if problem]
    return list(dict.fromkeys(problems))
