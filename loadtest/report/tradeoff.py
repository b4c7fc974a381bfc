"""Promptness against price: each arm of a race by its latency and by what it cost the servers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from loadtest.report.metrics import Estimates, text_of
from loadtest.report.plot import Curve, Figure, Ids, Panel, Plot, Table
from loadtest.report.scales import over, time_text
from loadtest.report.words import listed

LATENCY = "latency_p99_s"
CPU = ("provider_cpu_s_per_1k", "receiver_cpu_s_per_1k")


def cpu_s_per_1k(estimates: Estimates) -> dict[str, float]:
    """By arm, CPU-seconds of provider and receiver together per 1,000 events, where both were measured."""
    return {
        arm: sum(of_arm[name].mean for name in CPU)
        for arm, of_arm in estimates.items()
        if of_arm.keys() >= set(CPU)
    }


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The arms that no other one beats in both respects, smaller being better; the first in order."""
    return [
        name
        for name, (x, y) in sorted(points.items(), key=lambda each: each[1])
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())
    ]


def figure(estimates: Estimates, looks: Mapping[str, str], ids: Ids, *, void: bool) -> Figure | None:
    """A point an arm; None when fewer than two arms have both figures."""
    cost = cpu_s_per_1k(estimates)
    points = {
        arm: (estimates[arm][LATENCY].mean, cost[arm])
        for arm in cost
        if LATENCY in estimates[arm] and np.isfinite(estimates[arm][LATENCY].mean)
    }
    if len(points) < 2:
        return None
    curves = tuple(
        Curve(
            arm, arm, np.array([x]), np.array([y]), f"{looks[arm]} point", "dots", arm, read=False
        )
        for arm, (y, x) in points.items()
    )  # fmt: skip
    x_scale, y_scale = (
        over(np.array([point[place] for point in points.values()]), "time") for place in (1, 0)
    )
    best = front(points)
    told = listed(
        [f"{arm} (p99 {time_text(points[arm][0])}, {time_text(points[arm][1])} of CPU)" for arm in best]
    )
    plot = Plot(
        x_scale, "CPU of provider and receiver per 1,000 events", (Panel("p99 latency", y_scale, curves),),
        labels="points", void=void,
    )  # fmt: skip
    rows = tuple(
        (
            arm,
            text_of(estimates[arm], LATENCY),
            time_text(points[arm][1]),
            *(text_of(estimates[arm], name) for name in CPU),
            "yes" if arm in best else "no",
        )
        for arm in points
    )
    head = (
        "arm",
        "p99 latency",
        "CPU per 1,000 events",
        "of it the provider's",
        "the receiver's",
        "unbeaten",
    )
    return Figure(
        ids.new("tradeoff"), f"Unbeaten in promptness and price together: {told}.",
        "Down is prompter, left is cheaper. An arm is unbeaten when no other is at least as good in both.",
        plot, Table("promptness and price of each arm", head, rows), "Promptness and price",
    )  # fmt: skip
