"""Path patching: cut all wires but one, and measure what that one carries.

**The question.** Activation patching tells that a head matters. It does not tell whether the head talks to the score or
to another head. Path patching (section 3 of the paper) measures one *path*: sender -> score, or sender -> receivers.

**Sender -> score, the direct effect** (3.2). Run the baseline pair with the output z of *every* head frozen to the
value that it has there. Only the sender's z is set to its value in the run on the perturbed pair. No other head can
react, so what reaches the score went straight: through the residual stream and the MLPs and LayerNorms on the way,
which stay free.

**Sender -> receivers** (3.3). (1) Record z in both runs. (2) Do the frozen run, and keep the queries, keys or values of
the receiver heads in it: that is what they would read if they heard the sender alone. (3) Run the baseline pair once
more, nothing frozen, with these vectors put into the receivers, and read the score.

Both give the metric m = (S_patched - S_b) / (S_p - S_b) of `semanticbm.patching`.

**Why one forward pass is enough.** Attention is the only place where positions exchange anything. With all heads frozen
it does nothing: LayerNorm, MLP and residual stream act on each position alone. The score reads [CLS]. So a sender's
direct effect depends on its z at [CLS] and on nothing else, and "the model with frozen heads" is a stack of MLPs on one
vector. All senders together are one batch of such vectors (`frozen_streams`), about the work of one plain forward. For
receivers the same holds up to their layer, at every position.

This is an identity, not an approximation. The textbook form, one traced run for each sender, stays beside it as
`method="textbook"`, and must agree to rounding (1e-5 in float32). It also means that a head which does not write at
[CLS] has no direct effect at all.

**Many pairs.** `direct_effects_many` and `effects_on_receivers_many` return logits, not shares, so that you can take
the ratio of means; `left_out` counts the pairs whose own |S_p - S_b| is under a threshold. `path_patching_file` streams
any number of pairs into a file and can be stopped and started again.

When it misleads: "direct" includes the MLPs of the [CLS] position after the sender. In a post-LayerNorm model the
residual stream is rescaled at every layer, so effects of two heads do not add up to the effect of both. And freezing
keeps the heads at values that belong to another stream: far from the baseline, the frozen model is not the model.

Shapes: batch, pair, layer, head, position; `row` counts the senders of a batch, row 0 is the run without a sender.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import nnsight
import numpy as np
import torch
from torch import Tensor

from semanticbm.bert import after_heads, layers, projection, score_from_cls, z_projection
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair
from semanticbm.errors import UserError
from semanticbm.heads import Head, all_heads
from semanticbm.patching import (
    MEMORY,
    METHODS,
    MIN_CHANGE,
    Record,
    attend,
    attention_bias,
    check_choice,
    chunks_within,
    encode_both,
    metric,
    only_cls,
    project,
    read_site,
    record_both,
    run_from,
    same_tokens,
    split_heads,
    to_numpy,
)

LEAST_CHANGE = 0.1  # logits; pairs that move the score by less are counted as left out


@dataclass(frozen=True)
class ManyEffects:
    """Effects of every head on many pairs, in logits.

    `effects`: S_patched - S_b, float [pair, layer, head]; NaN where the head is no sender. `baseline`, `perturbed`: S_b
    and S_p, float [pair]. `left_out`: number of pairs with |S_p - S_b| < `min_change`; the arrays hold all pairs.
    """

    effects: np.ndarray
    baseline: np.ndarray
    perturbed: np.ndarray
    left_out: int
    min_change: float

    @property
    def changes(self) -> np.ndarray:
        """S_p - S_b: float [pair]."""
        return self.perturbed - self.baseline

    @property
    def kept(self) -> np.ndarray:
        """Which pairs move the score by at least `min_change`: bool [pair]."""
        return np.abs(self.changes) >= self.min_change

    def shares(self) -> np.ndarray:
        """The metric of each kept pair: float [kept pair, layer, head]."""
        return self.effects[self.kept] / self.changes[self.kept][:, None, None]

    def ratio_of_means(self) -> np.ndarray:
        """Mean effect over mean change of the kept pairs, float [layer, head]: larger changes weigh more."""
        if not self.kept.any():
            raise UserError(
                f"no pair moves the score by {self.min_change:.2g} or more: take other pairs or a lower min_change."
            )
        return self.effects[self.kept].mean(0) / self.changes[self.kept].mean()


# --------------------------------------------------------------------------------------------------------------------
# The textbook form: one traced run for each sender


def freeze(z_b: Sequence[Tensor], z_p: Sequence[Tensor], sender: Head, n_heads: int) -> list[Tensor]:
    """z of all heads from the baseline, that of the sender from the perturbed run: list [layer]."""
    layer, head = sender
    frozen = [z.clone() for z in z_b]
    heads = frozen[layer].unflatten(-1, (n_heads, -1))
    heads[..., head, :] = z_p[layer].unflatten(-1, (n_heads, -1))[..., head, :]
    return frozen


@torch.no_grad()
def path_to_score(model: CrossEncoder, encoding: Encoding, frozen: Sequence[Tensor]) -> Tensor:
    """Scores when every head's z is set to `frozen`, and nothing else is touched: float [batch]."""
    with model.traced.trace(**encoding.inputs):
        for block, z in zip(layers(model.traced), frozen, strict=True):
            z_projection(block).input = z
        score = model.traced.output.logits.save()
    return score[:, 0]


@torch.no_grad()
def read_receivers(
    model: CrossEncoder, encoding: Encoding, frozen: Sequence[Tensor], wanted: dict[int, list[int]], into: str
) -> list[Tensor]:
    """Step 2: q, k or v of the receivers' layers in the frozen run, in the order of `wanted` and then of `into`."""
    with model.traced.trace(**encoding.inputs) as tracer:
        heard = nnsight.save([])
        for number, block in enumerate(layers(model.traced)):
            if number in wanted:
                for kind in into:
                    heard.append(projection(block, kind).output.clone())
            if number == max(wanted):
                tracer.stop()
            z_projection(block).input = frozen[number]
    return heard


@torch.no_grad()
def path_to_receivers(
    model: CrossEncoder, encoding: Encoding, heard: Sequence[Tensor], wanted: dict[int, list[int]], into: str
) -> Tensor:
    """Step 3: scores when the receivers read what they heard, and nothing is frozen: float [batch]."""
    queue = iter(heard)
    with model.traced.trace(**encoding.inputs):
        for number, heads in wanted.items():
            for kind in into:
                module = projection(layers(model.traced)[number], kind)
                value = module.output.clone()
                slot, new = (x.unflatten(-1, (model.n_heads, -1)) for x in (value, next(queue)))
                slot[..., heads, :] = new[..., heads, :]
                module.output = value
        score = model.traced.output.logits.save()
    return score[:, 0]


def _textbook(
    model: CrossEncoder, first: Encoding, second: Encoding, wanted: dict[int, list[int]], into: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """S_patched - S_b [batch, layer, head], S_b [batch] and S_p [batch]; an empty `wanted` stands for the score."""
    z_b, z_p = read_site(model, first), read_site(model, second)
    baseline, perturbed = model.logits(first), model.logits(second)
    effects = torch.full((model.n_layers, model.n_heads, len(first)), torch.nan)
    for layer in range(max(wanted, default=model.n_layers)):
        for head in range(model.n_heads):
            frozen = freeze(z_b, z_p, (layer, head), model.n_heads)
            if wanted:
                heard = read_receivers(model, first, frozen, wanted, into)
                score = path_to_receivers(model, first, heard, wanted, into)
            else:
                score = path_to_score(model, first, frozen)
            effects[layer, head] = score - baseline
    return to_numpy(effects).transpose(2, 0, 1), to_numpy(baseline), to_numpy(perturbed)


# --------------------------------------------------------------------------------------------------------------------
# The fast form: all senders in one run


def frozen_streams(
    model: CrossEncoder, embedded: Tensor, z_b: Sequence[Tensor], z_p: Sequence[Tensor], senders: Sequence[Head]
) -> Iterator[Tensor]:
    """The residual stream of the frozen model, for all senders at once, as it enters layers 0, 1, ..., n_layers.

    embedded: float [batch, position, d_model], the baseline's embeddings; z_b, z_p: list [layer] of float
    [batch, position, head * d_head]. The positions can be any subset, since none of them looks at another one.
    senders: sorted by layer. Yields float [row, batch, position, d_model]: row 0 has no sender, row i the i-th one. A
    sender gets its row in its own layer, as a copy of row 0 with its z swapped; before that it could not differ.
    """
    stream = embedded[None]
    for number, layer in enumerate(layers(model.hf)):
        yield stream
        heads = [head for place, head in senders if place == number]
        swapped = z_b[number].repeat(len(heads), 1, 1, 1)
        slots, new = (z.unflatten(-1, (model.n_heads, -1)) for z in (swapped, z_p[number]))
        for row, head in enumerate(heads):
            slots[row, ..., head, :] = new[..., head, :]
        z = torch.cat([z_b[number].expand(len(stream), -1, -1, -1), swapped])
        stream = after_heads(layer, z, torch.cat([stream, stream[:1].expand(len(heads), -1, -1, -1)]))
    yield stream


@torch.no_grad()
def effects_on_score(model: CrossEncoder, one: Record, other: Record, memory: int = MEMORY) -> Tensor:
    """S_patched - S_b of every head from the records of both runs; [CLS] alone is needed: float [layer * head, batch]."""
    cls = [[z[:, :1] for z in run.z] for run in (one, other)]
    senders, found = all_heads(model), []
    for chunk in chunks_within(model, len(senders), len(one.scores), memory):
        *_, last = frozen_streams(model, one.residual[0][:, :1], *cls, senders[chunk])
        scores = score_from_cls(model.hf, last[:, :, 0])
        found.append(scores[1:] - scores[0])
    return torch.cat(found)


def _to_receivers(
    model: CrossEncoder,
    first: Encoding,
    one: Record,
    other: Record,
    wanted: dict[int, list[int]],
    into: str,
    memory: int,
) -> Tensor:
    """S_patched - S_b of every sender before the last receiver's layer: float [sender, batch].

    All positions matter, with one exception: queries in the last layer, where only [CLS] asks something that counts.
    """
    bias = attention_bias(first.attention_mask, one.residual[0].dtype)
    asked = slice(1) if into == "q" and min(wanted) == model.n_layers - 1 else slice(None)
    embedded, z_b, z_p = one.residual[0][:, asked], *([z[:, asked] for z in run.z] for run in (one, other))
    senders, found = all_heads(model, max(wanted)), []
    for chunk in chunks_within(model, len(senders), first.input_ids.numel(), memory):
        streams = frozen_streams(model, embedded, z_b, z_p, senders[chunk])
        heard, n_rows = {}, 1 + len(senders[chunk])
        for number, stream in enumerate(islice(streams, max(wanted) + 1)):
            if number in wanted:
                heard[number] = _what_heads_read(model, number, stream, wanted[number], into, n_rows)
        scores = _run_with(model, one, heard, wanted, bias)
        found.append(scores[1:] - scores[0])
    return torch.cat(found) if found else torch.empty(0, len(first))


def _what_heads_read(
    model: CrossEncoder, number: int, stream: Tensor, heads: list[int], into: str, n_rows: int
) -> dict[str, Tensor]:
    """Step 2: {kind: float [row, batch, head, position, d_head]} of some heads; later senders' rows equal row 0."""
    read = {}
    for kind in into:
        vectors = split_heads(projection(layers(model.hf)[number], kind)(stream), model.n_heads)[:, :, heads]
        later = vectors[:1].expand(n_rows - len(stream), -1, -1, -1, -1)
        read[kind] = torch.cat([vectors, later])
    return read


def _run_with(
    model: CrossEncoder, one: Record, heard: dict[int, dict[str, Tensor]], wanted: dict[int, list[int]], bias: Tensor
) -> Tensor:
    """Step 3: scores of the baseline when the receivers read what they heard: float [row, batch]."""
    start = min(wanted)
    hidden = one.residual[start][None]
    for number in range(start, max(wanted) + 1):
        layer = layers(model.hf)[number]
        vectors = project(layer, hidden, model.n_heads)
        if number == model.n_layers - 1:
            hidden = only_cls(vectors, hidden)
        for kind, new in heard.get(number, {}).items():
            vectors[kind] = vectors[kind].expand(len(new), -1, -1, -1, -1).clone()
            vectors[kind][:, :, wanted[number]] = new[..., : vectors[kind].shape[-2], :]
        z = attend(vectors, bias)
        hidden = after_heads(layer, z, hidden.expand(len(z), -1, -1, -1))
    return run_from(model, max(wanted) + 1, hidden, bias)


@torch.no_grad()
def _fast(
    model: CrossEncoder,
    first: Encoding,
    second: Encoding,
    wanted: dict[int, list[int]],
    into: str,
    memory: int = MEMORY,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_textbook`: S_patched - S_b [batch, layer, head], S_b [batch] and S_p [batch]."""
    one, other = record_both(model, first, second)
    if wanted:
        effects = _to_receivers(model, first, one, other, wanted, into, memory)
    else:
        effects = effects_on_score(model, one, other, memory)
    full = np.full((len(first), model.n_layers * model.n_heads), np.nan)
    full[:, : len(effects)] = to_numpy(effects).T
    return full.reshape(len(first), model.n_layers, model.n_heads), to_numpy(one.scores), to_numpy(other.scores)


def _numerators(model, baselines, perturbed, wanted, into, method):
    """Effects in logits of one batch of pairs, by either method."""
    check_choice(method, METHODS, "method")
    first, second = encode_both(model, baselines, perturbed)
    effects, score_b, score_p = (_fast if method == "fast" else _textbook)(model, first, second, wanted, into)
    same = same_tokens(first, second)
    effects[same] = np.where(np.isnan(effects[same]), np.nan, 0.0)  # exactly, where rounding may leave 1e-7
    score_p[same] = score_b[same]
    return effects, score_b, score_p


def _shares_of_one(effects: np.ndarray, baseline: np.ndarray, perturbed: np.ndarray, min_change: float) -> np.ndarray:
    """The metric of a batch of one pair: float [layer, head]. 0/0 (nothing differs, nothing moves) counts as 0."""
    if baseline[0] == perturbed[0] and not np.nan_to_num(effects[0]).any():
        return effects[0]
    return metric(baseline[0] + effects[0], baseline[0], perturbed[0], min_change)


def _check_receivers(model: CrossEncoder, receivers: Iterable[Head], into: str) -> dict[int, list[int]]:
    """Receivers by layer, both sorted; `UserError` for heads or inputs that do not exist."""
    wanted: dict[int, list[int]] = {}
    for layer, head in sorted(set(receivers)):
        model.check_head(layer, head)
        wanted.setdefault(layer, []).append(head)
    if not wanted:
        raise UserError("no receiver was given: name at least one head as (layer, head).")
    if not into or len(set(into)) != len(into) or set(into) - set("qkv"):
        raise UserError(f"into={into!r} is unknown: use q, k or v, or several of them such as 'qkv'.")
    return wanted


# --------------------------------------------------------------------------------------------------------------------
# What the book calls


def direct_effects(
    model: CrossEncoder, baseline: Pair, perturbed: Pair, method: str = "fast", min_change: float = MIN_CHANGE
) -> np.ndarray:
    """Direct effect of every head on the score, as share of the full change: float [layer, head] (section 3.2).

    Equal inputs give exactly 0. `UserError` if the pairs have unequal token lengths, or if |S_p - S_b| < `min_change`
    logits.
    """
    return _shares_of_one(*_numerators(model, [baseline], [perturbed], {}, "", method), min_change)


def effects_on_receivers(
    model: CrossEncoder,
    baseline: Pair,
    perturbed: Pair,
    receivers: Iterable[Head],
    into: str = "v",
    method: str = "fast",
    min_change: float = MIN_CHANGE,
) -> np.ndarray:
    """Effect of every head on the score through the receivers' q, k or v: float [layer, head] (section 3.3).

    receivers: a set of (layer, head), patched together. into: "q", "k", "v", or several such as "qkv". Senders are the
    heads before the last receiver's layer; the others are NaN. Errors as in `direct_effects`.
    """
    wanted = _check_receivers(model, receivers, into)
    return _shares_of_one(*_numerators(model, [baseline], [perturbed], wanted, into, method), min_change)


def direct_effects_many(
    model: CrossEncoder,
    baselines: Iterable[Pair],
    perturbed: Iterable[Pair],
    method: str = "fast",
    min_change: float = LEAST_CHANGE,
    batch_size: int = 16,
    progress: bool = False,
) -> ManyEffects:
    """Direct effects of every head on many pairs, in logits; batches may hold pairs of different lengths.

    Pairs with |S_p - S_b| < `min_change` (default 0.1 logits) stay in the arrays and are counted in `left_out`.
    """
    return _many(model, baselines, perturbed, {}, "", method, min_change, batch_size, progress)


def effects_on_receivers_many(
    model: CrossEncoder,
    baselines: Iterable[Pair],
    perturbed: Iterable[Pair],
    receivers: Iterable[Head],
    into: str = "v",
    method: str = "fast",
    min_change: float = LEAST_CHANGE,
    batch_size: int = 8,
    progress: bool = False,
) -> ManyEffects:
    """As `direct_effects_many`, through the q, k or v of a set of receivers."""
    wanted = _check_receivers(model, receivers, into)
    return _many(model, baselines, perturbed, wanted, into, method, min_change, batch_size, progress)


def _many(model, baselines, perturbed, wanted, into, method, min_change, batch_size, progress) -> ManyEffects:
    from tqdm.auto import tqdm

    baselines, perturbed = list(baselines), list(perturbed)
    if len(baselines) != len(perturbed):
        raise UserError(f"{len(baselines)} baseline pairs and {len(perturbed)} perturbed pairs: give one for one.")
    chunks = [slice(start, start + batch_size) for start in range(0, len(baselines), batch_size)]
    parts = [
        _numerators(model, baselines[chunk], perturbed[chunk], wanted, into, method)
        for chunk in tqdm(chunks, desc=f"path patching {model.name}", disable=not progress, leave=False)
    ]
    if not parts:
        raise UserError("no pair was given: path patching needs at least one.")
    effects, first, second = (np.concatenate(side) for side in zip(*parts, strict=True))
    left_out = int((np.abs(second - first) < min_change).sum())
    return ManyEffects(effects, first, second, left_out, min_change)


# --------------------------------------------------------------------------------------------------------------------
# Any number of pairs, into a file


@dataclass(frozen=True)
class FileHeader:
    """First line of an effects file: what was measured. A file is only continued by the same measurement."""

    model: str
    weights: str
    n_layers: int
    n_heads: int
    receivers: list[list[int]]
    into: str


@torch.no_grad()
def _fingerprint(model: CrossEncoder) -> str:
    """A short hash of all weights, so that effects of two models are not mixed in one file."""
    import hashlib

    digest = hashlib.sha256()
    for name, weight in model.hf.named_parameters():
        digest.update(f"{name}{float(weight.double().sum()):.10e}{float(weight.double().square().sum()):.10e}".encode())
    return digest.hexdigest()[:16]


def path_patching_file(
    model: CrossEncoder,
    pairs: Iterable[tuple[str, Pair, Pair]],
    output: str | Path,
    receivers: Iterable[Head] = (),
    into: str = "v",
    batch_size: int = 16,
    progress: bool = True,
) -> int:
    """Effects of every head on a stream of pairs, one line of JSON a pair; returns the number of pairs in the file.

    pairs: (id, baseline pair, perturbed pair), read one batch at a time, so memory does not grow with their number.
    Without receivers the direct effects are measured. A line has `id`, `baseline` and `perturbed` (scores), `effects`
    (S_patched - S_b in logits, [layer][head], null where the head is no sender).

    Stop it at any moment, even by force: finished pairs stay, and the next call with the same pairs goes on after them.
    A half-written last line is dropped. `UserError` if the file belongs to another measurement or to other pairs.
    """
    wanted = _check_receivers(model, receivers, into) if (receivers := list(receivers)) else {}
    header = FileHeader(
        model.name,
        _fingerprint(model),
        model.n_layers,
        model.n_heads,
        [[layer, head] for layer, heads in wanted.items() for head in heads],
        into if wanted else "",
    )
    output, stream = Path(output), iter(pairs)
    _open_or_mend(output, header)
    done = _skip_finished(output, stream)
    return _append(model, stream, output, wanted, header.into, batch_size, progress, done)


def _open_or_mend(output: Path, header: FileHeader) -> None:
    """Write the header of a new file; check that of an old one and cut off a half-written last line."""
    if output.exists():
        with open(output, "rb+") as file:
            whole = _end_of_last_whole_line(file)
            file.truncate(whole)
    if not output.exists() or output.stat().st_size == 0:
        output.write_text(json.dumps(asdict(header)) + "\n", encoding="utf-8")
    with open(output, encoding="utf-8") as file:
        found = _parse(file.readline(), output, 1)
    if found != asdict(header):
        different = next((key for key, value in asdict(header).items() if found.get(key) != value), "kind of file")
        raise UserError(f"{output} holds another measurement ({different} differs): give another name, or delete it.")


def _end_of_last_whole_line(file, block: int = 1 << 16) -> int:
    """Number of bytes up to and with the last line break, found by reading backwards in blocks."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        place = file.read(end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0


def _parse(line: str, output: Path, number: int) -> dict:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise UserError(f"{output}, line {number}: not JSON: no effects file, or a damaged one. Delete it.") from None


def _skip_finished(output: Path, stream: Iterator) -> int:
    """Walk over the finished lines and the pairs together; `UserError` at the first that do not belong together."""
    number = 0
    for number, row in enumerate(read_effects(output), start=1):
        identifier = next(stream, (None,))[0]
        if row["id"] != identifier:
            raise UserError(
                f"{output}, pair {number} is {row['id']!r}, but the pair given there is {identifier!r}: "
                "use the same pairs in the same order, or another file."
            )
    return number


def read_effects(output: str | Path) -> Iterator[dict]:
    """The pairs of an effects file, one dictionary each; constant memory."""
    with open(output, encoding="utf-8") as file:
        next(file, None)
        for number, line in enumerate(file, start=2):
            yield _parse(line, Path(output), number)


def _append(model, stream, output: Path, wanted, into: str, batch_size: int, progress: bool, done: int) -> int:
    from tqdm.auto import tqdm

    with (
        open(output, "a", encoding="utf-8") as file,
        tqdm(desc=f"path patching {model.name}", unit="pair", initial=done, disable=not progress) as bar,
    ):
        while batch := list(islice(stream, batch_size)):
            names, baselines, perturbed = zip(*batch, strict=True)
            for row in zip(names, *_numerators(model, baselines, perturbed, wanted, into, "fast"), strict=True):
                file.write(_line(*row))
            file.flush()
            bar.update(len(batch))
            done += len(batch)
    return done


def _line(identifier: str, effects: np.ndarray, baseline: float, perturbed: float) -> str:
    numbers = [[None if np.isnan(value) else float(f"{value:.7g}") for value in row] for row in effects]
    return (
        json.dumps(
            {
                "id": identifier,
                "baseline": float(f"{baseline:.9g}"),
                "perturbed": float(f"{perturbed:.9g}"),
                "effects": numbers,
            }
        )
        + "\n"
    )
