"""Runs one target under atheris; every option is libFuzzer's.

What is under test must be imported while atheris instruments imports, so nothing of ours comes before.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["loadtest", "tests.loadtest.fuzz.targets", "email", "urllib"]):
    from tests.loadtest.fuzz.seeds import seeds_of
    from tests.loadtest.fuzz.targets import TARGETS


def main() -> None:
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds_of(name, list(TARGETS))):
            (Path(corpus) / str(number)).write_bytes(seed)
        # atheris ends the process: what is in the folder is small, and left to the system if it must be.
        atheris.Setup([name, *options, corpus], TARGETS[name])
        atheris.Fuzz()


main()
