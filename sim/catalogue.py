"""The mechanisms there are: what each is called, and where its two implementations live.

A command line can name them all at once: nothing is loaded until a mechanism runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sim.delivery import Via

if TYPE_CHECKING:
    from sim.launch.ledger import Ledger
    from sim.mechanisms.world import World
    from sim.records import Counters
    from sim.scenario import Scenario


@dataclass(frozen=True)
class Mechanism:
    """A way for events to reach subscribers.

    Attributes:
        title: what it is, in a few words.
        via: what its records say of the way unless the model says otherwise.
        model: ``module:function`` of the reference model, which runs a `World` to its end.
        kernel: ``module:function`` of the compiled twin: (scenario, ledger, seed) -> `Counters`.
        compiled: the names of the kernels that its first run compiles.
        reads: the tables of a scenario about ways of delivery (`WAYS`) that it looks into, in either engine;
            no other one of them can change what comes of it.
    """

    title: str
    via: Via
    model: str
    kernel: str
    compiled: tuple[str, ...]
    reads: tuple[str, ...]

    def heeds(self, key: str) -> bool:
        """Whether a value of the scenario, by its dotted key, may change what comes of this mechanism."""
        table = key.partition(".")[0]
        return table in self.reads or table not in WAYS

    def run_model(self, world: World) -> None:
        """Run the reference model to the world's end."""
        cast("Callable[[World], None]", _find(self.model))(world)

    def run_kernel(self, scenario: Scenario, ledger: Ledger, seed: int) -> Counters:
        """Run the compiled twin, into a ledger; returns what happened within the window."""
        run = cast("Callable[[Scenario, Ledger, int], Counters]", _find(self.kernel))
        return run(scenario, ledger, seed)


def _find(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)


_PULLING = ("polling", "conditional_polling", "adaptive_polling")
WAYS = frozenset(
    {
        "webhook",
        "thin_webhook",
        "reconciliation",
        *_PULLING,
        "long_polling",
        "streaming",
        "broker_push",
        "broker_pull",
    }
)
"""The tables of a scenario that are about ways of delivery; all others may matter to every mechanism."""

MECHANISMS: dict[str, Mechanism] = {
    "webhook": Mechanism(
        "the provider POSTs each event",
        Via.WEBHOOK,
        "sim.mechanisms.webhook:run_webhook",
        "sim.launch.push:webhook",
        ("push_to_each",),
        ("webhook",),
    ),
    "webhook_reconciled": Mechanism(
        "the provider POSTs each event, and the subscriber asks now and then what it missed",
        Via.WEBHOOK,
        "sim.mechanisms.webhook_reconciled:run_webhook_reconciled",
        "sim.launch.push:webhook_reconciled",
        ("reconcile_each",),
        ("webhook", "reconciliation", *_PULLING),
    ),
    "thin_webhook": Mechanism(
        "the provider POSTs a notice of each event, and the subscriber fetches it by its id",
        Via.WEBHOOK,
        "sim.mechanisms.thin_webhook:run_thin_webhook",
        "sim.launch.push:thin_webhook",
        ("push_to_each", "fetch_by_id", "take_in_each"),
        ("webhook", "thin_webhook", *_PULLING),
    ),
    "polling": Mechanism(
        "the subscriber asks at intervals",
        Via.POLL,
        "sim.mechanisms.polling:run_polling",
        "sim.launch.pull:polling",
        ("poll_each",),
        _PULLING,
    ),
    "conditional_polling": Mechanism(
        "polling with an ETag: nothing new is a 304",
        Via.POLL,
        "sim.mechanisms.conditional_polling:run_conditional_polling",
        "sim.launch.pull:conditional_polling",
        ("poll_each",),
        _PULLING,
    ),
    "adaptive_polling": Mechanism(
        "polling at intervals that follow what is found",
        Via.POLL,
        "sim.mechanisms.adaptive_polling:run_adaptive_polling",
        "sim.launch.pull:adaptive_polling",
        ("poll_each",),
        _PULLING,
    ),
    "long_polling": Mechanism(
        "the provider holds each request until there is news",
        Via.POLL,
        "sim.mechanisms.long_polling:run_long_polling",
        "sim.launch.pull:long_polling",
        ("poll_each",),
        ("long_polling", *_PULLING),
    ),
    "streaming": Mechanism(
        "the provider streams events over one lasting connection",
        Via.STREAM,
        "sim.mechanisms.streaming:run_streaming",
        "sim.launch.session:streaming",
        ("stream", "poll_each"),
        ("streaming", *_PULLING),
    ),
    "broker_push": Mechanism(
        "a broker's queue pushes to its consumer",
        Via.QUEUE,
        "sim.mechanisms.broker_push:run_broker_push",
        "sim.launch.broker:broker_push",
        ("consume_each",),
        ("broker_push",),
    ),
    "broker_pull": Mechanism(
        "consumers fetch from a broker's log",
        Via.LOG,
        "sim.mechanisms.broker_pull:run_broker_pull",
        "sim.launch.broker:broker_pull",
        ("consume_each",),
        ("broker_pull",),
    ),
}

EVERY = "all"
"""Stands for every mechanism where names are given."""


def named(names: Iterable[str]) -> list[str]:
    """The mechanisms that names stand for: `EVERY` for all of them, anything else for itself."""
    return [each for name in names for each in (MECHANISMS if name == EVERY else (name,))]
