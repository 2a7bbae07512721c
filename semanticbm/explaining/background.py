"""What an explanation is held against: the collection's statistics, the model's heads, and how well other pairs are explained.

All of it depends on the model and the collection and on no pair, so it is made once and kept as long as the model lives.

`unexplained` holds what the reading leaves unexplained on pairs of the collection, in logits: two judged documents each of a
few queries, drawn with a fixed seed. A pair's own number is placed among them, as a percentile.

When it misleads: the pairs are the collection's. A query or a document of another kind can be explained worse than all of
them, and the percentile then says 100 and not how much worse.
"""

from __future__ import annotations

import weakref
from functools import cache, cached_property
from itertools import islice

import numpy as np

from semanticbm.bm25 import BM25
from semanticbm.collection import Collection, load_collection
from semanticbm.compiled import CompiledCrossEncoder
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.diagnostics import candidate_documents, seeded
from semanticbm.errors import UserError
from semanticbm.explaining.reading import read_beside_fillers, unexplained_part
from semanticbm.heads import Head, all_heads
from semanticbm.idf import idf_values
from semanticbm.semantic_bm import idf_from_u0
from semanticbm.study.results import load_results

N_QUERIES = 24
DOCUMENTS_EACH = 2


class Background:
    """The background of one model and collection; every part is computed when it is first asked for."""

    def __init__(self, model: CrossEncoder, collection: Collection):
        self.model, self.collection = weakref.proxy(model), collection

    @cached_property
    def bm25(self) -> BM25:
        """BM25 over the collection; of a compiled model the one that it was made from."""
        own = getattr(self.model, "bm25", None)
        return own if isinstance(own, BM25) else BM25(self.collection.documents)

    @cached_property
    def u0_idf(self) -> np.ndarray | None:
        """IDF of each piece, read from U0: float [vocabulary]; None if too few words have an IDF to read it by."""
        try:
            return idf_from_u0(self.model, idf_values("collection", self.collection))
        except UserError:
            return None

    @cached_property
    def heads(self) -> list[Head]:
        """The matching heads of the stored run of this model; of a model without one, all heads below the last layer."""
        below = all_heads((max(self.model.n_layers - 1, 1), self.model.n_heads))
        stored = _stored_heads(self.model.name, self.model.source, self.model.__class__)
        return sorted(set(stored) & set(below)) or below

    @cached_property
    def unexplained(self) -> np.ndarray | None:
        """Unexplained parts on the collection, float [query, document], logits; None if the model cannot score them."""
        judged = [
            query
            for query in sorted(self.collection.queries)
            if len(self.collection.judgements.get(query, ())) >= DOCUMENTS_EACH
        ]
        chosen = np.random.default_rng(0).permutation(judged)[:N_QUERIES].tolist()
        texts = self.collection.queries
        pairs = [(texts[query], document) for query in chosen for document in self._documents(query)]
        try:
            rows = [unexplained_part(*both) for _, *both in read_beside_fillers(self.model, pairs, self.heads[:1])]
        except UserError:
            return None
        return np.reshape(rows, (-1, DOCUMENTS_EACH)) if rows else None

    def _documents(self, query: str) -> list[str]:
        ids = candidate_documents(self.collection, query, seeded(0, query))
        return [self.collection.documents[document] for document in islice(ids, DOCUMENTS_EACH)]


def _stored_heads(name: str, source: str, kind: type) -> list[Head]:
    """Matching heads of the stored run for the same weights; [] if there is none."""
    stored = "compiled" if issubclass(kind, CompiledCrossEncoder) else name
    try:
        results = load_results(stored)
    except UserError:
        return []
    same = stored == "compiled" or results.run["fingerprint"]["weights_sha256"] == source
    return results.heads("matching") if same else []


@cache
def _classroom() -> Collection:
    return load_collection("classroom")


_BACKGROUNDS: weakref.WeakKeyDictionary[CrossEncoder, Background] = weakref.WeakKeyDictionary()


def background_of(model: CrossEncoder, collection: Collection | None = None) -> Background:
    """The background of a model on a collection (default: the classroom's), the same object as long as both are the same."""
    collection = collection or _classroom()
    known = _BACKGROUNDS.get(model)
    if known is None or known.collection is not collection:
        known = _BACKGROUNDS[model] = Background(model, collection)
    return known
