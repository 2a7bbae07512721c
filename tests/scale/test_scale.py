"""Measuring a file of pairs in parts, on a local Ray cluster: the same numbers, no row lost, none twice."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'semanticbm[scale]'")
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from semanticbm.attention import attention_patterns, mass_on_document
from semanticbm.collection import Collection
from semanticbm.compiled import compile_bm25
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.ladder import load
from semanticbm.path_patching import direct_effects_many
from semanticbm.scale import parts
from semanticbm.scale.measurements import MEASUREMENTS, BatchRunner, score_pairs

SHORT = 7
"""Rows a part, so that a small file has many parts."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """BM25 compiled for a few words, as a folder that every worker can load in a moment."""
    collection = Collection("few", {"a": "the cat sat on the mat", "b": "a dog in the house"}, {"q": "the cat"}, {})
    model, folder = (
        compile_bm25(collection, words=["the", "of", "and", "water"]),
        tmp_path_factory.mktemp("few") / "few",
    )
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def compiled(folder) -> CrossEncoder:
    return load(folder, "cpu")


@pytest.fixture(scope="module")
def good_rows() -> list[dict]:
    """Pairs of a document with a match and, as baseline, one without, so that all three measurements can read them."""
    return [
        {
            "query_id": f"q{number % 3}",
            "query": ("the cat", "cat and water", "water")[number % 3],
            "document_id": str(number),
            "document": "a dog sat " * (1 + number % 4) + "cat water",
            "baseline": "a dog sat " * (1 + number % 4) + "dog house",
        }
        for number in range(40)
    ]


def write(path: Path, rows: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=5)
    return path


def read(folder: Path) -> list[dict]:
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def a_job(source: Path, folder: str, measurement: str = "score") -> parts.Job:
    job = parts.plan(measurement, source, folder)
    return parts.Job(**(vars(job) | {"rows_a_part": SHORT}))


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def local_numbers(model: CrossEncoder, rows: list[dict], measurement: str) -> list[np.ndarray]:
    """The same numbers by the functions of the library, on all rows at once."""
    perturbed = [(row["query"], row["document"]) for row in rows]
    if measurement == "score":
        return list(model.score_pairs(perturbed))
    if measurement == "features":
        return [mass_on_document(pattern).ravel() for pattern in attention_patterns(model, perturbed)]
    baselines = [(row["query"], row["baseline"]) for row in rows]
    return [effects.ravel() for effects in direct_effects_many(model, baselines, perturbed).effects]


# ---- Without Ray ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measurement", "column"), [("score", "score"), ("features", "matching"), ("effects", "effects")]
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_give_the_numbers_of_the_local_functions(compiled, good_rows, measurement, column, size):
    done = BatchRunner(compiled, MEASUREMENTS[measurement], size).run(good_rows)
    assert [row["document_id"] for row in done.rows] == [row["document_id"] for row in good_rows] and not done.rejects
    for row, expected in zip(done.rows, local_numbers(compiled, good_rows, measurement), strict=True):
        np.testing.assert_allclose(row[column], expected, atol=1e-5, equal_nan=True)


def test_bad_rows_are_rejected_with_their_reason_and_stop_nobody(compiled, good_rows):
    bad = {
        "empty": dict(good_rows[0], document="  "),
        "null": dict(good_rows[0], document=None),
        "long": dict(good_rows[0], document="cat " * 600),
        "no word": dict(good_rows[0], query="?!"),
    }
    rows = [*good_rows[:3], *(dict(row, document_id=name) for name, row in bad.items()), *good_rows[3:9]]
    done = BatchRunner(compiled, score_pairs, 64).run(rows)
    assert [row["document_id"] for row in done.rows] == [row["document_id"] for row in good_rows[:9]]
    reasons = {row["document_id"]: row["reason"] for row in done.rejects}
    assert set(reasons) == set(bad)
    assert "empty" in reasons["empty"] and "tokens" in reasons["long"] and "no character" in reasons["no word"]


def test_out_of_memory_halves_the_batch_and_is_remembered(compiled, good_rows):
    sizes = []

    def hungry(model, rows):
        sizes.append(len(rows))
        if len(rows) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return score_pairs(model, rows)

    runner = BatchRunner(compiled, hungry, 32)
    done = runner.run(good_rows)
    assert len(done.rows) == len(good_rows) and not done.rejects
    assert runner.size <= 5 and max(sizes[-3:]) <= 5
    np.testing.assert_allclose(
        [row["score"] for row in done.rows], local_numbers(compiled, good_rows, "score"), atol=1e-5
    )


def test_a_row_that_never_fits_is_rejected(compiled, good_rows):
    def starved(model, rows):
        raise torch.OutOfMemoryError("CUDA out of memory")

    done = BatchRunner(compiled, starved, 8).run(good_rows[:3])
    assert not done.rows and [row["reason"] for row in done.rejects] == ["CUDA out of memory"] * 3


def test_parts_hold_each_row_once(tmp_path, folder, good_rows):
    job = a_job(write(tmp_path / "in.parquet", good_rows), folder)
    read_back = [row for number in range(job.n_parts) for row in parts.read_part(job, number)]
    assert [row["document_id"] for row in read_back] == [row["document_id"] for row in good_rows]
    assert all(len(parts.read_part(job, number)) <= SHORT for number in range(job.n_parts))


@pytest.mark.parametrize(
    ("measurement", "content", "message"),
    [
        ("sums", [{"query_id": "1"}], "unknown measurement"),
        ("score", [{"query_id": "1"}], "lacks the column"),
        ("effects", [{"query_id": "1", "query": "a", "document_id": "1", "document": "a"}], "baseline"),
        ("score", b"no parquet", "cannot be read"),
    ],
)
def test_a_wrong_input_is_named_before_anything_is_written(tmp_path, folder, measurement, content, message):
    source = tmp_path / "in.parquet"
    source.write_bytes(content) if isinstance(content, bytes) else write(source, content)
    with pytest.raises(UserError, match=message):
        parts.plan(measurement, source, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_another_jobs_folder_is_refused(tmp_path, folder, good_rows):
    job = a_job(write(tmp_path / "in.parquet", good_rows), folder)
    parts.open_folder(tmp_path / "out", job)
    with pytest.raises(UserError, match="another job"):
        parts.open_folder(tmp_path / "out", parts.Job(**(vars(job) | {"measurement": "features"})))


# ---- With two workers ----------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("measurement", "column"), [("score", "score"), ("features", "matching"), ("effects", "effects")]
)
def test_two_workers_give_the_numbers_of_the_local_functions(
    cluster, tmp_path, folder, compiled, good_rows, measurement, column
):
    rows = [*good_rows, dict(good_rows[0], document_id="bad", document="")]
    job = a_job(write(tmp_path / "in.parquet", rows), folder, measurement)
    counts = parts.run(job, tmp_path / "out", folder, "cpu", workers=2)
    assert counts == {"measured": len(good_rows), "rejects": 1}
    found = read(tmp_path / "out" / "measured")
    for row, expected in zip(found, local_numbers(compiled, good_rows, measurement), strict=True):
        np.testing.assert_allclose(row[column], expected, atol=1e-5, equal_nan=True)
    assert [row["document_id"] for row in read(tmp_path / "out" / "rejects")] == ["bad"]


@pytest.mark.long
def test_a_killed_worker_loses_nothing(cluster, tmp_path, folder, good_rows):
    job, died = a_job(write(tmp_path / "in.parquet", good_rows), folder), str(tmp_path / "died")

    def dies_once(model, rows):
        third_part = good_rows[2 * SHORT]["document_id"] in {row["document_id"] for row in rows}
        if third_part and not os.path.exists(died):
            Path(died).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return score_pairs(model, rows)

    parts.run(job, tmp_path / "out", folder, "cpu", workers=2, measurement=dies_once)
    assert os.path.exists(died)
    found = [row["document_id"] for row in read(tmp_path / "out" / "measured")]
    assert found == [row["document_id"] for row in good_rows]


@pytest.mark.long
def test_a_stopped_job_goes_on_where_parts_are_missing(cluster, tmp_path, folder, good_rows):
    job, out = a_job(write(tmp_path / "in.parquet", good_rows), folder), tmp_path / "out"
    parts.run(job, out, folder, "cpu", workers=1)
    kept, lost = parts.part_file(out, "measured", 0), parts.part_file(out, "measured", 1)
    before = kept.stat().st_mtime_ns
    lost.rename(lost.with_name(f".{lost.name}.123"))  # as a worker leaves it that dies while it writes
    assert parts.run(job, out, folder, "cpu", workers=1) == {"measured": len(good_rows), "rejects": 0}
    assert kept.stat().st_mtime_ns == before
    assert len({row["document_id"] for row in read(out / "measured")}) == len(good_rows)
