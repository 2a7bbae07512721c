"""Chapter 10: what a semantic BM25 must be blind to. Negation, and who did what to whom.

If the score is a sum over query terms of weight times match, then a document that *denies* what the query asks for matches
as well as one that says it, and a document in which the roles are exchanged matches exactly as well: it has the same words.
The pairs are stored with the classroom collection (`reversals.jsonl`): a sentence of a passage that answers, and the same
sentence negated or with its roles exchanged. Changes are measured against the gap between the passage and one of another
topic.

When it misleads: a blind model ranks a denial as high as an answer, which for many questions is right: both are on topic.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from semanticbm.bm25 import BM25
from semanticbm.collection import Collection, words
from semanticbm.diagnostics import seeded
from semanticbm.evaluation import pearson, spearman
from semanticbm.path_patching import direct_effects_many
from semanticbm.study.claims import Finding
from semanticbm.study.experiments.samples import mean_or_none, without_answer
from semanticbm.study.study import Study
from semanticbm.written import match_direction, read_query

KINDS = ("negation", "order")
FILLER = "so"  # stands where "not" stood: as long in pieces, and it denies nothing


@dataclass(frozen=True)
class Reversal:
    """A passage, `document`, and the same with one sentence reversed, `changed`. `kind`: one of `KINDS`.

    `unmatched`: the passage with a filler for the rarest word that it shares with the query, or as it is if it shares none.
    """

    kind: str
    query_id: str
    query: str
    document: str
    changed: str
    unrelated: str
    unmatched: str


def reversals(collection: Collection) -> list[Reversal]:
    """The stored pairs of the classroom collection, each with a seeded passage of another topic."""
    lines = (importlib.resources.files("semanticbm") / "data" / "classroom" / "reversals.jsonl").read_text(
        encoding="utf-8"
    )
    index, found = BM25(collection.documents), []
    for row in map(json.loads, filter(None, lines.splitlines())):
        document = collection.documents[row["document"]]
        if document.count(row["sentence"]) != 1:
            raise AssertionError(
                f"reversals.jsonl: {row['document']} does not have the sentence {row['sentence']!r} once"
            )
        changed = document.replace(row["sentence"], row["changed"])
        query = row["query"]
        found.append(
            Reversal(
                row["kind"],
                query,
                collection.queries[query],
                document,
                changed,
                _unrelated(collection, query, row["document"]),
                _unmatched(index, collection.queries[query], document),
            )
        )
    return found


def _unrelated(collection: Collection, query_id: str, document_id: str) -> str:
    """A passage of another topic that nobody judged for the query."""
    topic = collection.topics[document_id]
    others = sorted(
        identifier
        for identifier, other in collection.topics.items()
        if other != topic and identifier not in collection.judgements.get(query_id, {})
    )
    return collection.documents[str(seeded(0, f"{query_id} {document_id}").choice(others))]


def _unmatched(index: BM25, query: str, document: str) -> str:
    """The document with a filler wherever the rarest word stands that it shares with the query."""
    shared = sorted(set(words(query)) & set(words(document)), key=lambda word: (-index.word_idf(word), word))
    return re.sub(rf"\b{re.escape(shared[0])}\b", FILLER, document, flags=re.IGNORECASE) if shared else document


def blindness(study: Study) -> dict:
    """Changes of the score under negation and under exchanged roles, beside the reading's prediction and BM25's."""
    if study.collection.name != "classroom":
        return without_answer("the pairs belong to the classroom collection", *KINDS)
    pairs = reversals(study.collection)
    pairs = [pair for kind in KINDS for pair in [p for p in pairs if p.kind == kind][: study.size(1000, 12)]]
    table = _table(study, pairs)
    tables = {kind: table[table.kind == kind] for kind in KINDS}
    return {kind: _summary(table) for kind, table in tables.items()} | {
        "not": path_of_not(study, [pair for pair in pairs if pair.kind == "negation"]),
        "findings": {kind: _finding(study, table) for kind, table in tables.items()},
    }


def _table(study: Study, pairs: list[Reversal]) -> pd.DataFrame:
    """One row a pair: what the reversal changes, the gap, the control (NaN without a shared word), what others predict."""
    texts = [(p.query, text) for p in pairs for text in (p.document, p.changed, p.unrelated, p.unmatched)]
    plain, changed, unrelated, unmatched = study.model.score_pairs(texts, progress=True).reshape(-1, 4).T
    return pd.DataFrame(
        {
            "kind": [pair.kind for pair in pairs],
            "query": [pair.query_id for pair in pairs],
            "changed": changed - plain,
            "gap": plain - unrelated,
            "unmatched": np.where([p.unmatched != p.document for p in pairs], unmatched - plain, np.nan),
            "predicted": predicted_changes(study, pairs),
            "bm25": bm25_changes(study.collection, pairs),
        }
    )


def predicted_changes(study: Study, pairs: list[Reversal]) -> np.ndarray:
    """What weight times match signal says of each change, in logits: float [pair].

    Direction and scale come from the first half of the queries: their judged documents, one scale for all.
    """
    choose = {
        study.collection.queries[query]: [
            study.collection.documents[d] for d in list(study.collection.judgements[query])[:12]
        ]
        for query in study.halves[0][: study.size(12, 4)]
    }
    direction = match_direction(study.model, choose)
    readings = [read_query(study.model, query, documents) for query, documents in choose.items()]
    slope = _slope(readings, direction.state)
    found = []
    for pair in pairs:
        reading = read_query(study.model, pair.query, [pair.document, pair.changed])
        values = reading.match_signals(direction.state) @ reading.term_weights()
        found.append(slope * (values[1] - values[0]))
    return np.array(found)


def _slope(readings, direction: np.ndarray) -> float:
    """Logits for one unit of the reading: least squares inside queries."""
    sides = [(reading.match_signals(direction) @ reading.term_weights(), reading.score) for reading in readings]
    sides = [(values - values.mean(), scores - scores.mean()) for values, scores in sides]
    return float(sum(values @ scores for values, scores in sides) / sum(values @ values for values, _ in sides))


def bm25_changes(collection: Collection, pairs: list[Reversal]) -> np.ndarray:
    """The change of BM25, with the collection's statistics: float [pair]."""
    index = BM25(collection.documents)
    return np.array(
        [index.score_text(pair.query, pair.changed) - index.score_text(pair.query, pair.document) for pair in pairs]
    )


def path_of_not(study: Study, pairs: list[Reversal]) -> dict:
    """Direct effects on the score of putting "not" where a filler stood, in logits, the strongest heads first."""
    both = [
        (pair.query, pair.changed.replace(" not ", f" {FILLER} ", 1), pair.changed)
        for pair in pairs
        if " not " in pair.changed
    ]
    if not both:
        return {}
    found = direct_effects_many(
        study.model, [(query, filled) for query, filled, _ in both], [(query, text) for query, _, text in both]
    )
    mean = found.effects.mean(axis=0)
    order = np.argsort(-np.abs(mean), axis=None)[:5]
    heads = [tuple(int(n) for n in np.unravel_index(place, mean.shape)) for place in order]
    return {
        "n_pairs": len(both),
        "change": float((found.perturbed - found.baseline).mean()),
        "heads": {f"{layer}.{head}": float(mean[layer, head]) for layer, head in heads},
    }


def _summary(table: pd.DataFrame) -> dict:
    changed, predicted = table.changed.to_numpy(), table.predicted.to_numpy()
    return {
        "n_pairs": len(table),
        "change": float(changed.mean()),
        "absolute change": float(np.abs(changed).mean()),
        "gap": float(table.gap.mean()),
        "a matched word exchanged, absolute": mean_or_none(table.unmatched.abs()),
        "predicted, absolute": float(np.abs(predicted).mean()),
        "pearson with predicted": pearson(predicted, changed),
        "spearman with predicted": spearman(predicted, changed),
        "lower after the change": float((changed < 0).mean()),
        "BM25's absolute change": float(table.bm25.abs().mean()),
    }


def _finding(study: Study, table: pd.DataFrame) -> Finding:
    """Mean over queries of |change| over the mean gap, and the same for a matched word; none where there is no gap."""
    mean, low, high = study.mean(table.groupby("query").gap.mean())
    if not low > 0:
        reason = (
            f"the model does not score the passages above those of another topic: {mean:.2f} [{low:.2f}, {high:.2f}]"
        )
        return Finding(None, note=reason)
    by_query = table[["changed", "unmatched"]].abs().groupby(table["query"]).mean() / table.gap.mean()
    note = (
        f"the score falls in {(table.changed < 0).mean():.0%} of pairs; the reading predicts changes with r = "
        f"{pearson(table.predicted, table.changed):.2f}; the control is from {by_query.unmatched.count()} queries"
    )
    return study.finding(by_query.changed, mean_or_none(by_query.unmatched), note)
