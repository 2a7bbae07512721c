"""First stages against independent implementations; fusion by hand."""

import numpy as np
import pytest

from semanticbm.collection import Collection
from semanticbm.evaluation import measure
from semanticbm.ladder import backbone_folder
from semanticbm.retrieval import VectorEncoder, bm25_run, fuse, rerank, top, vector_run

COLLECTION = Collection(
    "toy",
    {"a": "the river bank is steep", "b": "a bank lends money", "c": "dogs bark at night"},
    {"q": "river bank"},
    {"q": {"a": 2, "b": 1}},
)


TIED = {"b": 1.0, "a": 1.0, "c": 2.0, "10": 1.0, "9": 1.0}


def test_ties_have_one_order_everywhere():
    """The order of trec_eval: descending ids among equal scores, in runs, fusions and re-ranked lists."""
    expected = ["c", "b", "a", "9", "10"]
    assert list(top(TIED, 5)) == expected and list(top(dict(reversed(TIED.items())), 2)) == ["c", "b"]
    assert list(fuse([{"q": TIED}])["q"]) == expected
    tied_twice = fuse([{"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 2.0, "a": 1.0}}])
    assert list(tied_twice["q"]) == ["b", "a"]


@pytest.mark.parametrize("name", ["RR", "RR@10", "P@1", "nDCG@1", "R@1", "AP"])
def test_every_measure_sees_the_order_of_the_run(name):
    """Of two tied documents the one that `top` puts first counts as first; scores that differ in float64 are no tie."""
    for first, second in (("b", "a"), ("9", "10")):
        run = {"q": {first: 1.0, second: 1.0}}
        assert measure(run, {"q": {first: 1}}, name) == {"q": 1.0}
        assert measure(run, {"q": {second: 1}}, name)["q"] == (0.5 if name in ("RR", "RR@10", "AP") else 0.0)
        close = {"q": {first: 1.0, second: 1.0 + 1e-12}}
        assert measure(close, {"q": {second: 1}}, name) == {"q": 1.0}


def test_no_queries_are_no_queries_and_a_query_without_words_finds_nothing():
    assert bm25_run(COLLECTION, 3, queries=[]) == {} and vector_run(COLLECTION, 3, queries=[]) == {}
    odd = Collection("odd", COLLECTION.documents, {"q": "river bank", "empty": "?!", "zh": "\u6cb3\u5cb8"}, {})
    run = bm25_run(odd, 3)
    assert run["empty"] == {} and run["zh"] == {} and list(run["q"]) == ["a", "b"]
    assert set(bm25_run(odd, 3, every=True)["empty"].values()) == {0.0}


def test_bm25_run_ranks_the_double_match_first():
    assert list(bm25_run(COLLECTION, 3)["q"])[:2] == ["a", "b"]


def test_bm25_run_returns_only_documents_that_share_a_word():
    assert set(bm25_run(COLLECTION, 3)["q"]) == {"a", "b"}
    assert bm25_run(COLLECTION, 3, every=True)["q"]["c"] == 0 and len(bm25_run(COLLECTION, 3, every=True)["q"]) == 3


def test_fusion_by_hand():
    fused = fuse([{"q": {"a": 9.0, "b": 1.0}}, {"q": {"b": 0.3, "c": 0.2}}])["q"]
    assert fused == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61, "c": 1 / 62})
    assert list(fused)[0] == "b"


def test_vectors_equal_sentence_transformers():
    pytest.importorskip("sentence_transformers", reason="the independent encoder comes with the extra `train`")
    from sentence_transformers import SentenceTransformer

    texts = list(COLLECTION.documents.values())
    reference = SentenceTransformer(str(backbone_folder()), device="cpu", local_files_only=True).encode(
        texts, normalize_embeddings=True
    )
    assert np.allclose(VectorEncoder().vectors(texts, batch_size=2), reference, atol=1e-5)


def test_vector_run_finds_the_meaning():
    assert next(iter(vector_run(COLLECTION, 3)["q"])) == "a"


def test_rerank_keeps_the_candidates_and_takes_the_models_scores(tiny):
    run = rerank(tiny, COLLECTION, {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, depth=2)
    assert set(run["q"]) == {"a", "b"}
    assert run["q"]["b"] == pytest.approx(float(tiny.score("river bank", ["a bank lends money"])[0]), abs=1e-5)
