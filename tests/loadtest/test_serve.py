"""Protects the processes themselves: small, honest about their event loop, and comparable by benchmark."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from loadtest import benchmark_receiver, hosting, serve
from loadtest.asgi import Application
from sim.errors import InputError, VoidRun
from tests.loadtest.servers import ROOT

HEAVY = {"locust", "gevent", "numba", "numpy", "pandas", "scipy", "simpy", "pydantic", "matplotlib", "typer"}


@pytest.mark.parametrize(
    ("module", "also_absent"),
    [
        ("loadtest.receiver", {"aiohttp"}),
        ("loadtest.inbox", {"aiohttp", "uvicorn"}),
        ("loadtest.provider", set()),
        ("loadtest.consumers", set()),
        ("loadtest.signatures", {"aiohttp", "uvicorn"}),
        ("loadtest.serve", {"aiohttp", "uvicorn"}),
    ],
)
def test_server_processes_stay_small(module: str, also_absent: set[str]) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not (HEAVY | also_absent) & set(result.stdout.split())


def test_another_loop_than_the_one_asked_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "loop_factory", lambda name: asyncio.SelectorEventLoop)
    with hosting.listen("127.0.0.1", 0) as listener, pytest.raises(InputError, match="asyncio is running"):
        hosting.serve(Application(), listener, "uvloop", 1.0)


def test_a_missing_uvloop_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert serve.main(["provider"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.splitlines()) == (
        "",
        ["hookbench serve: uvloop is not installed; install it, or say --loop asyncio and mean it"],
    )


def test_the_benchmark_compares_like_with_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_receiver, "CONNECTIONS", 16)
    result = benchmark_receiver.compare(requests=400, rounds=1)
    assert result.loop == "uvloop"
    assert {server: len(rounds) for server, rounds in result.rounds.items()} == {
        "no-op": 1,
        "receiver": 1,
        "common": 1,
    }
    for other in ("no-op", "common"):
        assert result.ratio(other) == result.median("receiver").rate_per_s / result.median(other).rate_per_s
    assert all(result.median(server).cpu_us > 0 for server in result.rounds)


def test_the_benchmark_refuses_another_loop() -> None:
    noop_on_asyncio = (
        "from loadtest import benchmark_noop as b, hosting; "
        "hosting.serve(b.NoopApp(), hosting.listen('127.0.0.1', 0), 'asyncio', 1.0)"
    )
    with (
        pytest.raises(VoidRun, match="runs on asyncio, not on uvloop"),
        benchmark_receiver._server(["-c", noop_on_asyncio]),
    ):
        pass
    with pytest.raises(VoidRun, match="the client does not run on uvloop"):
        asyncio.run(benchmark_receiver._drive(1, []))


def test_the_benchmark_is_void_when_requests_are_refused() -> None:
    async def drive(port: int) -> None:
        await benchmark_receiver._drive(
            port, [[b"POST /elsewhere HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"]]
        )

    with (
        benchmark_receiver._server(["-m", "loadtest.benchmark_noop"]) as (port, _),
        asyncio.Runner(loop_factory=hosting.loop_factory("uvloop")) as runner,
        pytest.raises(VoidRun, match="was not accepted"),
    ):
        runner.run(drive(port))
