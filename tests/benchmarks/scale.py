"""Measure what `semanticbm scale` costs: `python tests/benchmarks/scale.py`, which writes book/results/scale.json.

Two measurements. *Memory*: a worker of Ray measures many short pairs with a compiled model, part by part; the largest resident
memory of the worker and of the process that started it is read after each tenth. *Speed*: processor seconds of one thread for
each measurement with the classroom model on its own collection, so that other programs on the machine count little.

    --pairs N    short pairs for the memory (200,000)
    --parts P    speed, memory or both (the default); what is not measured keeps its result
    --out FILE   another file for the result
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from gpu import rows_of

from semanticbm.collection import Collection
from semanticbm.compiled import compile_bm25
from semanticbm.ladder import load
from semanticbm.scale import parts
from semanticbm.scale.measurements import MEASUREMENTS, BatchRunner

ROOT = Path(__file__).resolve().parents[2]
SHORT = Collection(
    "short", {"a": "the cat sat on the mat", "b": "time and water", "c": "a dog in the house"}, {"q": "the cat"}, {}
)
CHUNK = 20_000


def write_short_pairs(path: Path, n: int) -> None:
    """n pairs whose documents have up to 12 words; the query stays."""
    schema = pa.schema([(name, pa.string()) for name in parts.COLUMNS])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n, CHUNK):
            rows = [
                {"query_id": "q", "query": "the cat", "document_id": str(k), "document": "the cat sat " * (1 + k % 4)}
                for k in range(start, min(n, start + CHUNK))
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def save_compiled(folder: Path) -> str:
    """A compiled model as a folder that `load` reads."""
    model = compile_bm25(SHORT, words=["the", "of", "and", "water", "house", "time"])
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


def megabytes(process: psutil.Process) -> float:
    """Resident memory."""
    return process.memory_info().rss / 2**20


def workers_of_ray() -> list[psutil.Process]:
    """The actors that measure, by the name that Ray gives their process."""
    return [process for process in psutil.process_iter(["name", "cmdline"]) if is_worker(process)]


def is_worker(process: psutil.Process) -> bool:
    """True for a process that carries a `PartWorker`."""
    return "ray::" in " ".join(process.info["cmdline"] or []) and "PartWorker" in " ".join(process.info["cmdline"])


def watch(out: Path, job: parts.Job, stop: threading.Event, samples: list[dict]) -> None:
    """Every half second: pairs done so far, memory of the worker and of this process."""
    while not stop.wait(0.5):
        done = len(list((out / "measured").glob("part-*.parquet"))) * job.rows_a_part
        try:
            worker = max((megabytes(process) for process in workers_of_ray()), default=0.0)
        except psutil.NoSuchProcess:
            continue
        samples.append({"pairs": done, "worker": worker, "driver": megabytes(psutil.Process())})


def measure_memory(n: int) -> dict:
    """Largest memory in each tenth of the pairs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_short_pairs(folder / "in.parquet", n)
        model = save_compiled(folder / "model")
        job, samples, stop = parts.plan("score", folder / "in.parquet", model), [], threading.Event()
        parts.connect()
        watcher = threading.Thread(target=watch, args=(folder / "out", job, stop, samples))
        watcher.start()
        start = time.monotonic()
        counts = parts.run(job, folder / "out", model, "cpu", workers=1)
        seconds = time.monotonic() - start
        stop.set()
        watcher.join()
    return {"pairs": n, **counts, "wall_seconds": seconds, "tenths": tenths(samples, n)}


def tenths(samples: list[dict], n: int) -> list[dict]:
    """The largest values of each tenth in which a sample was taken while a worker lived."""
    rows = []
    for part in range(10):
        of_part = [one for one in samples if one["worker"] and part * n / 10 <= one["pairs"] < (part + 1) * n / 10]
        if of_part:
            rows.append(
                {"tenth": part + 1, **{side: max(one[side] for one in of_part) for side in ("worker", "driver")}}
            )
    return rows


def measure_speed(n: int = 64) -> list[dict]:
    """Pairs a processor second, one thread, for each measurement."""
    torch.set_num_threads(1)
    model = load("classroom", "cpu")
    rows = rows_of(model.tokenizer, n, per_query=2)
    tokens = float(model.encode([(row["query"], row["document"]) for row in rows]).lengths.double().mean())
    return [speed_of(name, model, rows) | {"mean_tokens": tokens} for name in MEASUREMENTS]


def speed_of(name: str, model, rows: list[dict]) -> dict:
    """Processor seconds of one measurement, after a batch to warm up."""
    runner = BatchRunner(model, MEASUREMENTS[name], model.usual_batch)
    runner.run(rows[:4])
    start = time.process_time()
    done = runner.run(rows)
    seconds = time.process_time() - start
    return {
        "measurement": name,
        "pairs": len(done.rows),
        "cpu_seconds": seconds,
        "pairs_per_second": len(done.rows) / seconds,
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "scale.json")
    parser.add_argument("--parts", nargs="+", choices=("speed", "memory"), default=("speed", "memory"))
    asked = parser.parse_args()
    result = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.is_file() else {}
    if "speed" in asked.parts:
        result["speed"] = measure_speed()
    if "memory" in asked.parts:
        machine = {"date": str(date.today()), "machine": platform.machine(), "torch": torch.__version__}
        result["machine"] = machine | {"load_average": psutil.getloadavg()[0]}
        result["memory"] = measure_memory(asked.pairs)
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
