# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # Sizing a receiver
#
# **One question:** webhooks come when *they* want. How many workers does a receiver need, and how full may
# they be?
#
# *About 50 minutes. You need lesson 1; lesson 3 helps.*

# %% slideshow={"slide_type": "skip"}
# %matplotlib inline
import pandas as pd

from sim import theory
from sim.figures import transient
from sim.lessons.experiments import compared, over_time, varied
from sim.lessons.figures import Scale, bars, curves
from sim.lessons.widgets import explore
from sim.scenario import scenario_from

shop = scenario_from(
    {
        "name": "sizing",
        "workload": {"kind": "poisson", "rate_per_s": 10.0},
        "network": {"one_way": {"kind": "constant", "mean_s": 0.0}},
        "webhook": {"max_in_flight": 1_000_000, "timeout_s": 1e6, "retry": {"kind": "none"}},
        "receiver": {
            "workers": 1,
            "service": {"kind": "exponential", "mean_s": 0.05},
            "queue_limit": 1_000_000,
            "acknowledge": "on_receipt",
        },
        "run": {"duration_s": 10_000.0, "warmup_s": 500.0, "drain_s": 500.0},
    }
)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. How full is too full?
#
# One worker deals with an order in 50 ms on average: it could do 20 a second. Its **utilisation** $\rho$ is
# the share of the time in which it works.
#
# > **Predict first.** At 10 orders a second ($\rho = 50$ %) an order takes 100 ms on average, waiting
# > included. How long at 18 a second (90 %)? At 19 (95 %)?

# %% slideshow={"slide_type": "subslide"}
SERVICE_S = 0.05


def by_load(scenario: object, workers: int, metric: str, name: str) -> pd.DataFrame:
    """A metric against utilisation."""
    busy = scenario.with_values(
        **{"receiver.workers": workers, "run.duration_s": 500 + 4000 / workers, "run.drain_s": 200}
    )
    rates = ",".join(
        f"{share * workers / SERVICE_S:g}" for share in (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    )
    found = varied(busy, f"workload.rate_per_s={rates}", metric, ["webhook"], replications=4)
    return found.assign(utilisation=found["workload.rate_per_s"] * SERVICE_S / workers, what=name)


one = by_load(shop, 1, "latency_mean_s", "one worker")
utilisation = Scale("utilisation", "utilisation of the workers", "share")
curves(
    one,
    utilisation,
    Scale("value", "mean latency: wait and service", "time"),
    "what",
    title="Half full, an order takes twice its service; at 95 % twenty times",
    theory={"one worker": lambda rho: SERVICE_S / (1 - rho)},
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# $\dfrac{s}{1-\rho}$: 100 ms at 50 %, 500 ms at 90 %, a **second** at 95 %. Nothing is broken and nothing
# is "slow"; orders come at random, so they come in bunches, and a worker without slack has no time to work
# a bunch off before the next. (M/M/1: L. Kleinrock, *Queueing Systems* I, 1975, §3.2.)
#
# The last five points of utilisation cost more than the first ninety. Note also how wide the intervals get
# on the right: near saturation a single run of hours tells you little.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. Many small doors or one big room?
#
# > **Predict first.** Four receivers with a worker each, orders dealt out to them at random; or one queue
# > before four workers. Same total capacity, same load of 80 %. Does it matter?

# %% slideshow={"slide_type": "subslide"}
pooled = pd.concat(
    [
        by_load(shop, workers, "latency_mean_s", f"{workers} worker{'s' if workers > 1 else ''}")
        for workers in (1, 4, 16)
    ]
)


def sojourn(workers: int) -> object:
    """Erlang's mean latency by utilisation."""
    return lambda rho: theory.MMc(workers, rho * workers / SERVICE_S, 1 / SERVICE_S).sojourn_mean_s


curves(
    pooled,
    utilisation,
    Scale("value", "mean latency", "time", log=True),
    "what",
    title="One queue for all: sixteen workers at 90 % are quicker than one at 50 %",
    theory={"1 worker": sojourn(1), "4 workers": sojourn(4), "16 workers": sojourn(16)},
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# An order waits only if **all** workers are busy (A. K. Erlang, 1917). One queue before many workers wastes
# no worker while somebody waits; separate queues do. So: share the queue (the durable inbox of the
# reference receiver is one), and big receivers may run fuller than small ones.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3. It is not the mean that hurts
#
# > **Predict first.** Two importers, each 50 ms on average, each at 70 %. One takes exactly 50 ms for each
# > order; the other mostly 20 ms but now and then half a second. Which queue is longer, and by how much?

# %% slideshow={"slide_type": "subslide"}
kinds = {
    "always 50 ms": {"kind": "constant", "mean_s": 0.05},
    "exponential": {"kind": "exponential", "mean_s": 0.05},
    "now and then very long": {"kind": "lognormal", "mean_s": 0.05, "cv": 2.0},
}
at_70 = shop.with_values(**{"workload.rate_per_s": 14.0})
variable = compared(
    {name: at_70.with_values(**{"receiver.service": service}) for name, service in kinds.items()},
    ["latency_mean_s", "latency_p95_s", "latency_p99_s"],
    replications=6,
)
variable["theory: mean"] = [
    SERVICE_S + theory.MG1(14.0, SERVICE_S, SERVICE_S**2 * (1 + cv**2)).wait_mean_s for cv in (0.0, 1.0, 2.0)
]
bars(
    variable, "case", "latency_p99_s", kind="time", label="99th percentile of latency",
    title="The same mean service and the same load: variability alone makes the tail",
)  # fmt: skip

# %% slideshow={"slide_type": "subslide"}
variable.drop(columns="mechanism").round(3)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Pollaczek and Khinchine: $W_q = \dfrac{\rho s}{1-\rho}\cdot\dfrac{1+c_v^2}{2}$. The wait is a product of
# *how full* and *how variable*. A single slow kind of order (an attachment, a lock, a cold cache) delays
# all that stand behind it. Making the slowest call faster may help more than another worker.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. Bunches
#
# Polling delivers in gulps, and so do people: a sale begins, a batch job ends.
#
# > **Predict first.** 14 orders a second on average, as before, on one worker. Now they come ten at a time.
# > What happens to the mean latency: a little more, double, ten times?

# %% slideshow={"slide_type": "subslide"}
steady = at_70.with_values(**{"receiver.service": {"kind": "constant", "mean_s": 0.05}})
bunched = steady.with_values(
    workload={"kind": "batch", "rate_per_s": 14.0, "batch_mean": 10.0, "batch_size": "constant"}
)
bursty = steady.with_values(
    workload={"kind": "bursty", "rate_per_s": 14.0, "dispersion": 50.0, "on_share": 0.5}
)
arrivals = pd.concat(
    [
        compared(
            {"one by one": steady, "ten at a time": bunched, "busy spells": bursty},
            ["latency_mean_s", "latency_p99_s", "receiver_queue_max"],
            replications=4,
        ),
        compared(
            {
                "one by one, polled every 2 s": steady.with_values(
                    **{"polling.interval_s": 2.0, "polling.page_size": 1000}
                )
            },
            ["latency_mean_s", "latency_p99_s", "receiver_queue_max"],
            ["polling"],
            replications=4,
        ),
    ]
)
arrivals.round(2)

# %% [markdown] slideshow={"slide_type": "fragment"}
# The average rate says little. Ten at a time: the last of each waits for nine before it, and for what is
# left of the batch before. Busy spells are worse: during a spell the rate is *above* capacity and nothing
# but waiting out helps. A poller makes its own batches: $\lambda T$ at a time, on top of being late by
# $T/2$.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5. A queue that is not too long
#
# An unlimited queue never says no. It says "later", until nobody wants the answer any more. A short one
# says **503**, and the sender comes back.
#
# > **Predict first.** At 110 % of capacity for five minutes: compare a queue without limit and one of 20
# > places, with senders that retry. Which has the better latency for most orders, and which loses some?

# %% slideshow={"slide_type": "subslide"}
rush = shop.with_values(
    workload={"kind": "shaped", "shape": "spike:rate=10,peak=22,at=100,for=300"},
    **{
        "webhook.retry": {"kind": "exponential", "base_s": 5.0, "max_attempts": 9, "jitter": "full"},
        "run.duration_s": 900.0, "run.warmup_s": 0.0, "run.drain_s": 3000.0, "run.series_bin_s": 10.0,
    },
)  # fmt: skip
limits = {
    "no limit": rush,
    "20 places, then 503": rush.with_values(**{"receiver.queue_limit": 20}),
}
transient(
    over_time(limits),
    between_s=(0, 900),
    title="A short queue turns waiting at the receiver into retries at the sender",
)

# %% slideshow={"slide_type": "subslide"}
compared(
    limits,
    ["latency_p50_s", "latency_p95_s", "latency_max_s", "rejected_ratio", "lost_ratio"],
    replications=4,
).round(3)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Neither makes capacity out of nothing: whatever is too much has to wait **somewhere**. With the short
# queue it waits at the sender, most orders that get in are quick, and a few are very late. With the long
# one everybody is late alike. A short queue pays when late work is worthless or its senders time out
# (lesson 3, part 5); a long one when each order counts and nobody waits for it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6. How many workers?
#
# > **Predict first.** 100 orders a second, 50 ms each: five workers are busy all the time. 99 % of the
# > orders are to be visible within 300 ms. How many workers: 5, 6, 7, 12?

# %% slideshow={"slide_type": "subslide"}
needed = varied(
    shop.with_values(**{"workload.rate_per_s": 100.0, "run.duration_s": 2000.0}),
    "receiver.workers=6,7,8,9,10,12",
    "latency_p99_s",
    ["webhook"],
    replications=3,
).assign(what="99th percentile")
curves(
    needed,
    Scale("receiver.workers", "workers"),
    Scale("value", "99 % of orders visible within", "time", log=True),
    "what",
    title="Six workers keep up, the seventh keeps 99 % within 300 ms, the tenth buys nothing",
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# No number of workers brings 99 % under 230 ms: with exponential service one order in a hundred *takes*
# that long by itself ($-s\ln 0.01$). Beyond some point you are buying idle workers, and the service itself
# has to get better. A rule of thumb to start from: $a + \beta\sqrt{a}$ workers for an offered load of $a =
# \lambda s$, with $\beta = 1$ for a start (square-root staffing: S. Halfin & W. Whitt, "Heavy-traffic
# limits for queues with many exponential servers", *Operations Research* 29, 1981); here $5 + \sqrt 5
# \approx 7.2$.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Turn the knob
#
# > **Predict first.** At which utilisation does one worker's mean latency reach five times its service
# > time?


# %% slideshow={"slide_type": "subslide"}
def at(utilisation_percent: int) -> object:
    """Latency of one worker that is so full."""
    busy = shop.with_values(**{"workload.rate_per_s": utilisation_percent / 100 / SERVICE_S})
    found = compared({"": busy}, ["latency_mean_s", "latency_p95_s", "latency_p99_s"], replications=4).iloc[0]
    table = pd.DataFrame(
        {"figure": ["mean", "95 %", "99 %"], "latency": [float(each) for each in found.iloc[2:]]}
    )
    return bars(
        table,
        "figure",
        "latency",
        kind="time",
        label="latency",
        title=f"One worker, {utilisation_percent} % full",
    )


explore(at, "utilisation (%)", [30, 50, 60, 70, 80, 85, 90, 95], twin=[50, 80, 95])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercises
#
# **1.** A colleague says: "CPU is at 60 %, so we have room for 60 % more traffic." At 60 % an order takes
# 125 ms. What would it take at 96 %?
#
# <details><summary>Solution</summary>
# 50/(1 − 0.96) = 1,250 ms: ten times as long. Room in throughput is not room in latency.
# </details>
#
# **2.** The receiver answers only when it has worked the order off (`acknowledge = "after_processing"`),
# the sender times out after 200 ms and retries at once, up to three times. Run one worker at 70 %. What
# happens, and why?
#
# <details><summary>Solution</summary>
# A fifth of the orders take longer than 200 ms; they are sent again while the first copy is being worked
# off, so work grows, and so do latency and timeouts: the storm of lesson 3. See the cell below: utilisation
# goes to one.
# </details>
#
# **3.** Which is the better buy at 80 % load: a second worker, or a first one that is twice as fast?
#
# <details><summary>Solution</summary>
# The fast one: M/M/1 with double speed takes 25/(1 − 0.4) = 41.7 ms; M/M/2 takes 50/(1 − 0.16) = 59.5 ms.
# With nobody waiting, two slow workers still need 50 ms for an order. (Two workers survive the death of
# one, though.)
# </details>

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 2
impatient = {
    "receiver.acknowledge": "after_processing", "webhook.timeout_s": 0.2, "run.duration_s": 2000.0,
    "webhook.retry": {"kind": "fixed", "base_s": 0.0, "max_attempts": 4},
}  # fmt: skip
compared(
    {"on receipt": at_70, "after processing": at_70.with_values(**impatient)},
    ["latency_mean_s", "duplicates_per_event", "timeout_ratio", "receiver_utilisation"],
).round(3)

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 3
{
    "one, twice as fast": theory.MMc(1, 16.0, 40.0).sojourn_mean_s,
    "two": theory.MMc(2, 16.0, 20.0).sojourn_mean_s,
}

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What to take home
#
# * Latency is $s/(1-\rho)$: **leave slack**; the last percent are the dearest.
# * **One queue**, many workers.
# * Variability makes tails: look at the **99th percentile** and at the slowest kind of work.
# * What is too much waits **somewhere**: decide where.
# * Start from $a + \sqrt a$ workers, then **measure** (`hookbench capacity`).
#
# ## Change this parameter
#
# Your rate, your service time, your bound.

# %% slideshow={"slide_type": "skip"}
rate_per_s, service_s, bound_s = 35.0, 0.12, 1.0

sizes = [c for c in range(1, 200) if c > rate_per_s * service_s]
enough = next(c for c in sizes if theory.MMc(c, rate_per_s, 1 / service_s).sojourn_exceeds(bound_s) <= 0.01)
f"{enough} workers, {rate_per_s * service_s / enough:.0%} full, keep 99 % within {bound_s} s"
