"""The measurements. `run.py` starts this file in the benchmark's environment.

Rules. All contestants of a comparison share one process, the same weights and the same texts. Their values must agree
before any time is taken. They run in turn, in alternating order, at least five rounds; a ratio is taken inside a round
and the median over rounds is reported. Times are processor time of this process (all its threads), not time on the
clock: with one thread the two are the same on an idle machine, and on a busy one only the first tells what the work
costs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import BertConfig, BertForSequenceClassification

from semanticbm import direct_effects, load, load_collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.explaining.explanation import explain_many
from semanticbm.ladder import backbone_tokenizer
from semanticbm.matching import matching_scores
from semanticbm.one_pass import effects_on_score
from semanticbm.patching import record
from semanticbm.path_patching import effects_on_receivers, score_effects_textbook
from semanticbm.semantic_bm import collect_features
from semanticbm.written import query_slopes, read_query

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("to_score", "to_receivers", "features", "readings", "explain")
TOLERANCE = 1e-4  # largest allowed difference between contestants, as share of the full change
MECHIR = (
    "not measured: MechIR 0.2.0, the newest release, requires transformers<5 and numpy<2, so it cannot share a "
    "process with this project (transformers 5). It patches heads (activation patching), not paths."
)


def random_model(n_layers: int = 12, seed: int = 0) -> CrossEncoder:
    """A BERT with the shape of MiniLM-L12 and random weights, wide enough that scores differ between texts."""
    torch.manual_seed(seed)
    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=n_layers,
        num_attention_heads=12,
        intermediate_size=1536,
        num_labels=1,
        initializer_range=0.08,
        attn_implementation="eager",
    )
    return CrossEncoder(BertForSequenceClassification(config), backbone_tokenizer(), "random L12 shape")


def pair_of_texts(model: CrossEncoder, n_tokens: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """A baseline and a perturbed pair of `n_tokens` tokens that differ in the last document token."""
    query = "how do cats sleep"
    sentence = "most animals sleep at night but some of them are awake when it is dark and rest by day"
    words = " ".join([sentence] * 40).split(" ")
    base = " ".join(words[: n_tokens - len(model.tokenizer(query, "a")["input_ids"])])
    pairs = (query, base + " a"), (query, base + " cats")
    assert [len(model.tokenizer(*pair)["input_ids"]) for pair in pairs] == [n_tokens] * 2
    return pairs


def rounds(
    contestants: dict[str, Callable], n: int, label: str, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds of each contestant in each round by `clock` (the processor's); every second round runs in reverse order."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in tqdm(range(n), desc=label):
        names = list(contestants) if number % 2 == 0 else list(contestants)[::-1]
        for name in names:
            begin = clock()
            contestants[name]()
            seconds[name].append(clock() - begin)
    return seconds


def summary(seconds: dict[str, list[float]], fast: str) -> dict:
    """Median seconds, and the median over rounds of the ratio of each contestant to `fast`, with its range."""
    result = {}
    for name, values in seconds.items():
        ratios = [value / base for value, base in zip(values, seconds[fast], strict=True)]
        result[name] = {
            "seconds": statistics.median(values),
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "rounds": len(values),
        }
    return result


def agreement(values: dict[str, np.ndarray], reference: str) -> dict[str, float]:
    """Largest difference of each contestant from the reference; stops the benchmark if one is too large."""
    found = {name: float(np.nanmax(abs(value - values[reference]))) for name, value in values.items()}
    wrong = [name for name, difference in found.items() if not difference < TOLERANCE]
    if wrong:
        raise SystemExit(f"benchmark: {wrong[0]} differs from {reference} by {found[wrong[0]]:.2g}: no times.")
    return found


def to_score(model: CrossEncoder, n_tokens: int, n_rounds: int, lens: bool) -> dict:
    """All heads -> score for one pair: fast form, textbook form, TransformerLens, two plain forwards."""
    one, other = pair_of_texts(model, n_tokens)
    inputs = [model.encode([pair]) for pair in (one, other)]
    contestants = {
        "fast": lambda: direct_effects(model, one, other),
        "textbook": lambda: direct_effects(model, one, other, "textbook"),
    }
    if lens:
        import lens as transformer_lens

        encoder = transformer_lens.hooked_encoder(model)
        tokens = [encoding.inputs for encoding in inputs]
        contestants["transformer_lens"] = lambda: transformer_lens.direct_effects(encoder, model, *tokens)
    differences = agreement({name: run() for name, run in contestants.items()}, "textbook")
    contestants["two plain forwards"] = lambda: [model.logits(encoding) for encoding in inputs]
    contestants["two plain forwards"]()
    times = rounds(contestants, n_rounds, f"heads -> score, {model.name}")
    quick = {name: contestants[name] for name in ("fast", "two plain forwards")}
    against_plain = rounds(quick, 10 * n_rounds, "against plain forwards")
    return {
        "model": model.name,
        "tokens": n_tokens,
        "senders": model.n_layers * model.n_heads,
        "difference": differences,
        "times": summary(times, "fast"),
        "against_plain": summary(against_plain, "two plain forwards"),
        "patching_alone": patching_alone(model, inputs, n_rounds),
    }


def patching_alone(model: CrossEncoder, inputs: list, n_rounds: int) -> dict:
    """The patched runs alone, without the two plain runs that record z for both forms: fast against textbook."""
    ours, theirs = (record(model, encoding) for encoding in inputs)
    contestants = {
        "fast": partial(effects_on_score, model, ours, theirs),
        "textbook": partial(score_effects_textbook, model, ours, theirs),
    }
    difference = float((contestants["fast"]() - contestants["textbook"]()).abs().max())
    if not difference < TOLERANCE:
        raise SystemExit(f"benchmark: the patched runs alone differ by {difference:.2g} logits: no times.")
    return summary(rounds(contestants, n_rounds, f"patched runs alone, {model.name}"), "fast")


def to_receivers(model: CrossEncoder, n_tokens: int, n_rounds: int, into: str, layer: int) -> dict:
    """All earlier heads -> q, k or v of four heads of one layer: fast form and textbook form."""
    one, other = pair_of_texts(model, n_tokens)
    receivers = [(layer, head) for head in (1, 4, 7, 10)]
    contestants = {
        method: partial(effects_on_receivers, model, one, other, receivers, into, method=method)
        for method in ("fast", "textbook")
    }
    differences = agreement({name: run() for name, run in contestants.items()}, "textbook")
    return {
        "model": model.name,
        "tokens": n_tokens,
        "into": into,
        "receivers": [f"{la}.{he}" for la, he in receivers],
        "senders": layer * model.n_heads,
        "difference": differences,
        "times": summary(rounds(contestants, n_rounds, f"heads -> heads ({into}), {model.name}"), "fast"),
    }


def features(model: CrossEncoder, n_rounds: int, n_queries: int = 8, depth: int = 8) -> dict:
    """SemanticBM's features of all heads against plain eager forwards over the same batches of pairs."""
    collection = load_collection("classroom")
    run = {
        query: dict.fromkeys(sorted(grades)[:depth], 1.0)
        for query, grades in list(collection.judgements.items())[:n_queries]
    }
    pairs = [
        (collection.queries[query], collection.documents[document]) for query, row in run.items() for document in row
    ]

    def plain():
        for start in range(0, len(pairs), 16):
            model.logits(model.encode(pairs[start : start + 16]))

    query, documents = pairs[0][0], [document for _, document in pairs[:16]]
    contestants = {
        "plain": plain,
        "features": lambda: collect_features(model, collection, run, depth),
        "plain, one batch": lambda: model.score(query, documents, 16),
        "matching_scores": lambda: matching_scores(model, query, documents),
    }
    for contestant in contestants.values():
        contestant()
    times = rounds(contestants, n_rounds, f"features, {model.name}")
    one_batch = {name: times[name] for name in ("plain, one batch", "matching_scores")}
    many = {name: times[name] for name in ("plain", "features")}
    return {
        "model": model.name,
        "pairs": len(pairs),
        "times": {**summary(many, "plain"), **summary(one_batch, "plain, one batch")},
    }


def readings(model: CrossEncoder, n_rounds: int, n_documents: int = 16) -> dict:
    """What the heads write, and slopes, for one query's documents, against the model's scores of the same texts."""
    collection = load_collection("classroom")
    query, grades = next(iter(collection.judgements.items()))
    text = collection.queries[query]
    documents = [collection.documents[document] for document in sorted(grades)[:n_documents]]
    contestants = {
        "plain": lambda: model.score(text, documents, n_documents),
        "read_query": lambda: read_query(model, text, documents),
        "query_slopes": lambda: query_slopes(model, text, documents),
    }
    for contestant in contestants.values():
        contestant()
    times = rounds(contestants, n_rounds, f"readings, {model.name}")
    return {"model": model.name, "pairs": len(documents), "times": summary(times, "plain")}


def explanations(model: CrossEncoder, n_rounds: int, threads: int, n_queries: int = 4, depth: int = 8) -> dict:
    """Explanations of many pairs in one call, causal checks off, against plain scores of the same pairs, by the wall clock."""
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    collection = load_collection("classroom")
    graded = list(collection.judgements.items())[:n_queries]
    pairs = [
        (collection.queries[query], collection.documents[document])
        for query, grades in graded
        for document in sorted(grades)[:depth]
    ]
    contestants = {
        "plain": lambda: model.score_pairs(pairs),
        "explain_many": lambda: explain_many(model, pairs, collection),
    }
    for contestant in contestants.values():  # the first call also reads the collection
        contestant()
    times = summary(rounds(contestants, n_rounds, f"explanations, {model.name}", time.perf_counter), "plain")
    torch.set_num_threads(usual)  # what is measured next has its own number
    rate = len(pairs) / times["explain_many"]["seconds"]
    return {"model": model.name, "pairs": len(pairs), "threads": threads, "times": times, "pairs_per_second": rate}


def machine(threads: int) -> dict:
    """What the times depend on."""
    names = ("torch", "transformers", "nnsight", "transformer-lens", "numpy")
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    chip = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "processor": chip,
        "cores": os.cpu_count(),
        "threads": threads,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def table(result: dict) -> str:
    """The result as lines of text."""
    lines = []
    for part in result["to_score"]:
        lines += [
            f"\nall heads -> score, {part['model']}, {part['tokens']} tokens, {part['senders']} senders",
            *_rows(part["times"], "x fast"),
            f"  fast against two plain forwards: {part['against_plain']['fast']['ratio']:.2f}",
            f"  the patched runs alone: {part['patching_alone']['textbook']['ratio']:.1f} x fast",
        ]
    for part in result["to_receivers"]:
        receivers = ", ".join(part["receivers"])
        lines += [
            f"\nheads -> {part['into']} of {receivers}, {part['model']}, {part['tokens']} tokens",
            *_rows(part["times"], "x fast"),
        ]
    for part in result["features"]:
        lines += [f"\nfeatures, {part['model']}, {part['pairs']} pairs", *_rows(part["times"], "x plain")]
    for part in result["readings"]:
        lines += [f"\nreadings, {part['model']}, {part['pairs']} pairs", *_rows(part["times"], "x plain")]
    for part in result["explain"]:
        lines += [
            f"\nexplanations, {part['model']}, {part['pairs']} pairs",
            *_rows(part["times"], "x plain"),
            f"  {part['pairs_per_second']:.1f} pairs a second on {part['threads']} threads",
        ]
    return "\n".join([*lines, f"\nTransformerLens: {result['transformer_lens']}", f"MechIR: {result['mechir']}"])


def _rows(times: dict, unit: str) -> list[str]:
    return [f"  {name:20s} {row['seconds']:9.4f} s  {row['ratio']:8.2f} {unit}" for name, row in times.items()]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Benchmarks of path patching, of feature extraction, of readings and of explanations."
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="measure these, keep the others' results"
    )
    parser.add_argument("--quick", action="store_true", help="one round on a 3-layer model: shows that everything runs")
    parser.add_argument("--without-lens", metavar="REASON", default="", help="leave out TransformerLens, and say why")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "benchmark.json")
    return parser.parse_args()


def measured(part: str, options: argparse.Namespace, n_rounds: int) -> list[dict]:
    """One part of the benchmark on its models."""
    if part == "features":
        return [features(load("classroom", "cpu"), 3 * n_rounds)]
    if part == "readings":
        return [readings(load("classroom", "cpu"), 3 * n_rounds)]
    if part == "explain":
        return [explanations(load("classroom", "cpu"), 3 * n_rounds, threads) for threads in (1, 2)]
    models = [random_model(3 if options.quick else 12)] + ([] if options.quick else [load("classroom", "cpu")])
    if part == "to_score":
        return [to_score(model, options.tokens, n_rounds, not options.without_lens) for model in models]
    return [
        to_receivers(model, options.tokens, n_rounds, into, layer)
        for model in models
        for into in "qv"
        for layer in (model.n_layers - 2, model.n_layers - 1)
    ]


def main() -> None:
    """Measure, print and write."""
    options = arguments()
    torch.set_num_threads(options.threads)
    n_rounds = 1 if options.quick else options.rounds
    result = json.loads(options.out.read_text()) if set(options.parts) < set(PARTS) else {}
    result |= {
        "machine": machine(options.threads),
        "mechir": MECHIR,
        "transformer_lens": options.without_lens or "HookedEncoder with hooks on hook_z",
    }
    for part in options.parts:
        load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
        result[part] = [{**row, "load_average": load} for row in measured(part, options, n_rounds)]
    print(table(result))
    if options.quick:
        print("\nquick run: nothing was written")
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    sys.exit(main())
