"""What several experiments sample: pairs that differ by one term, documents to rank, other heads to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from semanticbm.diagnostics import Diagnostics, Settings, diagnostic_pairs
from semanticbm.evaluation import Run, measure
from semanticbm.heads import Head, other_heads
from semanticbm.retrieval import bm25_run
from semanticbm.study.claims import Finding
from semanticbm.study.paper_data import paper_pairs
from semanticbm.study.study import Study

NO_GRADES = "the collection has no relevance grades"
ALL_JUDGED = 30  # more than any query of the classroom collection has: a choice by BM25 would favour BM25


def without_answer(note: str, *keys: str) -> dict:
    """Findings for claims that this model or collection cannot answer, with the reason."""
    return {"findings": {key: Finding(None, note=note) for key in keys}}


def mean_or_none(values) -> float | None:
    """Mean of all known numbers; None where there is none, so that a missing control is seen as missing."""
    values = np.asarray(values, dtype=float)
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def others_in_same_layers(study: Study, heads: list[Head], exclude: Iterable[Head] = ()) -> list[Head]:
    """All heads that share a layer with one of these, without these and without `exclude`."""
    banned = set(exclude)
    others = other_heads(heads, study.model.head_shape, same_layers=True)
    return [head for head in others if head not in banned]


def tfc1_pairs(
    study: Study, queries: list[str], documents: int, term: str = "rarest", seed_offset: int = 0
) -> Diagnostics:
    """TFC1 pairs: one query word appended against a filler of equal length; documents cropped to 60 words.

    `term`: which word, as in `semanticbm.diagnostics.Settings`. On the paper's collection the pairs are the paper's own:
    its term, whole documents; only a `random` term is drawn from the query there, too.
    """
    seed = study.seed + seed_offset
    if study.collection.name == "paper" and term == "rarest":
        return paper_pairs(study.model.tokenizer, documents_per_query=documents, seed=seed, queries=queries)
    settings = Settings(documents_per_query=documents, term=term, max_words=60, seed=seed)
    return diagnostic_pairs("TFC1", study.collection, study.model.tokenizer, settings, queries)


# --------------------------------------------------------------------------------------------------------------------
# Documents to rank


def judged_run(study: Study, queries: list[str], depth: int, least: int = 10) -> Run:
    """BM25's scores of each query's judged documents, the best `depth`; filled up with others to `least` documents."""
    ranked = bm25_run(study.collection, len(study.collection.documents), queries=queries, every=True)
    run = {}
    for query, scores in ranked.items():
        judgements = study.collection.judgements.get(query, {})
        judged = [document for document in scores if document in judgements]
        others = [document for document in scores if document not in judgements]
        chosen = (judged + others[: max(0, least - len(judged))])[:depth]
        run[query] = {document: scores[document] for document in chosen}
    return run


@dataclass(frozen=True)
class RankedPairs:
    """(query id, document id) pairs whose rankings are measured, with the grades to measure them by."""

    study: Study
    pairs: list[tuple[str, str]]

    @property
    def texts(self) -> list[tuple[str, str]]:
        """(query, document) as the model takes them."""
        collection = self.study.collection
        return [(collection.queries[query], collection.documents[document]) for query, document in self.pairs]

    def run(self, scores: np.ndarray) -> Run:
        """Scores [pair] as a run."""
        run: Run = {}
        for (query, document), score in zip(self.pairs, scores, strict=True):
            run.setdefault(query, {})[document] = float(score)
        return run

    def ndcg(self, scores: np.ndarray) -> dict[str, float]:
        """nDCG@10 of each query under these scores [pair]."""
        run = self.run(scores)
        return ndcg_by_query(self.study, run, run)

    def ceiling(self) -> float | None:
        """The best mean nDCG@10 that any order of these documents can have; None without grades."""
        judgements = self.study.collection.judgements
        best = self.ndcg(np.array([judgements.get(query, {}).get(document, 0) for query, document in self.pairs]))
        return mean_or_none(list(best.values()))


def ranked_pairs(study: Study, run: Run) -> RankedPairs:
    """The pairs of a run."""
    return RankedPairs(study, [(query, document) for query, scores in run.items() for document in scores])


def judged_pairs(study: Study, queries: list[str]) -> RankedPairs:
    """All judged documents of each query (at most 40; 12 in a quick run), for measuring rankings.

    Without grades only orders can be compared: the 15 (8) that BM25 puts first.
    """
    depth = study.size(40, 12) if study.collection.graded else study.size(15, 8)
    return ranked_pairs(study, judged_run(study, queries, depth))


def ndcg_by_query(study: Study, run: Run, queries: Iterable[str]) -> dict[str, float]:
    """nDCG@10 of each query; NaN on a collection without grades."""
    if not study.collection.graded:
        return dict.fromkeys(queries, float("nan"))
    return measure(run, {query: study.collection.judgements[query] for query in queries}, "nDCG@10")
