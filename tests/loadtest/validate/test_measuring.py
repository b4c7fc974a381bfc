"""Protects the loads of a validation: what the generator spoilt is run again, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from loadtest.validate.measuring import ATTEMPTS, steadily
from loadtest.verdict import Reason

LAG, LOST = Reason("generator_lag", "it sent late"), Reason("lost", "one was lost")


@pytest.mark.parametrize(
    ("voids", "expected", "attempts"),
    [
        ([()], (), 1),
        ([(LAG,), ()], (), 2),
        ([(LAG,)] * 9, (), ATTEMPTS),
        ([(LOST,), ()], (), 1),
        ([("in words only",), ()], (), 1),
        ([(LAG,), ()], ("generator_lag",), 1),
    ],
)
def test_what_the_generator_spoilt_is_repeated(
    voids: list[tuple[Any, ...]], expected: tuple[str, ...], attempts: int
) -> None:
    left = iter(voids)

    def run() -> Any:
        return SimpleNamespace(runs=(SimpleNamespace(void=next(left)),))

    result, took = steadily(run, expected)
    assert took == attempts
    assert result.runs[0].void == voids[attempts - 1]
