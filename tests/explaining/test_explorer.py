"""The explorer's file is what the stories and the classroom model give, and it can be read without JavaScript."""

import pytest
from builders import ROOT

from semanticbm.explaining.explorer import FILE, explained, fragment, stored_pairs
from semanticbm.explaining.stories import STORIES

TEXT = (ROOT / FILE).read_text(encoding="utf-8")
SAMPLE = (0, 1, 15)
TOLERANCE = 0.01  # logits: the file has three decimal places, and processors differ in the last


def test_the_file_holds_every_story_in_order():
    assert len(STORIES) >= 24 and len({story.title for story in STORIES}) == len(STORIES)
    assert [(pair["query"], pair["document"]) for pair in stored_pairs()] == [
        (story.query, story.document) for story in STORIES
    ]


def test_the_file_is_what_would_be_written_from_its_numbers():
    assert fragment(STORIES, stored_pairs()) == TEXT, "run: python -m semanticbm.explaining.explorer"


@pytest.fixture(scope="module")
def made():
    """Some of the stories, explained again by one model."""
    return dict(zip(SAMPLE, explained([STORIES[number] for number in SAMPLE]), strict=True))


@pytest.mark.parametrize("number", SAMPLE)
def test_the_numbers_are_the_models(made, number):
    found, stored = made[number], stored_pairs()[number]
    assert found["score"] == pytest.approx(stored["score"], abs=TOLERANCE)
    shares = [[term["share"] for term in pair["terms"]] for pair in (found, stored)]
    assert shares[0] == pytest.approx(shares[1], abs=TOLERANCE)


def test_without_javascript_it_is_a_table():
    section = TEXT[TEXT.index("<section") : TEXT.index("</section>")]
    assert section.count("<tr>") == len(STORIES) + 1 and "Exact match" in section


@pytest.mark.timeout(600)
def test_on_a_phone_the_page_is_no_wider_than_the_screen(browser, tmp_path):
    file = tmp_path / "explorer.html"
    file.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8">{TEXT}', encoding="utf-8")
    view = browser.new_page(viewport={"width": 390, "height": 800})
    view.goto(file.as_uri())
    assert view.locator("option").count() > len(STORIES)
    assert view.evaluate("document.documentElement.scrollWidth") <= 390
    view.close()
