"""What several test files build alike: small collections, random networks, pairs of texts, and the tolerance of a share.

Everything is seeded and small. Fixtures made of these stand in conftest.py; what only one file needs stays in that file.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from hypothesis import Phase
from transformers import BertConfig, BertForSequenceClassification

from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder

ROOT = Path(__file__).resolve().parents[1]

# --------------------------------------------------------------------------------------------------------------------
# Collections


CAT_TEXTS = {
    "a": "The cat sat on the mat, and the other cat looked at the first cat.",
    "b": "A dog chased the cat.",
    "c": "Automobiles need fuel; an automobile without fuel is furniture.",
    "d": "My car needs fuel and my neighbour's car needs a driver, a road, a reason and a good map of the town.",
}
CAT_QUERIES = {"q1": "cat on mat", "q2": "car fuel", "q3": "the dog"}
CAT_MAT = Collection(
    "tiny", {"a": "the cat sat on the mat", "b": "a dog chased the cat", "c": "cars need fuel"}, {"q": "cat mat"}, {}
)
"""Three texts and one query: enough to compile BM25 from."""


def with_queries(collection: Collection, queries: list[str]) -> Collection:
    """A collection with all its documents, but only some of its queries and their judgements."""
    return replace(
        collection,
        queries={query: collection.queries[query] for query in queries},
        judgements={query: collection.judgements[query] for query in queries if query in collection.judgements},
        query_kinds={query: kind for query, kind in collection.query_kinds.items() if query in queries},
    )


# --------------------------------------------------------------------------------------------------------------------
# Networks


def random_bert(
    tokenizer,
    n_layers: int,
    n_heads: int,
    d_head: int,
    d_mlp: int,
    spread: float = 0.4,
    seed: int = 0,
    name: str = "random",
) -> CrossEncoder:
    """A BERT with random weights from N(0, spread^2), far wider than BERT's own 0.02, so that every head matters."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=d_head * n_heads,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=d_mlp,
        num_labels=1,
        initializer_range=spread,
        attn_implementation="eager",
    )
    return CrossEncoder(BertForSequenceClassification(config), tokenizer, name)


@cache
def small_bert(tokenizer, n_layers: int, n_heads: int) -> CrossEncoder:
    """A random BERT of any depth and number of heads, 8 wide each, in double precision; another network for each shape."""
    return copy_as(
        random_bert(tokenizer, n_layers, n_heads, d_head=8, d_mlp=32, seed=10 * n_layers + n_heads), torch.double
    )


def copy_as(model: CrossEncoder, dtype: torch.dtype) -> CrossEncoder:
    """The same weights in another precision."""
    hf = BertForSequenceClassification(model.hf.config)
    hf.load_state_dict(model.hf.state_dict())
    return CrossEncoder(hf.to(dtype), model.tokenizer, str(dtype))


# --------------------------------------------------------------------------------------------------------------------
# Pairs to patch, and how exact an effect can be


BASELINE = ("cats and dogs", "the dog runs over a hill today")
PERTURBED = ("cats and dogs", "the dog runs over a cat today")
COMPILED_PAIRS = (("cat mat", "the cat sat on the hill"), ("cat mat", "the cat sat on the mat"))
"""A pair for the compiled `CAT_MAT`: the second document has one match more."""
TOLERANCE = 1e-5
"""Of the scores' scale, in float32."""
DOUBLE_TOLERANCE = 1e-10
"""Of the scores' scale, in float64."""
QUICK = {"deadline": None, "max_examples": 8, "derandomize": True, "phases": (Phase.explicit, Phase.generate)}
"""Hypothesis settings for checks that run a network several times an example."""


def pair_of(seed: int, length: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """Two pairs of one-piece words whose documents differ in one word."""
    rng = np.random.default_rng(seed)
    words = rng.choice(["cat", "dog", "tree", "house", "river", "stone", "light", "music"], length).tolist()
    other = words.copy()
    other[int(rng.integers(length))] = "window"
    return ("cat stone", " ".join(words)), ("cat stone", " ".join(other))


def tolerance(model: CrossEncoder, baseline: tuple[str, str], perturbed: tuple[str, str]) -> float:
    """The tolerance as a share: rounding is relative to the scores, the metric divides by their difference."""
    scores = model.score_pairs([baseline, perturbed])
    precision = DOUBLE_TOLERANCE if model.hf.dtype == torch.double else TOLERANCE
    return precision * max(1.0, np.abs(scores).max() / abs(scores[1] - scores[0]))


def bfloat16_tolerance(model: CrossEncoder, baseline: tuple[str, str], perturbed: tuple[str, str]) -> float:
    """bfloat16 keeps 8 bits: two ways to the same score may differ by a few steps of 2**-8 of the scores' scale."""
    scores = [float(model.logits(model.encode([pair]))) for pair in (baseline, perturbed)]
    return 8 * 2**-8 * max(1, *map(abs, scores)) / abs(scores[1] - scores[0])
