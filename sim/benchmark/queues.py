"""M/M/1 and M/M/4 in hookbench's two engines, SimPy, Ciw, cimba and a bare loop; answers beside Erlang's."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from statistics import median

import numpy as np
import pandas as pd

from sim.benchmark.bare import bare_queue
from sim.engine import Engine, summary_once
from sim.metrics.histogram import empty_histogram
from sim.scenario import Scenario, scenario_from
from sim.terminal import progress, warn
from sim.theory.queues import MMc
from sim.workload import event_times

TITLE = "M/M/c at utilisation 0.8: customers a second of CPU, and the mean number of seconds in the system"
REPETITIONS = 3
UTILISATION = 0.8
WORKERS = (1, 4)

Run = Callable[[int, int], float]
"""(workers, customers) -> mean seconds in the system."""


def measure() -> pd.DataFrame:
    """Time every simulator in turn: medians, and how they compare with cimba and the bare loop."""
    simulators = dict(_simulators())
    rows = []
    with progress("queues") as advance:
        for number, workers in enumerate(WORKERS):
            theory = MMc(workers, UTILISATION * workers, 1.0).sojourn_mean_s
            rates: dict[str, list[float]] = {name: [] for name in simulators}
            answers: dict[str, float] = {}
            for run, customers in simulators.values():
                run(workers, min(customers, 1_000))  # compile
            for _ in range(REPETITIONS):
                for name, (run, customers) in simulators.items():
                    start = time.process_time()
                    answers[name] = run(workers, customers)
                    rates[name].append(customers / (time.process_time() - start))
            rate = {name: median(each) for name, each in rates.items()}
            rows += [
                (
                    f"M/M/{workers}",
                    name,
                    rate[name],
                    rate[name] / rate.get("cimba", np.nan),
                    rate["bare loop"] / rate[name],
                    answers[name],
                    theory,
                    answers[name] / theory - 1,
                )
                for name in simulators
            ]
            advance(number + 1, len(WORKERS))
    columns = [
        "queue",
        "simulator",
        "customers /s",
        "to cimba",
        "bare loop to it",
        "mean s",
        "theory s",
        "error",
    ]
    return pd.DataFrame(rows, columns=columns)


def _simulators() -> Iterator[tuple[str, tuple[Run, int]]]:
    """By name: how to run each, and how many customers take it about a second."""
    yield "bare loop", (_bare, 5_000_000)
    yield "hookbench fast", (lambda c, n: _hookbench(c, n, "fast"), 2_000_000)
    yield "hookbench simpy", (lambda c, n: _hookbench(c, n, "simpy"), 20_000)
    yield "SimPy", (_simpy, 50_000)
    for name, run, customers in (("Ciw", _ciw, 30_000), ("cimba", _cimba, 1_000_000)):
        if find_spec(name.lower()) is None:
            warn(f"{name} is not installed and not compared: pip install 'hookbench[bench]'")
        else:
            yield name, (run, customers)


def _world(workers: int, customers: int) -> Scenario:
    """A webhook over a network that takes no time, to a receiver that acknowledges at once: M/M/c."""
    rate_per_s = UTILISATION * workers
    return scenario_from(
        {
            "name": "mmc",
            "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
            "network": {"one_way": {"kind": "constant", "mean_s": 0.0}},
            "receiver": {
                "workers": workers,
                "service": {"kind": "exponential", "mean_s": 1.0},
                "queue_limit": 10**9,
                "acknowledge": "on_receipt",
            },
            "run": {"duration_s": customers / rate_per_s, "drain_s": 1000.0},
        }
    )


def _hookbench(workers: int, customers: int, engine: Engine) -> float:
    scenario = _world(workers, customers)
    summary, _ = summary_once(scenario, "webhook", event_times(scenario, 1), 1, engine, workers=1)
    return summary.metrics["latency_mean_s"]


def _bare(workers: int, customers: int) -> float:
    histogram = empty_histogram(1e6)
    return bare_queue(customers, UTILISATION * workers, 1.0, 1, np.zeros(workers), histogram)


def _simpy(workers: int, customers: int) -> float:
    """The textbook's: a process a customer, and a Resource."""
    import simpy  # noqa: PLC0415

    draws = np.random.default_rng(1)
    gaps_s = draws.exponential(1.0 / (UTILISATION * workers), customers)
    services_s = draws.exponential(1.0, customers)
    environment = simpy.Environment()
    desk = simpy.Resource(environment, workers)
    total_s = 0.0

    def customer(service_s: float) -> Generator[simpy.Event]:
        nonlocal total_s
        arrived_s = environment.now
        with desk.request() as turn:
            yield turn
            yield environment.timeout(service_s)
        total_s += environment.now - arrived_s

    def arrivals() -> Generator[simpy.Event]:
        for gap_s, service_s in zip(gaps_s, services_s, strict=True):
            yield environment.timeout(gap_s)
            environment.process(customer(service_s))

    environment.process(arrivals())
    environment.run()
    return total_s / customers


def _ciw(workers: int, customers: int) -> float:
    import ciw  # noqa: PLC0415

    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=UTILISATION * workers)],
        service_distributions=[ciw.dists.Exponential(rate=1.0)],
        number_of_servers=[workers],
    )
    ciw.seed(1)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(customers)
    records = simulation.get_all_records()
    return float(np.mean([record.exit_date - record.arrival_date for record in records]))


def _cimba(workers: int, customers: int) -> float:
    """Mean number in the system by Little's law; its queue is a container, its servers are processes."""
    from sim.benchmark.cimba_model import mean_sojourn_s  # noqa: PLC0415 - only where cimba is installed

    return mean_sojourn_s(workers, customers, UTILISATION)
