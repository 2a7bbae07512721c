"""A small book with everything that chapters use, in a real browser: readable for all, and nothing from outside.

`make a11y` does the same with every page of the real book.
"""

import pytest
from browser import LOOKS, look_at
from builders import ROOT
from small_book import ONE, silent, write_book

from semanticbm.builder.build import build_preview

EVERYTHING = (
    ONE
    + """
```{python}
#| label: tbl-computed
#| tbl-cap: "Computed."
import sys
from semanticbm.bm25 import tf_factor
from semanticbm.plots.display import source, table
display(source(tf_factor))
print("x" * 400)
print("a warning", file=sys.stderr)
table([{"word": "`[CLS]`", "idf": 1.5, "long": "a long text " * 30}])
```

```{python}
#| code-fold: true
for number in range(60):
    print("line", number)
```

::: {.widget file="book/widgets/softmax-is-bm25.html"}
A widget.
:::

::: {.callout-tip title="What you will be able to do"}
Text with `code` and [a link](../index.qmd).
:::

::: {.callout-important collapse="true"}
More.
:::

A note[^1] and a list:

- `[CLS]`

[^1]: A remark.

```bash
semanticbm check   # a comment
```
"""
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory, browser):
    """The first page and a chapter of a small book; not built where no browser can look."""
    root = tmp_path_factory.mktemp("book")
    project = write_book(root, one=EVERYTHING)
    for name in ("book/theme", "book/widgets"):
        (root / name).symlink_to(ROOT / name)
    build_preview(project, silent)
    return [project.output / "index.html", project.output / "book" / "01-one.html"]


@pytest.mark.timeout(900)
def test_no_grave_violation_and_no_request_to_the_network(pages, browser):
    problems = [problem for page in pages for look in LOOKS for problem in look_at(browser, page, *look).problems]
    assert problems == []


@pytest.mark.timeout(900)
def test_the_look_sees_a_violation_and_a_request(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><html lang="en"><title>x</title><body style="background: #fff"><p style="color: #eee">pale</p>'
        '<img src="https://example.org/a.png"></body></html>'
    )
    problems = "\n".join(look_at(browser, page, "light").problems)
    assert "color-contrast" in problems and "image-alt" in problems and "asks for https://example.org/a.png" in problems
