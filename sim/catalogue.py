"""The mechanisms there are: what each is called, and where its two implementations live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sim.records import Replication, Via

if TYPE_CHECKING:
    from sim.audience import Audience
    from sim.mechanisms.world import World
    from sim.scenario import Scenario


@dataclass(frozen=True)
class Mechanism:
    """A way for events to reach subscribers.

    Attributes:
        title: what it is, in a few words.
        via: what its records say of the way unless the model says otherwise.
        model: ``module:function`` of the reference model, which runs a `World` to its end.
        kernel: ``module:function`` of the compiled twin: (scenario, audience, seed) -> `Replication`.
        compiled: the names of the kernels that its first run compiles.
    """

    title: str
    via: Via
    model: str
    kernel: str
    compiled: tuple[str, ...]

    def run_model(self, world: World) -> None:
        """Run the reference model to the world's end."""
        cast("Callable[[World], None]", _find(self.model))(world)

    def run_kernel(self, scenario: Scenario, audience: Audience, seed: int) -> Replication:
        """Run the compiled twin."""
        run = cast("Callable[[Scenario, Audience, int], Replication]", _find(self.kernel))
        return run(scenario, audience, seed)


def _find(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)


MECHANISMS: dict[str, Mechanism] = {
    "webhook": Mechanism(
        "the provider POSTs each event",
        Via.WEBHOOK,
        "sim.mechanisms.webhook:run_webhook",
        "sim.launch.push:webhook",
        ("push_to_subscriber",),
    ),
    "webhook_reconciled": Mechanism(
        "the provider POSTs each event, and the subscriber asks now and then what it missed",
        Via.WEBHOOK,
        "sim.mechanisms.webhook_reconciled:run_webhook_reconciled",
        "sim.launch.push:webhook_reconciled",
        ("push_to_subscriber", "fetch"),
    ),
    "thin_webhook": Mechanism(
        "the provider POSTs a notice of each event, and the subscriber fetches it by its id",
        Via.WEBHOOK,
        "sim.mechanisms.thin_webhook:run_thin_webhook",
        "sim.launch.push:thin_webhook",
        ("push_to_subscriber", "fetch_by_id", "take_in"),
    ),
    "polling": Mechanism(
        "the subscriber asks at intervals",
        Via.POLL,
        "sim.mechanisms.polling:run_polling",
        "sim.launch.pull:polling",
        ("fetch", "take_in"),
    ),
}
