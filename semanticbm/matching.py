"""Matching heads: the heads that look from a query word into the document for the same word.

**The matching score** of a head is the attention that a query piece sends to the document (Lu, Chen, Eickhoff 2025):

    MS(q_i, d) = sum over document pieces j of A[i, j]

A is the attention pattern after the softmax; row i is the piece that looks, column j the piece that is looked at. So MS
lies between 0 and 1. The paper's sum includes the last [SEP]; here it is left out, since many heads park attention
there and BM25 knows no such token.

**Four questions to a head.** Each is an experiment on documents that differ in one thing only
(`semanticbm.diagnostics`):

- `tf_curves`: does MS rise with the number of occurrences, and less with each further one?
- `length_curves`: what does MS do when irrelevant words make the document longer?
- `similarity_curves`: does a synonym count, compared with a random word? Random words are synonyms of *other* words, so
  that both groups are the same words, only paired differently.
- `same_token_auc`: does a query piece look at its own copies rather than at the rest of the document? The AUC is the
  chance that a copy gets more attention than another document piece: 0.5 is chance, 1 is perfect.

**The rule.** A head is a *matching head* if MS rises from 0 to 5 occurrences at fixed length by `MIN_RISE` or more,
with a 95 % interval over queries above 0, and its mean same-token AUC is `MIN_AUC` or more. The paper states no rule.
Both numbers were written down before this code saw a model: 0.9 is a common mark of a very good detector (a pilot study
on another model used it), 0.1 is a tenth of the range of MS.

When it misleads: attention is where a head *looks*, not what it does with what it sees. A head can look at a match and
copy nothing that matters; `semanticbm.path_patching` asks that. And MS is not 0 without a match: a document that only
contains other words still gets attention, the more the longer it is. Only differences of MS mean something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pandas as pd

from semanticbm.attention import PairAttention, attention_patterns, mass_on_document, rows_of_word
from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.diagnostics import (
    Candidate,
    DiagnosticPair,
    Diagnostics,
    Kit,
    Pieces,
    QueryUnbuildable,
    Settings,
    Unbuildable,
    build_for_queries,
    insert,
    tfc2,
)
from semanticbm.errors import UserError
from semanticbm.heads import FoundHeads, Head, HeadValues, choose, head_table, interval_columns, other_heads
from semanticbm.patching import encode_both, patched_scores, read_site

MIN_RISE = 0.10  # least rise of MS from 0 to 5 occurrences
MIN_AUC = 0.90  # least mean same-token AUC
LENGTHS = (20, 40, 80, 160)  # words
CROP = 40  # words of a document that the curves use
CLEAR_EFFECT = 1e-4  # a share below this is rounding
LEAST_MEAN_CHANGE = 1e-6  # logits: below this a mean change is rounding and has no shares
CONDITIONS = ("same", "synonym", "random", "filler")

# ---- Attention patterns --------------------------------------------------------------------------------------------


def matching_scores(model: CrossEncoder, query: str, documents: Sequence[str]) -> list[np.ndarray]:
    """MS of each document: a list of float arrays [layer, head, query piece], one a document.

    Attention mass from each query piece to the document's pieces, the last [SEP] left out.
    Chapter 5, eq-matching-score.
    """
    pairs = [(query, document) for document in documents]
    return [mass_on_document(pattern) for pattern in attention_patterns(model, pairs)]


# ---- Curves: one thing varies, the rest is fixed -------------------------------------------------------------------


@dataclass(frozen=True)
class DocumentSeries:
    """One query with documents that differ in one thing: `texts`, one for each point of the curve (chapter 5)."""

    query_id: str
    query: str
    term: str
    texts: list[str]


@dataclass(frozen=True)
class Curves:
    """Matching scores of a query word over documents that differ in one thing.

    `x`: what varies, one value a point, named by `x_name`. `matching`: float [query, layer, head, point], the mean over
    the pieces of the word and over documents. `scores`: float [query, point], the model's score, mean over documents.
    `n_documents`: how many series were averaged in all. `skipped`: what could not be built, by reason. Chapter 5.
    """

    x: tuple
    x_name: str
    query_ids: list[str]
    matching: np.ndarray
    scores: np.ndarray
    n_documents: int
    skipped: Counter = field(default_factory=Counter)

    def of_heads(self, heads: Iterable[Head]) -> np.ndarray:
        """Mean over some heads: float [query, point]."""
        return np.mean([self.matching[:, layer, head] for layer, head in _some(heads)], axis=0)

    def of_other_heads(self, heads: Iterable[Head]) -> np.ndarray:
        """Mean over all heads but these: float [query, point]."""
        others = other_heads(_some(heads), self.matching.shape[1:3])
        if not others:
            raise UserError("there are no other heads to compare with.")
        return self.of_heads(others)


def _some(heads: Iterable[Head]) -> list[Head]:
    heads = list(heads)
    if not heads:
        raise UserError("no heads were given: find them first, or take another model.")
    return heads


def measure_curves(
    model: CrossEncoder,
    series: Sequence[DocumentSeries],
    x: Sequence,
    x_name: str,
    skipped: Counter,
    progress: bool = False,
) -> Curves:
    """Forward every text of every series once; average documents inside each query (chapter 5)."""
    if not series:
        raise UserError(f"no documents could be built for the {x_name} curve: {dict(skipped)}.")
    pieces = Pieces(model.tokenizer)
    pairs = [(of_query.query, text) for of_query in series for text in of_query.texts]
    patterns = attention_patterns(model, pairs, label=f"{x_name}, {model.name}" if progress else "")
    matching: dict[str, list[np.ndarray]] = {}
    scores: dict[str, list[list[float]]] = {}
    for of_query in series:
        points = [next(patterns) for _ in of_query.texts]
        masses = [mass_of_word(point, pieces.words(of_query.query), of_query.term) for point in points]
        matching.setdefault(of_query.query_id, []).append(np.stack(masses, axis=-1))
        scores.setdefault(of_query.query_id, []).append([point.score for point in points])
    by_query = [np.stack([np.mean(values, axis=0) for values in side.values()]) for side in (matching, scores)]
    return Curves(tuple(x), x_name, list(matching), *by_query, len(series), skipped)


def mass_of_word(pattern: PairAttention, query_words: Sequence[str], word: str) -> np.ndarray:
    """Matching score of a query word, the mean over its pieces: float [layer, head] (chapter 5)."""
    own = rows_of_word(pattern, query_words, word) - pattern.query.start
    if not len(own):
        raise UserError(f"{word!r} is no word of the query {' '.join(query_words)!r} as the model splits it.")
    return mass_on_document(pattern)[:, :, own].mean(axis=-1)


def build_series(
    build: Callable[[Candidate], DocumentSeries],
    model: CrossEncoder,
    collection: Collection,
    settings: Settings,
    queries: Iterable[str] | None,
) -> tuple[list[DocumentSeries], Counter]:
    """`build` applied to documents of each query, and what could not be built, by reason (chapter 5)."""
    kit = Kit(collection, Pieces(model.tokenizer), replace(settings, max_length=model.max_length), collection.synonyms)
    skipped: Counter = Counter()
    return list(build_for_queries(build, kit, queries, skipped)), skipped


def tf_curves(
    model: CrossEncoder,
    collection: Collection,
    queries: Iterable[str] | None = None,
    documents_per_query: int = 2,
    occurrences: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> Curves:
    """MS over 0, 1, ... occurrences of a query word: equal length, random places, random order of filling (TFC2).

    Documents are cropped to `CROP` words, which keeps the experiment quick; the same holds for `similarity_curves`.
    Chapter 5.
    """
    settings = Settings(documents_per_query, occurrences=occurrences, max_words=CROP, seed=seed)

    def build(case: Candidate) -> DocumentSeries:
        steps = tfc2(case)
        texts = [step.baseline for step in steps] + [steps[-1].perturbed]
        return DocumentSeries(case.query_id, case.query, steps[0].term, texts)

    series, skipped = build_series(build, model, collection, settings, queries)
    return measure_curves(model, series, range(occurrences + 1), "occurrences", skipped, progress=progress)


def background(case: Candidate, n_words: int) -> list[str]:
    """Words of this document and of other random ones, without any query word and without their synonyms (chapter 5).

    Stop words of the query go, too: "does" in a longer document would be one more match.
    """
    avoid = set(case.kit.pieces.words(case.query))
    avoid |= {synonym for word in case.content_words for synonym in case.kit.synonyms.get(word, ())}
    documents = list(case.kit.collection.documents.values())
    kept: list[str] = []
    for text in chain([case.document], (documents[number] for number in case.rng.permutation(len(documents)))):
        kept += [word for word in text.split() if not avoid & set(case.kit.pieces.words(word))]
        if len(kept) >= n_words:
            return kept[:n_words]
    raise Unbuildable("the collection is too small for the longest document")


def length_curves(
    model: CrossEncoder,
    collection: Collection,
    queries: Iterable[str] | None = None,
    lengths: Sequence[int] = LENGTHS,
    occurrences: int = 1,
    documents_per_query: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> Curves:
    """MS over document length in words, with a fixed number of occurrences (LNC1, many words at a time) (chapter 5).

    The longer document is the shorter one with irrelevant words after it; the places of the query word do not move.
    """
    settings = Settings(documents_per_query, seed=seed)

    def build(case: Candidate) -> DocumentSeries:
        term, text = case.term(), background(case, max(lengths) - occurrences)
        places = case.rng.integers(min(lengths) - occurrences + 1, size=occurrences)
        texts = [insert(" ".join(text[: length - occurrences]), places, [term] * occurrences) for length in lengths]
        longest = case.kit.pieces.length(texts[-1]) + case.kit.pieces.length(case.query) + 3
        if longest > model.max_length:
            raise Unbuildable(f"the longest document has over {model.max_length} pieces")
        return DocumentSeries(case.query_id, case.query, term, texts)

    series, skipped = build_series(build, model, collection, settings, queries)
    return measure_curves(model, series, lengths, "length", skipped, progress=progress)


def similarity_curves(
    model: CrossEncoder,
    collection: Collection,
    queries: Iterable[str] | None = None,
    documents_per_query: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> Curves:
    """MS of a query word when the document gets the same word, a synonym, an unrelated word, or only fillers (STMC1).

    All four documents have one length, and the word stands at the same random place. The unrelated word is a synonym of
    some other word of the list. Queries without a word in the collection's synonym list are skipped.
    Chapter 5.
    """
    settings = Settings(documents_per_query, position="random", max_words=CROP, seed=seed)
    targets = sorted({synonym for group in collection.synonyms.values() for synonym in group})

    def build(case: Candidate) -> DocumentSeries:
        term, synonym, random = similar_words(case, targets)
        place, n_pieces = case.place(), max(map(case.kit.pieces.length, (term, synonym, random)))
        texts = [insert(case.document, [place], [case.padded(word, n_pieces)]) for word in (term, synonym, random, "")]
        return DocumentSeries(case.query_id, case.query, term, texts)

    series, skipped = build_series(build, model, collection, settings, queries)
    return measure_curves(model, series, CONDITIONS, "inserted", skipped, progress=progress)


def similar_words(case: Candidate, targets: Sequence[str]) -> tuple[str, str, str]:
    """A query word, one of its synonyms and an unrelated word of `targets`; none of them is in the document.

    Chapter 5.
    """
    count, synonyms = case.kit.pieces.count, case.kit.synonyms
    new = {
        word: [other for other in synonyms.get(word, ()) if not count(other, case.query)] for word in case.content_words
    }
    if not any(new.values()):
        raise QueryUnbuildable("no query word has a synonym in the list")
    term = case.term([word for word in new if new[word]])
    related = {other for word in case.content_words for other in synonyms.get(word, ())}
    synonym = str(case.rng.choice(new[term]))
    unrelated = [
        word
        for word in case.rng.permutation(targets)
        if word not in related and not count(word, case.query) and not count(word, case.document)
    ]
    for word in (term, synonym):
        case.without(word)
    if not unrelated:
        raise Unbuildable("no unrelated word is left")
    return term, synonym, str(unrelated[0])


# ---- Same token against other tokens -------------------------------------------------------------------------------


def area_under_curve(copies: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Chance that a copy gets more attention than another piece, ties half: [..., copy], [..., other] -> [...].

    Chapter 5.
    """
    differences = copies[..., :, None] - others[..., None, :]
    return (np.sign(differences) / 2 + 0.5).mean(axis=(-1, -2))


def pattern_auc(pattern: PairAttention, rows: Iterable[int]) -> np.ndarray | None:
    """Mean same-token AUC of the given query rows: float [layer, head]; None if no row has a copy in the document.

    Chapter 5.
    """
    document = pattern.ids[pattern.document]
    areas = []
    for row in rows:
        copy = document == pattern.ids[row]
        if copy.any() and not copy.all():
            attention = pattern.weights[:, :, row, pattern.document]
            areas.append(area_under_curve(attention[..., copy], attention[..., ~copy]))
    return np.mean(areas, axis=0) if areas else None


def same_token_auc(
    model: CrossEncoder,
    collection: Collection,
    queries: Iterable[str] | None = None,
    documents_per_query: int = 2,
    seed: int = 0,
    progress: bool = False,
) -> HeadValues:
    """Same-token AUC of each head on natural text: content words of the query, documents that contain one of them.

    Chapter 5.
    """
    settings = Settings(documents_per_query, seed=seed)

    def build(case: Candidate) -> DocumentSeries:
        present = [word for word in case.content_words if case.kit.pieces.count(word, case.document)]
        if not present:
            raise Unbuildable("the document has no content word of the query")
        return DocumentSeries(case.query_id, case.query, " ".join(present), [case.document])

    series, skipped = build_series(build, model, collection, settings, queries)
    if not series:
        raise UserError(f"no document contains a query word: {dict(skipped)}.")
    pairs = [(of_query.query, of_query.texts[0]) for of_query in series]
    patterns = attention_patterns(model, pairs, label=f"same-token AUC, {model.name}" if progress else "")
    pieces, areas = Pieces(model.tokenizer), {}
    for of_query, pattern in zip(series, patterns, strict=True):
        query_words = pieces.words(of_query.query)
        rows = [row for word in of_query.term.split() for row in rows_of_word(pattern, query_words, word)]
        area = pattern_auc(pattern, rows)
        if area is not None:
            areas.setdefault(of_query.query_id, []).append(area)
    return HeadValues.from_documents(areas)


# ---- Choosing heads ------------------------------------------------------------------------------------------------


def matching_table(curves: Curves, auc: HeadValues, seed: int = 0) -> pd.DataFrame:
    """The numbers of the rule for each head: rise of MS from none to most occurrences, with interval, and mean AUC.

    Chapter 5.
    """
    rise = interval_columns("rise", curves.matching[..., -1] - curves.matching[..., 0], seed)
    return head_table({**rise, "auc": auc.mean()})


def find_matching_heads(
    model: CrossEncoder,
    collection: Collection,
    queries: Iterable[str] | None = None,
    documents_per_query: int = 2,
    min_rise: float = MIN_RISE,
    seed: int = 0,
    progress: bool = False,
) -> FoundHeads:
    """The matching heads of a model, by the rule of this module, strongest rise first (chapter 5).

    To test a claim about them, pass half of the queries here and measure on the other half.
    """
    queries = list(collection.queries if queries is None else queries)
    curves = tf_curves(model, collection, queries, documents_per_query, seed=seed, progress=progress)
    auc = same_token_auc(model, collection, queries, documents_per_query, seed, progress)
    return choose_matching_heads(curves, auc, min_rise, seed)


def choose_matching_heads(curves: Curves, auc: HeadValues, min_rise: float = MIN_RISE, seed: int = 0) -> FoundHeads:
    """Apply the rule of this module to `tf_curves` and `same_token_auc` that were measured before (chapter 5)."""
    table = matching_table(curves, auc, seed)
    wanted = (table["rise"] >= min_rise) & (table["rise_low"] > 0) & (table["auc"] >= MIN_AUC)
    rule = f"rise of MS >= {min_rise} with interval above 0, same-token AUC >= {MIN_AUC}"
    table["chosen"] = wanted
    return FoundHeads(choose(table, wanted, "rise"), table, rule, len(curves.query_ids))


def increments(curves: Curves, heads: Iterable[Head]) -> np.ndarray:
    """What each further occurrence adds to the mean MS of the heads: float [query, step] (chapter 5)."""
    return np.diff(curves.of_heads(heads), axis=1)


# ---- Do they matter? -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effects:
    """Effects of heads on the score, as shares of the mean full change: `values` float [query, layer, head].

    The mean over queries is the ratio of the means. `n_pairs`: pairs behind them. Chapter 5.
    """

    query_ids: list[str]
    values: np.ndarray
    n_pairs: int


def share_out(diagnostics: Diagnostics, effects: np.ndarray, changes: np.ndarray) -> Effects:
    """Effects of pairs put together by query, as shares of the mean full change (chapter 7, eq-share).

    effects: float [pair, layer, head], S_patched - S_b in logits, NaN where a head cannot act (taken as 0). changes:
    float [pair], S_p - S_b in logits.
    Every query counts: one denominator for all, so the mean over queries is the ratio of means, and no query is left out
    because of its outcome. An interval over queries takes the denominator as known. `UserError` if it is 0.
    """
    rows: dict[str, list[int]] = {}
    for number, pair in enumerate(diagnostics.pairs):
        rows.setdefault(pair.query_id, []).append(number)
    full = np.mean([changes[numbers].mean() for numbers in rows.values()]) if rows else 0.0
    if abs(full) < LEAST_MEAN_CHANGE:
        raise UserError(
            "the pairs do not change the score on average: there is nothing to share out. Take other pairs."
        )
    effects = np.nan_to_num(effects)
    values = np.stack([effects[numbers].mean(axis=0) / full for numbers in rows.values()])
    return Effects(list(rows), values, len(diagnostics.pairs))


def head_effects(model: CrossEncoder, pair: DiagnosticPair, heads: Iterable[Head]) -> tuple[np.ndarray, float, float]:
    """Total effect of single heads: their z (all positions) from the perturbed run goes into the baseline run.

    Returns S_patched - S_b in logits, float [layer, head] with NaN at heads not asked for, and S_b and S_p.
    Chapter 5.
    """
    baseline, perturbed = encode_both(model, [pair.baseline_pair], [pair.perturbed_pair])
    ours, theirs = read_site(model, baseline), read_site(model, perturbed)
    first, second = float(model.logits(baseline)[0]), float(model.logits(perturbed)[0])
    effects = np.full((model.n_layers, model.n_heads), np.nan)
    for layer, head in heads:
        z = ours[layer].clone()
        columns = slice(head * model.d_head, (head + 1) * model.d_head)
        z[..., columns] = theirs[layer][..., columns]
        effects[layer, head] = float(patched_scores(model, baseline, layer, "heads", z)) - first
    return effects, first, second


def confirm_heads(model: CrossEncoder, found: FoundHeads, diagnostics: Diagnostics, seed: int = 0) -> FoundHeads:
    """Those of the found heads whose output matters: mean total effect above 0 with its whole 95 % interval.

    `diagnostics`: TFC1 pairs. The table gets the columns effect, effect_low, effect_high and confirmed. A head that
    looks at matches and writes where nobody reads has the effect 0.
    Chapter 5.
    """
    of_pairs = [head_effects(model, pair, found.heads) for pair in diagnostics.pairs]
    effects, baseline, perturbed = (np.array(side) for side in zip(*of_pairs, strict=True))
    shares = share_out(diagnostics, effects, perturbed - baseline)
    effect = head_table(interval_columns("effect", shares.values, seed)).drop(columns=["head", "layer", "index"])
    table = found.table.join(effect)
    table["confirmed"] = table["chosen"] & (table["effect_low"] > CLEAR_EFFECT)
    confirmed = choose(table, table["confirmed"], "effect")
    return FoundHeads(confirmed, table, f"{found.rule}, total effect above 0", len(shares.query_ids))
