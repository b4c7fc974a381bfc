"""The one way hookbench compiles: Numba without fast-math, cached on disk under a hash of the sources.

Numba's own cache does not notice a change in a callee that lives in another file, so a result could
come from stale code. The cache directory is therefore named by a digest of every file that holds
compiled code: a change anywhere is a new directory.

No fast-math: the scalars here are called one by one from the SimPy models and inlined into the
kernels, and both must yield the same bits.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_PACKAGE = Path(__file__).parent
_SOURCES = (
    "compiled.py",
    "randomness.py",
    "happenings.py",
    "delivery.py",
    "distributions.py",
    "policies/*.py",
    "workload.py",
    "audience.py",
    "kernels/*.py",
    "metrics/histogram.py",
    "metrics/scans.py",
)

Function = TypeVar("Function", bound=Callable[..., Any])


_njit: Any = numba.njit  # its types do not know "_nrt", which a Numba without it would refuse
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def _sources_digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for pattern in _SOURCES:
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    return Path(chosen) if chosen else _PACKAGE.parent / ".cache" / "numba"


CACHE_DIR = _cache_root() / _sources_digest()
numba.config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined]  # set by numba at run time


def is_cached(kernel: str) -> bool:
    """Whether the kernel of this name was compiled before, for exactly these sources."""
    return any(CACHE_DIR.glob(f"**/*.{kernel}-*.nbi"))


def jit(function: Function) -> Function:
    """Compile `function` at its first call, without the interpreter lock and without fast-math.

    It neither makes nor returns arrays, so nothing counts references to them: Numba would at every call that
    takes an array and at every field read of a tuple that holds one, which was most of the time of kernels
    whose steps take a few nanoseconds.
    """
    return cast(Function, _njit(**_OPTIONS, _nrt=False)(function))


def allocating(function: Function) -> Function:
    """Compile `function`, which makes arrays or returns some."""
    return cast(Function, _njit(**_OPTIONS)(function))


def inlined(function: Function) -> Function:
    """Compile `function`, which makes no arrays, into those that call it; it spares them passing it many."""
    return cast(Function, _njit(**_OPTIONS, _nrt=False, forceinline=True)(function))
