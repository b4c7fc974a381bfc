"""M/M/c for cimba: customers are units in a container, servers are processes that take them out."""

from __future__ import annotations

import cimba as cb
from cimba import inputs


class _Line(cb.Model):
    """Arrivals put customers into a queue."""

    interarrival: cb.Input[float] = inputs.dist.exponential(mean=1.0)
    service_time: cb.Input[float] = inputs.dist.exponential(mean=1.0)
    queue: cb.Container
    mean_queue: cb.Output[float]

    @cb.process
    def arrivals(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - cimba compiles it
        """Customers come."""
        while True:
            cb.hold(self.interarrival.next())
            self.queue.put(1)

    @cb.on_end
    def measure(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - cimba compiles it
        """How many waited, on average over time."""
        self.mean_queue = self.queue.mean_level()


class MM1(_Line):
    """One server."""

    @cb.process
    def server(self):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Serve one after another."""
        while True:
            self.queue.get(1)
            cb.hold(self.service_time.next())


class MM4(_Line):
    """Four servers."""

    @cb.process(copies=4)
    def server(self):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Serve one after another."""
        while True:
            self.queue.get(1)
            cb.hold(self.service_time.next())


def mean_sojourn_s(workers: int, customers: int, utilisation: float) -> float:
    """Run one trial of so many customers on average; by Little's law, from the mean queue."""
    model = {1: MM1, 4: MM4}[workers]()
    rate_per_s = utilisation * workers
    model.interarrival = inputs.dist.exponential(mean=1.0 / rate_per_s)
    window = cb.Window(warmup=0.0, duration=customers / rate_per_s)
    results = cb.Experiment(model, replications=1, window=window, seed=1).run()
    return float(results[model].mean_queue.values.mean()) / rate_per_s + 1.0
