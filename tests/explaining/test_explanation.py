"""An explanation adds up, is exact where the circuit is known, doubts itself where it should, and keeps text as text."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

import semanticbm
from semanticbm.bert import layers
from semanticbm.errors import UserError
from semanticbm.explaining.background import background_of
from semanticbm.explaining.causal import with_fillers
from semanticbm.explaining.explanation import (
    CLEAR,
    DOUBT,
    USUAL,
    compare,
    explain,
    explain_many,
    percentile_of,
    reason_for_doubt,
)
from semanticbm.explaining.reading import LENGTHS, filler_for, filler_pair, read_fillers
from semanticbm.ladder import load
from semanticbm.retrieval import bm25_run

QUERIES_OF_THE_SAMPLE = 10


@pytest.fixture(scope="module")
def compiled():
    return load("compiled", "cpu")


@pytest.fixture(scope="module")
def sample(classroom):
    """(query, document) pairs: a few queries, each with its best document by BM25 and one far down."""
    run = bm25_run(classroom, 20, queries=sorted(classroom.queries)[::11][:QUERIES_OF_THE_SAMPLE])
    return [
        (classroom.queries[query], classroom.documents[document])
        for query, scores in run.items()
        for document in (next(iter(scores)), list(scores)[-1])
    ]


@pytest.fixture(scope="module")
def exact(compiled, sample):
    return explain_many(compiled, sample, causes=True)


# ---- Exact where the circuit is known ------------------------------------------------------------------------------


def test_each_share_of_the_compiled_model_is_idf_times_tf_factor(exact, compiled):
    for found in exact:
        one_text = semanticbm.BM25([found.document], compiled.bm25.k1, compiled.bm25.b)
        length = int(one_text.lengths[0])
        for term in found.terms:
            tf = one_text.counts[0][term.term.lower()]
            norm = 1 - compiled.bm25.b + compiled.bm25.b * length / compiled.bm25.avgdl
            factor = tf * (compiled.bm25.k1 + 1) / (tf + compiled.bm25.k1 * norm)
            assert term.share == pytest.approx(compiled.bm25.word_idf(term.term.lower()) * factor, rel=0.01, abs=1e-3)
            assert term.bm25.score == pytest.approx(term.share, rel=0.01, abs=1e-3)
    assert sum(term.bm25.tf > 1 for found in exact for term in found.terms) > 5


def test_cuts_of_the_compiled_model_cost_the_share(exact):
    for term in (term for found in exact for term in found.terms):
        assert term.removal is None or term.removal == pytest.approx(term.share, rel=0.01, abs=1e-3)
        assert (term.masked is None) == (term.bm25.tf == 0)
        assert term.masked is None or term.masked == pytest.approx(term.share, rel=0.01, abs=1e-3)


def test_tokens_of_the_compiled_model_are_the_term_itself_and_earn_its_share(exact):
    for term in (term for found in exact for term in found.terms if term.bm25.tf):
        earned = [token for token in term.tokens if token.share > 1e-6]
        assert {token.text for token in earned} == {term.term.lower()}
        if term.bm25.tf <= 8:
            assert sum(token.share for token in earned) == pytest.approx(term.share, rel=0.01)


def test_nothing_is_left_of_the_compiled_model_and_it_is_trusted(exact):
    assert all(abs(found.unexplained) < CLEAR and found.trusted and not found.doubt for found in exact)


# ---- The sum, on any model -----------------------------------------------------------------------------------------


def assert_adds_up(found):
    assert found.score == pytest.approx(found.baseline + found.explained + found.unexplained, abs=1e-6)
    assert found.explained == pytest.approx(sum(term.share for term in found.terms), abs=1e-9)
    for term in found.terms:
        assert term.share == pytest.approx(term.weight * term.signal, abs=1e-9)


def test_the_parts_add_up_to_the_score_of_the_model(classroom_model, sample):
    pairs = sample[:3]
    for found, score in zip(explain_many(classroom_model, pairs), classroom_model.score_pairs(pairs), strict=True):
        assert_adds_up(found)
        assert found.score == pytest.approx(score, abs=1e-4)
        query, fillers = filler_pair(found.query, len(found.document_pieces))
        assert found.baseline == pytest.approx(classroom_model.score(query, [fillers])[0], abs=1e-4)
        assert sum(term.weight for term in found.terms) == pytest.approx(1)
        assert sorted(piece for term in found.terms for piece in term.pieces) == list(range(len(found.query_pieces)))
        assert [head.name for head in found.heads] == ["0.8", "1.1", "2.9", "3.3", "3.5", "4.0"]
        assert np.shape(found.heads[0].attention) == (len(found.query_pieces), len(found.document_pieces))


def test_slopes_are_what_finite_differences_say(model):
    pair = filler_pair("river bank", 30)
    reading, encoding, step = read_fillers(model, [pair], [(0, 1)])[pair], model.encode([pair]), 1e-5
    for piece, place in ((0, 3), (1, 7)):
        scores = []
        for sign in (1, -1):

            def nudge(module, arguments, sign=sign, piece=piece, place=place):
                hidden = arguments[0].clone()
                hidden[0, encoding.query_spans[0][0] + piece, place] += sign * step
                return (hidden, *arguments[1:])

            handle = layers(model.hf)[-1].register_forward_pre_hook(nudge)
            scores.append(float(model.logits(encoding)[0]))
            handle.remove()
        assert (scores[0] - scores[1]) / (2 * step) == pytest.approx(reading.slope[piece, place], rel=1e-3, abs=1e-7)


def test_a_pair_is_explained_alike_alone_and_among_others(classroom_model, sample):
    together = explain_many(classroom_model, sample[:4])
    alone = explain(classroom_model, *sample[2], causes=False)
    assert [(found.query, found.document) for found in together] == sample[:4]
    assert [term.share for term in together[2].terms] == pytest.approx([term.share for term in alone.terms], abs=1e-4)
    assert all(term.removal is None and term.masked is None for term in alone.terms)


def test_a_cut_is_a_difference_of_two_scores(classroom_model):
    query, document = "river bank", "The bank of the river was steep. Water ran past the bank."
    found = explain(classroom_model, query, document)
    full, without = (classroom_model.score(text, [document])[0] for text in (query, "bank"))
    assert found.terms[0].removal == pytest.approx(full - without, abs=1e-4)
    assert all(term.masked is not None for term in found.terms)


def test_a_difference_adds_up_from_two_explanations(classroom_model, sample):
    query, document = sample[0]
    found = compare(classroom_model, query, document, sample[1][1])
    assert found.score == pytest.approx(found.baseline + found.explained + found.unexplained, abs=1e-6)
    table = found.table()
    assert table["difference"].sum() == pytest.approx(found.explained)
    assert list(table["difference"].abs()) == sorted(table["difference"].abs(), reverse=True)
    assert json.loads(json.dumps(found.as_dict()))["first"]["query"] == query


# ---- Doubt ---------------------------------------------------------------------------------------------------------


def test_percentile_counts_smaller_ones_whatever_their_sign():
    assert percentile_of(-2.0, np.array([[1.0, -1.5], [3.0, -4.0]])) == 50
    assert percentile_of(-2.0, None) is None


@pytest.mark.parametrize(
    ("unexplained", "explained", "percentile", "doubted"),
    [
        (CLEAR / 2, 0.0, 100.0, False),
        (1.0, 5.0, DOUBT - 1, False),
        (-1.0, 5.0, DOUBT, True),
        (1.0, 5.0, None, False),
        (1.0, -0.5, USUAL, True),
        (1.0, -0.5, USUAL - 1, False),
        (-1.0, 0.5, None, True),
    ],
)
def test_doubt_has_two_reasons(unexplained, explained, percentile, doubted):
    assert bool(reason_for_doubt(unexplained, explained, percentile)) is doubted


def test_doubt_comes_first(classroom_model, sample):
    doubted = [found for found in explain_many(classroom_model, sample) if not found.trusted]
    assert doubted
    for found in doubted:
        assert found.summary().startswith("Do not trust this explanation") and found.doubt in found._repr_html_()
    others = background_of(classroom_model).unexplained
    assert others.shape[1] == 2 and len(others) >= 20 and np.isfinite(others).all()


# ---- Texts of all kinds --------------------------------------------------------------------------------------------


def test_the_filler_is_no_query_word():
    assert filler_for("river bank") == "a"
    assert filler_for("a river the Bank AND of") not in {"a", "the", "and", "of", "river", "bank"}
    with pytest.raises(UserError, match="filler"):
        filler_for("the and of " + " ".join("abcdefghijklmnopqrstuvwxyz"))


@pytest.mark.parametrize(("n_pieces", "length"), [(1, 8), (8, 8), (30, 32), (60, 64), (500, max(LENGTHS))])
def test_filler_documents_are_about_as_long_as_the_document(n_pieces, length):
    assert filler_pair("river bank", n_pieces) == ("river bank", " ".join(["a"] * length))


def test_masking_replaces_the_best_words_and_keeps_the_rest(classroom_model):
    document = "A bank, by the river."
    pieces = classroom_model.tokenizer.tokenize(document)
    earned = [1.0 if piece in ("bank", "river") else -1.0 if piece == "by" else 0.1 for piece in pieces]
    assert with_fillers(classroom_model, document, earned, "of") == "A of, by the of."
    assert with_fillers(classroom_model, document, [-1.0] * len(pieces), "of") is None


@pytest.mark.parametrize("query", ["bank", "bank ?", "Bäume — ünder", "[SEP] bank", "the a of and"])
def test_odd_queries_are_explained(classroom_model, query):
    found = explain(classroom_model, query, "The bank of the river [SEP] \U0001f600 was steep.")
    assert_adds_up(found)
    assert all(math.isfinite(term.share) for term in found.terms)


def test_a_query_of_one_word_has_no_removal(classroom_model, compiled):
    for model, query in ((classroom_model, "bank"), (compiled, "bank ?")):
        assert explain(model, query, "A bank lends money.").terms[0].removal is None


def test_long_documents_are_explained_on_what_the_model_saw(classroom_model):
    with pytest.warns(semanticbm.errors.TruncationWarning) as said:
        found = explain(classroom_model, "river bank", "the bank of a river " * 200)
    assert len(said) == 1, "the cuts have the same document: they do not say it again"
    assert found.truncated and len(found.document_pieces) < classroom_model.max_length
    assert not explain(classroom_model, "river bank", "the bank of a river", causes=False).truncated
    assert_adds_up(found)


def test_a_model_without_a_stored_run_shows_all_heads_below_the_last_layer(tiny):
    found = explain(tiny, "river bank", "The bank of the river.")
    assert len(found.heads) == (tiny.n_layers - 1) * tiny.n_heads
    assert_adds_up(found)


def test_a_model_that_cannot_score_the_collection_has_no_percentile(classroom):
    small = semanticbm.Collection("s", {"1": "red fox", "2": "blue whale"}, {"q": "red fox"}, {"q": {"1": 1, "2": 0}})
    found = explain(semanticbm.compile_bm25(small), "red fox", "a red fox", collection=classroom)
    assert found.percentile is None and found.trusted


@pytest.mark.parametrize("texts", [("", "a"), ("a", " "), ("a", 3)])
def test_bad_texts_are_refused_in_one_line(tiny, texts):
    with pytest.raises(UserError):
        explain(tiny, *texts)


# ---- Shown ---------------------------------------------------------------------------------------------------------


def test_table_has_a_row_a_term_and_the_dictionary_is_json(exact):
    found = exact[0]
    table = found.table()
    assert isinstance(table, pd.DataFrame) and list(table["term"]) == [term.term for term in found.terms]
    again = json.loads(json.dumps(found.as_dict()))
    assert again["terms"][0]["bm25"]["idf"] == found.terms[0].bm25.idf
    assert {"model", "query", "document", "score", "baseline", "unexplained", "percentile", "trusted"} <= set(again)


def test_a_notebook_shows_text_as_text(tiny):
    shown = explain(tiny, "<script>alert(1)</script> bank", "<b onmouseover=x>bold</b> & bank")._repr_html_()
    assert "<script>" not in shown and "<b onmouse" not in shown and "&lt;script&gt;" in shown


def test_the_public_name_is_the_function():
    assert semanticbm.explain is explain
    assert torch.is_grad_enabled()
