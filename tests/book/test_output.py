"""What is built: nothing from outside, one build at a time, this Python, a server, an EPUB and a PDF."""

import re
import sys
import threading
import urllib.request
import zipfile

import pytest
from builders import ROOT
from filelock import FileLock
from lxml import etree
from small_book import NO_CODE, ONE, SETTINGS, fake_quarto, silent, write_book

from semanticbm.builder import commands, kernel, pandoc
from semanticbm.builder.build import BuildFailed, build_preview
from semanticbm.builder.check import check_book
from semanticbm.builder.offline import output_problems
from semanticbm.builder.paper import PLACE, column_widths, write_files
from semanticbm.builder.serve import server_of
from semanticbm.commands.cli import main
from semanticbm.errors import UserError

# --------------------------------------------------------------------------------------------------------------------
# Nothing from outside

OUTSIDE = {
    "a script": '<script src="https://cdn.org/require.min.js"></script>',
    "a script by any protocol": '<script src="//cdn.org/jquery.js"></script>',
    "a style sheet": '<link rel="stylesheet" href="http://cdn.org/a.css">',
    "an icon": '<link rel="shortcut icon" href="https://cdn.org/a.ico">',
    "a hint": '<link rel=preconnect href="https://fonts.gstatic.com">',
    "a picture": '<img src="https://cdn.org/a.png" alt="">',
    "a picture in a set": '<img src="a.png" srcset="a.png 1x, https://cdn.org/a.png 2x" alt="">',
    "a frame": '<iframe src="https://video.org/1"></iframe>',
    "an object": '<object data="https://cdn.org/a.svg"></object>',
    "a film": '<video poster="https://cdn.org/a.png"></video>',
    "a font": "<style>@import url('https://fonts.googleapis.com/css2?family=Source+Sans+Pro');</style>",
    "a background": '<p style="background: url(https://cdn.org/a.png)">x</p>',
    "a module": '<script type="module">import { a } from "https://cdn.org/a.mjs";</script>',
    "a style sheet that imports": '<link rel="stylesheet" href="far.css">',
    "a file that is not there": '<script src="gone.js"></script>',
    "a file above the book": '<script src="../secret.js"></script>',
    "an address from the root": '<script src="/a.js"></script>',
}
INSIDE = """<a href="https://example.org">a link that a reader follows</a> <link rel="canonical" href="https://example.org/">
<img src="a.png#x" alt=""><img src="data:image/png;base64,AAAA" alt=""><script>const page = "https://example.org";</script>
<style>/* url(https://old.org) */ p { background: url("data:,") }</style><script src="sub/a.js?v=2"></script>"""


def page_with(folder, body):
    (folder / "sub").mkdir()
    for name, text in (("a.png", ""), ("sub/a.js", ""), ("far.css", "@import 'https://fonts.org/a.css';")):
        (folder / name).write_text(text)
    (folder.parent / "secret.js").write_text("")
    (folder / "index.html").write_text(f"<!doctype html><html><body>{body}</body></html>")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "book").mkdir()
    return tmp_path / "book"


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_loaded_from_elsewhere_is_found(name, folder):
    page_with(folder, OUTSIDE[name])
    problems = [problem for problem in output_problems(folder) if "far.css: " not in problem or "imports" in name]
    assert len(problems) == 1 and "loads" in problems[0]


def test_links_and_files_of_the_book_are_no_problem(folder):
    page_with(folder, INSIDE)
    (folder / "far.css").unlink()
    assert output_problems(folder) == []


def test_the_command_checks_a_folder(folder, capsys):
    page_with(folder, OUTSIDE["a script"])
    (folder / "far.css").unlink()
    assert commands.book_command(check=True, built=folder) == 1
    assert "index.html: loads https://cdn.org/require.min.js from the network." in capsys.readouterr().err
    page_with_nothing = folder / "sub"
    with pytest.raises(UserError, match="no built book"):
        commands.book_command(check=True, built=page_with_nothing)
    with pytest.raises(SystemExit) as stop:
        main(["book", str(folder)])
    assert stop.value.code == 2 and "--check" in capsys.readouterr().err


@pytest.mark.parametrize(
    "code",
    ["import pandas as pd\npd.DataFrame({'a': [1]})", "from IPython.display import Javascript\nJavascript('1 + 1')"],
)
def test_a_cell_that_shows_html_or_a_script_is_refused(tmp_path, code):
    frame = f"# One {{#sec-one}}\n\n```{{python}}\n{code}\n```\n"
    [problem] = check_book(write_book(tmp_path, one=frame, index=NO_CODE), silent)
    assert problem.startswith("book/01-one.qmd, line 3: shows HTML") and "display.table" in problem


def test_the_themes_of_quarto_load_no_font():
    scss = (ROOT / "book/theme/offline.scss").read_text(encoding="utf-8")
    assert "/*-- scss:defaults --*/" in scss and "$web-font-path: false;" in scss
    settings = (ROOT / "_quarto.yml").read_text(encoding="utf-8")
    assert len(re.findall(r"(?:light|dark): \[.*book/theme/offline\.scss\]", settings)) == 2


def test_git_ignores_what_quarto_leaves():
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/.quarto/", "/_*.local", "**/*.quarto_ipynb", "*_files/", "_book/"} <= set(lines)


# --------------------------------------------------------------------------------------------------------------------
# Which Python, and one build at a time


def test_chapters_run_in_this_python_whatever_jupyter_finds(tmp_path, monkeypatch):
    """A kernel of the same name that comes first in Jupyter's path is not started."""
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["/bin/false", "{connection_file}"], "display_name": "other", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    one = "# One {#sec-one}\n\n```{python}\nimport sys\nprint(sys.executable)\n```\n"
    project = write_book(tmp_path, one=one, index=NO_CODE)
    build_preview(project, silent)
    assert sys.executable in (project.output / "book/01-one.html").read_text(encoding="utf-8")


def test_quarto_finds_this_python_first(tmp_path, monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    project = write_book(tmp_path, one="# One {#sec-one}\n", index=NO_CODE)
    monkeypatch.setenv("JUPYTER_PATH", "/elsewhere")
    variables = commands.quarto_environment(project)
    assert variables["JUPYTER_PATH"].endswith(":/elsewhere") and variables["QUARTO_PYTHON"] == sys.executable
    monkeypatch.setenv("JUPYTER_PATH", variables["JUPYTER_PATH"])
    assert KernelSpecManager().get_kernel_spec("python3").argv == kernel.COMMAND


def test_output_of_quarto_is_shown_without_colours(tmp_path, capsys):
    project = write_book(tmp_path, one="# One {#sec-one}\n", index=NO_CODE)
    quarto = fake_quarto(tmp_path, "print('\\x1b[1m[ 1/17] index.qmd\\x1b[22m')\nsys.exit(1)")
    assert not commands.render_with_quarto(project, quarto)
    said = capsys.readouterr().out
    assert "[ 1/17] index.qmd" in said and "\x1b" not in said


def test_a_second_build_waits_and_says_so(tmp_path, monkeypatch, capsys):
    project = write_book(tmp_path, one="# One {#sec-one}\n", index=NO_CODE)
    monkeypatch.chdir(tmp_path)
    project.cache.mkdir(parents=True)
    lock = FileLock(project.cache / "build.lock", thread_local=False)
    lock.acquire()
    codes = []
    second = threading.Thread(target=lambda: codes.append(commands.book_command(preview=True)))
    second.start()
    second.join(timeout=3)
    assert second.is_alive() and not codes and not project.output.exists()
    lock.release()
    second.join(timeout=300)
    assert codes == [0] and (project.output / "index.html").is_file()
    assert "another build of this book is running" in capsys.readouterr().out


def test_a_build_leaves_nothing_in_the_cache_but_what_is_used_again(tmp_path):
    project = write_book(tmp_path, one="# One {#sec-one}\n", index=NO_CODE)
    build_preview(project, silent)
    build_preview(project, silent)
    assert not list(project.cache.glob("site-*")) and (project.output / "index.html").is_file()


# --------------------------------------------------------------------------------------------------------------------
# The server


def test_the_book_is_served_on_this_machine_alone(folder):
    (folder / "index.html").write_text("the first page")
    with server_of(folder) as server:
        host, port = server.server_address[:2]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = urllib.request.urlopen(f"http://{host}:{port}/").read()
        server.shutdown()
    assert host == "127.0.0.1" and port and text == b"the first page"


def test_without_a_book_nothing_is_served(folder):
    with pytest.raises(UserError, match="run semanticbm book first"):
        server_of(folder)


# --------------------------------------------------------------------------------------------------------------------
# EPUB and PDF

PAPER = (
    ONE
    + """
```{python}
#| label: tbl-computed
#| tbl-cap: "Computed, with $x$."
from semanticbm.plots.display import table
print("first <b>")
table([{"word": "a|b", "idf": 1.5}])
```

Look at @tbl-computed, [the preface](../index.qmd) and [a file](../exercises/ex1.py)[^1].

[^1]: A remark.

<p>Words in tags<br></p>

::: {.widget file="book/widgets/softmax-is-bm25.html"}
It stands still.
:::
"""
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The small book as EPUB and PDF, beside pages that hold the place for links."""
    root = tmp_path_factory.mktemp("paper")
    project = write_book(root, one=PAPER, settings=SETTINGS.replace("Small book", 'Small "book"'))
    for name in ("book/theme", "book/widgets"):
        (root / name).symlink_to(ROOT / name)
    project.output.mkdir()
    (project.output / "index.html").write_text(
        '<p>Hello</p><div class="notebook-links" id="take-along"></div><p>End</p>'
    )
    return write_files(project, ["epub", "pdf"], silent)


def epub_pages(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.endswith(("html", ".ncx", ".opf"))}


def test_every_page_of_the_epub_is_well_formed(files):
    pages = epub_pages(files[0])
    assert len(pages) > 6
    for name, text in pages.items():
        assert etree.fromstring(text) is not None, name


def test_the_epub_says_what_the_pages_say(files):
    text = b"".join(epub_pages(files[0]).values()).decode().replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "Two plus three is 5.",
        "Figure 1.1",
        "Table 1.2",
        "first &lt;b&gt;",
        "a|b",
        "It stands still.",
        "<math",
    ):
        assert words in text, words
    assert "Words in tags" in text and "Words in tags<br>" not in text, "raw HTML loses its tags, not its words"
    assert "<script" not in text and "<input" not in text
    with zipfile.ZipFile(files[0]) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 2, "a figure and the still widget"


def test_links_inside_the_epub_lead_somewhere(files):
    pages = {name.rpartition("/")[2]: text.decode() for name, text in epub_pages(files[0]).items()}
    for name, text in pages.items():
        for target in re.findall(r'<a [^>]*href="([^":]+)"', text):
            page, _, mark = target.rpartition("/")[2].partition("#")
            assert not mark or f'id="{mark}"' in pages[page or name], f"{name}: {target}"


def test_the_pdf_is_one_file_with_pages(files):
    data = files[1].read_bytes()
    assert data.startswith(b"%PDF-") and int(re.search(rb"/Type\s*/Pages\s*/Count (\d+)", data)[1]) > 4


def test_files_are_linked_on_the_first_page(files):
    text = (files[0].parent / "index.html").read_text(encoding="utf-8")
    assert 'href="semanticbm.epub"' in text and 'href="semanticbm.pdf"' in text and text.endswith("<p>End</p>")


def test_a_new_build_of_the_pages_keeps_the_files_and_their_links(tmp_path, capsys):
    project = write_book(
        tmp_path, one="# One {#sec-one}\n\nNo code.\n", index=f"{NO_CODE}\n```{{=html}}\n{PLACE}</div>\n```\n"
    )
    assert commands.build_pages(project, preview=True) == 0
    for name in ("semanticbm.epub", "semanticbm.pdf"):
        (project.output / name).write_bytes(name.encode())
    assert commands.build_pages(project, preview=True) == 0
    page = (project.output / "index.html").read_text(encoding="utf-8")
    for name in ("semanticbm.epub", "semanticbm.pdf"):
        assert (project.output / name).read_bytes() == name.encode() and f'href="{name}"' in page
    assert "kept semanticbm.pdf as it was" in capsys.readouterr().out


def test_what_scrolls_sideways_is_reached_by_keys(tmp_path):
    one = "# One {#sec-one}\n\n$$x = 1$$\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    project = write_book(tmp_path, one=one, index=NO_CODE)
    build_preview(project, silent)
    page = (project.output / "book" / "01-one.html").read_text(encoding="utf-8")
    assert '<math display="block" tabindex="0"' in page
    assert re.search(r'<div class="table-scroll" tabindex="0">\s*<table class="framed">', page)


def test_a_failing_cell_makes_no_file(tmp_path):
    project = write_book(tmp_path, one="# One {#sec-one}\n\n```{python}\n1 / 0\n```\n", index=NO_CODE)
    with pytest.raises(BuildFailed, match="ZeroDivisionError"):
        write_files(project, ["epub"], silent)
    assert not project.output.exists()


def table_of(*rows: tuple[str, ...]) -> list:
    """Pandoc's table with these rows, the first of them its head."""
    source = "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], ("---",) * len(rows[0]), *rows[1:]))
    return next(element for element in pandoc.parse(source)["blocks"] if element["t"] == "Table")["c"]


def test_a_wide_column_of_a_table_on_paper_gets_the_room_that_others_do_not_need():
    small = column_widths(table_of(("head", "score"), ("5.1", "0.3")))
    assert small == [{"t": "ColWidthDefault"}] * 2
    story, passage, number = (
        width["c"] for width in column_widths(table_of(("a", "b", "n"), ("word", "word " * 80, "12")))
    )
    assert passage > 4 * story > 0 and passage > 4 * number > 0 and story + passage + number == pytest.approx(1)
    claim, note = (width["c"] for width in column_widths(table_of(("a", "b"), ("x" * 40, "word " * 50))))
    assert claim > 0.35, "a word that cannot be broken keeps its room"
