"""What one GPU measures: `python tests/benchmarks/gpu.py`, which writes book/results/gpu.json.

The measurements of `semanticbm scale` with the classroom model on pairs of its own collection, without Ray and files: seconds
by the clock, after a warm-up, median of several rounds, for several batch sizes; beside them the processor of the same machine
with all its cores, and the largest difference between the two in logits.

With `--runs`, folders of `semanticbm reproduce --device cuda` are compared with the stored run of the processor instead, and
added to the file: what they took, and the largest difference in any figure of the claims table.

    --rounds N   rounds of each measurement (5)
    --out FILE   another file for the result
    --runs A B   run folders
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch

from semanticbm.collection import load_collection
from semanticbm.diagnostics import Settings, diagnostic_pairs
from semanticbm.errors import UserError
from semanticbm.ladder import load
from semanticbm.scale.measurements import MEASUREMENTS, BatchRunner, Row

ROOT = Path(__file__).resolve().parents[2]
BATCHES = (16, 64, 256)
N_PAIRS = 1024
NUMBERS = {"score": "score", "features": "matching", "effects": "effects"}  # the column that is compared


def rows_of(tokenizer, n: int, per_query: int) -> list[Row]:
    """n rows: the pairs of TFC1, whose documents have a baseline of equal length, again and again until there are n."""
    found = diagnostic_pairs("TFC1", load_collection(), tokenizer, Settings(documents_per_query=per_query)).pairs
    some = [found[k % len(found)] for k in range(n)]
    return [
        {"query_id": "q", "query": pair.query, "document_id": str(k)}
        | {"document": pair.perturbed, "baseline": pair.baseline}
        for k, pair in enumerate(some)
    ]


def seconds_of(runner: BatchRunner, rows: list[Row], rounds: int) -> float:
    """Median seconds by the clock; every number is on the processor again when the clock is read."""
    runner.run(rows[: runner.size])
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        runner.run(rows)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(model, name: str, rows: list[Row], batch: int, rounds: int) -> dict:
    """One line of the table: pairs a second, and what memory the GPU needed at most, in MB."""
    runner = BatchRunner(model, MEASUREMENTS[name], batch)
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(runner, rows, rounds)
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None
    speed = len(rows) / seconds
    print(f"{name}, {model.device.type}, batches of {batch}: {speed:,.0f} pairs a second", flush=True)
    return {
        "measurement": name,
        "device": model.device.type,
        "batch": batch,
        "pairs_per_second": speed,
        "peak_mb": peak,
    }


def difference(cpu, gpu, name: str, rows: list[Row]) -> float:
    """The largest difference between the two devices in any number of the rows, in logits (matching scores: in attention)."""
    here, there = (BatchRunner(model, MEASUREMENTS[name], 16).run(rows).rows for model in (cpu, gpu))
    return max(
        float(np.abs(np.subtract(one[NUMBERS[name]], other[NUMBERS[name]])).max())
        for one, other in zip(here, there, strict=True)
    )


def compared(run: Path, stored: Path = ROOT / "book" / "results" / "classroom") -> dict:
    """A run on a GPU beside the stored one: seconds; for a full run also verdicts that differ and the largest difference."""
    ours, theirs = (json.loads((folder / "report.json").read_text(encoding="utf-8")) for folder in (run, stored))
    facts = {"quick": ours["quick"], "queries": ours["queries"], "seconds": ours["seconds"]}
    if ours["quick"]:
        return facts
    before = {claim["id"]: claim for claim in theirs["claims"]}
    pairs = [(claim, before[claim["id"]]) for claim in ours["claims"]]
    gaps = [
        abs(one[name] - other[name])
        for one, other in pairs
        for name in ("measured", "control")
        if other[name] is not None
    ]
    others = [one["id"] for one, other in pairs if one["verdict"] != other["verdict"]]
    return facts | {"claims": len(pairs), "other_verdicts": others, "largest_difference": max(gaps)}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "gpu.json")
    parser.add_argument("--runs", type=Path, nargs="+")
    asked = parser.parse_args()
    if asked.runs:
        result = json.loads(asked.out.read_text(encoding="utf-8")) | {"runs": [compared(run) for run in asked.runs]}
    else:
        result = measured(asked.rounds, parser)
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measured(rounds: int, parser: argparse.ArgumentParser) -> dict:
    """Differences and speed of both devices."""
    try:
        cpu, gpu = load("classroom", "cpu"), load("classroom", "cuda")
    except UserError as error:
        parser.error(str(error))
    rows = rows_of(cpu.tokenizer, N_PAIRS, per_query=4)
    few = rows[:64]
    return {
        "machine": {
            "date": str(date.today()),
            "gpu": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cores": os.cpu_count(),
        },
        "pairs": len(rows),
        "mean_tokens": float(cpu.encode([(row["query"], row["document"]) for row in rows]).lengths.double().mean()),
        "difference": {name: difference(cpu, gpu, name, few) for name in MEASUREMENTS},
        "speed": [measure(gpu, name, rows, batch, rounds) for name in MEASUREMENTS for batch in BATCHES]
        + [measure(cpu, name, rows[:256], 64, 3) for name in MEASUREMENTS],
    }


if __name__ == "__main__":
    main()
