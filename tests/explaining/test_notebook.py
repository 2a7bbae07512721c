"""The text field in a notebook: type, press, see; limits and errors as a line; what is typed cannot reach the notebook."""

import sys
from pathlib import Path

import pytest
from explaining.payload import payload

from semanticbm.errors import UserError
from semanticbm.explaining import notebook
from semanticbm.explaining.notebook import AT_WORK, form, frame
from semanticbm.ladder import LADDER

BAD = '</iframe><script>document.title="broken"</script><img src=x onerror=alert(1)>"'


@pytest.fixture
def typed(monkeypatch):
    """A form whose model answers at once, as {name: widget}; `asked` holds the questions that reached the model."""
    pytest.importorskip("ipywidgets", reason="the text field needs the extra serve")
    asked = []

    def answer(model, query, document):
        asked.append((model, query, document, parts["said"].value, parts["button"].disabled))
        if query == "bad":
            raise UserError(f"the query is bad: {BAD}")
        return payload(query, document) | {"model": model}

    monkeypatch.setattr(notebook, "answers", lambda explain, device: answer)
    names = ("query", "document", "model", "button", "said", "shown")
    parts = dict(zip(names, form().children, strict=True))
    parts["query"].value, parts["document"].value = "deep river", "a river bank runs"
    return parts | {"asked": asked}


def test_press_and_see(typed):
    typed["button"].click()
    assert typed["asked"] == [("classroom", "deep river", "a river bank runs", f'<p role="status">{AT_WORK}</p>', True)]
    assert typed["shown"].value == frame([payload() | {"model": "classroom"}])
    assert typed["said"].value == "" and not typed["button"].disabled


def test_the_model_can_be_changed(typed):
    assert set(typed["model"].options) == set(LADDER) and typed["model"].value == "classroom"
    typed["model"].value = "compiled"
    typed["button"].click()
    assert typed["asked"][0][0] == "compiled"


@pytest.mark.parametrize(
    ("field", "text", "part"),
    [
        ("query", "bad", "the query is bad: &lt;/iframe&gt;&lt;script&gt;"),
        ("query", "x" * 1001, "1000 is the most"),
        ("document", "x" * 10_001, "10000 is the most"),
    ],
)
def test_an_error_is_a_line_and_the_button_can_be_pressed_again(typed, field, text, part):
    typed[field].value = text
    typed["button"].click()
    assert part in typed["said"].value and "<script" not in typed["said"].value
    assert typed["shown"].value == "" and not typed["button"].disabled
    typed[field].value = "river bank runs here"
    typed["button"].click()
    assert typed["said"].value == "" and "<iframe" in typed["shown"].value


def test_the_served_page_says_the_same_while_the_model_is_at_work():
    assert AT_WORK in Path(notebook.__file__).with_name("form.html").read_text(encoding="utf-8")


def test_without_ipywidgets_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(UserError, match=r"pip install \"semanticbm\[serve\]\""):
        form()


def test_a_real_model_answers(tiny, monkeypatch):
    pytest.importorskip("ipywidgets", reason="the text field needs the extra serve")
    monkeypatch.setattr("semanticbm.explaining.serve.load", lambda name, device: tiny)
    query, document, _, button, said, shown = form("compiled", "cpu").children
    button.click()
    assert "the query is empty" in said.value
    query.value, document.value = "river bank", "The bank of the river."
    button.click()
    assert said.value == "" and "The bank of the river." in shown.value


@pytest.mark.timeout(600)
def test_in_a_browser_the_frame_works_and_its_text_stays_in_it(browser, tmp_path):
    pair = payload(query=f"deep {BAD}", document=f"a river bank {BAD}")
    pair["terms"][1]["term"] = BAD
    file = tmp_path / "notebook.html"
    text = f'<!doctype html><meta charset="utf-8"><title>notebook</title>{frame([pair])}'
    file.write_text(text, encoding="utf-8")
    asked, view = [], browser.new_page()
    view.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    view.goto(file.as_uri())
    inside = view.frame_locator("iframe")
    inside.get_by_role("button", name="deep").focus()
    assert "\u201cdeep\u201d: heads look most at" in inside.locator(".sx-told").text_content()
    assert inside.get_by_role("button").nth(1).text_content() == BAD
    assert view.title() == "notebook" and asked == [] and view.locator("img").count() == 0
    assert view.locator("iframe").evaluate("frame => frame.contentDocument") is None, "cut off from the notebook"
    view.close()
