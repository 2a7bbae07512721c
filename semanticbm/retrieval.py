"""From a collection to a ranking: first stages, their fusion, and re-ranking.

A cross-encoder reads every pair anew, so it cannot look at millions of documents. A search system therefore works in
stages: a fast *first stage* picks perhaps a hundred candidates, the cross-encoder *re-ranks* them. What the first stage
misses is lost, so its measure is recall.

Two first stages are here. `bm25_run` finds documents that share words with the query. `vector_run` compares vectors of
the backbone (one vector a text, mean of the last layer, cosine), so it also finds documents that say the same in other
words, and sometimes misses the one that has the exact rare name. `fuse` joins rankings by *reciprocal rank fusion*
(Cormack, Clarke and Buettcher 2009): each ranking gives a document 1 / (60 + rank). "Hybrid search" is this sum.

A *run* is {query id: {document id: score}}.

When it misleads: recall is measured against the judgements that exist. A pool made by one first stage favours it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from transformers import AutoModel

from semanticbm.bm25 import BM25
from semanticbm.collection import Collection, words
from semanticbm.cross_encoder import CrossEncoder, batch_numbers
from semanticbm.evaluation import Run, ranking
from semanticbm.ladder import backbone_folder
from semanticbm.loading.checkpoints import read_tokenizer

RANK_CONSTANT = 60  # ranks, the choice of Cormack, Clarke and Buettcher


def top(scores: Mapping[str, float], depth: int) -> dict[str, float]:
    """The `depth` best documents, best first; ties as in `semanticbm.evaluation.ranking` (chapter 2)."""
    return {document: float(scores[document]) for document in ranking(scores)[:depth]}


def bm25_run(
    collection: Collection, depth: int = 100, queries: Iterable[str] | None = None, every: bool = False
) -> Run:
    """BM25's best `depth` documents of each query, among those that share a word with it (chapter 2).

    With `every`, documents with score 0 fill the list up to `depth`, ordered as ties are. A first stage must not
    return them: it did not find them, and a fusion would give them credit for a rank that means nothing. A query
    without a word in it finds nothing.
    """
    index = BM25(collection.documents)
    run = {}
    for query in collection.queries if queries is None else queries:
        text = collection.queries[query]
        values = index.scores(text) if words(text) else np.zeros(len(index))
        scores = dict(zip(index.ids, values, strict=True))
        run[query] = top({document: score for document, score in scores.items() if every or score > 0}, depth)
    return run


class VectorEncoder:
    """The backbone as it was made: one unit vector a text (mean of the last layer's token vectors) (chapter 2)."""

    def __init__(self):
        folder = backbone_folder()
        self.tokenizer = read_tokenizer(folder)
        self.model = AutoModel.from_pretrained(folder, use_safetensors=True).eval().requires_grad_(False)

    def vectors(self, texts: list[str], batch_size: int = 8, progress: bool = False) -> np.ndarray:
        """Unit vectors: float [text, d_model]. Texts are cut at 256 tokens, as the backbone was trained."""
        label = "encoding texts" if progress else ""
        result = np.empty((len(texts), self.model.config.hidden_size), dtype=np.float32)
        for numbers in batch_numbers([len(text) for text in texts], batch_size, label, longest_first=True):
            batch = self.tokenizer(
                [texts[number] for number in numbers],
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            hidden = self.model(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            result[numbers] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return result


def vector_run(
    collection: Collection,
    depth: int = 100,
    queries: Iterable[str] | None = None,
    progress: bool = False,
    encoder: VectorEncoder | None = None,
) -> Run:
    """The backbone's best `depth` documents of each query, by cosine (chapter 2)."""
    encoder = encoder or VectorEncoder()
    chosen = list(collection.queries if queries is None else queries)
    documents = encoder.vectors(list(collection.documents.values()), progress=progress)
    asked = encoder.vectors([collection.queries[query] for query in chosen])
    cosines = asked @ documents.T
    return {
        query: top(dict(zip(collection.documents, row, strict=True)), depth)
        for query, row in zip(chosen, cosines, strict=True)
    }


def fuse(runs: Iterable[Run], depth: int = 100) -> Run:
    """Reciprocal rank fusion: score = sum over the runs of 1 / (60 + rank), ranks from 1 (chapter 2)."""
    fused: dict[str, dict[str, float]] = {}
    for run in runs:
        for query, scores in run.items():
            ranked = top(scores, len(scores))
            for rank, document in enumerate(ranked, start=1):
                row = fused.setdefault(query, {})
                row[document] = row.get(document, 0.0) + 1 / (RANK_CONSTANT + rank)
    return {query: top(scores, depth) for query, scores in fused.items()}


def rerank(model: CrossEncoder, collection: Collection, run: Run, depth: int = 100, progress: bool = False) -> Run:
    """Score the best `depth` candidates of each query with the cross-encoder; the rest is dropped (chapter 2)."""
    pairs = [(query, document) for query, scores in run.items() for document in top(scores, depth)]
    values = model.score_pairs(
        [(collection.queries[query], collection.documents[document]) for query, document in pairs], progress=progress
    )
    result: Run = {query: {} for query in run}
    for (query, document), value in zip(pairs, values, strict=True):
        result[query][document] = float(value)
    return result
