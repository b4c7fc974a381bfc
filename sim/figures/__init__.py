"""Figures of latency, of what happens over time and of what is best where, for reports and for class.

Every function returns a `matplotlib.figure.Figure` that no global state knows of, so it works headless,
in notebooks and in threads. The finding is the title and curves carry their own labels; `looks` says what
they look like, `chosen` which of them a run's folder gets.
"""

from sim.figures.latency import Latencies, latency_cdf, latency_survival
from sim.figures.looks import duration, look
from sim.figures.maps import metric_map
from sim.figures.outages import outage_timeline
from sim.figures.parameters import difference_vs_parameter, latency_vs_interval, metric_vs_parameter
from sim.figures.pareto import pareto_scatter
from sim.figures.surface import break_even_surface
from sim.figures.transients import transient

__all__ = [
    "Latencies",
    "break_even_surface",
    "difference_vs_parameter",
    "duration",
    "latency_cdf",
    "latency_survival",
    "latency_vs_interval",
    "look",
    "metric_map",
    "metric_vs_parameter",
    "outage_timeline",
    "pareto_scatter",
    "transient",
]
