"""One run of the study: what is studied, how large, and what all experiments share.

Every experiment takes a `Study`. It says which model and which collection, how many queries are used, and which half of
them may choose heads (the first) and which half may measure them (the second). All random numbers of a run come from its
one seed, intervals included: an experiment makes its findings with `Study.finding`, never with a seed of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder, Pair
from semanticbm.evaluation import bootstrap_mean, bootstrap_median
from semanticbm.heads import Head
from semanticbm.retrieval import VectorEncoder
from semanticbm.semantic_bm import Features
from semanticbm.study.claims import Finding

QUICK_QUERIES = 24
FOUND_BY = {"matching": "matching_heads", "contextual": "contextual_heads", "scoring": "direct_effects"}


@dataclass
class BackboneVectors:
    """The backbone's unit vectors of texts; each text is encoded once in a run."""

    known: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def encoder(self) -> VectorEncoder:
        """Loaded when the first text is asked for."""
        return VectorEncoder()

    def vectors(self, texts: list[str], batch_size: int = 8, progress: bool = False) -> np.ndarray:
        """float [text, d_model], as `VectorEncoder.vectors`."""
        missing = [text for text in dict.fromkeys(texts) if text not in self.known]
        if missing:
            self.known.update(zip(missing, self.encoder.vectors(missing, batch_size, progress), strict=True))
        return np.array([self.known[text] for text in texts])

    def cosines(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        """Cosine of the two texts of each pair: float [pair]."""
        queries, documents = (self.vectors([pair[side] for pair in pairs]) for side in (0, 1))
        return (queries * documents).sum(axis=1)


@dataclass
class KnownScores:
    """The model's scores of pairs; each pair is scored once in a run."""

    model: CrossEncoder
    known: dict[Pair, float] = field(default_factory=dict)

    def learn(self, pairs: Sequence[Pair], scores: Iterable[float]) -> None:
        """Take over scores that the model gave these pairs elsewhere."""
        self.known.update(zip(pairs, map(float, scores), strict=True))

    def of(self, pairs: Sequence[Pair], progress: bool = False) -> np.ndarray:
        """Scores of (query, document) pairs: float [pair], logits."""
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self.known]
        if missing:
            self.learn(missing, self.model.score_pairs(missing, progress=progress))
        return np.array([self.known[pair] for pair in pairs])


@dataclass
class Study:
    """One run: what is studied, how large, and where the results go.

    `quick` uses few queries. `parts` holds the results of finished experiments: {name: JSON-ready dict}. `features`: those
    that `semantic_bm` collected in this run, for the experiments after it.
    """

    model: CrossEncoder
    collection: Collection
    out: Path
    quick: bool = False
    seed: int = 0
    parts: dict[str, dict] = field(default_factory=dict)
    backbone: BackboneVectors = field(default_factory=BackboneVectors)
    features: Features | None = None

    @cached_property
    def scores(self) -> KnownScores:
        """What the model scored in this run."""
        return KnownScores(self.model)

    def size(self, full: int, quick: int) -> int:
        """A sample size: the first number in a full run, the second in a quick one."""
        return quick if self.quick else full

    @cached_property
    def queries(self) -> list[str]:
        """Judged queries in a seeded order; a quick run takes the first 24. Without any grade, all queries with candidates."""
        ordered = sorted(self.collection.judged_queries or self.collection.judgements)
        np.random.default_rng(self.seed).shuffle(ordered)
        return ordered[: self.size(len(ordered), QUICK_QUERIES)]

    @cached_property
    def halves(self) -> tuple[list[str], list[str]]:
        """Two halves of the queries: heads are chosen on the first, measured on the second."""
        middle = len(self.queries) // 2
        return self.queries[:middle], self.queries[middle:]

    def heads(self, role: str) -> list[Head]:
        """Heads found so far: "matching", "scoring" or "contextual"; none if that experiment found or answered nothing."""
        return [tuple(head) for head in self.parts.get(FOUND_BY[role], {}).get("heads", [])]

    def finding(self, values, control: float | None = None, note: str = "") -> Finding:
        """Mean over queries of `values` [query] with its bootstrap interval; NaN queries are left out."""
        values = np.asarray(values, dtype=float)
        values = values[~np.isnan(values)]
        if not len(values):
            return Finding(None, control=control, note=note or "no query gave a value")
        return Finding(*self.mean(values), len(values), control, note)

    def mean(self, values) -> tuple[float, float, float]:
        """Mean over queries with its 95 % interval, from this run's seed."""
        return bootstrap_mean(values, seed=self.seed)

    def median(self, values) -> tuple[float, float, float]:
        """Median over queries with its 95 % interval, from this run's seed."""
        return bootstrap_median(values, seed=self.seed)
