"""The arms over a message broker: the provider publishes to it, a consumer process brings events in.

Each run has a queue, stream or topic of its own, named by the run's id and deleted afterwards, whatever
happens. The broker itself is the user's and runs already; what its process costs is counted where it is on
this machine and ours to see.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from loadtest.brokers.address import address_of
from loadtest.brokers.ends import Broker, BrokerUnavailable, open_broker, settings_of
from loadtest.runner.arms.arm import MARGIN_S, Arm, Course, ProviderRows, Rows, Statuses, copied, no_tries
from loadtest.runner.outcome import inbox_counters
from loadtest.runner.processes import Child, deferred_interrupts
from loadtest.schedule import IntArray
from sim.records import Counters

if TYPE_CHECKING:
    from sim.scenario import Scenario

T = TypeVar("T")

log = logging.getLogger("hookbench.brokers")

PROCESSES = {
    "rabbitmq": ("beam.smp", "beam"),
    "redis": ("redis-server", "valkey-server", "redis", "valkey"),
    "kafka": ("java", "tansu", "redpanda"),
}
"""What the servers' processes are called; a proxy that listens in a broker's place is not one."""

_JOIN_S = 25.0


@dataclass(frozen=True)
class BrokerArm(Arm):
    """Events by way of one kind of broker.

    Attributes:
        kind: a key of `loadtest.brokers.address.VARIABLES`.
    """

    kind: str = field(kw_only=True)
    stops: tuple[str, ...] = field(default=("provider", "receiver"), kw_only=True)

    def refusal(self, scenario: Scenario) -> str | None:
        """See `Arm`: without its library or its server no run begins.

        Raises:
            InputError: the library is missing, the URL is no good, or a setting is beyond the broker.
        """
        broker = self._broker("hookbench", scenario)
        try:
            _run(broker.describe())
        except BrokerUnavailable as error:
            return f"{error}; {broker.address.how_to_start}"
        return None

    def unlike_the_model(self, scenario: Scenario) -> list[str]:
        """See `Arm`."""
        told = super().unlike_the_model(scenario)
        told.append(f"{self.mechanism}.persist is what the real broker takes")
        told.append(
            "a broker's messages are acknowledged once they are stored, whatever receiver.acknowledge"
        )
        told.append("a broker's bytes are those of the TCP connections to it, confirmations included")
        told.append("broker_cpu is the whole server process less its idle rate, where it can be seen")
        return told + (
            _unlike_push(scenario) if self.kind == "rabbitmq" else _unlike_pull(scenario, self.kind)
        )

    def drain_s(self, scenario: Scenario) -> float:
        """See `Arm`: until the fetch that is out is answered."""
        if self.mechanism == "broker_push":
            return MARGIN_S
        return scenario.broker_pull.fetch_max_wait_s + scenario.broker_pull.idle_s + MARGIN_S

    def provider_flags(self, course: Course) -> list[str]:
        """See `Arm`; there is room for every event."""
        return ["--publish", *self._flags(course), "--queue-limit", str(max(1, course.events))]

    def open(self, course: Course) -> dict[str, Child]:
        """See `Arm`: the consumer is there before the first event, as a group of consumers takes time."""
        _table_path(course).write_text(json.dumps(self._table(course.scenario)), encoding="utf-8")
        course.session.afterwards.callback(_delete, self._broker(_name(course), course.scenario))
        consumer = course.session.crew.server(
            "consumer", "--source", *self._flags(course), *course.inbox_flags, timeout_s=_JOIN_S
        )
        return {"receiver": consumer}

    def bystanders(self, course: Course) -> dict[str, int]:
        """See `Arm`: the broker's process, where it can be seen."""
        pid = listener(address_of(self.kind).hosts, PROCESSES[self.kind])
        return {} if pid is None else {"broker": pid}

    def facts(self, course: Course) -> dict[str, Any]:
        """See `Arm`: which broker it was."""
        broker = self._broker(_name(course), course.scenario)
        try:
            return {"broker": {"url": broker.address.shown, **_run(broker.describe())}}
        except BrokerUnavailable as error:
            return {"broker": {"url": broker.address.shown, "unavailable": str(error)}}

    def given_up(self, servers: Statuses) -> int:
        """See `Arm`: what there was no room for, or the broker did not take."""
        return int(servers["provider"]["broker_failed"])

    def counters(self, servers: Statuses) -> Counters:
        """See `Arm`: publishes, fetches and commits; bytes of both sides' connections to the broker."""
        provider, consumer = servers["provider"], servers["receiver"]
        counters = inbox_counters(consumer)
        counters.requests = provider["broker_requests"] + consumer["requests"]
        counters.redeliveries = consumer["redelivered"]
        counters.errors = provider["broker_errors"] + consumer["errors"]
        if self.mechanism == "broker_pull":
            copied(counters, consumer, ("empty_responses",))
        for name in ("request_bytes", "response_bytes", "connections_opened"):
            of_both = provider.get(f"broker_{name}"), consumer.get(name)
            setattr(counters, name, None if None in of_both else sum(of_both))
        return counters

    def tries(
        self, size: int, rows: Rows, provider_rows: ProviderRows, statuses: Statuses
    ) -> tuple[IntArray, IntArray]:
        """See `Arm`: an event's first attempt is the delivery that brought it, and each copy is one."""
        first, attempts = no_tries(size)
        for row in rows:
            if 0 <= row.event_index < size:
                first[row.event_index], attempts[row.event_index] = row.received_us, row.copies
        return first, attempts

    def _broker(self, name: str, scenario: Scenario) -> Broker:
        address = address_of(self.kind)
        return open_broker(address, name, settings_of(address.kind, self._table(scenario)))

    def _flags(self, course: Course) -> list[str]:
        # The URL may hold a password: the servers read it from the environment, as we did.
        return [self.kind, "--broker-name", _name(course), "--broker-json", str(_table_path(course))]

    def _table(self, scenario: Scenario) -> dict[str, Any]:
        """What of the scenario's table the broker and its clients are told."""
        if self.mechanism == "broker_push":
            names = {"prefetch", "max_deliveries", "heartbeat_timeout_s", "reconnect"}
            return scenario.broker_push.model_dump(mode="json", include=names)
        names = {"partitions", "fetch_min", "fetch_max_wait_s", "max_records", "idle_s"}
        names |= {"commit_interval_s", "rebalance_s"}
        members = min(scenario.receiver.workers, scenario.broker_pull.partitions)
        return scenario.broker_pull.model_dump(mode="json", include=names) | {
            "consumers": members,
            "event_bytes": max(1, scenario.workload.payload_bytes),
        }


BROKER_ARMS = (
    BrokerArm("rabbitmq", "broker_push", kind="rabbitmq"),
    BrokerArm("redis_streams", "broker_pull", kind="redis"),
    BrokerArm("kafka", "broker_pull", kind="kafka"),
)


def _unlike_push(scenario: Scenario) -> list[str]:
    spec = scenario.broker_push
    told = ["broker_push.prefetch bounds what is not stored yet, not what is not processed"]
    if spec.lifetime is not None:
        told.append("broker_push.lifetime is not enacted: a connection lasts until it breaks")
    if spec.heartbeat_s != spec.heartbeat_timeout_s / 2:
        told.append("heartbeats go out at half of heartbeat_timeout_s, as AMQP clients send them")
    return told


def _unlike_pull(scenario: Scenario, kind: str) -> list[str]:
    spec = scenario.broker_pull
    told = [
        "a consumer fetches again once its batch is stored, not once it is worked off",
        "any worker processes an event, not the consumer of its partition",
    ]
    if spec.rebalance_every is not None:
        told.append("broker_pull.rebalance_every is not enacted")
    if kind == "redis":
        if spec.partitions > 1:
            told.append("a stream has no partitions, and one consumer reads it")
        if spec.fetch_min > 1:
            told.append("Redis answers with the first entry, whatever broker_pull.fetch_min")
        told.append("entries are acknowledged one by one, every commit_interval_s at the most")
        return told
    told.append("an event's partition is by the hash of its id, not the model's draw")
    told.append("aiokafka fetches ahead, so a fetch may bring more than max_records and does not wait idle_s")
    if spec.fetch_min > 1:
        told.append("broker_pull.fetch_min is enacted in bytes, by the size of a payload")
    return told


def _name(course: Course) -> str:
    return f"hookbench-{course.session.run_id}"


def _table_path(course: Course) -> Path:
    return course.session.folder / "broker.json"


def _run(story: Coroutine[Any, Any, T]) -> T:
    """Run it on a loop in a thread of its own, as whoever calls a race may be on one (a notebook is)."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, story).result()


def _delete(broker: Broker) -> None:
    """Leave nothing behind; what cannot be deleted is said, for it is somebody else's server."""
    with deferred_interrupts():
        try:
            _run(broker.delete())
        except BrokerUnavailable as error:
            log.warning("%s was left at the broker: %s", broker.name, error)


def listener(hosts: tuple[tuple[str, int], ...], names: tuple[str, ...]) -> int | None:
    """The process that listens at one of these places on this machine, if we may see it and know its name."""
    if not any(host in ("127.0.0.1", "localhost", "::1") for host, _ in hosts):
        return None
    ports = {port for _, port in hosts}
    try:
        for connection in psutil.net_connections(kind="tcp"):
            port, pid = getattr(connection.laddr, "port", None), connection.pid
            is_listener = connection.status == psutil.CONN_LISTEN and port in ports
            if is_listener and pid and psutil.Process(pid).name() in names:
                return int(pid)
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return None
