"""A compiled model with a deeper circuit and many heads that lead astray: the ground truth for head finding.

A method that finds heads in a trained model cannot be marked right or wrong there, since nobody knows the answer. Here
the answer is known: `plant_circuit` plants a circuit of six heads among sixteen and says where they are. Its seed
shuffles the places. The circuit has the shape that Lu, Chen and Eickhoff (2025) describe:

=====  ==========================================  ================================================================
layer  planted heads                               what they do
=====  ==========================================  ================================================================
0, 1   three *matching* heads                      each computes BM25's TF factor with its own k1 and b, and adds a
                                                   third of it to the query token's `mass`; MLP 1 reads the sum (tf)
2      one *contextual* head (a relay)             each query token collects idf times tf of all query tokens
3      two *scoring* heads, read by [CLS]          one adds up idf times tf by itself; one reads what the relay
                                                   collected; each gives half of the score
=====  ==========================================  ================================================================

So the logit is the mean of three BM25 scores. ln idf is planted in the embedding: each word's row has the feature
`rarity` = C - ln idf, large for common words. It is by far the largest common direction of the embedding matrix, so its
first left singular vector U0 is proportional to it, and all readers of IDF read it there: editing U0 edits the IDF.

The other ten heads are distractors:

- *inert matching*: attends exactly as a matching head does, and writes where nobody reads;
- *inert scoring*: attends exactly as a scoring head does, and writes where nobody reads;
- *stray*: attends at random and writes where nobody reads;
- *mute*: attends at random and writes nothing.

A method that looks at attention alone must fall for the inert heads; a method that intervenes must not.

When it misleads: the planted circuit is clean. Every head has one role, no two roles overlap, and nothing is
approximate. A method that fails here is wrong; a method that succeeds here may still fail on a trained model.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from semanticbm import compiled
from semanticbm.bert import word_embeddings
from semanticbm.bm25 import BM25
from semanticbm.collection import Collection
from semanticbm.compiled import IDLE, MASKED, SINK, SMALL, SPECIAL_TOKENS, CompiledCrossEncoder, HeadWeights, Layout
from semanticbm.heads import head_name, parse_head

N_LAYERS, N_HEADS, N_FREE, NOISE_CHANNELS = 4, 4, 8, 8
PARAMETERS = ((1.2, 0.75), (0.6, 0.4), (2.0, 0.9))  # (k1, b) of the matching heads
HEAD_ROLES = (  # of each layer, before the seed shuffles them
    ("matching", "matching", "mute", "stray"),
    ("matching", "inert matching", "mute", "stray"),
    ("contextual", "inert matching", "mute", "stray"),
    ("scoring", "scoring", "inert scoring", "stray"),
)
PLANTED = ("matching", "contextual", "scoring")


class PlantedCrossEncoder(CompiledCrossEncoder):
    """The model with the planted circuit. `parameters`: {matching head: (k1, b)}. `references`: one BM25 for each of them."""

    def __init__(self, hf: BertForSequenceClassification, vocabulary: list[str], references: dict[str, BM25]):
        super().__init__(hf, "planted", vocabulary, next(iter(references.values())))
        self.references = references
        self.parameters = {head: (bm25.k1, bm25.b) for head, bm25 in references.items()}

    def reference(self, query: str, documents: Iterable[str]) -> np.ndarray:
        """What the logits should be: the mean of the planted BM25 scores, float array [document]."""
        return np.array(
            [np.mean([bm25.score_text(query, text) for bm25 in self.references.values()]) for text in documents]
        )


def plant_circuit(collection: Collection, seed: int = 0) -> tuple[PlantedCrossEncoder, dict[str, list[str]]]:
    """Compile a BERT of 4 layers x 4 heads with a planted circuit; return it with its heads by role (chapter 3).

    Roles are those of `HEAD_ROLES`; the heads of the circuit are those under `PLANTED`. The same collection and seed give
    the same weights. They grow with the square of the number of query words: use a collection of a few dozen queries.
    """
    vocabulary = compiled.query_vocabulary(collection)
    layout = Layout(len(vocabulary), ("rarity", "gathered"), N_FREE, width=N_HEADS * (len(vocabulary) + 8))
    layout.width += -layout.width % N_HEADS
    random = torch.Generator().manual_seed(seed)
    heads = place_roles(random)
    references = {
        head: BM25(collection.documents, k1, b) for head, (k1, b) in zip(heads["matching"], PARAMETERS, strict=True)
    }
    hf = compiled.empty_bert(layout, N_LAYERS, N_HEADS, torch.float32)
    compiled.write_embeddings(hf, layout)
    ceiling = plant_rarity(hf, layout, compiled.log_idf(references[heads["matching"][0]], vocabulary, hf.dtype))
    plant_matching(hf, layout, references)
    plant_relay(compiled.head_weights(hf, *parse_head(heads["contextual"][0])), layout, ceiling)
    plant_scoring(hf, layout, heads["scoring"], ceiling)
    plant_distractors(hf, layout, heads, ceiling, references, random)
    compiled.write_read_out(hf, layout)
    return PlantedCrossEncoder(hf, vocabulary, references), heads


def place_roles(random: torch.Generator) -> dict[str, list[str]]:
    """Shuffle the roles of each layer over its heads: {role: [head, ...]} (chapter 3)."""
    heads: dict[str, list[str]] = {}
    for layer, roles in enumerate(HEAD_ROLES):
        for head, place in enumerate(torch.randperm(N_HEADS, generator=random).tolist()):
            heads.setdefault(roles[place], []).append(head_name(layer, head))
    return heads


# ---- The circuit ---------------------------------------------------------------------------------------------------


def plant_rarity(hf: BertForSequenceClassification, layout: Layout, log_idf: Tensor) -> float:
    """Write rarity = C - ln idf into the rows of all words; return C, which makes the smallest rarity 1 (chapter 3).

    Not balanced, on purpose: with balanced rows sum(v0) would be 0, and the sign of U0 would be undefined.
    """
    ceiling = float(log_idf.max()) + 1
    table, place = word_embeddings(hf).weight, layout["rarity+"]
    table[len(SPECIAL_TOKENS) :, place] = ceiling - log_idf
    table[SPECIAL_TOKENS.index("[OTHER]"), place] = ceiling - log_idf.median()
    return ceiling


def plant_matching(hf: BertForSequenceClassification, layout: Layout, references: dict[str, BM25]) -> None:
    """Matching heads: each adds its share of the TF factor to `mass`; the MLP of layer 1 reads the sum (chapter 3)."""
    logits = {head: compiled.match_logits(bm25.k1, bm25.b, bm25.avgdl) for head, bm25 in references.items()}
    total = sum(of_head.gain for of_head in logits.values())
    for name, of_head in logits.items():
        head = compiled.head_weights(hf, *parse_head(name))
        compiled.write_match_pattern(
            head, layout, of_head.beta * torch.eye(layout.n_words, dtype=hf.dtype), of_head.sink
        )
        compiled.write_copy(head, layout, gain=of_head.gain / total)  # the masses of all heads add up to at most 1
    compiled.write_reading_units(hf, 1, layout, torch.eye(layout.n_words, dtype=hf.dtype), gain=total / len(references))


def write_rarity_pattern(head: HeadWeights, layout: Layout, rows: str, sink: float) -> None:
    """Rows of the kind `rows` ("cls" or "query") see query words with logit -rarity = ln idf - C, and the sink.

    `sink` is the logit of [CLS]; -MASKED means that there is no sink. All other rows see only [CLS].
    Chapter 3.
    """
    head.query_bias[0] = head.unit
    head.key[0, layout["rarity+"]] = -1
    head.key[0, [layout["document"], layout["sep"]]] = -MASKED
    head.key[0, layout["cls"]] = sink
    idle = {"cls": ["query", "document", "sep"], "query": ["cls", "document", "sep"]}[rows]
    head.query[1, [layout[name] for name in idle]] = head.unit
    head.key[1, layout["cls"]] = IDLE
    compiled.level(head.query)
    compiled.level(head.key)


def plant_relay(head: HeadWeights, layout: Layout, ceiling: float) -> None:
    """The contextual head: each query token gathers idf times tf of all query tokens (chapter 3)."""
    write_rarity_pattern(head, layout, "query", SINK - ceiling)
    compiled.write_sum(head, layout, "tf", "gathered", exp(SINK) * SMALL)


def plant_scoring(hf: BertForSequenceClassification, layout: Layout, names: list[str], ceiling: float) -> None:
    """Two scoring heads, half of the score each (chapter 3).

    The first sums idf times tf over the query tokens, with a sink. The second takes the mean, weighted by idf, of what
    the relay gathered; since every query token gathered the same, the weights do not matter.
    """
    summing, averaging = (compiled.head_weights(hf, *parse_head(name)) for name in names)
    write_rarity_pattern(summing, layout, "cls", SINK - ceiling)
    compiled.write_sum(summing, layout, "tf", "score", exp(SINK) * SMALL / 2)
    write_rarity_pattern(averaging, layout, "cls", -MASKED)
    compiled.write_sum(averaging, layout, "gathered", "score", 1 / 2)


# ---- The distractors -----------------------------------------------------------------------------------------------


def plant_distractors(
    hf: BertForSequenceClassification,
    layout: Layout,
    heads: dict[str, list[str]],
    ceiling: float,
    references: dict[str, BM25],
    random: torch.Generator,
) -> None:
    """Write the heads that are not in the circuit (chapter 3)."""
    bm25 = next(iter(references.values()))
    logits = compiled.match_logits(bm25.k1, bm25.b, bm25.avgdl)
    for name in heads["inert matching"]:
        head = compiled.head_weights(hf, *parse_head(name))
        compiled.write_match_pattern(head, layout, logits.beta * torch.eye(layout.n_words, dtype=hf.dtype), logits.sink)
        head.value[: layout.n_words, layout.identity] = torch.eye(layout.n_words, dtype=hf.dtype)
        write_astray(head, layout, layout.n_words, random)
    for name in heads["inert scoring"]:
        head = compiled.head_weights(hf, *parse_head(name))
        write_rarity_pattern(head, layout, "cls", -MASKED)
        head.value[0, layout["tf+"]] = 1.0
        write_astray(head, layout, 1, random)
    for name in heads["mute"] + heads["stray"]:
        head = compiled.head_weights(hf, *parse_head(name))
        write_random_pattern(head, layout, random)
        if name in heads["stray"]:
            words = normal(random, NOISE_CHANNELS, layout.n_words, like=head.value)
            head.value[:NOISE_CHANNELS, layout.identity] = words
            write_astray(head, layout, NOISE_CHANNELS, random)


def normal(random: torch.Generator, *shape: int, like: Tensor) -> Tensor:
    """Standard normal numbers of a shape, in the type of `like` (chapter 3)."""
    return torch.randn(*shape, generator=random, dtype=torch.float64).to(like.dtype)


def write_astray(head: HeadWeights, layout: Layout, n_channels: int, random: torch.Generator) -> None:
    """Write the first channels into a random mixture of the free features, which nobody reads (chapter 3)."""
    compiled.level(head.value)
    head.output[layout.free, :n_channels] = 0.3 * normal(random, N_FREE, n_channels, like=head.output)
    compiled.balance(head.output.T)


def write_random_pattern(head: HeadWeights, layout: Layout, random: torch.Generator) -> None:
    """Attention by the product of two random vectors for each word; logits have a spread of about 2 (chapter 3)."""
    scale = (2 * head.unit / NOISE_CHANNELS**0.5) ** 0.5
    for weights in (head.query, head.key):
        weights[:NOISE_CHANNELS, layout.identity] = scale * normal(random, NOISE_CHANNELS, layout.n_words, like=weights)
        weights[:NOISE_CHANNELS, layout["cls"]] = scale * normal(random, NOISE_CHANNELS, like=weights)
        compiled.level(weights)
