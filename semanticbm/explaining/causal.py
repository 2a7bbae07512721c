"""Does the model do what the explanation says? Two cuts for each query term, scored by the model itself.

- *removal*: the term leaves the query. What the score loses is what the term was worth.
- *masked*: the term stays, and the document words that earned its share become fillers. What the score loses is what these
  words were worth.

When it misleads: taking a term out also changes what the other terms mean. Fillers leave a text that nobody would write.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semanticbm.collection import words
from semanticbm.cross_encoder import CrossEncoder, Pair
from semanticbm.errors import TruncationWarning
from semanticbm.study.causes import query_words, without

MATCHED = 0.5  # a word counts as matched from this share of what the best word earned
MANY = 64  # pairs: more than these take seconds


@dataclass(frozen=True)
class Cuts:
    """What the score loses, in logits: `removal` if the term leaves the query, `masked` if its matches become fillers.

    None where there is nothing to cut: the query would have no word left, or no document piece earned anything.
    """

    removal: float | None
    masked: float | None


def cut_terms(
    model: CrossEncoder, query: str, document: str, score: float, earned: Sequence[Sequence[float]], filler: str
) -> list[Cuts]:
    """Both cuts for each term. earned: float [term, position], see `semanticbm.explaining.reading.earned_by_positions`."""
    shorter = [_or_none(without(query, characters)) for characters, _ in query_words(model, query)]
    masked = [with_fillers(model, document, row, filler) for row in earned]
    pairs = [(text, document) for text in shorter if text] + [(query, text) for text in masked if text]
    scores = iter(_scores(model, pairs))
    removals = [score - float(next(scores)) if text else None for text in shorter]
    return [
        Cuts(lost, score - float(next(scores)) if text else None) for lost, text in zip(removals, masked, strict=True)
    ]


def _scores(model: CrossEncoder, pairs: Sequence[Pair]) -> np.ndarray:
    """Scores of the cut pairs, with a progress bar if they are many; that a long document is cut off was said before."""
    if not pairs:
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        return model.score_pairs(pairs, progress=len(pairs) > MANY)


def _or_none(query: str) -> str | None:
    return query if words(query) else None


def with_fillers(model: CrossEncoder, document: str, earned: Sequence[float], filler: str) -> str | None:
    """The document with the words that earned most replaced by fillers; None if no piece earned anything.

    earned: float [position], one for each piece that the model saw. All places of a word that are matched are replaced.
    """
    places = query_words(model, document)
    by_word = [sum(earned[piece] for piece in pieces if piece < len(earned)) for _, pieces in places]
    best = max(by_word, default=0.0)
    if best <= 0:
        return None
    text = document
    for (characters, _), value in reversed(list(zip(places, by_word, strict=True))):
        if value >= MATCHED * best:
            text = text[: characters.start] + filler + text[characters.stop :]
    return text
