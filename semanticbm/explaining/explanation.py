"""Why did this document get this score? The score as a sum over the terms of the query, read inside the model.

    score  =  baseline  +  sum over terms of share  +  unexplained           share = weight x signal

*baseline* is the model's score of a document of fillers. A term's *share* is what the document moved the state of its
pieces before the last layer, along the slope of the score (`semanticbm.explaining.reading`). Its *weight* is the part of
[CLS]'s attention to the query that the last layer gives it, and its *signal* is the share for a weight of 1. Beside them
stand BM25's numbers, the same read from the heads (soft tf: the matching score, mean over the matching heads; IDF: from
U0), and what happens when the term is cut (`semanticbm.explaining.causal`).

**Unexplained** is the rest, in logits, and where it stands among pairs of a collection. If it is among the largest
(`DOUBT`), or larger than all that was explained and than for half of the pairs (`USUAL`), the explanation says first that it
should not be trusted. Where the terms explain little and little is left, there was no match: that is an explanation.

On the compiled model the reading is exact: each share is IDF times TF factor, and nothing is left.

When it misleads: terms are read as if they added up. A query whose words change each other's meaning has shares all the
same. Document pieces are credited by what the matching heads write, which is only a part of how a share came about. And a
share is no cause: look at the cuts.

Book: chapter 9.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from semanticbm.bm25 import tf_factor
from semanticbm.collection import Collection, words
from semanticbm.cross_encoder import CrossEncoder, Pair, check_pairs
from semanticbm.explaining.background import Background, background_of
from semanticbm.explaining.causal import Cuts, cut_terms
from semanticbm.explaining.reading import (
    PairReading,
    QueryReading,
    earned_by_positions,
    filler_for,
    read_beside_fillers,
    shares_of_pieces,
    unexplained_part,
)
from semanticbm.heads import head_name
from semanticbm.loading.texts import without_surrogates
from semanticbm.study.causes import query_words

DOUBT = 90.0  # percentile of the unexplained part from which an explanation should not be trusted
USUAL = 50.0  # percentile below which the unexplained part is no reason to doubt, however little was explained
CLEAR = 0.01  # logits: less than this is no reason to doubt
MOST_TOKENS = 8


# ---- The parts of an explanation -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lexical:
    """BM25's numbers for one term in one document: `factor` is its TF factor, `score` IDF times factor."""

    tf: int
    idf: float
    factor: float
    score: float


@dataclass(frozen=True)
class Soft:
    """SemanticBM's two ingredients: `soft_tf`, the mean matching score of the matching heads; `idf` from U0, or None."""

    soft_tf: float
    idf: float | None


@dataclass(frozen=True)
class Token:
    """A document piece and what the matching heads took from it for a term, in logits."""

    position: int
    text: str
    share: float


@dataclass(frozen=True)
class Term:
    """One word of the query. `share` = `weight` x `signal`, logits; `removal`, `masked`: see `Cuts`, None if not measured."""

    term: str
    pieces: list[int]
    weight: float
    signal: float
    share: float
    bm25: Lexical
    semantic: Soft
    removal: float | None
    masked: float | None
    tokens: list[Token]


@dataclass(frozen=True)
class HeadLooks:
    """Where a matching head looks: `attention`, one list for each query piece, one number for each document piece."""

    name: str
    layer: int
    attention: list[list[float]]


SHOWN = {
    "term": "term",
    "weight": "weight",
    "signal": "signal",
    "share": "share",
    "removal": "without the term",
    "masked": "matches as fillers",
}


@dataclass(frozen=True)
class Explanation:
    """Why a document got its score; all numbers in logits unless something else is said.

    `baseline`: the score of a document of fillers. `explained`: the sum of the shares. `unexplained`: score - baseline -
    explained. `percentile`: how many pairs of the collection have a smaller unexplained part, 0 to 100; None if the model
    cannot score them. `trusted`: False if the unexplained part is too large. `doubt`: then the reason, else "".
    `truncated`: the end of the document did not fit into the model; `document_pieces` are what it read.
    """

    model: str
    query: str
    document: str
    score: float
    baseline: float
    explained: float
    unexplained: float
    percentile: float | None
    trusted: bool
    doubt: str
    query_pieces: list[str]
    document_pieces: list[str]
    truncated: bool
    terms: list[Term]
    heads: list[HeadLooks]

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)

    def table(self) -> pd.DataFrame:
        """One row a term: the reading, BM25, SemanticBM, the cuts (logits that the score loses)."""
        return pd.DataFrame([_row(term) for term in self.terms])

    def summary(self) -> str:
        """The sum in words; a reason for doubt comes first."""
        return _in_words(self, f"score {self.score:.3f} = {self.baseline:.3f}")

    def _repr_html_(self) -> str:
        title = html.escape(f"{self.query} | {self.document}")
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.summary().splitlines())
        return f"<p><b>{title}</b></p>{lines}{self.table().to_html(index=False, float_format='%.3f')}"


def _row(term: Term) -> dict:
    row = {SHOWN[name]: getattr(term, name) for name in SHOWN}
    return row | {
        "earned by": " ".join(token.text for token in term.tokens[:3]),
        "tf": term.bm25.tf,
        "IDF": term.bm25.idf,
        "TF factor": term.bm25.factor,
        "BM25": term.bm25.score,
        "soft tf": term.semantic.soft_tf,
        "U0 IDF": term.semantic.idf,
    }


def _in_words(found: Explanation | Difference, start: str) -> str:
    """The sum behind its `start`, "score = baseline"; a reason for doubt comes first."""
    place = "" if found.percentile is None else f", more than {found.percentile:.0f} % of pairs"
    text = f"{start} (fillers) {found.explained:+.3f} (terms) {found.unexplained:+.3f} (unexplained{place})"
    return f"{found.doubt}\n{text}" if found.doubt else text


# ---- Explaining ----------------------------------------------------------------------------------------------------


def explain(
    model: CrossEncoder, query: str, document: str, collection: Collection | None = None, causes: bool = True
) -> Explanation:
    """Explain one score; with `causes`, each term is also cut and the model scores again.

    collection: gives BM25's statistics and the pairs behind the percentile (default: the classroom collection). `UserError`
    for texts that cannot be scored. Chapter 9.
    """
    return explain_many(model, [(query, document)], collection, causes)[0]


def explain_many(
    model: CrossEncoder,
    pairs: Sequence[Pair],
    collection: Collection | None = None,
    causes: bool = False,
    label: str = "",
) -> list[Explanation]:
    """Explain many (query, document) pairs, in their order; with a `label`, a progress bar.

    Causes are off here: they need two more scores a term.
    """
    pairs = [(without_surrogates(query), without_surrogates(document)) for query, document in check_pairs(pairs)]
    background = background_of(model, collection)
    asked = {query: _asked(model, background, query) for query, _ in pairs}
    return [
        _explain(model, background, asked[pair[0]], pair, reading, zero, causes)
        for pair, reading, zero in read_beside_fillers(model, pairs, background.heads, label)
    ]


@dataclass(frozen=True)
class _Asked:
    """What a term of a query is, whatever the document: its place, pieces, word for BM25 ("" for a term such as "?"), IDFs."""

    characters: slice
    pieces: list[int]
    word: str
    idf: float
    u0_idf: float | None


def _asked(model: CrossEncoder, background: Background, query: str) -> list[_Asked]:
    ids, u0_idf, found = model.tokenizer(query, add_special_tokens=False)["input_ids"], background.u0_idf, []
    for characters, pieces in query_words(model, query):
        word = next(iter(words(query[characters])), "")
        idf = background.bm25.word_idf(word) if word else 0.0
        semantic = None if u0_idf is None else float(u0_idf[[ids[piece] for piece in pieces]].mean())
        found.append(_Asked(characters, pieces, word, idf, semantic))
    return found


def _explain(
    model: CrossEncoder,
    background: Background,
    asked: Sequence[_Asked],
    pair: Pair,
    reading: PairReading,
    zero: QueryReading,
    causes: bool,
) -> Explanation:
    query, document = pair
    earned = _earned_by_terms(asked, reading, zero)
    cuts = [Cuts(None, None)] * len(asked)
    if causes:
        cuts = cut_terms(model, query, document, reading.score, earned, filler_for(query))
    terms = _terms(background, asked, pair, reading, zero, earned, cuts)
    explained = sum(term.share for term in terms)
    unexplained = unexplained_part(reading, zero)
    percentile = percentile_of(unexplained, background.unexplained)
    doubt = reason_for_doubt(unexplained, explained, percentile)
    return Explanation(
        model.name,
        query,
        document,
        reading.score,
        zero.score,
        explained,
        unexplained,
        percentile,
        not doubt,
        doubt,
        model.tokenizer.tokenize(query),
        reading.pieces,
        reading.truncated,
        terms,
        [
            HeadLooks(head_name(*head), head[0], rows.round(4).tolist())
            for head, rows in zip(background.heads, reading.pattern, strict=True)
        ],
    )


def percentile_of(unexplained: float, others: np.ndarray | None) -> float | None:
    """Percentage of `others` that are smaller in size; None without others."""
    return None if others is None else float(100 * (np.abs(others) < abs(unexplained)).mean())


def reason_for_doubt(unexplained: float, explained: float, percentile: float | None) -> str:
    """Why an explanation should not be trusted, or ""."""
    if abs(unexplained) < CLEAR:
        return ""
    if percentile is not None and percentile >= DOUBT:
        return (
            f"Do not trust this explanation: {unexplained:+.2f} logits stay unexplained, more than for {percentile:.0f} % "
            "of the pairs of the collection."
        )
    if abs(unexplained) > abs(explained) and (percentile is None or percentile >= USUAL):
        return (
            f"Do not trust this explanation: {unexplained:+.2f} logits stay unexplained, and the terms explain only "
            f"{explained:+.2f}."
        )
    return ""


def _earned_by_terms(asked: Sequence[_Asked], reading: PairReading, zero: QueryReading) -> list[np.ndarray]:
    """What the matching heads took from each document piece for each term: one float [position] a term, logits."""
    at = earned_by_positions(reading, zero)
    return [at[term.pieces].sum(axis=0) for term in asked]


def _terms(
    background: Background,
    asked: Sequence[_Asked],
    pair: Pair,
    reading: PairReading,
    zero: QueryReading,
    earned: Sequence[np.ndarray],
    cuts: Sequence[Cuts],
) -> list[Term]:
    query, document = pair
    of_pieces, soft = shares_of_pieces(reading, zero), reading.pattern.sum(axis=-1).mean(axis=0)
    return [
        Term(
            query[term.characters],
            term.pieces,
            weight := float(zero.weights[term.pieces].sum()),
            (share := float(of_pieces[term.pieces].sum())) / weight if weight else 0.0,
            share,
            lexical,
            Soft(float(soft[term.pieces].mean()), term.u0_idf),
            cut.removal,
            cut.masked,
            _best_tokens(row, reading.pieces),
        )
        for term, lexical, row, cut in zip(asked, _lexical(background, asked, document), earned, cuts, strict=True)
    ]


def _best_tokens(earned: np.ndarray, pieces: Sequence[str]) -> list[Token]:
    """The document pieces that earned something, best first."""
    order = np.argsort(-earned, kind="stable")[:MOST_TOKENS]
    return [Token(int(place), pieces[place], float(earned[place])) for place in order if earned[place] > 0]


def _lexical(background: Background, asked: Sequence[_Asked], document: str) -> list[Lexical]:
    """BM25's numbers for the terms in a document of these words; a term that is no word for BM25 has zeros."""
    index, written = background.bm25, words(document)
    counts = [written.count(term.word) for term in asked]
    factors = tf_factor(counts, len(written), index.avgdl, index.k1, index.b).tolist()
    return [
        Lexical(tf, term.idf, factor, term.idf * factor)
        for term, tf, factor in zip(asked, counts, factors, strict=True)
    ]


# ---- Two documents -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Why the first document scores higher (or lower) than the second for the same query: first minus second.

    `score` = `baseline` + `explained` + `unexplained`, logits; the baselines differ where the lengths do. `percentile`,
    `trusted`, `doubt`: as in `Explanation`, among differences of two documents of the collection.
    """

    first: Explanation
    second: Explanation
    score: float
    baseline: float
    explained: float
    unexplained: float
    percentile: float | None
    trusted: bool
    doubt: str

    def as_dict(self) -> dict:
        """Plain values for JSON, with the difference of each term's share under "terms"."""
        return asdict(self) | {"terms": self.table().to_dict(orient="records")}

    def table(self) -> pd.DataFrame:
        """One row a term: the share in both documents, and the difference, the largest first."""
        rows = [
            {"term": one.term, "share 1": one.share, "share 2": two.share, "difference": one.share - two.share}
            for one, two in zip(self.first.terms, self.second.terms, strict=True)
        ]
        return pd.DataFrame(rows).sort_values("difference", key=abs, ascending=False, ignore_index=True)

    def summary(self) -> str:
        """The difference in words; a reason for doubt comes first."""
        return _in_words(self, f"difference {self.score:+.3f} = {self.baseline:+.3f}")


def compare(
    model: CrossEncoder, query: str, document: str, against: str, collection: Collection | None = None
) -> Difference:
    """Explain the difference of two documents' scores for a query, causes included; errors as in `explain`."""
    first, second = explain_many(model, [(query, document), (query, against)], collection, causes=True)
    explained, unexplained = first.explained - second.explained, first.unexplained - second.unexplained
    others = background_of(model, collection).unexplained
    percentile = percentile_of(unexplained, None if others is None else np.diff(others, axis=1))
    doubt = reason_for_doubt(unexplained, explained, percentile)
    score, baseline = first.score - second.score, first.baseline - second.baseline
    return Difference(first, second, score, baseline, explained, unexplained, percentile, not doubt, doubt)
