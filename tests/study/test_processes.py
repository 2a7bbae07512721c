"""Experiments side by side: each runs once, reads what it needs, and a process that dies or a stop loses nothing stored."""

import io
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from semanticbm.compiled import compile_bm25
from semanticbm.errors import UserError
from semanticbm.study import processes
from semanticbm.study.collections import load_study_collection
from semanticbm.study.experiments import COST, EXPERIMENTS, NEEDS
from semanticbm.study.folder import RunFolder
from semanticbm.study.processes import _Declared, _next, run_side_by_side, usual_jobs, way
from semanticbm.study.reproduce import reproduce, run_time
from semanticbm.study.sealed import read_sealed
from semanticbm.study.study import Study

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Workers import from where this process would; the grader, in another test, took the folder of the call out for good."""
    monkeypatch.syspath_prepend(ROOT)


# --------------------------------------------------------------------------------------------------------------------
# What runs in the workers: they find these functions by name


def open_study(out: Path) -> Study:
    collection = load_study_collection("classroom")
    return Study(compile_bm25(collection), collection, out)


def finds_heads(study):
    return {"heads": [[0, 1]], "findings": {}, "process": os.getpid()}


def finds_others(study):
    return {"heads": [[1, 0]], "findings": {}, "process": os.getpid()}


def reads_heads(study):
    return {"read": study.heads("matching"), "findings": {}, "threads": torch.get_num_threads()}


def follows(study):
    return {"findings": {}, "process": os.getpid()}


def asks_undeclared(study):
    return {"read": study.heads("scoring"), "findings": {}}


def cannot(study):
    raise UserError("there is nothing to measure here.")


def takes_long(study):
    time.sleep(300)


def dies(study):
    (study.out / "began").touch()
    os.kill(os.getpid(), signal.SIGKILL)


SOUND = {
    "matching_heads": finds_heads,
    "direct_effects": finds_others,
    "curves": reads_heads,
    "contextual_heads": finds_others,
    "semantic_bm": follows,
    "written": follows,
    "hybrid": cannot,
}


def side_by_side(monkeypatch, folder: Path, experiments: dict, parts: dict | None = None) -> tuple[Study, str]:
    """Run some experiments in two processes; gives the study and what was printed."""
    monkeypatch.setattr(processes, "EXPERIMENTS", experiments)
    study, said = open_study(folder), io.StringIO()
    study.parts = dict(parts or {})
    run_folder = RunFolder(folder, {"run": "a test"})
    run_folder.make()
    for name, part in study.parts.items():
        run_folder.write(run_folder.part(name), part)
    run_side_by_side(partial(open_study, folder), study, run_folder, 2, Console(file=said, width=150))
    return study, said.getvalue()


def no_worker_is_left() -> bool:
    for process in multiprocessing.active_children():
        process.join(timeout=20)
    return not multiprocessing.active_children()


# --------------------------------------------------------------------------------------------------------------------


def test_each_experiment_runs_once_and_reads_what_it_needs(monkeypatch, tmp_path):
    study, said = side_by_side(monkeypatch, tmp_path, SOUND)
    assert list(study.parts) == list(SOUND), "parts are in the order of the experiments"
    assert study.parts["curves"]["read"] == [[0, 1]] and study.parts["curves"]["threads"] >= 1
    assert os.getpid() not in {study.parts[name]["process"] for name in ("matching_heads", "direct_effects")}
    assert {finding["note"] for finding in study.parts["hybrid"]["findings"].values()} == {
        "there is nothing to measure here."
    }
    assert sorted(path.stem for path in (tmp_path / "parts").glob("*.json")) == sorted(SOUND)
    assert said.count(" s\n") == len(SOUND) and f" {len(SOUND)}/{len(SOUND)} " in said
    assert (
        study.parts["semantic_bm"]["process"] == study.parts["written"]["process"]
        and "semantic_bm, then written" in said
    )
    assert no_worker_is_left()


@pytest.mark.long
def test_a_dead_process_is_one_clear_line_and_nothing_stored_is_lost(monkeypatch, tmp_path):
    stored = {"matching_heads": {"heads": [[0, 1]], "findings": {}}}
    with pytest.raises(UserError, match=r"ended before its time.*--jobs 1"):
        side_by_side(monkeypatch, tmp_path, SOUND | {"direct_effects": dies}, stored)
    assert RunFolder(tmp_path, {"run": "a test"}).read(tmp_path / "parts" / "matching_heads.json")["heads"] == [[0, 1]]
    assert (tmp_path / "began").exists() and not (tmp_path / "parts" / "direct_effects.json").exists()
    assert no_worker_is_left()


def test_a_need_that_is_not_declared_is_an_error(tmp_path):
    study = open_study(tmp_path)
    study.parts = _Declared(matching_heads={"heads": [[0, 1]]})
    assert study.heads("matching") == [(0, 1)]
    with pytest.raises(KeyError, match="NEEDS"):
        study.heads("scoring")


@pytest.mark.long
def test_a_worker_that_asks_for_more_than_declared_ends_the_run(monkeypatch, tmp_path):
    with pytest.raises(KeyError, match="NEEDS"):
        side_by_side(monkeypatch, tmp_path, SOUND | {"curves": asks_undeclared})
    assert no_worker_is_left()


def test_an_interrupt_ends_the_workers(monkeypatch, tmp_path):
    def interrupt(*_, **__):
        time.sleep(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "wait", interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(monkeypatch, tmp_path, {"matching_heads": takes_long, "direct_effects": takes_long})
    assert no_worker_is_left() and time.monotonic() - began < 120


# --------------------------------------------------------------------------------------------------------------------
# The table of needs, and the order


def test_needs_come_before_and_costs_are_known():
    names = list(EXPERIMENTS)
    assert set(NEEDS) <= set(names) and set(COST) == set(names)
    for name, needs in NEEDS.items():
        assert all(names.index(need) < names.index(name) for need in needs), name


def test_the_longest_way_comes_first():
    assert all(way(need) > way(name) for name, needs in NEEDS.items() for need in needs)
    assert way("matching_heads") == sum(COST[name] for name in ("matching_heads", "contextual_heads", "ablation"))
    assert way("semantic_bm") == COST["semantic_bm"] + COST["written"]


def test_an_experiment_waits_for_its_needs_and_for_the_one_that_it_follows():
    waiting, found = ["written", "ablation", "semantic_bm", "hybrid"], {"matching_heads": {}, "contextual_heads": {}}
    assert _next(waiting, {}) == ["hybrid"]
    assert _next(waiting, found) == ["hybrid"]
    assert _next(waiting, found | {"direct_effects": {}}) == ["ablation"]
    assert _next(["written", "semantic_bm"], found | {"direct_effects": {}}) == ["written", "semantic_bm"][::-1]
    assert _next(["written"], found) == ["written"]
    assert _next(["ablation"], {}) == []


@pytest.mark.parametrize(
    ("threads", "device", "gigabytes", "jobs"),
    [
        (1, "cpu", 64, 1),
        (2, "cpu", 64, 2),
        (2, "cpu", 4, 1),
        (2, "cpu", 0, 1),
        (5, "cpu", 64, 2),
        (6, "cpu", 64, 3),
        (64, "cpu", 64, 4),
        (64, "cuda", 64, 1),
    ],
)
def test_usual_jobs(monkeypatch, threads, device, gigabytes, jobs):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(processes.psutil, "virtual_memory", lambda: SimpleNamespace(total=gigabytes * 2**30))
    assert usual_jobs(torch.device(device)) == jobs


def test_time_of_a_run_counts_overlaps_once_and_pauses_never():
    def part(began, ended):
        return {"seconds": ended - began, "ended": ended}

    assert run_time({"a": part(0, 10), "b": part(4, 12)}) == 12
    assert run_time({"a": part(0, 10), "b": part(2, 6), "c": part(50, 53)}) == 13
    assert run_time({"a": part(0, 10), "b": part(2, 6), "c": part(8, 12)}) == 12
    assert run_time({"a": {"seconds": 3}, "b": part(0, 10)}) == 13  # parts of before knew no end


def numbers(value, place=""):
    """{place: number} of everything in a part that is a number, but for the time that it took."""
    if isinstance(value, bool) or not isinstance(value, dict | list | int | float):
        return {}
    if isinstance(value, int | float):
        return {place: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {
        name: number
        for key, item in items
        if key not in ("seconds", "ended")
        for name, number in numbers(item, f"{place}/{key}").items()
    }


@pytest.mark.long
def test_two_processes_find_what_one_finds(tmp_path):
    alone, together = (
        reproduce("compiled", "classroom", tmp_path / str(jobs), quick=True, device="cpu", jobs=jobs) for jobs in (1, 2)
    )
    assert [row["verdict"] for row in alone["claims"]] == [row["verdict"] for row in together["claims"]]
    for name in EXPERIMENTS:
        one, two = (numbers(read_sealed(tmp_path / jobs / "parts" / f"{name}.json")) for jobs in ("1", "2"))
        assert one and one == pytest.approx(two, abs=1e-6), name
