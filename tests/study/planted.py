"""Synthetic studies whose right answer is known: a fake model, a small collection, and measurements with planted effects.

Nothing here runs a network. Each `plant_*` function replaces what one experiment asks of the library (its measurements, at
the border of the module) by numbers in which an effect is present or absent, or in which the control cannot be had. What
stays real is the code under test: which queries choose and which measure, what is averaged, what the control is, and the
rule that gives the verdict.

Worlds: "present", "absent", "uncontrolled" (no control, or nothing to measure), and for claims of existence "none found".
"""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from semanticbm.collection import Collection, load_collection, words
from semanticbm.diagnostics import Diagnostics
from semanticbm.head_as_bm25 import AttentionMasses, predicted_mass
from semanticbm.heads import FoundHeads, HeadValues, head_table
from semanticbm.matching import Curves, Effects
from semanticbm.scoring_heads import QueryAttention
from semanticbm.semantic_bm import Features
from semanticbm.study.experiments import cuts, first_stages, idf, linear_model, matching, scoring
from semanticbm.study.study import Study
from semanticbm.study.u0_experiments import EditEffects

blindness = importlib.import_module("semanticbm.study.experiments.blindness")  # its function has the same name

N_QUERIES, N_DOCUMENTS = 40, 12
MATCHING, CONTEXTUAL, SCORING = (1, 0), (3, 1), (5, 2)


@dataclass
class FakeModel:
    """A model that only has a shape and scores; `truth` gives them."""

    n_layers: int
    n_heads: int
    name: str = "planted"
    tokenizer: None = None

    @property
    def head_shape(self) -> tuple[int, int]:
        return self.n_layers, self.n_heads

    def score_pairs(self, texts, progress=False):
        return truth(texts)


def study_of(tmp_path, n_layers: int = 6, n_heads: int = 4, synonyms: bool = True, graded: bool = True) -> Study:
    """A study without a network: 40 queries of 12 judged documents each, heads of every role already found."""
    documents = {f"d{number}": f"document about topic{number} and more" for number in range(N_DOCUMENTS)}
    queries = {f"q{number}": f"what is topic{number % N_DOCUMENTS}" for number in range(N_QUERIES)}
    grades = {d: int(graded and number < 3) for number, d in enumerate(documents)}
    model = FakeModel(n_layers, n_heads)
    collection = Collection(
        "planted",
        documents,
        queries,
        {query: dict(grades) for query in queries},
        {"topic1": ["theme"]} if synonyms else {},
    )
    study = Study(model, collection, tmp_path)
    found = {"matching_heads": MATCHING, "contextual_heads": CONTEXTUAL, "direct_effects": SCORING}
    study.parts = {name: {"heads": [list(head)]} for name, head in found.items()}
    return study


def truth(texts) -> np.ndarray:
    """The fake model's scores: the first documents are the best."""
    return -np.array([int(document.split("topic")[1].split()[0]) for _, document in texts], dtype=float)


def small(study: Study) -> Study:
    """The same study on a model of a single head, which leaves no other head as a control."""
    study.model.n_layers = study.model.n_heads = 1
    study.parts["matching_heads"] = study.parts["direct_effects"] = {"heads": [[0, 0]]}
    return study


def found_heads(study: Study, heads) -> FoundHeads:
    table = head_table({"effect": np.zeros((study.model.n_layers, study.model.n_heads))})
    return FoundHeads(list(heads), table.assign(chosen=False), "planted rule", 20)


def noise(*shape, seed: int = 0) -> np.ndarray:
    return 0.01 * np.random.default_rng(seed).standard_normal(shape)


def head_values(study: Study, queries, special: dict, usual: float) -> HeadValues:
    """A number for each head on each query: `special` {head: mean}, `usual` for the others."""
    values = usual + noise(len(queries), study.model.n_layers, study.model.n_heads)
    for head, mean in special.items():
        values[(slice(None), *head)] += mean - usual
    return HeadValues(list(queries), values, len(queries))


def no_pairs(*arguments, **options) -> Diagnostics:
    return Diagnostics("TFC1", [])


# --------------------------------------------------------------------------------------------------------------------
# Chapter 5


def plant_matching_heads(monkeypatch, study: Study, world: str) -> None:
    if world == "uncontrolled":
        small(study)
    heads = study.heads("matching") if world != "none found" else []

    def auc(model, collection, queries, **options):
        assert queries == study.halves[1], "the AUC is measured on the half that chose no head"
        return head_values(study, queries, dict.fromkeys(heads, 0.97), 0.55 if world != "absent" else 0.97)

    def find(model, collection, queries, **options):
        assert queries == study.halves[0]
        return found_heads(study, heads)

    monkeypatch.setattr(matching, "find_matching_heads", find)
    monkeypatch.setattr(matching, "same_token_auc", auc)
    monkeypatch.setattr(matching, "tfc1_pairs", no_pairs)
    monkeypatch.setattr(matching, "confirm_heads", lambda model, found, pairs, seed: found)


def curve_of(study: Study, x, of_matching, of_others) -> Curves:
    """A curve with these means for matching heads and for all others, on the second half of the queries."""
    queries = study.halves[1]
    values = np.zeros((len(queries), study.model.n_layers, study.model.n_heads, len(x))) + np.asarray(of_others)
    for layer, head in study.heads("matching"):
        values[:, layer, head] = of_matching
    return Curves(tuple(x), "x", queries, values + noise(*values.shape), np.zeros((len(queries), len(x))), 1, Counter())


def plant_curves(monkeypatch, study: Study, world: str) -> None:
    """Present: the matching head saturates, grows with length, and counts synonyms. Absent: it does none of it."""
    there = world == "present"
    if world == "uncontrolled":
        study.parts["matching_heads"] = {"heads": []}
    straight, bent = np.linspace(0, 0.5, 6), np.array([0, 0.3, 0.4, 0.45, 0.48, 0.5])
    shapes = {
        "tf_curves": (range(6), bent if there else straight, straight),
        "length_curves": ((20, 160), [0.2, 0.4] if there else [0.4, 0.2], [0.2, 0.2]),
        "similarity_curves": (
            ("same", "synonym", "random", "filler"),
            [0.5, 0.4, 0.1, 0.1] if there else [0.5, 0.1, 0.1, 0.1],
            [0.1, 0.1, 0.1, 0.1],
        ),
    }
    for name, shape in shapes.items():

        def curve(model, collection, queries, shape=shape, **options):
            assert queries == study.halves[1]
            return curve_of(study, *shape)

        monkeypatch.setattr(matching, name, curve)


def plant_effective(monkeypatch, study: Study, world: str) -> None:
    """Present: the matching head follows BM25's factor with beta 4 and a sink of 3; all other heads are noise."""
    if world == "uncontrolled":
        small(study)
    rng = np.random.default_rng(0)
    n_rows, n = 200, study.model.n_layers * study.model.n_heads
    tf, length = rng.integers(1, 5, n_rows), rng.integers(30, 90, n_rows)
    match = rng.uniform(0.1, 0.6, (n, n_rows))
    (layer, head) = study.heads("matching")[0]
    if world != "absent":
        match[layer * study.model.n_heads + head] = predicted_mass(tf, length, 4.0, 3.0)
    other = match / tf * np.exp(-4.0) * (length - tf)
    sink = np.exp(3.0) * other / (length - tf)
    masses = AttentionMasses(match, other, sink, tf, length, rng.integers(0, 20, n_rows), np.zeros(n_rows, dtype=int))
    monkeypatch.setattr(matching, "attention_masses", lambda *arguments: (masses, 60.0))
    monkeypatch.setattr(matching, "heads_as_bm25", lambda *arguments, **options: [])


# --------------------------------------------------------------------------------------------------------------------
# Chapter 6


def plant_u0(monkeypatch, study: Study, world: str, sign: float = -1) -> None:
    value = sign * (0.7 if world != "absent" else 0.2)
    others = [np.nan, np.nan] if world == "uncontrolled" else [0.3, np.nan]
    raw = pd.DataFrame({"component": range(3), "pearson": [value, *others]})
    controls = pd.DataFrame(
        [{"quantity": "U0", "pearson": value, "low": value - 0.02, "high": value + 0.02, "n_words": 900}]
    )
    monkeypatch.setattr(idf, "idf_sources", lambda study: {"collection": {}})
    monkeypatch.setattr(idf, "idf_correlations", lambda *arguments, **options: raw)
    monkeypatch.setattr(idf, "idf_controls", lambda *arguments, **options: controls)


def plant_u0_edit(monkeypatch, study: Study, world: str) -> None:
    """Present: the slope along U0 is -0.3, along random directions at most 0.02; absent: as along random ones."""

    def effects(model, pairs, steps, where, direction, **options):
        along_u0, elsewhere = [-0.3 if world == "present" else -0.01], [0.02, -0.02, 0.01, 0.0]
        slopes = np.tile(along_u0 if direction == "u0" else elsewhere, (30, 1))
        if world == "uncontrolled":
            slopes = np.full_like(slopes, np.nan)
        slopes = slopes + noise(*slopes.shape)
        gain = slopes[:, :, None] * np.asarray(steps, dtype=float)
        names = [f"{direction} {number}" for number in range(slopes.shape[1])]
        queries = [f"q{number}" for number in range(len(slopes))]
        return EditEffects(names, np.asarray(steps, dtype=float), queries, np.zeros_like(gain), gain)

    study.parts["u0"] = {"main_source": "planted", "sources": {"planted": {"raw": [{"pearson": -0.7}]}}}
    monkeypatch.setattr(idf, "tfc1_pairs", no_pairs)
    monkeypatch.setattr(idf, "edit_effects", effects)


# --------------------------------------------------------------------------------------------------------------------
# Chapter 7


def plant_direct_effects(monkeypatch, study: Study, world: str) -> None:
    if world == "uncontrolled":
        small(study)
    heads = study.heads("scoring") if world != "none found" else []
    special = dict.fromkeys(heads, 0.3 if world != "absent" else 0.0)
    measured = []

    def effects(model, pairs, **options):
        measured.append(pairs)
        found = head_values(study, study.halves[1], special, 0.01 if world == "absent" else 0.001)
        return Effects(found.query_ids, found.values, len(found.query_ids))

    def pairs(study, queries, documents, **options):
        return Diagnostics(f"TFC1 of {queries[0]}", [])

    monkeypatch.setattr(scoring, "tfc1_pairs", pairs)
    monkeypatch.setattr(scoring, "find_scoring_heads", lambda model, pairs, **options: found_heads(study, heads))
    monkeypatch.setattr(scoring, "direct_effects_by_query", effects)


WORDS = np.array([0.5, 0.7, 0.9, 3.0, 4.0, 5.0, 6.0, 7.0])  # IDF of a query's words: three stop words, five others


def query_attention(study: Study, number: int, kind: str) -> QueryAttention:
    """[CLS] attention of all heads on one query: "idf", "stop words" (a filter only) or "nothing"."""
    rng = np.random.default_rng([number, len(kind)])
    order = rng.permutation(len(WORDS))
    level, content = WORDS[order], (WORDS > 1)[order]
    attention = {"idf": level, "stop words": content * 5.0, "nothing": np.zeros(len(WORDS))}[kind]
    shape = (study.model.n_layers, study.model.n_heads, len(WORDS))
    return QueryAttention(
        f"q{number}",
        [f"w{place}" for place in order],
        level,
        np.ones(len(WORDS), dtype=int),
        content,
        np.broadcast_to(attention, shape) + rng.uniform(0.01, 1, shape),
        np.full((*shape[:2], 3), 1 / 3),
    )


def plant_scoring_attention(monkeypatch, study: Study, world: str) -> None:
    """Present: by IDF among all and among content words, nothing before training. "stop words": a filter alone."""
    if world == "uncontrolled":
        study.parts["direct_effects"] = {"heads": []}
    own = {"present": "idf", "absent": "nothing", "stop words": "stop words", "uncontrolled": "idf"}[world]

    def look(model, collection, queries, **options):
        assert queries == study.halves[1]
        return [query_attention(study, number, own if model is study.model else "nothing") for number in range(30)]

    monkeypatch.setattr(scoring, "cls_attention", look)
    monkeypatch.setattr(scoring, "parent_of", lambda study: SimpleNamespace(name="its parent"))
    monkeypatch.setattr(scoring, "random_like", lambda model, seed: SimpleNamespace(name="random"))


def plant_contextual_heads(monkeypatch, study: Study, world: str) -> None:
    heads = [CONTEXTUAL, (2, 3)] if world != "none found" else []
    if world == "uncontrolled":  # every other head of the relays' layers has a role of its own
        study.parts["matching_heads"] = {"heads": [[2, 0], [2, 1], [2, 2], [3, 0], [3, 2], [3, 3]]}

    def effects(model, pairs, scoring_heads, kinds, **options):
        found = head_values(study, study.halves[1], dict.fromkeys(heads, 0.2 if world != "absent" else 0.0), 0.01)
        return Effects(found.query_ids, found.values, len(found.query_ids))

    monkeypatch.setattr(scoring, "tfc1_pairs", no_pairs)
    monkeypatch.setattr(scoring, "find_contextual_heads", lambda *arguments, **options: found_heads(study, heads))
    monkeypatch.setattr(scoring, "relays_among", lambda model, found, pairs, **options: found)
    monkeypatch.setattr(scoring, "path_effects_by_query", effects)
    monkeypatch.setattr(scoring, "relay_report", lambda *arguments: pd.DataFrame())


# --------------------------------------------------------------------------------------------------------------------
# Chapters 8 and 9


def features_of(study: Study, of_score) -> tuple[Features, np.ndarray]:
    """Random matching scores of all heads; the model's score is `of_score(matching, g, cosine)` of them."""
    rng, queries = np.random.default_rng(0), study.halves[1]
    n = len(queries) * N_DOCUMENTS
    every = rng.uniform(0, 1, (n, study.model.n_layers, study.model.n_heads, 3))
    g = np.repeat(rng.uniform(1, 6, (len(queries), 3)), N_DOCUMENTS, axis=0)
    tf, cosine = rng.integers(0, 3, (n, 3)).astype(float), rng.uniform(0, 1, n)
    return Features(
        np.repeat(queries, N_DOCUMENTS),
        np.tile(list(study.collection.documents), len(queries)),
        every,
        g,
        np.full(n, 3),
        tf,
        np.ones((n, 3)),
        np.full(n, 3),
        np.full(n, 50),
        50.0,
        of_score(every, g, tf, cosine),
    ), cosine


def weighted_match(every, g, tf, cosine) -> np.ndarray:
    return (g * every[(slice(None), *MATCHING)]).sum(-1)


def lexical(every, g, tf, cosine) -> np.ndarray:
    return (tf > 0).sum(-1) + 0.1 * tf.sum(-1) + 0.01 * cosine


def by_relevance(every, g, tf, cosine) -> np.ndarray:
    """The relevant documents, which come first, have the larger matching scores."""
    every[(slice(None), *MATCHING)] += 3.0 * np.tile(np.arange(N_DOCUMENTS) < 3, len(every) // N_DOCUMENTS)[:, None]
    return weighted_match(every, g, tf, cosine)


def another_head(every, g, tf, cosine) -> np.ndarray:
    """A head of the matching head's layer that nobody chose."""
    return (g * every[:, MATCHING[0], MATCHING[1] + 1]).sum(-1)


def lexical_relevance(every, g, tf, cosine) -> np.ndarray:
    """The relevant documents, which come first, have the query's words more often."""
    tf += 3.0 * np.tile(np.arange(N_DOCUMENTS) < 3, len(tf) // N_DOCUMENTS)[:, None]
    return lexical(every, g, tf, cosine)


def only_cosine(every, g, tf, cosine) -> np.ndarray:
    return cosine


def plant_semantic_bm(monkeypatch, study: Study, of_score) -> None:
    study.quick = True  # fewer draws
    features, cosine = features_of(study, of_score)
    monkeypatch.setattr(linear_model, "widest_idf", lambda study: ("planted", {}))
    monkeypatch.setattr(linear_model, "judged_run", lambda *arguments: {})
    monkeypatch.setattr(linear_model, "collect_features", lambda *arguments, **options: features)
    monkeypatch.setattr(linear_model, "_leak", lambda *arguments: [])
    study.backbone = SimpleNamespace(cosines=lambda pairs: cosine)


def reversed_order(scores: np.ndarray) -> np.ndarray:
    return -scores


def plant_blocking(monkeypatch, study: Study, world: str) -> None:
    """Present: [CLS] loses nothing and the query loses the order. Absent: the other way round."""
    harmless = "cls" if world == "present" else "query"

    def block(model, texts, rows, columns, **options):
        return truth(texts) if rows == harmless else reversed_order(truth(texts))

    monkeypatch.setattr(cuts, "block_attention", block)


def plant_ablation(monkeypatch, study: Study, world: str) -> None:
    """Present: the order of the documents hangs on the matching and the contextual head. Absent: on the readers alone."""
    if world == "uncontrolled":
        small(study)
        study.model.n_layers, study.model.n_heads = 2, 1
        study.parts["direct_effects"], study.parts["contextual_heads"] = {"heads": [[1, 0]]}, {"heads": []}
    needed = {MATCHING, CONTEXTUAL} if world == "present" else set()

    def ablated(model, texts, removed, means, **options):
        return reversed_order(truth(texts)) if needed & set(removed) else truth(texts)

    monkeypatch.setattr(cuts, "role_means", lambda *arguments, **options: None)
    monkeypatch.setattr(cuts, "mean_ablation", ablated)


def plant_hybrid(monkeypatch, study: Study, world: str) -> None:
    """Present: each first stage finds other relevant documents. Absent: both find the same."""
    relevant = [d for d, grade in study.collection.judgements["q0"].items() if grade]

    def run(found):
        filler = {f"x{number}": 0.5 - number / 100 for number in range(5)}
        return {query: {**dict.fromkeys(found, 1.0), **filler} for query in study.queries}

    found = {"bm25_run": relevant[:1], "vector_run": relevant[1:2] if world == "present" else relevant[:1]}
    for name, documents in found.items():
        monkeypatch.setattr(first_stages, name, lambda *arguments, documents=documents, **options: run(documents))
    monkeypatch.setattr(first_stages, "_reranked", lambda *arguments: {})


# --------------------------------------------------------------------------------------------------------------------
# Chapter 10


def counts_matches(query: str, text: str, pair) -> float:
    """A sum of soft matches: the share of the query's words whose first four letters begin a word of the text, in tenths."""
    starts = {word[:4] for word in words(text)}
    return 10 * float(np.mean([word[:4] in starts for word in words(query)]))


def notices_changes(query: str, text: str, pair) -> float:
    """Matches, and a loss for every text that is not the passage as it was written."""
    return counts_matches(query, text, pair) - 5 * (text not in (pair.document, pair.unrelated))


def sees_topics_only(query: str, text: str, pair) -> float:
    """Any version of the passage is as good as the passage."""
    return 10 * float(text != pair.unrelated)


def likes_other_topics(query: str, text: str, pair) -> float:
    """The passage stands below one of another topic."""
    return -sees_topics_only(query, text, pair)


BLIND_WORLDS = {
    "present": counts_matches,
    "absent": notices_changes,
    "sees no word": sees_topics_only,
    "no gap": likes_other_topics,
}


def plant_blindness(monkeypatch, study: Study, world: str) -> None:
    """Scores of the classroom collection's pairs under one way of scoring; the reading and its paths are left out."""
    study.collection = load_collection("classroom")
    pair_of = {}
    for pair in blindness.reversals(study.collection):
        pair_of |= {(pair.query, text): pair for text in (pair.document, pair.changed, pair.unrelated, pair.unmatched)}
    score = BLIND_WORLDS[world]

    def score_pairs(texts, progress=False):
        return np.array([score(query, text, pair_of[query, text]) for query, text in texts])

    study.model.score_pairs = score_pairs
    monkeypatch.setattr(blindness, "predicted_changes", lambda study, pairs: np.arange(len(pairs), dtype=float))
    monkeypatch.setattr(blindness, "path_of_not", lambda study, pairs: {})
