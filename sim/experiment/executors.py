"""Where the runs of an experiment are computed: any `concurrent.futures.Executor`, by a short name.

==========================  ==============================================================================
``processes``               processes of this machine, one a usable core; ``processes:4`` says how many
``threads``                 threads: the kernels run without the interpreter lock, the metrics do not
``dask://HOST:PORT``        the workers of a running Dask cluster (https://distributed.dask.org), through its
                            own executor; they need hookbench installed, at the same version
==========================  ==============================================================================

Results do not depend on the choice: a run is a pure function of scenario, mechanism and seed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from sim.errors import InputError

_FORM = "processes, processes:N, threads, threads:N or dask://HOST:PORT"
DASK_TIMEOUT_S = 10


class Workers(NamedTuple):
    """An executor and how many runs it computes at a time."""

    executor: Executor
    slots: int


def usable_cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def open_executor(name: str = "processes") -> Iterator[Workers]:
    """The executor called `name`; what has not begun when the block ends is cancelled.

    Raises:
        InputError: no such executor, a number out of range, no library, or no cluster at that address.
    """
    kind, slots = _read(name)
    if kind == "dask":
        with _dask(name.removeprefix("dask://")) as workers:
            yield workers
        return
    executor: Executor
    if kind == "threads":
        executor = ThreadPoolExecutor(slots, "simulation")
    else:
        executor = ProcessPoolExecutor(slots, mp_context=_context(), initializer=_leave_interrupts)
    try:
        yield Workers(executor, slots)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def check_executor(name: str) -> None:
    """Refuse a name that stands for no executor; whether a cluster answers is seen when it is opened.

    Raises:
        InputError: no such executor, or a number out of range.
    """
    _read(name)


def _read(name: str) -> tuple[str, int]:
    """What kind of executor a name stands for, and how many slots it has; a cluster says so itself."""
    kind, colon, rest = name.partition(":")
    if kind == "dask" and rest.startswith("//") and len(rest) > 2:
        return kind, 0
    if kind not in ("processes", "threads"):
        raise InputError(f"--executor {name!r}: expected {_FORM}")
    try:
        slots = int(rest) if colon else usable_cores()
    except ValueError:
        slots = 0
    if not 1 <= slots <= 1024:
        raise InputError(f"--executor {name!r}: expected {_FORM}, with N from 1 to 1024")
    return kind, slots


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal: only the one that hands out the work is to act on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _context() -> multiprocessing.context.BaseContext:
    """Workers start from a clean process that has loaded the engine once, where the system can do that."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sim.experiment.runs"])
        return context
    return multiprocessing.get_context("spawn")


@contextmanager
def _dask(address: str) -> Iterator[Workers]:
    try:
        import distributed  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise InputError("--executor dask://…: Dask is missing; pip install 'hookbench[dask]'") from None
    try:
        connect: Any = distributed.Client  # untyped
        client = connect(f"tcp://{address}", timeout=DASK_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"--executor dask://{address}: no Dask scheduler answers there ({reason})") from None
    try:
        slots = sum(client.nthreads().values())
        if not slots:
            raise InputError(f"--executor dask://{address}: the scheduler has no workers")
        # A lost worker's runs are computed again elsewhere, by Dask itself.
        yield Workers(client.get_executor(pure=False), slots)
    finally:
        client.close()
