"""Diagnostic pairs: each axiom's conditions, the checks themselves, and BM25 as the oracle."""

from collections import Counter
from dataclasses import replace

import pytest
from builders import with_queries

from semanticbm.bm25 import BM25
from semanticbm.collection import Collection, words
from semanticbm.diagnostics import (
    AXIOMS,
    SAME_LENGTH,
    Pieces,
    Settings,
    check_pair,
    diagnostic_pairs,
    insert,
    is_content,
)
from semanticbm.errors import UserError
from semanticbm.study.axioms import axiom_report, series


@pytest.fixture(scope="module")
def collection(classroom):
    return with_queries(classroom, list(classroom.queries)[:24])


@pytest.fixture(scope="module")
def built(collection, tokenizer):
    settings = Settings(documents_per_query=2)
    return {axiom: diagnostic_pairs(axiom, collection, tokenizer, settings) for axiom in AXIOMS}


@pytest.mark.parametrize("axiom", AXIOMS)
def test_pairs_meet_their_axiom_by_an_independent_count(axiom, built, tokenizer):
    """Lengths and counts straight from the tokenizer's ids, not from the module's own counting."""
    assert len(built[axiom].pairs) >= 10
    for pair in built[axiom].pairs:
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (pair.baseline, pair.perturbed)]
        term = tokenizer(pair.term, add_special_tokens=False)["input_ids"]
        assert (len(ids[0]) == len(ids[1])) == (axiom in SAME_LENGTH)
        grown = {piece: ids[1].count(piece) - ids[0].count(piece) for piece in term}
        if axiom in ("TFC1", "TFC2", "TDC"):
            assert all(grown[piece] >= 1 for piece in term)
        if axiom in ("STMC1", "LNC1"):
            assert tokenizer.convert_tokens_to_ids(pair.term) == tokenizer.unk_token_id or not any(grown.values())
        if axiom == "LNC2":
            assert ids[1] == ids[0] * 2


@pytest.mark.parametrize("axiom", AXIOMS)
def test_bm25_keeps_every_axiom_but_the_semantic_one(axiom, built, collection):
    bm25 = BM25(collection.documents)
    report = axiom_report(lambda pairs: [bm25.score_text(*pair) for pair in pairs], built[axiom])
    assert report["holds"] == (0.0 if axiom == "STMC1" else 1.0)
    assert report["n_queries"] == len(built[axiom].by_query())


def test_same_seed_same_pairs_and_another_seed_others(collection, tokenizer, built):
    assert diagnostic_pairs("TFC2", collection, tokenizer, Settings(documents_per_query=2)).pairs == built["TFC2"].pairs
    other = diagnostic_pairs("TFC2", collection, tokenizer, Settings(documents_per_query=2, seed=1))
    assert other.pairs != built["TFC2"].pairs


def test_tfc2_is_one_series_with_places_that_do_not_follow_the_count(built):
    of_documents = series(built["TFC2"])
    for steps in of_documents:
        assert [pair.step for pair in steps] == [0, 1, 2, 3, 4]
        assert all(before.perturbed == after.baseline for before, after in zip(steps, steps[1:], strict=False))
    first = [_first_new_place(steps[0]) for steps in of_documents]
    later = [_first_new_place(steps[4]) for steps in of_documents]
    assert 0.3 < sum(a < b for a, b in zip(first, later, strict=True)) / len(of_documents) < 0.7


def _first_new_place(pair):
    before, after = pair.baseline.split(), pair.perturbed.split()
    return next(place for place, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)


def test_positions(collection, tokenizer):
    ends = diagnostic_pairs("TFC1", collection, tokenizer, Settings(1, position="append")).pairs
    starts = diagnostic_pairs("TFC1", collection, tokenizer, Settings(1, position="prepend")).pairs
    assert all(pair.perturbed.endswith(f" {pair.term}") for pair in ends)
    assert all(pair.perturbed.startswith(f"{pair.term} ") for pair in starts)


def test_settings_choose_the_term(collection, tokenizer):
    bm25, pieces = BM25(collection.documents), Pieces(tokenizer)
    rules = {
        "first": lambda found: found[0],
        "last": lambda found: found[-1],
        "rarest": lambda found: max(found, key=bm25.word_idf),
    }
    for rule, pick in rules.items():
        for pair in diagnostic_pairs("TFC1", collection, tokenizer, Settings(1, term=rule)).pairs:
            assert pair.term == pick([word for word in words(pair.query) if is_content(word, pieces)])


def test_random_control_of_stmc1_is_a_word_of_the_collection(collection, tokenizer):
    result = diagnostic_pairs("STMC1", collection, tokenizer, Settings(2, control="random"))
    vocabulary = BM25(collection.documents).document_frequency
    assert result.pairs and all(pair.other in vocabulary for pair in result.pairs)
    assert all(pair.other not in collection.synonyms[pair.term] for pair in result.pairs)


def test_reasons_are_counted(tokenizer):
    tiny = Collection(
        "tiny",
        {"d1": "bark bark of the tree", "d2": "a dog"},
        {"q1": "what is it", "q2": "a the and of bark", "q3": "bark"},
        {},
    )
    assert diagnostic_pairs("TFC1", tiny, tokenizer).skipped == Counter(
        {"the query has no content word": 1, "each filler is a query word or longer than one piece": 1}
    )
    assert diagnostic_pairs("TFC2", tiny, tokenizer, queries=["q3"]).skipped == Counter(
        {"the document already has the term": 1}
    )
    assert diagnostic_pairs("STMC1", tiny, tokenizer, queries=["q3"]).skipped == Counter(
        {"no query word has a synonym in the list": 1}
    )
    same = diagnostic_pairs("STMC1", tiny, tokenizer, queries=["q3"], synonyms={"bark": ["bark"]})
    assert same.skipped == Counter({"each synonym is itself in the query": 1})
    long = diagnostic_pairs("LNC2", tiny, tokenizer, Settings(copies=200), queries=["q3"])
    assert long.skipped["the pair has over 512 pieces"] == 1


@pytest.mark.parametrize("axiom", AXIOMS)
def test_check_rejects_a_broken_pair(axiom, built, tokenizer):
    pair, pieces = built[axiom].pairs[0], Pieces(tokenizer)
    check_pair(pair, pieces)
    for broken in (replace(pair, perturbed=f"{pair.perturbed} {pair.term}"), replace(pair, perturbed=pair.baseline)):
        with pytest.raises(AssertionError):
            check_pair(broken, pieces)


def test_check_rejects_a_wrong_step_and_a_commoner_word(built, tokenizer):
    pieces = Pieces(tokenizer)
    for broken in (replace(built["TFC2"].pairs[0], step=3), replace(built["TDC"].pairs[0], idf_gap=-1.0)):
        with pytest.raises(AssertionError):
            check_pair(broken, pieces)


def test_counting_is_by_whole_words(tokenizer):
    pieces = Pieces(tokenizer)
    assert pieces.count("bark", "Bark, barks and bark's embark") == 2
    assert pieces.count("holmes,ny", "weather in Holmes, NY.") == 1


def test_insert_keeps_order():
    assert insert("one two three", [3, 0, 1], ["end", "start", "a"]) == "start one a two three end"
    assert insert("one", [0, 0], ["x", "y"]).split()[2] == "one"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"term": "best"}, "term='best'"),
        ({"position": "middle"}, "position"),
        ({"control": "none"}, "control"),
        ({"occurrences": 1}, "at least 2"),
        ({"documents_per_query": 0}, "at least 1"),
    ],
)
def test_settings_refuse_nonsense(wrong, message):
    with pytest.raises(UserError, match=message):
        Settings(**wrong)


def test_unknown_axiom_and_query(collection, tokenizer):
    with pytest.raises(UserError, match="unknown axiom 'TFC9'"):
        diagnostic_pairs("TFC9", collection, tokenizer)
    with pytest.raises(UserError, match="queries is 'q', not a query id"):
        diagnostic_pairs("TFC1", collection, tokenizer, queries=["q"])
