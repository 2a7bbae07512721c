"""The page of an explanation, in a real browser: by mouse and keyboard, on a phone, light and dark; text stays text."""

import re

import pytest
from browser import THEMES, look_at
from explaining.payload import payload

from semanticbm.explaining.page import page, table

BAD = '<script>document.title="broken"</script><img src=x onerror=alert(1)>'


def written(tmp_path, *pairs, against=None):
    path = tmp_path / "one.html"
    path.write_text(page(pairs, against), encoding="utf-8")
    return path


def test_one_file_without_an_address_of_elsewhere():
    text = page([payload()])
    assert not re.search(r"(?:src|href)=|https?://|@import|url\(", text)


def test_text_is_never_markup():
    pair = payload(query=f"deep {BAD}", document=f"a river bank {BAD} </script> \u2028")
    pair["terms"][1]["term"] = BAD
    text = page([pair])
    assert "<img" not in text and "\u2028" not in text.partition("application/json")[2]
    assert text.count("<script") == 2 and "&lt;script&gt;" in text, "the data and the component, no other"


def test_without_javascript_the_numbers_stand_in_a_table():
    text = page([payload()])
    table = text[text.index("<table") : text.index("</table>")]
    assert "<td>river</td>" in table and "<td>1.50</td>" in table and "<td>-</td>" in table


@pytest.mark.timeout(600)
@pytest.mark.parametrize("theme", THEMES)
def test_no_grave_violation(browser, tmp_path, theme):
    assert look_at(browser, written(tmp_path, payload(trusted=False)), theme).problems == []


@pytest.mark.timeout(600)
def test_hover_focus_and_slider_show_where_heads_look(browser, tmp_path):
    view = browser.new_page(viewport={"width": 390, "height": 800})
    view.goto(written(tmp_path, payload()).as_uri())
    told = view.locator(".sx-told")
    assert "\u201cdeep\u201d: heads look most at" in told.text_content()
    view.get_by_role("button", name="river").hover()
    assert told.text_content().startswith("\u201criver\u201d")
    view.get_by_role("button", name="deep").focus()
    assert told.text_content().startswith("\u201cdeep\u201d")
    slider = view.get_by_role("slider")
    slider.focus()
    slider.press("ArrowRight")
    assert view.locator("output").text_content() == "1 (heads 1.0)" and "look most at bank" in told.text_content()
    slider.press("ArrowRight")
    assert view.locator("output").text_content() == "3 (heads 3.2)" and "look most at river" in told.text_content()
    view.get_by_role("combobox").select_option("earned")
    assert "its share was earned most by" in told.text_content()
    assert view.evaluate("document.documentElement.scrollWidth") <= 390, "no page wider than a phone"
    view.close()


@pytest.mark.timeout(600)
def test_formulas_hold_the_numbers_and_a_difference_is_shown(browser, tmp_path):
    view = browser.new_page()
    view.goto(
        written(
            tmp_path, payload(), payload(document="no match at all here", trusted=False), against="Do not trust <this>."
        ).as_uri()
    )
    assert "Model: 2.00 = 0.50 (no match)" in view.locator(".sx-model").first.text_content()
    assert "BM25: 2.20 = 2.00 \u00d7 0.00 + 2.00 \u00d7 1.10" in view.locator(".sx-bm25").first.text_content()
    assert view.locator(".sx-difference tbody tr").count() == 5
    doubts = ["Do not trust <this>.", payload(trusted=False)["doubt"]]
    assert view.locator(".sx-warning").all_text_contents() == doubts, "of the comparison, and of its second side"
    view.close()


@pytest.mark.timeout(600)
def test_a_document_that_was_cut_says_so(browser, tmp_path):
    assert [table(payload() | {"truncated": cut}).count("did not fit into the model") for cut in (False, True)] == [
        0,
        1,
    ]
    view = browser.new_page()
    view.goto(written(tmp_path, payload(), payload() | {"truncated": True}).as_uri())
    assert view.get_by_text("did not fit into the model").count() == 1
    view.close()


@pytest.mark.timeout(600)
def test_bad_text_does_nothing_in_a_browser(browser, tmp_path):
    asked = []
    view = browser.new_page()
    view.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    pair = payload(query=f"deep {BAD}", document="a river " + BAD)
    pair["terms"][1]["term"] = pair["model"] = BAD
    view.goto(written(tmp_path, pair).as_uri())
    assert view.title() != "broken" and asked == [] and view.locator("img").count() == 0
    assert BAD in view.get_by_role("button").nth(1).text_content()
    view.close()
