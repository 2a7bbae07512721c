"""Diagnostic pairs: two documents that differ in one thing only.

To ask whether a model counts a term, give it two documents that differ in nothing else, and look at what changes. Such
a pair states an *axiom* of retrieval: a rule that a good score should keep (Fang, Tao and Zhai 2004; Fang and Zhai
2006). Here c(t, d) counts how often t stands in d, |d| is the length of d in word pieces, S is the score.

=======  ======================================================================  ===================================
axiom    what differs between baseline d1 and perturbed d2                       the rule
=======  ======================================================================  ===================================
TFC1     |d1| = |d2|, c(t, d2) = c(t, d1) + 1, same counts of other query words   S(d2) > S(d1)
TFC2     the same step, from k to k + 1 occurrences, for k = 0, 1, 2, ...         each step gains less than the last
TDC      |d1| = |d2|, one occurrence of a common query word becomes one of a      S(d2) > S(d1)
         rarer query word
STMC1    |d1| = |d2|, no query word changes its count; d2 has a synonym of t      S(d2) > S(d1)
         where d1 has another word
LNC1     d2 is d1 with a word added that is not in the query                      S(d2) <= S(d1)
LNC2     d2 is d1 written k > 1 times, and d1 has a query word                    S(d2) >= S(d1)
=======  ======================================================================  ===================================

**Equal length.** Patching swaps activations position by position, so both documents must have the same number of
pieces. A *filler* that is one piece long, such as "a", stands m times where the term has m pieces. The paper appends
the term and pads the baseline with fillers; here the place is a parameter.

**TFC2.** The paper keeps the last k of five occurrences, so more occurrences also means occurrences nearer to the
start: count and place cannot be told apart. Here the places are drawn at random, and the order in which they fill too.

**Names.** What the paper's code calls "LNC2" appends text about something else, which is LNC1 of the literature. The
names here are those of the literature.

Every pair is checked by `check_pair`, an assertion of its axiom's conditions. What gives no pair is counted by reason
in `Diagnostics.skipped`.

When it misleads: a document with a word glued to its end is not natural text. A model may treat it as damaged, so an
effect measured here need not have the same size on real documents. And the sample is that of the queries which allow
the edit: read `skipped` before a claim about "queries".
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from typing import TypeVar

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from semanticbm.bm25 import BM25
from semanticbm.collection import Collection, words
from semanticbm.cross_encoder import Pair
from semanticbm.errors import UserError

SAME_LENGTH = ("TFC1", "TFC2", "TDC", "STMC1")
CHOICES = {
    "term": ("rarest", "random", "first", "last"),
    "position": ("append", "prepend", "random"),
    "control": ("filler", "random"),
}
LEAST = {"documents_per_query": 1, "occurrences": 2, "copies": 2}
MIN_IDF_GAP = 1.0  # nats between the two query words of TDC


@dataclass(frozen=True)
class DiagnosticPair:
    """Two documents for one query that differ in one thing.

    `term`: the query word that the pair is about. `inserted`: what the perturbed document has more of. `other`: what
    stands in its place in the baseline. `step`: for TFC2, the number of occurrences in the baseline. `idf_gap`: for
    TDC, IDF of `term` minus IDF of `other`. Chapter 5.
    """

    axiom: str
    query_id: str
    document_id: str
    query: str
    baseline: str
    perturbed: str
    term: str
    inserted: str = ""
    other: str = ""
    step: int = 0
    idf_gap: float = 0.0

    @property
    def baseline_pair(self) -> Pair:
        """(query, baseline document), as the patching functions take it."""
        return self.query, self.baseline

    @property
    def perturbed_pair(self) -> Pair:
        """(query, perturbed document)."""
        return self.query, self.perturbed


@dataclass(frozen=True)
class Settings:
    """The choices behind a set of pairs.

    `term`: which content word of the query is edited. `position`: where the edit goes (TFC1, TDC, STMC1, LNC1).
    `fillers`: the first one that is a single piece and no query word is used. `occurrences`: the largest count of
    TFC2. `control`: what stands in the baseline of STMC1, the "filler" or a "random" word of the collection with as
    many pieces. `copies`: for LNC2.
    `max_words`: documents are cropped to so many words first. Chapter 5.
    """

    documents_per_query: int = 5
    term: str = "rarest"
    position: str = "append"
    fillers: tuple[str, ...] = ("a", "the", "and", "of")
    occurrences: int = 5
    control: str = "filler"
    copies: int = 2
    max_length: int = 512
    max_words: int | None = None
    seed: int = 0

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UserError(f"{name}={getattr(self, name)!r} is unknown: use one of {', '.join(allowed)}.")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} is too small: it must be at least {least}.")


@dataclass(frozen=True)
class Diagnostics:
    """The pairs of one axiom, and what gave none.

    `skipped` counts by reason: queries, if the reason lies in the query; else (query, document) candidates. Chapter 5.
    """

    axiom: str
    pairs: list[DiagnosticPair]
    skipped: Counter = field(default_factory=Counter)

    def by_query(self) -> dict[str, list[DiagnosticPair]]:
        """The pairs of each query: {query id: pairs}."""
        grouped: dict[str, list[DiagnosticPair]] = {}
        for pair in self.pairs:
            grouped.setdefault(pair.query_id, []).append(pair)
        return grouped


class Unbuildable(Exception):
    """This query and document give no pair; the message is the reason that is counted (chapter 5)."""


class QueryUnbuildable(Unbuildable):
    """The reason lies in the query: no document can help, and it is counted once for the query (chapter 5)."""


# ---- Counting words and pieces as the tokenizer does ---------------------------------------------------------------


class Pieces:
    """What a BERT tokenizer makes of a text: its words (before they are cut) and the number of their pieces (chapter 5)."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.words = lru_cache(maxsize=20_000)(self._words)

    def _words(self, text: str) -> tuple[str, ...]:
        backend = self.tokenizer.backend_tokenizer
        plain = backend.normalizer.normalize_str(text) if backend.normalizer else text.lower()
        return tuple(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(plain))

    def length(self, text: str) -> int:
        """Number of word pieces of a text, special tokens left out."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def count(self, term: str, text: str) -> int:
        """How often the whole word (or words) `term` stands in the text."""
        wanted, found = self.words(term), self.words(text)
        return sum(found[start : start + len(wanted)] == wanted for start in range(len(found) - len(wanted) + 1))


def insert(text: str, places: Sequence[int], pieces: Sequence[str]) -> str:
    """Put pieces[n] before word number places[n] of the text (its number of words: at the end) (chapter 5)."""
    tokens = text.split()
    for place, piece in sorted(zip(places, pieces, strict=True), key=lambda item: -item[0]):
        tokens.insert(place, piece)
    return " ".join(tokens)


# ---- One candidate: a query and a document from which a pair may be built ------------------------------------------


@dataclass(frozen=True)
class Kit:
    """What all candidates share: collection, tokenizer, settings, IDF, synonyms (chapter 5)."""

    collection: Collection
    pieces: Pieces
    settings: Settings
    synonyms: Mapping[str, Sequence[str]]

    @cached_property
    def bm25(self) -> BM25:
        """For the IDF of words in this collection."""
        return BM25(self.collection.documents)

    @cached_property
    def vocabulary(self) -> list[str]:
        """The content words of the collection, sorted."""
        return sorted(word for word in self.bm25.document_frequency if is_content(word, self.pieces))


def is_content(word: str, pieces: Pieces) -> bool:
    """True for a whole alphabetic word of three letters or more that is no stop word (chapter 5)."""
    return word.isalpha() and len(word) > 2 and word not in ENGLISH_STOP_WORDS and pieces.words(word) == (word,)


@dataclass(frozen=True)
class Candidate:
    """One query and one document, with the random numbers that belong to them (chapter 5)."""

    kit: Kit
    query_id: str
    document_id: str
    rng: np.random.Generator

    @property
    def query(self) -> str:
        return self.kit.collection.queries[self.query_id]

    @property
    def document(self) -> str:
        text, limit = self.kit.collection.documents[self.document_id], self.kit.settings.max_words
        return text if limit is None else " ".join(text.split()[:limit])

    @cached_property
    def content_words(self) -> list[str]:
        """The distinct content words of the query, in order."""
        found = [word for word in dict.fromkeys(words(self.query)) if is_content(word, self.kit.pieces)]
        if not found:
            raise QueryUnbuildable("the query has no content word")
        return found

    def term(self, among: Sequence[str] | None = None) -> str:
        """The query word to edit, by the rule in the settings."""
        among = list(self.content_words if among is None else among)
        rule = self.kit.settings.term
        if rule == "rarest":
            return max(among, key=self.kit.bm25.word_idf)
        return {"first": among[0], "last": among[-1], "random": str(self.rng.choice(among))}[rule]

    def filler(self) -> str:
        """The first filler that is one piece and no query word."""
        for filler in self.kit.settings.fillers:
            if self.kit.pieces.length(filler) == 1 and self.kit.pieces.count(filler, self.query) == 0:
                return filler
        raise QueryUnbuildable("each filler is a query word or longer than one piece")

    def padded(self, word: str, n_pieces: int) -> str:
        """The word, followed by fillers up to `n_pieces` pieces."""
        missing = n_pieces - self.kit.pieces.length(word) if word else n_pieces
        return " ".join([word] * bool(word) + [self.filler()] * missing)

    def place(self) -> int:
        """The word boundary at which the edit goes."""
        n_words = len(self.document.split())
        choice = self.kit.settings.position
        return {"append": n_words, "prepend": 0, "random": int(self.rng.integers(n_words + 1))}[choice]

    def without(self, term: str) -> str:
        """The document, if the term is not in it."""
        if self.kit.pieces.count(term, self.document):
            raise Unbuildable("the document already has the term")
        return self.document

    def random_word(self, n_pieces: int, avoid: Iterable[str]) -> str:
        """A content word of the collection with that many pieces, not in query or document and not avoided."""
        avoid = set(avoid) | set(self.kit.pieces.words(self.query)) | set(self.kit.pieces.words(self.document))
        for word in self.rng.permutation(self.kit.vocabulary)[:2000]:
            if word not in avoid and self.kit.pieces.length(str(word)) == n_pieces:
                return str(word)
        raise Unbuildable("no random word with as many pieces")

    def pair(self, axiom: str, baseline: str, perturbed: str, term: str, **more) -> DiagnosticPair:
        """The finished pair, checked."""
        pair = DiagnosticPair(axiom, self.query_id, self.document_id, self.query, baseline, perturbed, term, **more)
        longest = self.kit.pieces.length(self.query) + 3 + max(map(self.kit.pieces.length, (baseline, perturbed)))
        if longest > self.kit.settings.max_length:
            raise Unbuildable(f"the pair has over {self.kit.settings.max_length} pieces")
        check_pair(pair, self.kit.pieces)
        return pair


Builder = Callable[[Candidate], list[DiagnosticPair]]
Built = TypeVar("Built")


# ---- The axioms: from a candidate to its pairs ---------------------------------------------------------------------


def _swap(case: Candidate, axiom: str, term: str, inserted: str, other: str, **more) -> list[DiagnosticPair]:
    """Put `inserted` into one copy of the document and `other` into another, at one place, padded to one length."""
    place, n_pieces = case.place(), max(case.kit.pieces.length(inserted), case.kit.pieces.length(other) if other else 0)
    baseline, perturbed = (insert(case.document, [place], [case.padded(word, n_pieces)]) for word in (other, inserted))
    return [case.pair(axiom, baseline, perturbed, term, inserted=inserted, other=other, **more)]


def tfc1(case: Candidate) -> list[DiagnosticPair]:
    """TFC1: the term against fillers (chapter 5)."""
    term = case.term()
    return _swap(case, "TFC1", term, term, "")


def tfc2(case: Candidate) -> list[DiagnosticPair]:
    """TFC2: random places fill one after the other in random order; a pair for each step from k to k + 1.

    Chapter 5.
    """
    term, n = case.term(), case.kit.settings.occurrences
    document = case.without(term)
    places = case.rng.integers(len(document.split()) + 1, size=n)  # already in random order: the first k are filled
    blank = case.padded("", case.kit.pieces.length(term))
    texts = [insert(document, places, [term] * k + [blank] * (n - k)) for k in range(n + 1)]
    return [case.pair("TFC2", texts[k], texts[k + 1], term, inserted=term, step=k) for k in range(n)]


def tdc(case: Candidate) -> list[DiagnosticPair]:
    """TDC: the rarest content word of the query against the commonest, none of them in the document before.

    Chapter 5.
    """
    ranked = sorted(case.content_words, key=case.kit.bm25.word_idf)
    common, rare = ranked[0], ranked[-1]
    gap = case.kit.bm25.word_idf(rare) - case.kit.bm25.word_idf(common)
    if gap < MIN_IDF_GAP:
        raise QueryUnbuildable("no two query words with IDFs far enough apart")
    case.without(common), case.without(rare)
    return _swap(case, "TDC", rare, rare, common, idf_gap=gap)


def stmc1(case: Candidate) -> list[DiagnosticPair]:
    """STMC1: a synonym of a query word against the control (fillers or a random word) (chapter 5)."""
    pieces = case.kit.pieces
    with_synonym = [word for word in case.content_words if case.kit.synonyms.get(word)]
    if not with_synonym:
        raise QueryUnbuildable("no query word has a synonym in the list")
    term = case.term(with_synonym)
    options = [word for word in case.kit.synonyms[term] if not set(pieces.words(word)) & set(pieces.words(case.query))]
    if not options:
        raise QueryUnbuildable("each synonym is itself in the query")
    synonym = str(case.rng.choice(options))
    case.without(synonym)
    random = case.kit.settings.control == "random"
    other = case.random_word(pieces.length(synonym), case.kit.synonyms[term]) if random else ""
    return _swap(case, "STMC1", term, synonym, other)


def lnc1(case: Candidate) -> list[DiagnosticPair]:
    """LNC1: the document with a word added that is neither in it nor in the query nor a synonym of a query word.

    Chapter 5.
    """
    avoid = {synonym for word in case.content_words for synonym in case.kit.synonyms.get(word, ())}
    noise = case.random_word(1, avoid)
    perturbed = insert(case.document, [case.place()], [noise])
    return [case.pair("LNC1", " ".join(case.document.split()), perturbed, case.term(), inserted=noise)]


def lnc2(case: Candidate) -> list[DiagnosticPair]:
    """LNC2: the document written several times; it must have a content word of the query (chapter 5)."""
    present = [word for word in case.content_words if case.kit.pieces.count(word, case.document)]
    if not present:
        raise Unbuildable("the document has no content word of the query")
    baseline = " ".join(case.document.split())
    perturbed = " ".join([baseline] * case.kit.settings.copies)
    return [case.pair("LNC2", baseline, perturbed, case.term(present), inserted=baseline)]


# ---- The checks: each states its axiom -----------------------------------------------------------------------------


Check = Callable[[DiagnosticPair, Pieces, dict[str, int]], None]


def check_pair(pair: DiagnosticPair, pieces: Pieces) -> None:
    """Raise AssertionError unless the pair meets the conditions of its axiom (chapter 5)."""
    if pair.axiom in SAME_LENGTH:
        lengths = pieces.length(pair.baseline), pieces.length(pair.perturbed)
        assert lengths[0] == lengths[1], f"{pair.axiom}: lengths {lengths} differ"
    gained = _gained_query_words(pair, pieces)
    _, check = AXIOMS[pair.axiom]
    check(pair, pieces, gained)


def _gained_query_words(pair: DiagnosticPair, pieces: Pieces) -> dict[str, int]:
    """Query words whose count differs between the two documents, with the difference."""
    differences = {
        word: pieces.count(word, pair.perturbed) - pieces.count(word, pair.baseline)
        for word in dict.fromkeys([*pieces.words(pair.query), pair.term])
    }
    return {word: difference for word, difference in differences.items() if difference}


def _check_tfc1(pair: DiagnosticPair, pieces: Pieces, gained: dict[str, int]) -> None:
    """One more occurrence of the term (all words of a glued term count), and no other query word changes."""
    expected = dict.fromkeys([*pieces.words(pair.term), pair.term], 1)
    assert gained == expected, f"{pair.axiom}: query words changed by {gained}"


def _check_tfc2(pair: DiagnosticPair, pieces: Pieces, gained: dict[str, int]) -> None:
    _check_tfc1(pair, pieces, gained)
    assert pieces.count(pair.term, pair.baseline) == pair.step, "TFC2: the baseline must have `step` occurrences"


def _check_tdc(pair: DiagnosticPair, pieces: Pieces, gained: dict[str, int]) -> None:
    assert gained == {pair.term: 1, pair.other: -1}, f"TDC: query words changed by {gained}"
    assert pair.idf_gap > 0, "TDC: the inserted word must be the rarer one"


def _check_stmc1(pair: DiagnosticPair, pieces: Pieces, gained: dict[str, int]) -> None:
    assert not gained, f"STMC1: query words changed by {gained}"
    assert not set(pieces.words(pair.inserted)) & set(pieces.words(pair.query)), "STMC1: the synonym is in the query"
    grown = pieces.count(pair.inserted, pair.perturbed) - pieces.count(pair.inserted, pair.baseline)
    assert grown == 1, f"STMC1: the synonym's count changed by {grown}"


def _check_lnc1(pair: DiagnosticPair, pieces: Pieces, gained: dict[str, int]) -> None:
    assert not gained, f"LNC1: query words changed by {gained}"
    before, after = (Counter(pieces.words(text)) for text in (pair.baseline, pair.perturbed))
    assert after - before == Counter(pieces.words(pair.inserted)), "LNC1: something else was added"
    assert not before - after, "LNC1: a word was lost"


def _check_lnc2(pair: DiagnosticPair, pieces: Pieces, gained: dict[str, int]) -> None:
    once, many = pieces.words(pair.baseline), pieces.words(pair.perturbed)
    copies = len(many) // len(once)
    assert copies > 1 and many == once * copies, "LNC2: the second document must be the first one, repeated"
    assert gained.get(pair.term, 0) > 0, "LNC2: the document must have the query word"


# Each axiom: how its pairs are built, and what every pair is checked for.
AXIOMS: dict[str, tuple[Builder, Check]] = {
    "TFC1": (tfc1, _check_tfc1),
    "TFC2": (tfc2, _check_tfc2),
    "TDC": (tdc, _check_tdc),
    "STMC1": (stmc1, _check_stmc1),
    "LNC1": (lnc1, _check_lnc1),
    "LNC2": (lnc2, _check_lnc2),
}


# ---- All pairs of a collection -------------------------------------------------------------------------------------


def seeded(seed: int, query_id: str) -> np.random.Generator:
    """Random numbers that belong to a query, whatever other queries are asked (chapter 5)."""
    return np.random.default_rng([seed, zlib.crc32(query_id.encode())])


def candidate_documents(collection: Collection, query_id: str, rng: np.random.Generator) -> Iterator[str]:
    """Document ids to try for a query: those judged for it in random order, then as many others again (chapter 5)."""
    judged = sorted(collection.judgements.get(query_id, {}))
    others = sorted(set(collection.documents) - set(judged))
    yield from map(str, rng.permutation(judged))
    yield from map(str, rng.permutation(others)[: max(len(judged), 50)])


def diagnostic_pairs(
    axiom: str,
    collection: Collection,
    tokenizer,
    settings: Settings | None = None,
    queries: Iterable[str] | None = None,
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> Diagnostics:
    """Pairs of an axiom (`AXIOMS`) for each query of a collection, or for the query ids in `queries` (chapter 5).

    Up to `settings.documents_per_query` documents a query; TFC2 gives one pair for each step on each document.
    `synonyms` {word: words} replaces the collection's own list for STMC1 and LNC1. The same seed gives the same pairs.
    """
    if axiom not in AXIOMS:
        raise UserError(f"unknown axiom {axiom!r}: use one of {', '.join(AXIOMS)}.")
    known = collection.synonyms if synonyms is None else synonyms
    kit = Kit(collection, Pieces(tokenizer), settings or Settings(), known)
    build, _ = AXIOMS[axiom]
    skipped: Counter = Counter()
    pairs = [pair for pairs in build_for_queries(build, kit, queries, skipped) for pair in pairs]
    return Diagnostics(axiom, pairs, skipped)


def build_for_queries(
    build: Callable[[Candidate], Built], kit: Kit, queries: Iterable[str] | None, skipped: Counter
) -> Iterator[Built]:
    """What `build` makes of documents of each query, `settings.documents_per_query` times a query (chapter 5).

    `queries`: query ids (default: all). What cannot be built is counted in `skipped`, by reason.
    """
    for query_id in kit.collection.queries if queries is None else queries:
        if query_id not in kit.collection.queries:
            raise UserError(f"collection {kit.collection.name} has no query {query_id!r}.")
        yield from islice(_build_for_query(build, kit, query_id, skipped), kit.settings.documents_per_query)


def _build_for_query(build: Callable[[Candidate], Built], kit: Kit, query_id: str, skipped: Counter) -> Iterator[Built]:
    rng = seeded(kit.settings.seed, query_id)
    for document_id in candidate_documents(kit.collection, query_id, rng):
        try:
            yield build(Candidate(kit, query_id, document_id, rng))
        except Unbuildable as reason:
            skipped[str(reason)] += 1
            if isinstance(reason, QueryUnbuildable):
                return
