"""Ablation: take parts of the model away, and see whether it still ranks.

Finding heads that look like BM25 does not show that the model needs them. Two questions do:

- *Necessary?* Take the found heads away and keep all others. If ranking suffers more than without as many random heads of
  the same layers, the found heads matter.
- *Sufficient?* Keep the found heads and take all others away. If the documents keep their order, the circuit is enough.

**Mean ablation.** "Taking a head away" means that its output z carries no news about this pair: it is replaced by the mean
of z over many pairs. Zero would be a value that the later layers have never met; the mean keeps them on known ground. A
head does one thing at [CLS] and another in the document, so there is one mean for each *role* of a position: [CLS], query,
middle [SEP], document, last [SEP].

**Blocking.** A finer cut: keep every head, but forbid that positions of one role look at positions of another, in all
layers. The logit is set to the smallest number before the softmax, so the attention goes to the other positions.
"cls <- document" asks whether [CLS] needs to read the document itself; "query <- document" whether the query tokens do.
A later study of the paper's model found that the first can go and "document <- query" cannot (PAPER, section 10).

When it misleads: after a cut the model is a machine that nobody trained. A loss shows that the part was used, not what for;
no loss may mean that another part took over its work. And one cut that hurts does not make all others harmless: read the
random heads beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair, layers, self_attention, z_projection
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean, ndcg, spearman

ROLES = ("cls", "query", "sep", "document", "end")  # "end" is the last [SEP]
BLOCKS = ("cls <- document", "query <- document", "document <- query", "cls <- query")
N_DRAWS = 20
Head = tuple[int, int]


# --------------------------------------------------------------------------------------------------------------------
# Pairs in batches, encoded once for many runs


@dataclass(frozen=True)
class Batch:
    """Some pairs: their numbers, their encoding, and the role of each position, int [batch, position]."""

    numbers: list[int]
    encoding: Encoding
    roles: Tensor


def position_roles(encoding: Encoding) -> Tensor:
    """The role of each position as an index into `ROLES`: int [batch, position]. Padding counts as "end"."""
    roles = torch.full_like(encoding.input_ids, ROLES.index("end"))
    for row, (query, document) in enumerate(zip(encoding.query_spans, encoding.document_spans, strict=True)):
        roles[row, 0] = ROLES.index("cls")
        roles[row, slice(*query)] = ROLES.index("query")
        roles[row, query[1]] = ROLES.index("sep")
        roles[row, slice(*document)] = ROLES.index("document")
    return roles


def encode_batches(model: CrossEncoder, pairs: Sequence[Pair], batch_size: int = 32) -> list[Batch]:
    """Encode pairs in batches of like length."""
    order = sorted(range(len(pairs)), key=lambda number: -len(pairs[number][1]))
    batches = []
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        encoding = model.encode([pairs[number] for number in numbers])
        batches.append(Batch(numbers, encoding, position_roles(encoding)))
    return batches


def _in_order(batches: Sequence[Batch], values: Sequence[Tensor]) -> np.ndarray:
    """Scores of the batches put back into the order of the pairs: float [pair]."""
    result = np.empty(sum(len(batch.numbers) for batch in batches))
    for batch, scores in zip(batches, values, strict=True):
        result[batch.numbers] = scores.detach().double().cpu().numpy()
    return result


# --------------------------------------------------------------------------------------------------------------------
# Mean ablation


@torch.no_grad()
def mean_outputs(model: CrossEncoder, batches: Sequence[Batch]) -> Tensor:
    """The mean of every head's output z over all positions of a role: float [layer, role, head * d_head]."""
    total = torch.zeros(model.n_layers, len(ROLES), model.d_model, dtype=torch.float64, device=model.device)
    count = torch.zeros(len(ROLES), 1, dtype=torch.float64, device=model.device)
    for batch in batches:
        outputs = []
        with torch.no_grad(), model.traced.trace(**batch.encoding.inputs):
            for layer in layers(model.traced):
                outputs.append(z_projection(layer).input.save())
        member = torch.nn.functional.one_hot(batch.roles, len(ROLES)).double()  # [batch, position, role]
        member *= batch.encoding.attention_mask[:, :, None]
        count += member.sum(dim=(0, 1))[:, None]
        for number, z in enumerate(outputs):
            total[number] += torch.einsum("bpr,bpw->rw", member, z.double())
    return (total / count.clamp_min(1)).float()


def head_columns(model: CrossEncoder, heads: Iterable[Head]) -> dict[int, Tensor]:
    """The columns of z that belong to some heads: {layer: bool [head * d_head]}, only layers that have any."""
    columns: dict[int, Tensor] = {}
    for layer, head in heads:
        model.check_head(layer, head)
        mask = columns.setdefault(layer, torch.zeros(model.d_model, dtype=torch.bool, device=model.device))
        mask[head * model.d_head : (head + 1) * model.d_head] = True
    return columns


@torch.no_grad()
def ablated_scores(model: CrossEncoder, batches: Sequence[Batch], heads: Iterable[Head], means: Tensor) -> np.ndarray:
    """Scores with the heads' outputs replaced by their means for the role of each position: float [pair]."""
    columns, found = head_columns(model, heads), []
    for batch in batches:
        with torch.no_grad(), model.traced.trace(**batch.encoding.inputs):
            for number, layer in enumerate(layers(model.traced)):
                if number in columns:
                    z = z_projection(layer).input
                    z_projection(layer).input = torch.where(columns[number], means[number][batch.roles].to(z.dtype), z)
            scores = model.traced.output.logits[:, 0].save()
        found.append(scores)
    return _in_order(batches, found)


def other_heads_of_same_layers(model: CrossEncoder, heads: Iterable[Head], n_draws: int = N_DRAWS,
                               seed: int = 0) -> list[list[Head]]:
    """Random sets with as many heads in each layer as `heads` has, drawn from the layer's other heads.

    Where a layer has too few others, all of them are taken and the rest is drawn from the found ones.
    """
    found, rng, draws = set(heads), np.random.default_rng(seed), []
    for _ in range(n_draws):
        chosen: list[Head] = []
        for layer in sorted({layer for layer, _ in found}):
            own = sorted(head for at, head in found if at == layer)
            others = [head for head in range(model.n_heads) if head not in own]
            picked = rng.permutation(others)[: len(own)].tolist()
            picked += rng.permutation(own)[: len(own) - len(picked)].tolist()
            chosen += [(layer, int(head)) for head in picked]
        draws.append(chosen)
    return draws


# --------------------------------------------------------------------------------------------------------------------
# Blocking attention


def parse_block(block: str) -> tuple[int, int]:
    """Read "cls <- document" as (role that looks, role that is looked at), indices into `ROLES`."""
    looks, arrow, seen = (part.strip() for part in block.partition("<-"))
    if not arrow or looks not in ROLES or seen not in ROLES:
        raise UserError(f"{block!r} is not a block: write two of {', '.join(ROLES)} with an arrow, as in 'cls <- document'.")
    return ROLES.index(looks), ROLES.index(seen)


def attention_mask(model: CrossEncoder, batch: Batch, blocks: Iterable[str] = ()) -> Tensor:
    """What is added to the attention logits: 0, or the smallest number where looking is forbidden or at padding.

    float [batch, 1, position (looks), position (seen)].
    """
    forbidden = (batch.encoding.attention_mask == 0)[:, None, :].repeat(1, batch.roles.shape[1], 1)
    for block in blocks:
        looks, seen = parse_block(block)
        forbidden |= (batch.roles == looks)[:, :, None] & (batch.roles == seen)[:, None, :]
    dtype = model.hf.dtype
    return torch.zeros(forbidden.shape, dtype=dtype, device=model.device).masked_fill(
        forbidden, torch.finfo(dtype).min)[:, None]


@torch.no_grad()
def blocked_scores(model: CrossEncoder, batches: Sequence[Batch], blocks: Iterable[str]) -> np.ndarray:
    """Scores with some attention forbidden in all layers: float [pair]. One plain forward pass with another mask."""
    found = []
    for batch in batches:
        inputs = batch.encoding.inputs | {"attention_mask": attention_mask(model, batch, blocks)}
        found.append(model.hf(**inputs).logits[:, 0])
    return _in_order(batches, found)


@torch.no_grad()
def blocked_scores_textbook(model: CrossEncoder, batches: Sequence[Batch], blocks: Iterable[str],
                            only: Iterable[int] | None = None) -> np.ndarray:
    """The same in nnsight, layer by layer; `only`: the layers in which looking is forbidden (default: all)."""
    chosen, found = set(range(model.n_layers) if only is None else only), []
    for batch in batches:
        mask = attention_mask(model, batch, blocks)
        with torch.no_grad(), model.traced.trace(**batch.encoding.inputs):
            for number, layer in enumerate(layers(model.traced)):
                if number in chosen:
                    positional, named = self_attention(layer).inputs
                    self_attention(layer).inputs = (positional, {**named, "attention_mask": mask})
            scores = model.traced.output.logits[:, 0].save()
        found.append(scores)
    return _in_order(batches, found)


# --------------------------------------------------------------------------------------------------------------------
# Experiments


@dataclass(frozen=True)
class Outcome:
    """What is left after each cut. `ndcg`: {cut: {query id: nDCG@10}}. `agreement`: {cut: {query id: Spearman with the
    uncut model's scores}}. Cuts with several random draws hold the mean over draws; `draws`: {cut: mean nDCG@10 of each}.
    """

    ndcg: dict[str, dict[str, float]]
    agreement: dict[str, dict[str, float]]
    draws: dict[str, np.ndarray]

    def table(self, seed: int = 0) -> pd.DataFrame:
        """One row a cut: mean nDCG@10 and mean agreement with 95 % intervals over queries, number of queries."""
        rows = []
        for cut in self.ndcg:
            quality, agreement = (bootstrap_mean(list(side[cut].values()), seed=seed) for side in (self.ndcg, self.agreement))
            rows.append({"cut": cut, **dict(zip(("nDCG@10", "low", "high"), quality, strict=True)),
                         **dict(zip(("agreement", "agreement_low", "agreement_high"), agreement, strict=True)),
                         "n_queries": len(self.ndcg[cut])})
        return pd.DataFrame(rows)


class _Bench:
    """The pairs of an experiment, encoded once, and the measures of each cut."""

    def __init__(self, model: CrossEncoder, collection: Collection, chosen: Mapping[str, Sequence[str]], batch_size: int):
        self.ids = [(query, document) for query, documents in chosen.items() for document in documents]
        if not self.ids:
            raise UserError("no pair to score: choose at least one query with documents.")
        pairs = [(collection.queries[query], collection.documents[document]) for query, document in self.ids]
        self.batches = encode_batches(model, pairs, batch_size)
        self.judged = {query: collection.judgements.get(query, {}) for query in chosen}
        self.full = blocked_scores(model, self.batches, ())
        self.outcome = Outcome({}, {}, {})
        self.add("nothing", self.full)

    def _by_query(self, scores: np.ndarray) -> dict[str, dict[str, float]]:
        run: dict[str, dict[str, float]] = {}
        for (query, document), score in zip(self.ids, scores, strict=True):
            run.setdefault(query, {})[document] = float(score)
        return run

    def add(self, cut: str, *draws: np.ndarray) -> None:
        """Measure a cut; several draws are measured one by one and averaged in each query."""
        runs, full = [self._by_query(scores) for scores in draws], self._by_query(self.full)
        quality = [ndcg(run, self.judged) for run in runs]
        agreement = [{query: _agreement(run[query], full[query]) for query in run} for run in runs]
        self.outcome.ndcg[cut], self.outcome.agreement[cut] = _mean_of(quality), _mean_of(agreement)
        if len(draws) > 1:
            self.outcome.draws[cut] = np.array([np.mean(list(values.values())) for values in quality])


def _agreement(cut: Mapping[str, float], full: Mapping[str, float]) -> float:
    """Spearman of two scorings of the same documents; 0 if the cut model cannot tell them apart."""
    values = [cut[document] for document in full]
    return 0.0 if np.ptp(values) == 0 else spearman(values, list(full.values()))


def _mean_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {query: float(np.mean([values[query] for values in found])) for query in found[0]}


def _progress(items: Sequence, label: str, show: bool):
    from tqdm.auto import tqdm

    return tqdm(items, desc=label, disable=not show, leave=False)


def necessity(model: CrossEncoder, collection: Collection, chosen: Mapping[str, Sequence[str]], heads: Sequence[Head],
              n_draws: int = N_DRAWS, seed: int = 0, batch_size: int = 32, progress: bool = False) -> Outcome:
    """Cuts: "nothing"; "found heads", mean-ablated; "random heads": as many others of the same layers.

    `chosen`: {query id: document ids} to rank. Means are taken over the same pairs. Costs 3 + n_draws forward passes a pair.
    """
    return _head_cuts(model, collection, chosen, heads, False, n_draws, seed, batch_size, progress)


def sufficiency(model: CrossEncoder, collection: Collection, chosen: Mapping[str, Sequence[str]], heads: Sequence[Head],
                n_draws: int = N_DRAWS, seed: int = 0, batch_size: int = 32, progress: bool = False) -> Outcome:
    """Cuts: "nothing"; "all but the found heads"; "all but random heads" (as many of the same layers); "all heads"."""
    return _head_cuts(model, collection, chosen, heads, True, n_draws, seed, batch_size, progress)


def _head_cuts(model: CrossEncoder, collection: Collection, chosen: Mapping[str, Sequence[str]], heads: Sequence[Head],
               keep: bool, n_draws: int, seed: int, batch_size: int, progress: bool) -> Outcome:
    heads = [tuple(head) for head in heads]
    if not heads:
        raise UserError("no heads were given: find them first, or take another model.")
    everything = [(layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]
    bench = _Bench(model, collection, chosen, batch_size)
    means = mean_outputs(model, bench.batches)

    def scores(some: Sequence[Head]) -> np.ndarray:
        return ablated_scores(model, bench.batches, set(everything) - set(some) if keep else some, means)

    draws = other_heads_of_same_layers(model, heads, n_draws, seed)
    names = ("all but the found heads", "all but random heads") if keep else ("found heads", "random heads")
    bench.add(names[0], scores(heads))
    if draws:
        bench.add(names[1], *[scores(some) for some in _progress(draws, "random heads", progress)])
    if keep:
        bench.add("all heads", scores([]))
    return bench.outcome


def blocking(model: CrossEncoder, collection: Collection, chosen: Mapping[str, Sequence[str]],
             blocks: Sequence[str] = BLOCKS, batch_size: int = 32, progress: bool = False) -> Outcome:
    """Cuts: "nothing", and each block alone, in all layers. One forward pass a pair and block."""
    bench = _Bench(model, collection, chosen, batch_size)
    for block in _progress(blocks, "blocking attention", progress):
        bench.add(block, blocked_scores(model, bench.batches, [block]))
    return bench.outcome
