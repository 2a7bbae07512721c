"""The experiments of a run side by side, in several processes; or one of them, in this one.

Most of a run is matrix products on small batches. Two threads share such a product badly, and between the products one
of them waits for Python. Two processes of one thread do not wait for each other. Each has its own copy of the model; they
meet only in the run's folder: an experiment reads the parts that it needs from there (`NEEDS`) and leaves its own part
there, so a stopped run goes on where it was, with as many processes as you like.

Which comes next? Of the experiments whose needs are stored, the one with the longest way behind it: its own time and
that of the experiments that wait for it (`COST`). Otherwise the longest would run alone at the end.

When it misleads: an experiment takes longer beside another one, so the seconds of single experiments add up to more than
the run took. And every process needs memory for itself, about a gigabyte with a model of the size of the book's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch
from rich.console import Console

from semanticbm.errors import UserError
from semanticbm.study.claims import Finding, claims_of
from semanticbm.study.experiments import COST, EXPERIMENTS, NEEDS
from semanticbm.study.folder import RunFolder
from semanticbm.study.provenance import environment
from semanticbm.study.sealed import plain
from semanticbm.study.study import FOUND_BY, Study

MOST_PROCESSES = 4  # more would wait for the longest experiments
_mine: dict = {}  # in a worker: the study and the folder that it works on


def usual_jobs(device: torch.device) -> int:
    """Processes for a run: one for each two of torch's threads, two at least where there are two; one on a GPU."""
    threads = torch.get_num_threads()
    return 1 if device.type != "cpu" or threads < 2 else min(MOST_PROCESSES, max(2, threads // 2))


def run_one(name: str, experiment: Callable[[Study], dict], study: Study, folder: RunFolder) -> dict:
    """Run one experiment and store its part; gives the part."""
    started = time.time()
    part = plain(_answer(name, experiment, study)) | {"environment": environment(study.model.device)}
    ended = time.time()
    part |= {"seconds": round(ended - started, 1), "ended": round(ended, 1)}
    folder.write(folder.part(name), part)
    return part


def _answer(name: str, experiment: Callable[[Study], dict], study: Study) -> dict:
    """What an experiment found; if it cannot be answered here, no findings but the reason."""
    try:
        return experiment(study)
    except UserError as reason:
        heads = {"heads": []} if name in FOUND_BY.values() else {}
        return heads | {"findings": {key: Finding(None, note=str(reason)) for key in claims_of(name)}}


# --------------------------------------------------------------------------------------------------------------------
# Side by side


def way(name: str) -> float:
    """Seconds, about, from the start of an experiment to the end of the last one that waits for it."""
    return COST.get(name, 0) + max((way(other) for other, needs in NEEDS.items() if name in needs), default=0)


def run_side_by_side(
    open_study: Callable[[], Study], study: Study, folder: RunFolder, jobs: int, console: Console
) -> None:
    """Run the experiments that `study.parts` lacks in `jobs` processes; each makes its own study with `open_study`."""
    waiting = sorted((name for name in EXPERIMENTS if name not in study.parts), key=way, reverse=True)
    with _workers(open_study, folder, jobs) as pool:
        running: dict[Future, str] = {}
        while waiting or running:
            ready = [name for name in waiting if all(need in study.parts for need in NEEDS.get(name, ()))]
            for name in ready[: jobs - len(running)]:
                console.print(f"   {name} ...")
                waiting.remove(name)
                running[pool.submit(_work, name, EXPERIMENTS[name], NEEDS.get(name, ()))] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                study.parts[name] = future.result()
                done = f"{len(study.parts):2}/{len(EXPERIMENTS)}"
                console.print(f"{done} {name}: {study.parts[name]['seconds']:.0f} s")
    study.parts = {name: study.parts[name] for name in EXPERIMENTS}


@contextmanager
def _workers(open_study: Callable[[], Study], folder: RunFolder, jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that is gone after the `with`, however it ends."""
    context = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
    threads, ids = max(1, torch.get_num_threads() // jobs), context.Array("i", jobs)
    pool = ProcessPoolExecutor(jobs, context, _start, (open_study, folder, threads, ids))
    try:
        yield pool
    except BaseException as error:
        for process in multiprocessing.active_children():
            if process.pid in ids[:]:
                process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a process of the run ended before its time, mostly for want of memory: call again with --jobs 1; what "
                "is stored is kept."
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start(open_study: Callable[[], Study], folder: RunFolder, threads: int, ids: Sequence[int]) -> None:
    """In a new worker: its threads, its line for progress bars, its own study. `ids`: of the workers' processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt reaches the main process, which ends the workers
    torch.set_num_threads(threads)
    with ids.get_lock():
        line = ids[:].index(0)
        ids[line] = os.getpid()
    os.environ["TQDM_POSITION"] = str(line)
    _mine.update(study=open_study(), folder=folder)


def _work(name: str, experiment: Callable[[Study], dict], needs: Sequence[str]) -> dict:
    """In a worker: run one experiment, with the parts that it needs and no others."""
    study, folder = _mine["study"], _mine["folder"]
    study.parts = {need: folder.read(folder.part(need)) for need in needs}
    return run_one(name, experiment, study, folder)
