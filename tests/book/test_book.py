"""The book's builder: small books written here are built, checked and broken on purpose."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from small_book import NO_CODE, ONE, SETTINGS, fake_quarto, silent, write_book

from semanticbm.builder import commands
from semanticbm.builder.build import BuildFailed, build_preview
from semanticbm.builder.check import check_book, static_problems
from semanticbm.builder.project import find_root, read_project
from semanticbm.builder.site import nested_headings
from semanticbm.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The small book, built once."""
    project = write_book(tmp_path_factory.mktemp("book"))
    build_preview(project, silent)
    return project.output


def page(output, name):
    return (output / name).read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------------------------------
# The pages


def test_the_pages_are_where_quarto_puts_them(built):
    for name in ("index.html", "book/01-one.html", "book/a1-more.html", "book/references.html"):
        assert (built / name).is_file()


def test_numbers_and_references_agree(built):
    text = page(built, "book/01-one.html").replace("\N{NO-BREAK SPACE}", " ")
    for target, words in (
        ("fig-line", "Figure 1.1"),
        ("tbl-terms", "Table 1.1"),
        ("eq-sum", "Equation 1.1"),
        ("sec-part", "Section 1.1"),
        ("fig-line", "1.1"),
    ):
        assert re.search(rf'<a href="#{target}"[^>]*>{re.escape(words)}</a>', text), f"{words} is no link to {target}"
    for identifier in ("fig-line", "tbl-terms", "eq-sum", "sec-part"):
        assert text.count(f'id="{identifier}"') == 1
    assert "Figure 1.1:" in text and "Table 1.1:" in text and "(1.1)" in text


def test_references_to_other_pages_are_links(built):
    text = page(built, "book/01-one.html").replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r'<a href="a1-more.html#sec-more"[^>]*>Appendix A</a>', text)
    preface = page(built, "index.html")
    assert (
        '<a href="book/01-one.html">One</a>' in preface and '<a href="book/a1-more.html#sec-more">more</a>' in preface
    )


def test_citations_lead_to_the_page_of_references(built):
    text = page(built, "book/01-one.html")
    assert 'href="references.html#ref-robertson2009bm25"' in text and 'id="refs"' not in text
    references = page(built, "book/references.html")
    assert 'id="ref-robertson2009bm25"' in references and "Probabilistic Relevance Framework" in references


def test_inline_values_and_formulas_are_in_the_text(built):
    text = page(built, "book/01-one.html")
    assert "Two plus three is 5." in text
    assert "<math" in text and "\\alpha" not in text


def test_a_figure_has_its_file_alternative_text_and_caption(built):
    text = page(built, "book/01-one.html")
    source = re.search(r'<img class="figure" src="\.\./([^"]+)" alt="A straight line"', text).group(1)
    assert (built / source).read_bytes().startswith(b"\x89PNG")
    assert "Line2D" not in text, "the text form of the plot is left out"


def test_the_pages_load_nothing_from_the_network(built):
    for file in built.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)"', file.read_text(encoding="utf-8"))
        assert not loaded, f"{file.name} loads {loaded}"


def test_the_search_index_knows_sections_and_works_from_disk(built):
    index = json.loads((built / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {"book/01-one.html", "book/01-one.html#sec-part"} <= {entry["location"] for entry in index["docs"]}
    assert (built / "search" / "search_index.js").is_file()
    assert "iframe-worker.js" in page(built, "index.html")


def test_navigation_lists_chapters_and_appendices(built):
    text = page(built, "index.html")
    assert "1 One" in text and "A More" in text and "Appendices" in text


def test_headings_become_a_tree():
    tree = nested_headings([(1, "a", "A"), (2, "b", "B"), (3, "c", "C"), (2, "d", "D"), (4, "e", "E")])
    assert [node["id"] for node in tree] == ["a"]
    assert [node["id"] for node in tree[0]["children"]] == ["b", "d"]
    assert [node["id"] for node in tree[0]["children"][0]["children"]] == ["c"]


OUTPUTS = """# One {#sec-one}

```{python}
for number in range(60):
    print("line", number)
```

```{python}
#| echo: false
from semanticbm.bm25 import tf_factor
from semanticbm.plots.display import source, table
display(source(tf_factor))
table([{"term": "bank"}])
```

```{python}
#| code-fold: true
#| warning: false
import sys
print("hidden complaint", file=sys.stderr)
print("\\x1b[31mred\\x1b[0m")
print("a < b")
```

```{python}
#| output: false
print("never shown")
```

```python
shown_only = True
```
"""


def test_outputs_are_folded_escaped_and_hidden_as_asked(tmp_path):
    project = write_book(tmp_path, one=OUTPUTS, index=NO_CODE)
    build_preview(project, silent)
    text = page(project.output, "book/01-one.html")
    assert "<summary>Output: 60 lines</summary>" in text
    assert re.search(r'<div class="table-scroll" tabindex="0">\s*<table', text) and "source(" not in re.sub(
        "<[^>]+>", "", text
    )
    assert re.search(r'cell-output source.*<span class="nf">tf_factor</span>', text), (
        "source of the library is highlighted"
    )
    assert "<summary>Code</summary>" in text and "hidden complaint</code>" not in text
    assert "a &lt; b" in text
    assert "red\n" in text and "\x1b" not in text and "[31m" not in re.sub("<[^>]+>", "", text).replace("x1b[31m", "")
    assert not re.search(r"cell-output stdout[^>]*><code>never shown", text)
    assert "shown_only" in text


def test_a_chapter_with_a_notebook_links_to_it_and_to_colab(tmp_path):
    settings = "repository: https://github.com/somebody/somebook\n" + SETTINGS
    write_book(tmp_path, settings=settings, one="# One {#sec-one}\n", index=NO_CODE)
    (tmp_path / "book" / "colab").mkdir()
    (tmp_path / "book" / "colab" / "01-one.ipynb").write_text("{}")
    shutil.copytree(ROOT / "book" / "theme", tmp_path / "book" / "theme")
    project = read_project(tmp_path)
    build_preview(project, silent)
    text = page(project.output, "book/01-one.html")
    assert '<a href="colab/01-one.ipynb" download>' in text and (project.output / "book/colab/01-one.ipynb").is_file()
    assert "https://colab.research.google.com/github/somebody/somebook/blob/main/book/colab/01-one.ipynb" in text
    assert "colab" not in page(project.output, "book/a1-more.html").partition("<article")[2]


# --------------------------------------------------------------------------------------------------------------------
# The cache


HELPER = "# One {#sec-one}\n\n```{python}\nimport helper\nprint(helper.VALUE, open('data.txt').read())\n```\n"


def reports(project):
    lines = []
    build_preview(project, lines.append)
    return next(line for line in lines if "01-one" in line)


def test_a_chapter_runs_again_only_when_what_it_depends_on_changed(tmp_path):
    (tmp_path / "helper.py").write_text("VALUE = 'first'\n")
    (tmp_path / "data.txt").write_text("old data")
    project = write_book(tmp_path, one=HELPER, index=NO_CODE)
    assert "ran in" in reports(project)
    assert "first old data" in page(project.output, "book/01-one.html")
    assert "from the cache" in reports(project)

    project = write_book(tmp_path, one=HELPER + "\nMore prose.\n", index=NO_CODE)
    assert "from the cache" in reports(project), "prose is no reason to run code"
    assert "More prose." in page(project.output, "book/01-one.html")

    (tmp_path / "helper.py").write_text("VALUE = 'second'\n")
    assert "ran in" in reports(project), "a changed module is"
    assert "second old data" in page(project.output, "book/01-one.html")

    (tmp_path / "data.txt").write_text("new data")
    assert "ran in" in reports(project), "a changed data file is"
    assert "second new data" in page(project.output, "book/01-one.html")

    project = write_book(tmp_path, one=HELPER.replace("VALUE,", "VALUE, 1 + 1,"), index=NO_CODE)
    assert "ran in" in reports(project), "changed code is"


def test_a_chapter_runs_again_when_a_file_appears_that_it_missed(tmp_path):
    cell = "try:\n    text = open('later.txt').read()\nexcept FileNotFoundError:\n    text = 'nothing yet'\nprint(text)"
    project = write_book(tmp_path, one=f"# One {{#sec-one}}\n\n```{{python}}\n{cell}\n```\n", index=NO_CODE)
    assert "ran in" in reports(project) and "nothing yet" in page(project.output, "book/01-one.html")
    assert "from the cache" in reports(project)
    (tmp_path / "later.txt").write_text("it is here")
    assert "ran in" in reports(project) and "it is here" in page(project.output, "book/01-one.html")


def test_a_chapter_of_the_library_runs_again_when_a_stored_result_appears(tmp_path):
    """It may only have asked whether the file is there: nothing was opened that could be noted."""
    (tmp_path / "semanticbm").mkdir()
    (tmp_path / "semanticbm" / "__init__.py").write_text("")
    (tmp_path / "semanticbm" / "asks.py").write_text(
        "from pathlib import Path\n\nFOUND = Path('book/results/new.json').is_file()\n"
    )
    lines = [
        "import sys",
        "sys.path.insert(0, '.')",
        "sys.modules.pop('semanticbm', None)",
        "from semanticbm import asks",
        "print(asks.FOUND)",
    ]
    cell = "\n".join(lines)
    project = write_book(tmp_path, one=f"# One {{#sec-one}}\n\n```{{python}}\n{cell}\n```\n", index=NO_CODE)
    assert "ran in" in reports(project) and "False" in page(project.output, "book/01-one.html")
    assert "from the cache" in reports(project)
    (tmp_path / "book" / "results").mkdir(parents=True, exist_ok=True)
    (tmp_path / "book" / "results" / "new.json").write_text("{}")
    assert "ran in" in reports(project) and "True" in page(project.output, "book/01-one.html")


# --------------------------------------------------------------------------------------------------------------------
# The check


CELL = "\n```{python}\n#| label: fig-a\n#| fig-cap: x\n#| fig-alt: y\n1\n```\n"
BROKEN = {
    "unknown reference": ({"one": ONE + "\n@fig-none\n"}, "book/01-one.qmd:32: unresolved reference @fig-none"),
    "unknown citation": ({"one": ONE + "\n[@nobody2020]\n"}, "unresolved citation @nobody2020"),
    "mixed bracket": ({"one": ONE + "\n[@robertson2009bm25; @fig-line]\n"}, "mixes references and citations"),
    "duplicate label in two chapters": (
        {"more": "# More {#sec-more}\n\n## Again {#sec-part}\n"},
        "duplicate label sec-part: it also stands in book/01-one.qmd",
    ),
    "duplicate label in one chapter": ({"one": ONE + CELL + CELL}, "duplicate label fig-a"),
    "duplicate equation": ({"one": ONE + "\n$$ x $$ {#eq-sum}\n"}, "duplicate label eq-sum"),
    "missing chapter": (
        {"settings": SETTINGS.replace("index.qmd,", "index.qmd, book/09-gone.qmd,")},
        "book/09-gone.qmd: listed in _quarto.yml, but there is no such file",
    ),
    "unlisted chapter": ({"settings": SETTINGS.replace("book/a1-more.qmd", "")}, "book/a1-more.qmd: not listed"),
    "unknown cell option": ({"one": ONE + "\n```{python}\n#| fig-width: 3\n1\n```\n"}, "option 'fig-width' is outside"),
    "option that is no YAML": ({"one": ONE + "\n```{python}\n#| label: a: b\n1\n```\n"}, "options are not YAML"),
    "figure without alternative text": ({"one": ONE + CELL.replace("#| fig-alt: y\n", "")}, "fig-a has no fig-alt"),
    "figure without caption": ({"one": ONE + CELL.replace("#| fig-cap: x\n", "")}, "fig-a has no fig-cap"),
    "caption without label": ({"one": ONE + CELL.replace("#| label: fig-a\n", "")}, "label that begins with fig-"),
    "other language": ({"one": ONE + "\n```{r}\n1\n```\n"}, "a cell in r: only python"),
    "inline value of another language": ({"one": ONE + "\n`{r} 1`\n"}, "inline value"),
    "inline value without a space": ({"one": ONE + "\n`{python}1`\n"}, "inline value"),
    "tabset": ({"one": ONE + "\n::: {.panel-tabset}\ntext\n:::\n"}, "block ::: {.panel-tabset} is outside"),
    "unknown callout": ({"one": ONE + "\n::: {.callout-danger}\ntext\n:::\n"}, "is outside the subset"),
    "shortcode": ({"one": ONE + "\n{{< video film.mp4 >}}\n"}, "shortcodes"),
    "picture file": ({"one": ONE + "\n![A cat](cat.png)\n"}, "a picture file is outside the subset"),
    "raw LaTeX": ({"one": ONE + "\n```{=latex}\n\\newpage\n```\n"}, "raw latex is outside the subset"),
    "script from the network": ({"one": ONE + '\n<script src="https://a.org/x.js"></script>\n'}, "must read offline"),
    "front matter": ({"one": "---\nformat: pdf\n---\n" + ONE}, "front matter 'format' is outside the subset"),
    "reference in an unnumbered chapter": (
        {"index": "# Preface {.unnumbered}\n\nSee @sec-one.\n"},
        "index.qmd:3: @sec-one stands in an unnumbered chapter",
    ),
    "reference before a full stop": (
        {"one": ONE + "\nSee\n@sec-part. Then more.\n"},
        "book/01-one.qmd:33: the line begins",
    ),
    "widget without a file": ({"one": ONE + '\n::: {.widget file="w.html"}\nx\n:::\n'}, "there is no page w.html"),
    "two titles": ({"one": ONE + "\n# Another\n"}, "exactly one heading of level 1"),
    "broken link to a file": ({"one": ONE + "\n[x](nowhere.py)\n"}, "broken link: there is no file book/nowhere.py"),
    "broken link to a place": ({"one": ONE + "\n[x](a1-more.qmd#nowhere)\n"}, "a1-more.qmd has no place 'nowhere'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_check_refuses(name, tmp_path):
    changes, message = BROKEN[name]
    problems, _ = static_problems(write_book(tmp_path, **changes))
    assert any(message in problem for problem in problems), problems
    assert not (tmp_path / ".cache").exists(), "nothing was run for a problem that can be seen without running"


def test_the_check_accepts_the_small_book(tmp_path):
    assert static_problems(write_book(tmp_path))[0] == []


def test_code_that_is_only_shown_is_not_judged(tmp_path):
    shown = "\n```markdown\n::: {.panel-tabset}\n{{< video x >}}\n:::\n```\n"
    assert static_problems(write_book(tmp_path, one=ONE + shown))[0] == []


def test_the_check_runs_cells_and_names_the_one_that_fails(tmp_path):
    project = write_book(tmp_path, one=ONE + "\n```{python}\n#| label: boom\n1 / 0\n```\n")
    assert check_book(project, silent) == ["book/01-one.qmd, line 32 (cell boom): ZeroDivisionError: division by zero"]


def test_a_failing_inline_value_is_named(tmp_path):
    project = write_book(tmp_path, one="# One {#sec-one}\n\n`{python} unknown_name`\n", index=NO_CODE)
    problems = check_book(project, silent)
    assert len(problems) == 1 and "inline value `unknown_name`: NameError" in problems[0]


def test_a_failed_build_leaves_the_old_book(tmp_path):
    project = write_book(tmp_path, one="# One {#sec-one}\n", index=NO_CODE)
    project.output.mkdir()
    (project.output / "index.html").write_text("old")
    project = write_book(tmp_path, one="# One {#sec-one}\n\n```{python}\n1 / 0\n```\n", index=NO_CODE)
    with pytest.raises(BuildFailed, match="book/01-one.qmd, line 3: ZeroDivisionError"):
        build_preview(project, silent)
    assert (project.output / "index.html").read_text() == "old"


def test_a_damaged_settings_file_is_one_clear_line(tmp_path):
    (tmp_path / "_quarto.yml").write_text("book: [")
    with pytest.raises(UserError, match="cannot be read as a Quarto book"):
        read_project(tmp_path)


# --------------------------------------------------------------------------------------------------------------------
# Which builder runs


@pytest.fixture
def empty_book(tmp_path, monkeypatch):
    """A book without code, as the current folder; no Quarto is found, and no pip is called."""
    project = write_book(tmp_path, one="# One {#sec-one}\n", index=NO_CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "find_quarto", lambda: None)
    return project


def test_quarto_is_used_where_it_works(empty_book, monkeypatch, capsys):
    quarto = fake_quarto(
        empty_book.root, "book = pathlib.Path('_book')\nbook.mkdir()\n(book / 'index.html').write_text('by quarto')"
    )
    monkeypatch.setattr(commands, "find_quarto", lambda: quarto)
    assert commands.book_command() == 0
    assert (empty_book.output / "index.html").read_text() == "by quarto"
    assert f"built with Quarto: {empty_book.output / 'index.html'}" in capsys.readouterr().out


def test_a_quarto_that_fails_shows_why_and_the_preview_takes_over(empty_book, monkeypatch, capsys):
    quarto = fake_quarto(empty_book.root, "print('ERROR: no such kernel')\nsys.exit(1)")
    monkeypatch.setattr(commands, "find_quarto", lambda: quarto)
    assert commands.book_command() == 0
    said = capsys.readouterr().out
    assert "ERROR: no such kernel" in said and "built with the preview" in said
    assert "One" in page(empty_book.output, "book/01-one.html")


def test_a_blocked_download_of_quarto_is_said_plainly_and_not_tried_twice(empty_book, monkeypatch, capsys):
    calls = []

    def pip(command, **_options):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", "Traceback ...\nValueError: nothing to open\n")

    monkeypatch.setattr(commands.subprocess, "run", pip)
    assert commands.install_quarto(empty_book) is None
    assert "downloaded from GitHub, and that download is not possible here" in capsys.readouterr().out
    assert commands.install_quarto(empty_book) is None
    assert len(calls) == 1 and calls[0][-1] == "quarto-cli==1.10.19"
    assert "not trying again" in capsys.readouterr().out
    stamp = empty_book.cache / "quarto-failed"
    os.utime(stamp, (0, 0))
    assert commands.install_quarto(empty_book) is None
    assert len(calls) == 2, "after a day it tries again"


def test_preview_flag_asks_for_no_quarto(empty_book, monkeypatch):
    monkeypatch.setattr(commands, "install_quarto", lambda _project: pytest.fail("pip was called"))
    assert commands.book_command(preview=True) == 0


def test_check_flag_reports_problems_with_exit_code_1_and_builds_nothing(empty_book, capsys):
    assert commands.book_command(check=True) == 0
    (empty_book.root / "book" / "new.qmd").write_text("# New\n")
    assert commands.book_command(check=True) == 1
    assert "book/new.qmd: not listed in _quarto.yml" in capsys.readouterr().err
    assert not empty_book.output.exists()


# --------------------------------------------------------------------------------------------------------------------
# Where torch comes from


@pytest.fixture
def setup_script(monkeypatch):
    """scripts/setup_environment.py on a Linux machine without GPU, without local files, without a network."""
    path = ROOT / "scripts" / "setup_environment.py"
    specification = importlib.util.spec_from_file_location("setup_environment", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(module, "torch_among_local_files", lambda: "")
    monkeypatch.setattr(module, "index_in_reach", lambda _url: False)
    return module


def test_without_any_cpu_build_in_reach_plain_pip_is_used_and_said(setup_script, capsys):
    assert setup_script.torch_options() == []
    assert "out of reach" in capsys.readouterr().out


def test_the_cpu_index_is_used_where_there_is_no_gpu(setup_script, monkeypatch, capsys):
    monkeypatch.setattr(setup_script, "index_in_reach", lambda url: url == "https://download.pytorch.org/whl/cpu")
    assert setup_script.torch_options() == ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
    assert "CPU build" in capsys.readouterr().out


def test_a_local_cpu_build_comes_before_the_index(setup_script, monkeypatch):
    monkeypatch.setattr(setup_script, "torch_among_local_files", lambda: "2.13.0+cpu")
    monkeypatch.setattr(setup_script, "index_in_reach", lambda _url: pytest.fail("the network was asked"))
    assert setup_script.torch_options() == []


def test_with_a_gpu_the_plain_build_is_taken(setup_script, monkeypatch):
    monkeypatch.setattr(setup_script, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(setup_script, "index_in_reach", lambda _url: pytest.fail("the network was asked"))
    assert setup_script.torch_options() == []


def test_torch_is_pinned_and_quarto_is_no_dependency(setup_script):
    assert setup_script.torch_requirement() == "torch==2.13.0"
    assert "quarto" not in (ROOT / "constraints.txt").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = [extras[name] for name in setup_script.EXTRAS.split(",")]
    assert extras["quarto"][0].startswith("quarto-cli") and "quarto" not in str(installed)


# --------------------------------------------------------------------------------------------------------------------
# The real book


def test_the_real_book_has_no_static_problem():
    problems, cells = static_problems(read_project(find_root(ROOT)))
    assert problems == []
    assert sum(len(chapter) for chapter in cells.values()) > 20


def test_the_real_settings_are_a_quarto_book():
    import yaml

    settings = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    assert settings["project"]["type"] == "book" and settings["book"]["chapters"][0] == "index.qmd"
    assert settings["format"]["html"]["html-math-method"] == "mathml"
    assert settings["jupyter"] == "python3" and settings["project"]["execute-dir"] == "project"
    for path in [settings["bibliography"], settings["format"]["html"]["css"], *settings["format"]["html"]["filters"]]:
        assert (ROOT / path).is_file(), path
