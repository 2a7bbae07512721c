"""Pages of the built book in a real browser: `python tests/browser.py _book` looks at every one.

Each page is opened from disk in headless Chromium: light and dark, and once on a phone. Two things are looked at: what
axe-core, the usual checker of accessibility, calls serious or critical, and requests that leave the book's folder.

When it misleads: axe-core finds about half of what hinders a reader. It cannot tell whether a text says anything.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

THEMES = ("light", "dark")
DESK, PHONE = 1300, 390  # widths
LOOKS = (("light", DESK), ("dark", DESK), ("light", PHONE))
GRAVE = ("serious", "critical")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass
class Look:
    """What was found on one page in one theme."""

    page: Path
    theme: str
    width: int
    violations: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """One line for each problem."""
        outside = [f"asks for {address}" for address in self.requests]
        return [f"{self.page.name} ({self.theme}, {self.width} px): {text}" for text in self.violations + outside]


def find_chromium() -> str:
    """The browser: the variable CHROMIUM, else one on PATH, else ""."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), "")


def why_not() -> str:
    """What a look at pages lacks on this machine; "" if nothing."""
    if not find_chromium():
        return "there is no Chromium or Chrome on PATH"
    try:
        import axe_playwright_python  # noqa: F401
        import playwright  # noqa: F401
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed: pip install 'semanticbm[browser]'"
    return ""


@contextmanager
def opened_browser() -> Iterator:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"], timeout=180_000)
        yield browser
        browser.close()


def _texts_of(violations: list[dict]) -> list[str]:
    return [
        f"{violation['id']} ({violation['impact']}): {violation['help']}: {' '.join(node['html'].split())[:160]}"
        for violation in violations
        if violation["impact"] in GRAVE
        for node in violation["nodes"][:3]
    ]


def look_at(browser, page: Path, theme: str, width: int = DESK) -> Look:
    """Open one page in one theme and width."""
    from axe_playwright_python.sync_playwright import Axe

    look = Look(page, theme, width)
    context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(120_000)
    tab.on("request", lambda request: look.requests.append(request.url))
    tab.goto(page.resolve().as_uri())
    look.violations = _texts_of(Axe().run(tab).response["violations"])
    inside = page.resolve().as_uri()[: -len(page.name)]
    look.requests = [
        address for address in look.requests if not address.startswith((inside, "file:", "data:", "blob:"))
    ]
    context.close()
    return look


def main(folder: Path) -> int:
    """Look at every page below `folder`; print the problems; 1 if there is one."""
    if reason := why_not():
        print(f"not checked: {reason}")
        return 1
    problems, pages = [], sorted(folder.rglob("*.html"))
    with opened_browser() as browser:
        for page in pages:
            for theme, width in LOOKS:
                problems += look_at(browser, page, theme, width).problems
    print("\n".join(problems))
    print(f"{len(pages)} pages, light, dark and on a phone: {len(problems)} problems")
    return 1 if problems or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
