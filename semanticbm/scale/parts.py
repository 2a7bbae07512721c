"""A Parquet file of pairs, cut into parts that Ray's workers measure: whole output files or none.

The input is read in parts of a fixed number of rows. Ray maps an actor over the parts: each worker loads the model once,
reads its part, measures it and writes `part-00007.parquet` into OUT/measured and, if rows were rejected, into OUT/rejects. A
file gets its name when it is whole, the measured rows last. So a killed worker loses one part, which Ray gives to another
worker, and a job that was stopped goes on where a part has no file; no row comes out twice. A worker holds one part at a time,
so memory does not grow with the number of pairs. On several hosts IN and OUT must lie on a disk that all of them see.

When it misleads: a part is measured again as a whole, so a job whose workers die faster than a part takes never ends.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from semanticbm.errors import UserError
from semanticbm.ladder import load
from semanticbm.loading.files import whole_file, write_text
from semanticbm.scale.measurements import MEASUREMENTS, BatchRunner, Measurement, rows_that_fit

ROWS_A_PART = 2_000
COLUMNS = ("query_id", "query", "document_id", "document")


@dataclass(frozen=True)
class Job:
    """What is measured on which file with which model. Two jobs with equal fields write equal files."""

    measurement: str
    source: str
    rows: int
    model: str
    weights: str
    rows_a_part: int = ROWS_A_PART

    @property
    def columns(self) -> list[str]:
        """The columns that the input must have."""
        return [*COLUMNS, *(["baseline"] if self.measurement == "effects" else [])]

    @property
    def n_parts(self) -> int:
        """The number of parts."""
        return -(-self.rows // self.rows_a_part)


def plan(measurement: str, source: Path, model: str) -> Job:
    """The job, once input, columns and model are known to be there; `UserError` otherwise."""
    if measurement not in MEASUREMENTS:
        raise UserError(f"unknown measurement {measurement!r}: use {', '.join(MEASUREMENTS)}.")
    try:
        file = pq.ParquetFile(source)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{source} cannot be read as Parquet ({str(error).splitlines()[0][:80]}).") from None
    loaded = load(model, "cpu")
    job = Job(measurement, str(source.resolve()), file.metadata.num_rows, loaded.name, loaded.source)
    missing = [name for name in job.columns if name not in file.schema_arrow.names]
    if missing:
        raise UserError(f"{source} lacks the column(s) {', '.join(missing)}: it needs {', '.join(job.columns)}.")
    if not job.rows:
        raise UserError(f"{source} has no row: there is nothing to measure.")
    return job


def open_folder(out: Path, job: Job) -> None:
    """Make OUT, or go on in it if it holds this very job; `UserError` if it holds another one."""
    card, content = out / "job.json", asdict(job)
    if card.is_file():
        try:
            theirs = json.loads(card.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{card} is damaged: choose another folder.") from None
        if theirs != content:
            raise UserError(f"{out} holds another job ({card}): choose another folder.")
    for name in ("measured", "rejects"):
        (out / name).mkdir(parents=True, exist_ok=True)
    write_text(card, json.dumps(content, indent=1) + "\n")


def part_file(out: Path, kind: str, number: int) -> Path:
    """Where the rows of a part go: `kind` is "measured" or "rejects"."""
    return out / kind / f"part-{number:05d}.parquet"


def open_parts(out: Path, job: Job) -> list[int]:
    """Numbers of the parts that have no output yet."""
    return [number for number in range(job.n_parts) if not part_file(out, "measured", number).is_file()]


def read_part(job: Job, number: int) -> list[dict]:
    """The rows of one part, read from the row groups that hold them."""
    start, rows = number * job.rows_a_part, []
    with pq.ParquetFile(job.source) as file:
        for table in _tables_between(file, start, start + job.rows_a_part, job.columns):
            rows += table.to_pylist()
    return rows


def _tables_between(file: pq.ParquetFile, start: int, stop: int, columns: list[str]) -> Iterator[pa.Table]:
    first = 0
    for group in range(file.num_row_groups):
        length = file.metadata.row_group(group).num_rows
        if first < stop and first + length > start:
            table = file.read_row_group(group, columns=columns)
            yield table.slice(max(0, start - first), min(stop, first + length) - max(start, first))
        first += length


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write rows as Parquet, whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)


class PartWorker:
    """An actor of Ray: the model, loaded once; called with part numbers, it measures and writes these parts."""

    def __init__(self, job: Job, out: str, model: str, device: str, measurement: Measurement | None = None):
        loaded = load(model, device)
        self.job, self.out = job, Path(out)
        size = rows_that_fit(loaded, loaded.usual_batch)
        self.runner = BatchRunner(loaded, measurement or MEASUREMENTS[job.measurement], size)

    def __call__(self, batch: dict) -> dict:
        """For each part: how many rows were measured and how many rejected."""
        counts = [self.measure(int(number)) for number in batch["part"]]
        measured, rejected = zip(*counts, strict=True)
        return {"part": batch["part"], "measured": list(measured), "rejected": list(rejected)}

    def measure(self, number: int) -> tuple[int, int]:
        """Measure one part; the measured rows are written last, since their file says that the part is done."""
        found = self.runner.run(read_part(self.job, number))
        if found.rejects:
            write_rows(part_file(self.out, "rejects", number), found.rejects)
        write_rows(part_file(self.out, "measured", number), found.rows)
        return len(found.rows), len(found.rejects)


def run(
    job: Job, out: Path, model: str, device: str = "auto", workers: int = 0, measurement: Measurement | None = None
) -> dict[str, int]:
    """Measure the open parts of a job on the Ray that this process is connected to; rows in all that came out.

    `workers`: number of actors (0: as many as the cluster has GPUs, or CPUs on one without). `measurement`: another
    function than the job's, with the same rows.
    """
    open_folder(out, job)
    waiting = open_parts(out, job)
    if waiting:
        gpus = int(ray.cluster_resources().get("GPU", 0)) if device != "cpu" else 0
        actors = min(workers or gpus or int(ray.cluster_resources()["CPU"]), len(waiting))
        parts = ray.data.from_items([{"part": number} for number in waiting], override_num_blocks=len(waiting))
        parts.map_batches(
            PartWorker,
            fn_constructor_args=(job, str(out.resolve()), model, device, measurement),
            batch_size=1,
            num_gpus=1 if gpus else 0,
            compute=ray.data.ActorPoolStrategy(size=actors),
        ).materialize()
    return count_rows(out)


def count_rows(out: Path) -> dict[str, int]:
    """Rows in OUT/measured and in OUT/rejects."""
    return {
        kind: sum(pq.read_metadata(path).num_rows for path in sorted((out / kind).glob("part-*.parquet")))
        for kind in ("measured", "rejects")
    }


def connect(address: str = "") -> None:
    """Connect to a Ray cluster, or start one on this machine; `UserError` if that address does not answer."""
    if ray.is_initialized():
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level="warning")
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"no Ray cluster at {address!r} ({str(error).splitlines()[0][:80]}): see ray start.") from None
