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


@pytest.fixture
def story():
    """The stored pairs by the titles of their stories."""
    return dict(zip((story.title for story in STORIES), stored_pairs(), strict=True))


def share(pair, word):
    return next(term["share"] for term in pair["terms"] if term["term"] == word)


def test_most_explanations_hold_and_those_that_do_not_say_so_in_their_title(story):
    doubted = [title for title, pair in story.items() if not pair["trusted"]]
    assert doubted == [title for title in story if title.startswith("A failure of the reading")]
    assert 1 <= len(doubted) <= 3 and any(title.startswith("A failure of the model") for title in story)


def test_the_stories_show_what_they_promise(story):
    once, four, forty = (share(story[title], "river") for title in ("Once", "Four times", "The word and nothing else"))
    assert 0 < once < four < 4 * once and forty < 2 * four, "saturation"
    fits, sounds = story["The sense that was meant"], story["The other sense of a word"]
    assert share(fits, "river") > 0.5 > 0 > share(sounds, "river") and "river" not in fits["document"]
    assert abs(story["A statement"]["score"] - story["Its negation"]["score"]) < 0.5
    passage, shuffled = story["A passage that answers"], story["The words shuffled"]
    bm25 = [[term["bm25"]["score"] for term in pair["terms"]] for pair in (passage, shuffled)]
    assert bm25[0] == bm25[1] and passage["score"] - shuffled["score"] > 0.5
    assert sum(term["bm25"]["tf"] for term in story["Synonyms"]["terms"] if len(term["term"]) > 2) == 0
    assert story["Synonyms"]["score"] > story["Another meaning"]["score"] + 1
    assert len(story["A long document: the answer among other things"]["document"]) > 1.5 * len(passage["document"])


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
