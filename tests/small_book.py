"""A small book for the tests of the builder, and a program that stands in for Quarto."""

import stat
import sys

from semanticbm.builder.project import read_project

SETTINGS = """
project: {type: book}
book:
  title: Small book
  chapters: [index.qmd, book/01-one.qmd, book/references.qmd]
  appendices: [book/a1-more.qmd]
bibliography: book/references.bib
"""
BIBLIOGRAPHY = """
@article{robertson2009bm25, title={The Probabilistic Relevance Framework}, year={2009},
  author={Robertson, Stephen and Zaragoza, Hugo}, journal={Foundations and Trends in Information Retrieval}}
"""
NO_CODE = "# Preface {.unnumbered}\n"
INDEX = "# Preface {.unnumbered}\n\nSee [One](book/01-one.qmd) and [more](book/a1-more.qmd#sec-more).\n"
ONE = """# One {#sec-one}

Two plus three is `{python} 2 + 3`. More is in @sec-more.
See @fig-line, @tbl-terms, @eq-sum, @sec-part and
[-@fig-line]. As @robertson2009bm25 say.

## Part {#sec-part}

$$
a + b = c
$$ {#eq-sum}

```{python}
#| label: fig-line
#| fig-cap: "A line, because $y = x$."
#| fig-alt: "A straight line"
import matplotlib.pyplot as plt
plt.plot([0, 1]);
```

| term | idf |
|------|----:|
| bank | 1.0 |

: Terms {#tbl-terms}

::: {.callout-warning}
## When it misleads
Text.
:::
"""
PAGES = {
    "index.qmd": INDEX,
    "book/01-one.qmd": ONE,
    "book/a1-more.qmd": "# More {#sec-more}\n\nText.\n",
    "book/references.qmd": "# References {.unnumbered}\n\n::: {#refs}\n:::\n",
    "book/references.bib": BIBLIOGRAPHY,
    "_quarto.yml": SETTINGS,
}


def write_book(folder, **changes):
    """Write the small book; `changes` replaces files, with one="..." for book/01-one.qmd."""
    names = {"one": "book/01-one.qmd", "index": "index.qmd", "more": "book/a1-more.qmd", "settings": "_quarto.yml"}
    pages = PAGES | {names[name]: text for name, text in changes.items()}
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return read_project(folder)


def silent(_message):
    pass


def fake_quarto(folder, script):
    program = folder / "quarto"
    program.write_text(f"#!{sys.executable}\nimport sys, pathlib\nif '--version' in sys.argv: sys.exit(0)\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)
