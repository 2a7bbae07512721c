"""The experiments of a run side by side, in several processes; or one of them, in this one.

Most of a run is matrix products on small batches. Two threads share such a product badly, and between the products one
of them waits for Python. Two processes of one thread do not wait for each other. Each has its own copy of the model; they
meet only in the run's folder: an experiment reads the parts that it needs from there (`NEEDS`) and leaves its own part
there, so a stopped run goes on where it was, with as many processes as you like.

Which comes next? Of the experiments whose needs are stored, the one with the longest way behind it: its own time and
that of the experiments that wait for it (`COST`). Otherwise the longest would run alone at the end.

When it misleads: an experiment takes longer beside another one, so the seconds of single experiments add up to more than
the run took. And every process needs memory for itself, up to 1.6 GB with a model of the size of the book's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from threading import RLock

import psutil
import torch
from rich.console import Console
from tqdm import tqdm

from semanticbm.errors import UserError
from semanticbm.study.claims import Finding, claims_of
from semanticbm.study.experiments import COST, EXPERIMENTS, FOLLOWS, NEEDS
from semanticbm.study.folder import RunFolder
from semanticbm.study.provenance import environment
from semanticbm.study.sealed import plain
from semanticbm.study.study import FOUND_BY, Study

MOST_PROCESSES = 4  # more would wait for the longest experiments
BYTES_EACH = 3 * 2**30  # of the machine's memory; a process was seen to take 1.6 GB
_mine: dict = {}  # in a worker: the study and the folder that it works on


def usual_jobs(device: torch.device) -> int:
    """Processes for a run: one for each two of torch's threads, but two for two, if memory allows; one on a GPU."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads < 2:
        return 1
    return max(1, min(MOST_PROCESSES, max(2, threads // 2), psutil.virtual_memory().total // BYTES_EACH))


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
    behind = [other for other in EXPERIMENTS if name in NEEDS.get(other, ()) or FOLLOWS.get(other) == name]
    return COST.get(name, 0) + max(map(way, behind), default=0)


def run_side_by_side(
    open_study: Callable[[], Study], study: Study, folder: RunFolder, jobs: int, console: Console
) -> None:
    """Run the experiments that `study.parts` lacks in `jobs` processes; each makes its own study with `open_study`."""
    waiting = sorted((name for name in EXPERIMENTS if name not in study.parts), key=way, reverse=True)
    running: dict[Future, list[str]] = {}
    with _workers(open_study, folder, jobs) as pool:
        while waiting or running:
            while len(running) < jobs and (names := _next(waiting, study.parts)):
                console.print(f"   {', then '.join(names)} ...")
                waiting = [name for name in waiting if name not in names]
                running[pool.submit(_work, [(name, EXPERIMENTS[name], NEEDS.get(name, ())) for name in names])] = names
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                for name, part in zip(running.pop(future), future.result(), strict=True):
                    study.parts[name] = part
                    console.print(f"{len(study.parts):2}/{len(EXPERIMENTS)} {name}: {part['seconds']:.0f} s")
    study.parts = {name: study.parts[name] for name in EXPERIMENTS}


def _next(waiting: Sequence[str], parts: Mapping[str, dict]) -> list[str]:
    """The first experiment whose needs are stored, and those that follow it in its process; [] if all have to wait."""
    ready = [name for name in waiting if all(need in parts for need in NEEDS.get(name, ()))]
    for first in ready:
        if FOLLOWS.get(first) not in waiting:
            return [first, *(name for name in ready if FOLLOWS.get(name) == first)]
    return []


@contextmanager
def _workers(open_study: Callable[[], Study], folder: RunFolder, jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that is gone after the `with`, however it ends."""
    context = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
    threads, others = max(1, torch.get_num_threads() // jobs), multiprocessing.active_children()
    pool = ProcessPoolExecutor(jobs, context, _start, (open_study, folder, threads, context.Value("i", 0)))
    try:
        yield pool
    except BaseException as error:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a process of the run ended before its time, mostly for want of memory: call again with --jobs 1; what "
                "is stored is kept."
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start(open_study: Callable[[], Study], folder: RunFolder, threads: int, counter: Synchronized) -> None:
    """In a new worker: its threads, its line for progress bars, its own study."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt reaches the main process, which ends the workers
    torch.set_num_threads(threads)
    with counter.get_lock():
        os.environ["TQDM_POSITION"] = str(counter.value)
        counter.value += 1
    tqdm.set_lock(RLock())  # tqdm's own would be the system's, which stays behind when a worker is ended
    _mine.update(study=open_study(), folder=folder)


def _work(tasks: Sequence[tuple[str, Callable[[Study], dict], Sequence[str]]]) -> list[dict]:
    """In a worker: run experiments one after the other, each with the parts that it needs and no others."""
    study, folder, parts = _mine["study"], _mine["folder"], []
    for name, experiment, needs in tasks:
        study.parts = _Declared({need: folder.read(folder.part(need)) for need in needs})
        parts.append(run_one(name, experiment, study, folder))
    return parts


class _Declared(dict):
    """Parts by name; asking for one that the experiment does not declare is an error, not an empty answer."""

    def get(self, name: str, default=None):
        if name not in self:
            raise KeyError(f"an experiment asks for the part {name}: name it in semanticbm.study.experiments.NEEDS.")
        return self[name]
