"""IDF in the embedding matrix: one direction of the word vectors tells rare words from common ones.

W_E, float [vocabulary, d_model], holds a vector for each word piece. Its *singular value decomposition* writes it as a
sum of simple patterns, strongest first:

    W_E = sum over k of  S_k u_k v_k^T        u_k: a number for each piece,  v_k: a direction of length 1

U0, the numbers u_0, says how far each piece lies along the strongest direction v_0. The paper (section 7) finds that U0
follows the IDF of the piece: Pearson -0.71, by its sign. Two questions follow.

**Is it a correlation?** `idf_correlations` measures it for the first 50 components, `idf_controls` in
`semanticbm.study.u0_experiments` for things that may explain it. The matrix is not centred, so v_0 leans towards the mean
of all vectors; and in BERT's vocabulary a higher token id is a rarer word. Both are controls, and so is the length of the
vector.

**Does the model use it?** `edited_scores` moves a term along v_0 and looks at the score. The unit is std(U0): an edit
of s adds s std(U0) S_0 v_0 to the vector of each piece of the term, at its places in query and document. Raising U0
says "a rarer word". The statistic, fixed before the first run: the slope over s of S_p - S_b, on TFC1 pairs,
where only the perturbed document has the term once more. S_p alone would also move if the edit merely damaged the
query.

The sign of a singular vector is free: a library may return -v_k and -u_k. Here each is turned so that it points the way of
the mean embedding, v_k . mean(W_E) > 0. On the classroom model's embedding U0 then rises with IDF: rare words lie closer
to the mean direction. The paper's code turns by the sum of v_k, which gives the opposite sign there, hence its -0.71. A
sum over coordinates has no meaning of its own and can point either way. (Of a centred matrix the mean row is 0; there the
raw matrix's mean is taken.)

When it misleads: any push on a vector changes the score. So the same push along 20 fixed random directions, along the
singular directions 1 to 20 and along the word's own vector are the controls: only an effect beyond theirs speaks for
U0. And an interval over words is about words of this vocabulary, not about other models.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from semanticbm.bert import word_embeddings
from semanticbm.bm25 import BM25
from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair
from semanticbm.diagnostics import Pieces
from semanticbm.errors import UserError
from semanticbm.evaluation import pearson, spearman
from semanticbm.one_pass import end_at_cls
from semanticbm.patching import copies, to_numpy

N_CONTROLS = 20  # random directions, and singular directions 1 to 20


# ---- Singular directions -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Components:
    """The first k singular components of a matrix, strongest first, each turned towards the mean row: v_k . mean > 0.

    `u`: float [row, k], orthonormal columns. `s`: float [k], the strengths. `v`: float [k, column], orthonormal rows.
    Chapter 6.
    """

    u: np.ndarray
    s: np.ndarray
    v: np.ndarray


def decompose(matrix: np.ndarray, k: int = 50, centred: bool = False) -> Components:
    """The first k singular components of a matrix with more rows than columns (chapter 6, paper section 7.1).

    v_k are the eigenvectors of the small matrix W^T W and u_k = W v_k / S_k: a second, where the full decomposition of
    30,522 rows takes many. `centred` takes the mean row off first, which is principal component analysis.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    mean = matrix.mean(axis=0)
    if centred:
        matrix = matrix - mean
    eigenvalues, vectors = np.linalg.eigh(matrix.T @ matrix)
    strongest = np.argsort(-eigenvalues)[:k]
    v = vectors[:, strongest].T
    v = v * np.where(v @ mean < 0, -1.0, 1.0)[:, None]
    s = np.sqrt(np.maximum(eigenvalues[strongest], 0))
    if s[-1] <= 1e-7 * s[0]:
        raise UserError(f"the matrix has rank below {len(s)}: ask for fewer components.")
    return Components(matrix @ v.T / s, s, v)


def embedding_matrix(model: CrossEncoder) -> np.ndarray:
    """W_E, the raw word embeddings: float [vocabulary, d_model] (chapter 6)."""
    return word_embeddings(model.hf).weight.detach().double().cpu().numpy()


def singular_components(model: CrossEncoder, k: int = 50, centred: bool = False) -> np.ndarray:
    """u_0 ... u_{k-1} of the word embeddings, each with v_k . mean > 0: float [vocabulary, k] (chapter 6)."""
    return decompose(embedding_matrix(model), min(k, model.d_model), centred).u


def u0(model: CrossEncoder) -> np.ndarray:
    """U0 of each piece: float [vocabulary] (chapter 6, paper 7.1).

    Of the raw matrix, with the sign that makes v_0 . mean(W_E) > 0; on the classroom model it is then high for rare words.
    """
    return singular_components(model, 1)[:, 0]


# ---- IDF values ----------------------------------------------------------------------------------------------------


def idf_values(
    source: str = "collection", collection: Collection | None = None, folder: str | Path | None = None
) -> dict[str, float]:
    """{word: IDF} (chapter 6).

    "collection": Lucene's formula over the collection's documents; "msmarco": a table of 8.8 million passages,
    msmarco/idf.tsv in `folder` (default: $SEMANTICBM_DATA, else ../shared/data).
    """
    if source == "msmarco":
        return _msmarco_idf(folder)
    if source != "collection":
        raise UserError(f"unknown IDF source {source!r}: use collection or msmarco.")
    if collection is None:
        raise UserError("IDF of a collection: pass the collection.")
    index = BM25(collection.documents)
    return {word: index.word_idf(word) for word in index.document_frequency}


def _msmarco_idf(folder: str | Path | None) -> dict[str, float]:
    here = Path(__file__).parents[2] / "shared" / "data"
    path = Path(folder or os.environ.get("SEMANTICBM_DATA") or here) / "msmarco" / "idf.tsv"
    if not path.is_file():
        raise UserError(
            f"the IDF table {path} is missing: set SEMANTICBM_DATA to the folder that holds "
            "msmarco/idf.tsv, or use the IDF of the collection."
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return {word: float(value) for word, value in (line.rsplit("\t", 1) for line in lines)}


def whole_words(tokenizer) -> dict[str, int]:
    """{word: token id} of the vocabulary's whole words: alphabetic, two letters or more, no continuation "##" piece.

    Chapter 6. Special tokens, digits, punctuation and single letters drop out. Only these words have one vector and one IDF.
    """
    return {
        word: token
        for word, token in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if word.isalpha() and len(word) >= 2
    }


@dataclass(frozen=True)
class WordTable:
    """The words that have both a vector and an IDF. `ids`: int [word], token ids; `idf`: float [word] (chapter 6)."""

    words: list[str]
    ids: np.ndarray
    idf: np.ndarray

    def __len__(self) -> int:
        return len(self.words)


def word_table(model: CrossEncoder, idf: Mapping[str, float]) -> WordTable:
    """Whole words of the vocabulary that have an IDF (chapter 6)."""
    ids = {word: token for word, token in whole_words(model.tokenizer).items() if word in idf}
    if len(ids) < 3:
        raise UserError(f"only {len(ids)} whole words of the vocabulary have an IDF: take a larger IDF table.")
    return WordTable(list(ids), np.array(list(ids.values())), np.array([idf[word] for word in ids]))


# ---- What the whole embedding knows --------------------------------------------------------------------------------


@dataclass(frozen=True)
class EmbeddingIdf:
    """IDF read from the whole embedding by ridge regression.

    `of_pieces`: float [vocabulary], predicted IDF; a word of the table by the fit without it, other pieces by the mean of
    the fits. `predicted`, `idf`: float [word], prediction without the word and true value. Chapter 6.
    """

    of_pieces: np.ndarray
    predicted: np.ndarray
    idf: np.ndarray

    @property
    def pearson(self) -> float:
        """Correlation of predicted and true IDF over words that the fit had not seen."""
        return pearson(self.predicted, self.idf)


def embedding_idf(
    model: CrossEncoder, idf: Mapping[str, float], n_folds: int = 5, penalty: float = 1.0, seed: int = 0
) -> EmbeddingIdf:
    """Ridge regression of IDF on the word vectors, each word predicted by a fit without it (chapter 6).

    A ceiling for every single direction: if the whole vector predicts IDF and U0 does so less, IDF is there and U0 is not it.
    """
    table, matrix = word_table(model, idf), embedding_matrix(model)
    vectors, predicted, everywhere = matrix[table.ids], np.empty(len(table)), []
    for train, test in KFold(n_folds, shuffle=True, random_state=seed).split(vectors):
        fit = make_pipeline(StandardScaler(), Ridge(penalty)).fit(vectors[train], table.idf[train])
        predicted[test] = fit.predict(vectors[test])
        everywhere.append(fit.predict(matrix))
    of_pieces = np.mean(everywhere, axis=0)
    of_pieces[table.ids] = predicted
    return EmbeddingIdf(of_pieces, predicted, table.idf)


# ---- Correlation ---------------------------------------------------------------------------------------------------


def idf_correlations(model: CrossEncoder, idf: Mapping[str, float], k: int = 50, centred: bool = False) -> pd.DataFrame:
    """Correlation of each singular component with IDF: component, pearson, spearman, n_words.

    Chapter 6; paper 7.1 to 7.3. k: number of components. `centred` as in `decompose`.
    """
    table = word_table(model, idf)
    components = singular_components(model, k, centred)[table.ids].T
    columns = {
        "component": range(len(components)),
        "pearson": [pearson(values, table.idf) for values in components],
        "spearman": [spearman(values, table.idf) for values in components],
        "n_words": len(table),
    }
    return pd.DataFrame(columns)


# ---- Edit: directions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Direction:
    """An edit of one unit. `vector`: float [d_model], the same for every piece, or None for the piece's own vector.

    `length`: how long one unit is, the same for all directions: std(U0) S_0. Chapter 6.
    """

    name: str
    vector: np.ndarray | None
    length: float

    def shift(self, embedded: Tensor) -> Tensor:
        """What one unit adds to the word vectors [..., d_model]."""
        if self.vector is None:
            return self.length * embedded / embedded.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        unit = torch.as_tensor(self.vector * self.length, dtype=embedded.dtype, device=embedded.device)
        return unit.expand_as(embedded)


def edit_directions(model: CrossEncoder, kind: str = "u0", n: int = N_CONTROLS, seed: int = 0) -> list[Direction]:
    """The directions of one kind, all of the same length std(U0) S_0 (chapter 6).

    "u0": v_0. "random": n fixed random directions (seeded). "singular": v_1 to v_n. "row": the piece's own vector.
    """
    parts = decompose(embedding_matrix(model), min(n + 1, model.d_model))
    length = float(parts.u[:, 0].std() * parts.s[0])
    if kind == "u0":
        return [Direction("U0", parts.v[0], length)]
    if kind == "singular":
        return [Direction(f"U{k}", vector, length) for k, vector in enumerate(parts.v[1:], start=1)]
    if kind == "random":
        drawn = np.random.default_rng(seed).standard_normal((n, model.d_model))
        return [Direction(f"random {k}", vector / np.linalg.norm(vector), length) for k, vector in enumerate(drawn, 1)]
    if kind == "row":
        return [Direction("own vector", None, length)]
    raise UserError(f"unknown direction {kind!r}: use u0, random, singular or row.")


# ---- Edit: places and scores ---------------------------------------------------------------------------------------


def term_positions(
    pieces: Pieces, encoding: Encoding, texts: Sequence[Pair], terms: Sequence[str], where: str = "both"
) -> Tensor:
    """Where the pieces of each pair's term stand: bool [batch, position] (chapter 6).

    `where`: "query", "document" or "both"; anything else is a `UserError`.
    """
    if where not in ("query", "document", "both"):
        raise UserError(f"where={where!r} is unknown: use query, document or both.")
    mask = torch.zeros_like(encoding.input_ids, dtype=torch.bool)
    spans_of = {"query": encoding.query_spans, "document": encoding.document_spans}
    for side, (name, spans) in enumerate(spans_of.items()):
        for row, term in enumerate(terms if where in (name, "both") else ()):
            occurrences = _words_of_term(pieces, term, texts[row][side])
            for position in range(*spans[row]):
                mask[row, position] = encoding.word_ids[row][position] in occurrences
    return mask


def _words_of_term(pieces: Pieces, term: str, text: str) -> set[int]:
    """Places of the words of a text that belong to an occurrence of the term (one word or several)."""
    term_words, words = pieces.words(term), pieces.words(text)
    n = len(term_words)
    starts = [start for start in range(len(words) - n + 1) if words[start : start + n] == term_words]
    return {start + offset for start in starts for offset in range(n)}


@torch.no_grad()
def edited_scores(
    model: CrossEncoder,
    encoding: Encoding,
    mask: Tensor,
    edits: Sequence[tuple[Direction, float]],
    batch_size: int | None = None,
) -> np.ndarray:
    """Scores with the word vectors at `mask` moved along a direction: float [edit, batch] (chapter 6, eq-u0-edit).

    mask: bool [batch, position]. edits: (direction, steps), each one another copy of the batch in one traced run. No
    weight is changed. `batch_size`: sequences in a run.
    """
    step, scores = max(1, (batch_size or model.usual_batch) // len(encoding)), []
    for some in (edits[start : start + step] for start in range(0, len(edits), step)):
        with model.traced.trace(**copies(encoding, len(some))):
            module = word_embeddings(model.traced)
            module.output = _moved(module.output, mask, some)
            end_at_cls(model, encoding.visible.repeat(len(some), 1, 1, 1))
            edited = model.traced.output.logits[:, 0].save()
        scores.append(edited.unflatten(0, (len(some), -1)))
    return to_numpy(torch.cat(scores))


def _moved(vectors: Tensor, mask: Tensor, edits: Sequence[tuple[Direction, float]]) -> Tensor:
    """One edit for each copy of the batch: float [edit * batch, position, d_model], before and after."""
    by_edit = vectors.unflatten(0, (len(edits), -1))
    shifts = [steps * direction.shift(copy) for (direction, steps), copy in zip(edits, by_edit, strict=True)]
    return (by_edit + mask[..., None] * torch.stack(shifts)).flatten(0, 1)
