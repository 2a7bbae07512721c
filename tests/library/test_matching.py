"""Matching scores against plain hooks and closed forms; head finding against circuits that we wrote ourselves."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import with_queries
from sklearn.metrics import roc_auc_score

from semanticbm.attention import attention_patterns, rows_of_word
from semanticbm.bert import layers, self_attention
from semanticbm.collection import Collection, words
from semanticbm.compiled import compile_bm25, match_logits
from semanticbm.errors import UserError
from semanticbm.heads import head_table, intervals
from semanticbm.matching import (
    CONDITIONS,
    area_under_curve,
    find_matching_heads,
    increments,
    length_curves,
    matching_scores,
    same_token_auc,
    similarity_curves,
    tf_curves,
)

QUERY = "river bank erosion"
DOCUMENTS = [
    "The bank of a river",
    "Erosion wears a bank away, and the river carries the soil downstream.",
    "unrelated",
]


@pytest.fixture(scope="module")
def collection(classroom):
    return with_queries(classroom, list(classroom.queries)[:10])


@pytest.fixture(scope="module")
def compiled(collection):
    return compile_bm25(collection)


def hooked_attention(model, query, document):
    """Attention probabilities from plain forward hooks: [layer, head, position, position]."""
    seen = []
    hooks = [
        self_attention(layer).register_forward_hook(lambda module, inputs, output: seen.append(output[1]))
        for layer in layers(model.hf)
    ]
    with torch.no_grad():
        model.hf(**model.tokenizer(query, document, return_tensors="pt", return_token_type_ids=True))
    for hook in hooks:
        hook.remove()
    return torch.cat(seen).numpy()


def test_matching_scores_equal_plain_hooks(model):
    scores = matching_scores(model, QUERY, DOCUMENTS)  # unequal lengths: padding must not matter
    for document, found in zip(DOCUMENTS, scores, strict=True):
        attention = hooked_attention(model, QUERY, document)
        n_query = len(model.tokenizer(QUERY)["input_ids"]) - 2
        first = n_query + 2
        expected = attention[:, :, 1 : 1 + n_query, first:-1].sum(axis=-1)  # -1: the last [SEP] is left out
        assert found.shape == (3, 4, n_query)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert np.abs(found - attention[:, :, 1 : 1 + n_query, first:].sum(axis=-1)).max() > 1e-3


def matching_scores_textbook(model, query: str, document: str) -> np.ndarray:
    """MS of one document, written down as the definition says, through nnsight: float [layer, head, query piece]."""
    encoding = model.encode([(query, document)])
    first, stop = encoding.document_spans[0]
    scores = []
    with torch.no_grad():
        patterns = []
        with model.traced.trace(**encoding.inputs):
            for layer in layers(model.traced):
                patterns.append(self_attention(layer).output[1].save())
    for pattern in patterns:  # float [1, head, position, position]
        for head in pattern[0]:
            for i in range(*encoding.query_spans[0]):
                scores.append(sum(float(head[i, j]) for j in range(first, stop)))
    return np.array(scores).reshape(model.n_layers, model.n_heads, -1)


def test_textbook_form_agrees(model):
    for document in DOCUMENTS:
        np.testing.assert_allclose(
            matching_scores(model, QUERY, [document])[0], matching_scores_textbook(model, QUERY, document), atol=1e-12
        )


def test_scores_come_with_the_attention(model):
    patterns = list(attention_patterns(model, [(QUERY, document) for document in DOCUMENTS]))
    np.testing.assert_allclose([pattern.score for pattern in patterns], model.score(QUERY, DOCUMENTS), atol=1e-12)
    assert all(np.allclose(pattern.weights.sum(-1), 1) for pattern in patterns)


def test_rows_of_a_word_are_its_pieces(model):
    query = "erosions of erosions and bank"
    pattern = next(attention_patterns(model, [(query, "a bank")]))
    query_words = words(query)
    pieces = model.tokenizer.convert_ids_to_tokens(pattern.ids[rows_of_word(pattern, query_words, "erosions")].tolist())
    once = model.tokenizer.tokenize("erosions")
    assert pieces == once * 2
    bank = pattern.ids[rows_of_word(pattern, query_words, "bank")].tolist()
    assert model.tokenizer.convert_ids_to_tokens(bank) == ["bank"]


def test_auc_equals_scikit_learn():
    rng = np.random.default_rng(0)
    copies, others = rng.integers(0, 6, (2, 3, 4)).astype(float), rng.integers(0, 5, (2, 3, 9)).astype(float)
    areas = area_under_curve(copies, others)
    for index in np.ndindex(2, 3):
        labels = [1] * 4 + [0] * 9
        assert areas[index] == pytest.approx(roc_auc_score(labels, [*copies[index], *others[index]]))


# --------------------------------------------------------------------------------------------------------------------
# A head whose every weight we know


def planted_mass(tf, length, avgdl, k1=1.2, b=0.75):
    """Attention mass on the document of the compiled head: matches and other words against the sink."""
    logits = match_logits(k1, b, avgdl)
    on_document = tf * math.exp(logits.beta) + length - tf
    return on_document / (on_document + math.exp(logits.sink))


def test_matching_score_of_the_compiled_head_is_the_closed_form(compiled, collection):
    query = "compound interest"
    for document in ("interest is interest", "a sum with compound interest grows and grows", "nothing of that kind"):
        score = matching_scores(compiled, query, [document])[0]
        expected = [
            planted_mass(words(document).count(word), len(words(document)), compiled.bm25.avgdl)
            for word in words(query)
        ]
        np.testing.assert_allclose(score[0, 0], expected, rtol=1e-3)


def test_curves_of_the_compiled_head_are_the_closed_form(compiled, collection):
    curves = tf_curves(compiled, collection, documents_per_query=1)
    assert curves.x == (0, 1, 2, 3, 4, 5) and curves.matching.shape == (10, 2, 1, 6)
    steps = increments(curves, [(0, 0)])
    assert (steps > 0).all() and (np.diff(steps, axis=1) < 0).all()  # saturation on every query
    lengths = length_curves(compiled, collection, lengths=(10, 30, 90), documents_per_query=1)
    for number, length in enumerate(lengths.x):
        expected = planted_mass(1, length, compiled.bm25.avgdl)
        counted = lengths.of_heads([(0, 0)])[:, number]
        np.testing.assert_allclose(counted, expected, atol=0.03)  # length in words by blanks against words by rule
    assert (np.diff(lengths.of_heads([(0, 0)]), axis=1) > 0).all()
    assert (np.diff(lengths.scores, axis=1) < 0).all()  # BM25 falls with length although the mass grows


def test_similarity_curves_tell_lexical_from_semantic(collection, compiled):
    semantic = compile_bm25(collection, semantic=True)
    for model, counts in ((compiled, False), (semantic, True)):
        curves = similarity_curves(model, collection, documents_per_query=2)
        same, synonym, random, filler = curves.of_heads([(0, 0)]).T
        assert curves.x == CONDITIONS
        assert (same > filler + 0.01).all() and np.abs(random - filler).max() < 1e-5
        assert (synonym > random + 0.005).all() if counts else np.abs(synonym - random).max() < 1e-5


def test_similarity_needs_synonyms(model, collection):
    with pytest.raises(UserError, match="no query word has a synonym"):
        similarity_curves(model, replace(collection, synonyms={}))


def test_auc_on_the_compiled_head_is_perfect(compiled, collection):
    auc = same_token_auc(compiled, collection)
    assert np.nanmin(auc.values[:, 0, 0]) == 1.0
    assert auc.mean().shape == (2, 1) and len(auc.query_ids) == len(auc.values)


def test_finds_the_compiled_matching_head_and_no_other(compiled, collection):
    found = find_matching_heads(compiled, collection, documents_per_query=1)
    assert found.names == ["0.0"] and found.n_queries == 10
    assert found.table["chosen"].tolist() == [True, False]


def test_finding_is_deterministic_and_follows_the_seed(model, collection):
    first, again, other = (
        find_matching_heads(model, collection, list(collection.queries)[:3], 1, seed=seed) for seed in (0, 0, 1)
    )
    assert first.table.equals(again.table) and not first.table.equals(other.table)


def test_a_random_model_has_no_matching_heads_and_says_so(model, collection):
    """Random weights still let a token find its own copy a little; the rise of the mass gives them away."""
    queries = list(collection.queries)[:4]
    found = find_matching_heads(model, collection, queries, 1, min_rise=0.5)
    assert found.heads == []
    with pytest.raises(UserError, match="no heads were given"):
        tf_curves(model, collection, queries[:1], 1, occurrences=2).of_heads(found.heads)


def test_some_heads_and_all_others(compiled, collection):
    curves = tf_curves(compiled, collection, list(collection.queries)[:3], 1, occurrences=2)
    assert curves.x == (0, 1, 2) and curves.x_name == "occurrences"
    np.testing.assert_allclose(curves.of_heads([(0, 0)]), curves.matching[:, 0, 0])
    np.testing.assert_allclose(curves.of_other_heads([(0, 0)]), curves.matching[:, 1, 0])
    with pytest.raises(UserError, match="no other heads"):
        curves.of_other_heads([(0, 0), (1, 0)])


def test_intervals_and_table_put_heads_in_order():
    values = np.arange(24, dtype=float).reshape(2, 3, 4) + 0.5
    mean, low, high = intervals(values)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    assert (low <= mean).all() and (mean <= high).all()
    table = head_table({"value": values[0]})
    assert table.iloc[5]["head"] == "1.1" and table.iloc[5]["value"] == 5.5


def test_bad_input(model, compiled):
    with pytest.raises(UserError, match="not a list of texts"):
        matching_scores(model, "a", "text")
    with pytest.raises(UserError, match="query is empty"):
        matching_scores(model, " ", ["text"])
    tiny = Collection("tiny", {"d": "bark of a tree"}, {"q": "bark"}, {})
    with pytest.raises(UserError, match="too small for the longest"):
        length_curves(model, tiny)
    with pytest.raises(UserError, match="no document contains a query word"):
        same_token_auc(model, Collection("tiny", {"d": "nothing"}, {"q": "bark"}, {}))
