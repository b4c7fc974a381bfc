"""Age of information in closed form: how long ago the newest update known was made.

Its mean is over time; its peaks are the values just before a newer update is shown. λ is the updates' rate,
X the time between two, μ the service rate, ρ = λ/μ, and a sojourn the time from an update's making to its
being shown. Sources: Kaul, Yates & Gruteser, "Real-time status: how often should one update?", INFOCOM 2012
(M/M/1, M/D/1, D/M/1); Inoue, Masuyama, Takine & Tanaka, "A general formula for the stationary distribution
of the age of information and its application to single-server queues", IEEE Trans. Information Theory 65,
2019; Costa, Codreanu & Ephremides, "On the age of information in status update systems with packet
management", IEEE Trans. Information Theory 62, 2016 (blocking, peaks).

All rest on one sum (Kaul et al. 2012): over the time between two updates' being shown, age rises by 1 a
second from what the first was old when it was shown.
"""

from __future__ import annotations

from sim.theory.single_server import MG1


def fcfs_poisson_aoi_mean_s(queue: MG1, service_laplace: float) -> float:
    """Poisson updates through one worker, first come first served: W_q + E[S] + (1 − ρ)/(λ E[exp(−λS)]).

    `service_laplace` is E[exp(−λS)]. Exponential service: (1 + 1/ρ + ρ²/(1 − ρ))/μ. Constant service s = 1/μ:
    ρs/(2(1 − ρ)) + s + (1 − ρ)e^ρ/λ; an M/D/1 formula in circulation gives 4.0 for λ = ½, s = 1 in place of
    this one's 3.1487. Conditions: steady state, no update lost. Source: Inoue et al. 2019 (M/GI/1).
    """
    return queue.sojourn_mean_s + (1 - queue.utilisation) / (queue.arrivals_per_s * service_laplace)


def periodic_aoi_mean_s(period_s: float, sojourn_mean_s: float) -> float:
    """Periodic updates shown in their order: P/2 + E[sojourn].

    The time since the newest shown was made is its sojourn and the time since. With a constant delay d the
    sojourn is d; through an exponential worker it is that of D/M/1, so (1/(2ρ) + 1/(1 − β))/μ. Conditions: no
    update lost or overtaken. Source: Kaul et al. 2012 (D/M/1).
    """
    return period_s / 2 + sojourn_mean_s


def delayed_aoi_mean_s(gap_mean_s: float, gap_second_moment_s2: float, delay_s: float) -> float:
    """Updates shown after a constant delay: E[X²]/(2E[X]) + d; Poisson 1/λ + d, periodic P/2 + d.

    Conditions: any stationary updates. Source: Cox, Renewal Theory, 1962, ch. 5 (the time since the last
    point).
    """
    return gap_second_moment_s2 / (2 * gap_mean_s) + delay_s


def in_order_peak_aoi_mean_s(gap_mean_s: float, sojourn_mean_s: float) -> float:
    """The mean peak when every update is shown, in order: E[X] + E[sojourn].

    An update's peak is the time since the one before it was made: X, then its own sojourn. Conditions: no
    update lost or overtaken, none shown at one instant with another. Source: Costa et al. 2016.
    """
    return gap_mean_s + sojourn_mean_s


def preemptive_aoi_mean_s(updates_per_s: float, services_per_s: float) -> float:
    """Poisson updates through an exponential worker that drops what it has for the newest: 1/λ + 1/μ.

    M/M/1 last come first served with pre-emption; dropped updates need not return, as they are out of date.
    Source: Kaul, Yates & Gruteser, "Status updates through queues", CISS 2012; Inoue et al. 2019.
    """
    return 1 / updates_per_s + 1 / services_per_s


def preemptive_peak_aoi_mean_s(updates_per_s: float, services_per_s: float) -> float:
    """The mean peak then: 1/λ + 1/μ + 1/(λ + μ).

    An update is shown if it is served before the next comes, with probability μ/(λ + μ), so every
    (λ + μ)/(λμ) on average; it is then as old as a service that beat the next update, 1/(λ + μ).
    """
    return 1 / updates_per_s + 1 / services_per_s + 1 / (updates_per_s + services_per_s)


def blocking_aoi_mean_s(updates_per_s: float, services_per_s: float) -> float:
    """M/M/1/1: an update that finds the worker busy is dropped: 1/λ + 2/μ − 1/(λ + μ).

    Updates taken are Y = idle + service apart and each is S old when shown, independent of the Y that
    follows:
    E[S] + E[Y²]/(2E[Y]). Source: Costa et al. 2016.
    """
    return 1 / updates_per_s + 2 / services_per_s - 1 / (updates_per_s + services_per_s)


def blocking_peak_aoi_mean_s(updates_per_s: float, services_per_s: float) -> float:
    """The mean peak then, E[S] + E[Y]: 1/λ + 2/μ. Source: Costa et al. 2016."""
    return 1 / updates_per_s + 2 / services_per_s


def zero_wait_aoi_mean_s(
    service_mean_s: float, service_second_moment_s2: float, wait_s: float = 0.0, update_age_s: float = 0.0
) -> float:
    """A sampler that takes a sample `wait_s` after the last was shown: E[S] + E[(S + w)²]/(2 E[S + w]).

    With w = 0, "zero wait" or just-in-time, E[S] + E[S²]/(2E[S]). A sample is `update_age_s` old when it is
    taken (0 of a signal that always changes, P/2 of one that changes every P, 1/λ of Poisson changes).
    Conditions: services independent, of each other and of the source. Source: Yates, "Lazy is timely: status
    updates by an energy harvesting source", ISIT 2015.
    """
    cycle_s = service_mean_s + wait_s
    cycle_second_moment_s2 = service_second_moment_s2 + 2 * wait_s * service_mean_s + wait_s**2
    return update_age_s + service_mean_s + cycle_second_moment_s2 / (2 * cycle_s)
