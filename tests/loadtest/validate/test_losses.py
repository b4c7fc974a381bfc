"""Protects the lost answers: the table loses what the model loses, and the receiver what the table says."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from loadtest.validate.losses import lossy, lost_answers
from loadtest.validate.receiver import ATTEMPTS, _losing
from sim.engine import run_once
from sim.scenario import load_scenario
from sim.workload import event_times


def test_the_table_is_the_model_s() -> None:
    """The attempts that the table makes an event take are those that the model makes."""
    scenario = lossy(load_scenario("shop-orders-rush"), 0.3, 5.0)
    created = event_times(scenario, 3)
    table = np.frombuffer(lost_answers(0.3, 3, created.size), dtype=np.uint8).reshape(created.size, ATTEMPTS)
    allowed = scenario.webhook.retry.attempts_allowed
    first_heard = np.argmin(table[:, :allowed], axis=1)
    needed = np.where(table[:, :allowed].all(axis=1), allowed, first_heard + 1)
    attempts = run_once(scenario, "webhook", created, 3).deliveries.attempts[0]
    np.testing.assert_array_equal(needed, attempts)
    assert needed.max() > 2


def answers(lost: bytes, index: int, attempts: int) -> list[bool]:
    """Whether each attempt at an event is answered."""
    seen: list[bool] = []

    async def handler(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})

    async def attempt(post: Any) -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        scope = {"headers": [(b"webhook-id", b"run_%d" % index)], "extensions": {}}
        await post(scope, receive, send)
        seen.append(bool(sent))

    async def run() -> None:
        post = _losing(handler, lost)
        for _ in range(attempts):
            await attempt(post)

    asyncio.run(run())
    return seen


@pytest.mark.parametrize(
    ("index", "expected"), [(0, [False, False, True]), (1, [True, True, True]), (7, [True, True, True])]
)
def test_the_receiver_loses_what_the_table_says(index: int, expected: list[bool]) -> None:
    """Attempt by attempt; an event that is not in the table is answered."""
    table = bytearray(2 * ATTEMPTS)
    table[0] = table[1] = 1
    assert answers(bytes(table), index, 3) == expected
