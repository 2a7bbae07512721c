"""Do relays write to the rare words? Two measures beyond the paper's (chapter 7).

The paper says that contextual heads move the match signal to query words with a high IDF. What a head *writes* at a
position can be measured directly (`written_changes`), and so can what the score *gains* from it (`effects_by_position`).
Both are held against the IDF of the query words (`relay_correlations`), and the relays against the other heads of their
layers (`relay_report`).

When it misleads: the gain is to first order, and a large change need not be read by anything. The two measures can even
have opposite signs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from semanticbm.bert import layers, z_projection
from semanticbm.bm25 import BM25
from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.diagnostics import DiagnosticPair, Diagnostics, Pieces
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean
from semanticbm.heads import Head, HeadValues, other_heads
from semanticbm.patching import encode_both, gradients, read_site
from semanticbm.scoring_heads import rank_correlation

MIN_WORDS = 4  # query words besides the edited one that a correlation needs


@torch.no_grad()
def written_changes(model: CrossEncoder, pair: DiagnosticPair) -> np.ndarray:
    """Length of the change that each head writes at each position when the baseline becomes the perturbed document.

    Returns float [layer, head, position]. What a head writes is its z times its columns of W_O.
    """
    baseline, perturbed = encode_both(model, [pair.baseline_pair], [pair.perturbed_pair])
    z, others, changes = read_site(model, baseline), read_site(model, perturbed), []
    for layer, ours, theirs in zip(layers(model.hf), z, others, strict=True):
        change = (theirs - ours)[0].unflatten(-1, (model.n_heads, model.d_head))
        weight = z_projection(layer).weight.unflatten(-1, (model.n_heads, model.d_head))
        changes.append(torch.einsum("phd,mhd->hpm", change, weight).norm(dim=-1))
    return torch.stack(changes).cpu().numpy()


def effects_by_position(model: CrossEncoder, pair: DiagnosticPair) -> np.ndarray:
    """How much the score gains from the change of each head at each position, to first order, in logits.

    Slope of the score at the baseline times the change of z (attribution patching, kept apart by position): float
    [layer, head, position]. One run forward and back instead of a run for each head and position.
    """
    baseline, perturbed = encode_both(model, [pair.baseline_pair], [pair.perturbed_pair])
    (z, slopes), others = gradients(model, baseline), read_site(model, perturbed)
    products = [slope * (theirs - ours) for slope, ours, theirs in zip(slopes, z, others, strict=True)]
    by_head = torch.stack(products)[:, 0].unflatten(-1, (model.n_heads, model.d_head)).sum(dim=-1)
    return by_head.transpose(1, 2).cpu().numpy()


def relay_correlations(
    model: CrossEncoder,
    diagnostics: Diagnostics,
    idf: Callable[[str], float],
    quantity: Callable[[CrossEncoder, DiagnosticPair], np.ndarray] = effects_by_position,
) -> HeadValues:
    """Spearman of what a head does at the *other* query words with their IDF: float [query, layer, head].

    `quantity`: `effects_by_position` (what the score gains there) or `written_changes` (how much changes there). A
    positive value: more at rarer words. The edited word is left out. Take pairs whose term was drawn at random: with
    the rarest word as term, the rarest place would never be among the others.
    """
    pieces, by_query = Pieces(model.tokenizer), {}
    for pair in diagnostics.pairs:
        words = pieces.words(pair.query)
        others = [place for place, word in enumerate(words) if word not in pieces.words(pair.term)]
        levels = np.array([idf(words[place]) for place in others])
        if len(others) < MIN_WORDS or np.ptp(levels) == 0:
            continue
        encoding = model.encode([pair.baseline_pair])
        query = slice(*encoding.query_spans[0])
        where, done = np.array(encoding.word_ids[0][query]), quantity(model, pair)[..., query]
        by_word = np.stack([done[..., where == place].mean(axis=-1) for place in others], axis=-1)
        by_query.setdefault(pair.query_id, []).append(rank_correlation(by_word, levels, None))
    if not by_query:
        raise UserError(f"no query has {MIN_WORDS} words besides the edited one: take another collection.")
    return HeadValues.from_documents(by_query)


def relay_report(
    model: CrossEncoder, collection: Collection, diagnostics: Diagnostics, relays: Sequence[Head], seed: int = 0
) -> pd.DataFrame:
    """Do relays write to rarer words? Mean `relay_correlations` of them and of the other heads of their layers.

    Columns: effect (with effect_low, effect_high) for `effects_by_position`, written (...) for `written_changes`.
    """
    idf = BM25(collection.documents).word_idf
    measured = {
        "effect": relay_correlations(model, diagnostics, idf),
        "written": relay_correlations(model, diagnostics, idf, written_changes),
    }
    relays = list(relays)
    others = other_heads(relays, model.head_shape, same_layers=True)
    groups = {"relays": relays, "other heads of these layers": others}
    return pd.DataFrame([_relay_row(name, heads, measured, seed) for name, heads in groups.items() if heads])


def _relay_row(name: str, heads: list[Head], measured: dict[str, HeadValues], seed: int) -> dict:
    row = {"heads": name, "n_heads": len(heads)}
    for column, found in measured.items():
        by_query = np.nanmean([found.values[:, layer, head] for layer, head in heads], axis=0)
        row |= dict(zip((column, f"{column}_low", f"{column}_high"), bootstrap_mean(by_query, seed=seed), strict=True))
    return row | {"n_queries": len(measured["effect"].query_ids)}
