"""Protects the race arms over a broker: books that balance, costs by their own names, nothing left behind."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from loadtest.brokers.address import VARIABLES
from loadtest.brokers.ends import open_broker
from loadtest.runner import race
from loadtest.runner.arms import RACE_ARMS, named
from loadtest.runner.arms.brokers import BROKER_ARMS, BrokerArm
from loadtest.runner.figures_of_merit import KNOWN_METRICS
from loadtest.runner.processes import ProcessFailed
from sim.delivery import Via
from sim.errors import InputError
from sim.results import read_run
from sim.scenario import Scenario, scenario_from
from tests.loadtest.brokers import required


def steady(**changes: object) -> Scenario:
    """Events at a constant rate, served at once."""
    scenario = scenario_from(
        {
            "name": "steady",
            "workload": {"kind": "periodic", "rate_per_s": 30, "payload_bytes": 500},
            "receiver": {"service": {"kind": "constant", "mean_s": 0.0005}, "workers": 2},
            "run": {"duration_s": 1.5},
        }
    )
    return scenario.with_values(**changes)


@pytest.mark.parametrize("arm", [arm.name for arm in BROKER_ARMS])
def test_a_short_race_over_a_broker(
    arm: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = RACE_ARMS[arm]
    assert isinstance(row, BrokerArm)
    url = str(request.getfixturevalue("kafka_url")) if row.kind == "kafka" else required(row.kind)
    monkeypatch.setenv(VARIABLES[row.kind][0], url)
    result = race(steady(), [arm], out=tmp_path, figures=row.kind == "redis", lag_limit_s=5.0)
    assert result.void == []
    (run,) = result.runs
    assert run.ledger.scheduled == run.ledger.acknowledged == run.ledger.visible == 45
    assert (run.ledger.lost, run.ledger.duplicates, run.ledger.given_up, run.ledger.pending) == (0, 0, 0, 0)
    assert run.records is not None
    assert set(run.records["via"]) == {"queue" if arm == "rabbitmq" else "log"}
    assert (run.records["first_attempt"] >= run.records["created"]).all()
    assert (run.records["visible"] > run.records["first_attempt"]).all()
    metrics = run.metrics
    assert set(metrics) <= set(KNOWN_METRICS)
    assert metrics["requests_per_event"] == 1 if arm == "rabbitmq" else metrics["requests_per_event"] > 0
    assert 2 * 500 < metrics["bytes_per_event"] < 20 * 500  # to the broker and from it
    assert metrics["broker_cpu_s_per_1k"] >= 0
    assert metrics["receiver_cpu_s_per_1k"] > 0
    notes = run.notes
    assert notes["mechanism"] == ("broker_push" if arm == "rabbitmq" else "broker_pull")
    assert notes["broker"]["product"]
    assert notes["event_loops"] == {"provider": "uvloop", "receiver": "uvloop"}
    assert f"{notes['mechanism']}.persist is what the real broker takes" in notes["unlike_the_model"]
    document = (result.path / "run.json").read_text()
    assert "guest:guest" not in document
    assert read_run(result.path).complete
    assert gone(row.kind, notes["run_id"])


def gone(kind: str, run_id: str) -> bool:
    """Whether a run's queue, stream or topic is no longer there."""
    name = f"hookbench-{run_id}"
    broker = open_broker(kind, name)

    async def rabbitmq() -> bool:
        from aiormq.exceptions import ChannelNotFoundEntity

        from loadtest.brokers.rabbitmq import RabbitMQ, close

        assert isinstance(broker, RabbitMQ)
        for queue in (name, f"{name}.dead"):
            connection, channel = await broker.connect()
            with pytest.raises(ChannelNotFoundEntity):
                await channel.queue_declare(queue, passive=True)
            await close(connection)
        return True

    async def redis() -> bool:
        from redis.asyncio import Redis

        async with Redis.from_url(broker.address.url) as client:
            return not await client.exists(name)

    async def kafka() -> bool:
        from loadtest.brokers.kafka import Kafka

        assert isinstance(broker, Kafka)
        async with broker.admin() as admin:
            return name not in await admin.list_topics()

    return asyncio.run({"rabbitmq": rabbitmq, "redis": redis, "kafka": kafka}[kind]())


def test_a_run_that_fails_leaves_nothing_at_the_broker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    required("redis")
    runs: list[str] = []

    def fail(_session: object, _monitor: object, plan: object, *_: object) -> None:
        runs.append(plan.run_id)  # type: ignore[attr-defined]
        assert not gone("redis", runs[0])
        raise ProcessFailed("the generator is out of order")

    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["loadtest.runner.race"], "Generation", fail)
    with pytest.raises(ProcessFailed, match="out of order"):
        race(steady(), ["redis_streams"], out=tmp_path, figures=False)
    assert len(runs) == 1
    assert gone("redis", runs[0])


def test_without_its_broker_no_run_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOOKBENCH_RABBITMQ", "amqp://me:hush@127.0.0.1:9/")
    with pytest.raises(InputError, match="docker run -d -p 5672:5672 rabbitmq:4") as caught:
        race(steady(), ["webhook", "rabbitmq"], out=tmp_path)
    assert "hush" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_arms_stand_for_the_mechanisms_they_enact_and_are_not_among_all() -> None:
    assert {arm.name: (arm.mechanism, arm.via) for arm in BROKER_ARMS} == {
        "rabbitmq": ("broker_push", Via.QUEUE),
        "redis_streams": ("broker_pull", Via.LOG),
        "kafka": ("broker_pull", Via.LOG),
    }
    assert not {arm.name for arm in BROKER_ARMS} & set(named(["all"]))
    assert named(["kafka"]) == ("kafka",)


@pytest.mark.parametrize(
    ("arm", "changes", "note"),
    [
        ("rabbitmq", {}, "heartbeats go out at half of heartbeat_timeout_s"),
        ("rabbitmq", {"broker_push.lifetime": {"kind": "constant", "mean_s": 5}}, "lifetime is not enacted"),
        ("redis_streams", {}, "a stream has no partitions"),
        ("redis_streams", {"broker_pull.fetch_min": 5}, "Redis answers with the first entry"),
        ("kafka", {"broker_pull.fetch_min": 5}, "fetch_min is enacted in bytes"),
        ("kafka", {"broker_pull.rebalance_every": {"kind": "constant", "mean_s": 5}}, "rebalance_every"),
    ],
)  # fmt: skip
def test_what_a_real_broker_does_not_do_is_said(arm: str, changes: dict[str, object], note: str) -> None:
    told = RACE_ARMS[arm].unlike_the_model(steady(**changes))
    assert any(note in sentence for sentence in told)
    assert len(told) == len(set(told))
