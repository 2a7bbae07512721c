"""Does cutting do what the reading says? Two interventions on the terms of a query.

- `removals`: take one word out of the query and score again. If the score is a sum over terms, the change is that term's
  share, w_i s_i.
- `mean_signals`: leave the texts as they are, but move one query piece's state before the last layer along the match
  direction until its signal is the mean over the query's documents. The change should be w_i times the distance.

Signals have no natural zero, so each term's mean over documents is taken off on both sides before they are compared.

When it misleads: taking a word out also changes what the other words mean, and the positions of all that follow. Moving a
state along one direction makes a state that no input produces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from semanticbm.bert import layers
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.evaluation import pearson
from semanticbm.one_pass import last_layer_of_cls


@dataclass(frozen=True)
class Cause:
    """Predicted and real changes of one query: float [term, document], each term's mean over documents taken off."""

    predicted: np.ndarray
    actual: np.ndarray

    def correlation(self) -> float:
        """Pearson over all terms and documents; NaN if nothing varies."""
        return pearson(self.predicted.ravel(), self.actual.ravel())

    def explained(self, scale: float) -> float:
        """Share of the real changes' variance that `scale` times the predicted ones explain; negative if they make it worse."""
        total = (self.actual**2).sum()
        return float(1 - ((self.actual - scale * self.predicted) ** 2).sum() / total) if total > 0 else float("nan")


def common_scale(causes: Sequence[Cause]) -> float:
    """The one number that turns predicted into real changes, by least squares over all queries given."""
    products = sum((cause.predicted * cause.actual).sum() for cause in causes)
    return float(products / sum((cause.predicted**2).sum() for cause in causes))


def centred(values: np.ndarray) -> np.ndarray:
    """Take each row's mean off: float [term, document]."""
    return values - values.mean(axis=1, keepdims=True)


def query_words(model: CrossEncoder, query: str) -> list[tuple[slice, list[int]]]:
    """For each word of the query its characters and its pieces, counted from the first piece of the query."""
    encoded = model.tokenizer(query, add_special_tokens=False)
    pieces: dict[int, list[int]] = {}
    for piece, word in enumerate(encoded.word_ids()):
        pieces.setdefault(word, []).append(piece)
    return [(slice(*encoded.word_to_chars(word)), owned) for word, owned in pieces.items()]


def without(query: str, characters: slice) -> str:
    """The query without these characters, white space tidied."""
    return " ".join((query[: characters.start] + " " + query[characters.stop :]).split())


def removals(
    model: CrossEncoder, query: str, documents: Sequence[str], weights: np.ndarray, signals: np.ndarray
) -> Cause | None:
    """What taking each word out costs, and what the reading says: None for a query of one word.

    weights: float [piece]. signals: float [document, piece].
    """
    shorter = [without(query, characters) for characters, _ in query_words(model, query)]
    if len(shorter) < 2:
        return None
    full = model.score(query, documents)
    cut = model.score_pairs([(text, document) for text in shorter for document in documents])
    shares = word_shares(model, query, weights, signals)
    return Cause(centred(shares), centred(full - cut.reshape(shares.shape)))


def word_shares(model: CrossEncoder, query: str, weights: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """What each word of the query adds by the reading, its pieces together: float [word, document]."""
    return np.stack([signals[:, pieces] @ weights[pieces] for _, pieces in query_words(model, query)])


@torch.no_grad()
def mean_signals(
    model: CrossEncoder,
    query: str,
    documents: Sequence[str],
    weights: np.ndarray,
    signals: np.ndarray,
    steps: np.ndarray,
) -> list[Cause]:
    """What setting each piece's signal to its mean changes, and what the reading says: one `Cause` for each of `steps`.

    steps: float [step, d_model]; the state of piece i moves by (mean signal - signal) times one of them. With `unit_step`
    that is the smallest move that does it; with another vector of the same length it is the control. One traced run: the
    layers below the last see each document once, the last layer, for [CLS] alone, a copy for each step and piece.
    """
    encoding = model.encode([(query, document) for document in documents])
    distance = (signals.mean(axis=0) - signals).T  # [piece, document]
    n_steps, n_pieces, n_documents = len(steps), *distance.shape
    moves = torch.tensor(distance[..., None] * steps[:, None, None], dtype=model.hf.dtype, device=model.device)
    first, n_copies = encoding.query_spans[0][0], 1 + n_steps * n_pieces
    mask = encoding.visible.repeat(n_copies, 1, 1, 1)
    with model.traced.trace(**encoding.inputs):
        last = layers(model.traced)[-1]
        state = last.input
        copies = state.expand(n_copies, *state.shape).clone()  # copy 0 stays as it is
        by_step = copies[1:].unflatten(0, (n_steps, n_pieces))
        for piece in range(n_pieces):
            by_step[:, piece, :, first + piece] += moves[:, piece]
        last.skip(last_layer_of_cls(model, copies.flatten(0, 1), mask)[0])
        scores = model.traced.output.logits[:, 0].save()
    plain, *moved = scores.double().cpu().numpy().reshape(n_copies, n_documents)
    actual = np.reshape(moved, (n_steps, n_pieces, n_documents)) - plain
    return [Cause(centred(distance * weights[:, None]), centred(of_step)) for of_step in actual]


def unit_step(direction: np.ndarray) -> np.ndarray:
    """The smallest vector that raises the signal along `direction` by 1: direction / |direction|^2, float [d_model]."""
    return direction / (direction @ direction)
