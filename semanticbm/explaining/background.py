"""What an explanation is held against: the collection's statistics, the model's heads, and how well other pairs are explained.

All of it depends on the model and the collection and on no pair, so it is made once and kept as long as the model lives.

`unexplained` holds what the reading leaves unexplained on pairs of the collection, in logits: of a few queries, drawn with a
fixed seed, the document that was judged best, since that is what one asks about, and another one that was judged. A pair's own
number is placed among them, as a percentile.

For the classroom model these numbers are stored beside this module, with hashes of the weights and of the texts that they
belong to. `python -m semanticbm.explaining.background` makes them again. What is stored is used only if both hashes fit and the
first query, read again, comes out as stored; else all is read anew, which takes a few seconds.

When it misleads: the pairs are the collection's. A query or a document of another kind can be explained worse than all of
them, and the percentile then says 100 and not how much worse.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from semanticbm.bm25 import BM25
from semanticbm.collection import Collection, load_collection
from semanticbm.compiled import CompiledCrossEncoder
from semanticbm.cross_encoder import CrossEncoder, Pair, progress_bar
from semanticbm.diagnostics import candidate_documents, seeded
from semanticbm.errors import UserError
from semanticbm.explaining.reading import read_beside_fillers, unexplained_part
from semanticbm.heads import Head, all_heads
from semanticbm.idf import idf_values
from semanticbm.ladder import load
from semanticbm.semantic_bm import idf_from_u0
from semanticbm.study.results import load_results
from semanticbm.study.sealed import content_hash, read_sealed, write_sealed

N_QUERIES = 24
DOCUMENTS_EACH = 2
STORED = Path(__file__).with_name("background.json")
PLACES = 4  # decimal places in the file
TOLERANCE = 0.01  # logits: processors differ in the last places


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
        """The matching heads of the stored run of this model; of a model without one, all heads below the last layer.

        `UserError` for a model of one layer.
        """
        if self.model.n_layers < 2:
            raise UserError(f"{self.model.name} has one layer: to explain a score takes two layers or more.")
        below = all_heads((self.model.n_layers - 1, self.model.n_heads))
        stored = _stored_heads(self.model.name, self.model.source, self.model.__class__)
        return sorted(set(stored) & set(below)) or below

    @cached_property
    def unexplained(self) -> np.ndarray | None:
        """Unexplained parts on the collection, float [query, document], logits; None if the model cannot score them."""
        pairs = self.pairs()
        label = f"how well {DOCUMENTS_EACH * len(pairs)} other pairs are explained"
        try:
            rows = stored_rows(self, pairs)
            rows = [self.left_over(of_query) for of_query in progress_bar(pairs, label)] if rows is None else rows
        except UserError:
            return None
        return np.array(rows) if len(rows) else None

    def pairs(self) -> list[list[Pair]]:
        """The pairs that `unexplained` is read of: for each query the best document and another one."""
        judgements, texts = self.collection.judgements, self.collection.queries
        judged = [query for query in sorted(texts) if len(judgements.get(query, ())) >= DOCUMENTS_EACH]
        chosen = np.random.default_rng(0).permutation(judged)[:N_QUERIES].tolist()
        return [[(texts[query], document) for document in self._documents(query)] for query in chosen]

    def _documents(self, query: str) -> list[str]:
        grades = self.collection.judgements[query]
        best = max(sorted(grades), key=grades.get)
        candidates = candidate_documents(self.collection, query, seeded(0, query))
        other = next(document for document in candidates if document != best)
        return [self.collection.documents[document] for document in (best, other)]

    def left_over(self, pairs: Sequence[Pair]) -> list[float]:
        """The unexplained part of each pair, logits; `UserError` if the model cannot score them."""
        highest = self.heads[-1:]  # any head will do, and for the highest one the gradients stop first
        return [unexplained_part(*both) for _, *both in read_beside_fillers(self.model, pairs, highest)]


# ---- Stored --------------------------------------------------------------------------------------------------------


def stored_rows(background: Background, pairs: Sequence[Sequence[Pair]]) -> list[list[float]] | None:
    """The stored rows of `unexplained`, or None if they belong to another model, other texts or another way to read."""
    try:
        stored = read_sealed(STORED)
    except UserError:
        return None
    same = {name: stored[name] for name in ("weights_sha256", "pairs_sha256")} == _belongs_to(background, pairs)
    rows = stored["unexplained"]
    return rows if same and np.allclose(background.left_over(pairs[0]), rows[0], atol=TOLERANCE) else None


def _belongs_to(background: Background, pairs: Sequence[Sequence[Pair]]) -> dict[str, str]:
    return {"weights_sha256": background.model.source, "pairs_sha256": content_hash({"pairs": pairs})}


def main() -> None:
    """Read the pairs with the classroom model and store what is left unexplained."""
    background = Background(model := load("classroom", "cpu"), _classroom())
    pairs = background.pairs()
    rows = [
        [round(left, PLACES) for left in background.left_over(of_query)] for of_query in progress_bar(pairs, "pairs")
    ]
    write_sealed(STORED, {"model": model.name, **_belongs_to(background, pairs), "unexplained": rows})
    print(f"wrote {STORED}")


# ---- Kept ----------------------------------------------------------------------------------------------------------


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


if __name__ == "__main__":
    main()
