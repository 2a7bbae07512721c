"""The explorer's file is what the stories and the classroom model give, and it can be read without JavaScript."""

import pytest
from builders import ROOT

from semanticbm.explaining.explorer import FILE, explained, fragment, stored_pairs
from semanticbm.explaining.stories import STORIES

TEXT = (ROOT / FILE).read_text(encoding="utf-8")
TOLERANCE = 0.01  # logits: the file has three decimal places, and processors differ in the last


def test_the_file_holds_every_story_in_order():
    assert len(STORIES) >= 24 and len({story.title for story in STORIES}) == len(STORIES)
    assert [(pair["query"], pair["document"]) for pair in stored_pairs()] == [
        (story.query, story.document) for story in STORIES
    ]


def test_the_file_is_what_would_be_written_from_its_numbers():
    assert fragment(STORIES, stored_pairs()) == TEXT, "run: python -m semanticbm.explaining.explorer"


@pytest.mark.parametrize("number", [0, 1, 15])
def test_the_numbers_are_the_models(number):
    (made,), stored = explained([STORIES[number]]), stored_pairs()[number]
    assert made["score"] == pytest.approx(stored["score"], abs=TOLERANCE)
    assert [term["share"] for term in made["terms"]] == pytest.approx(
        [term["share"] for term in stored["terms"]], abs=TOLERANCE
    )


def test_without_javascript_it_is_a_table():
    section = TEXT[TEXT.index("<section") : TEXT.index("</section>")]
    assert section.count("<tr>") == len(STORIES) + 1 and "Exact match" in section
