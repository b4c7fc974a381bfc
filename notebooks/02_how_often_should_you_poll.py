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
# # How often should you poll?
#
# **One question:** you look at the door every $T$ seconds. Look often, and most looks are in vain; look
# seldom, and you are late. Where is the right $T$?
#
# *About 45 minutes. You need lesson 1, the exponential function, and the idea of an average.*

# %% slideshow={"slide_type": "skip"}
# %matplotlib inline
import math

import pandas as pd

import sim
from sim import theory
from sim.lessons.experiments import compared, varied
from sim.lessons.figures import Scale, bars, curves
from sim.lessons.widgets import explore

shop = sim.load_scenario("shop-orders").with_values(
    **{
        "receiver.outages": [],
        "network.one_way": {"kind": "constant", "mean_s": 0.02},
        "receiver.service": {"kind": "constant", "mean_s": 0.02},
        "workload.rate_per_s": 0.1,
        "run.duration_s": 40_000.0,
    }
)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. How late are you?
#
# An order arrives every ten seconds on average, and the mailing list asks for new ones every $T$ seconds.
#
# > **Predict first.** Draw, by hand, the share of orders that the list knows within each latency, for $T =
# > 10$ s. What shape is it? Where are its median, its 95 % point, its end?

# %% slideshow={"slide_type": "subslide"}
shares = [0.01, 0.1, 0.25, 0.5, 0.75, 0.95, 1.0]
latency = {}
for interval_s in (5, 10, 30):
    run = sim.simulate(shop.with_values(**{"polling.interval_s": interval_s}), ["polling"], seed=1).records
    latency[interval_s] = (run["visible"] - run["created"]).quantile(shares)
known = pd.concat(
    pd.DataFrame({"within_s": found, "share": found.index, "look": f"every {interval_s} s"})
    for interval_s, found in latency.items()
)
curves(
    known,
    Scale("share", "share of orders", "share"),
    Scale("within_s", "known within", "time"),
    "look",
    title="Every latency up to the interval is equally likely: straight lines",
    theory={
        f"every {T} s": lambda p, every_s=T: theory.fixed_rate_latency_quantile_s(p, every_s, 0.042)
        for T in latency
    },
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Where an order falls between two looks is a matter of chance, so its wait is **uniform between 0 and
# $T$**: the mean is $T/2$, the median too, 95 % arrive within $0.95\,T$, and the worst waits all of $T$. To
# each comes the way back, $d$. Nothing about the orders enters: regular or random, a thousand or three, as
# long as they do not know when you look. (`sim.theory` calls it P1; the kernel of the argument is that a
# uniformly random phase makes every moment within the cycle equally likely.)

# %% slideshow={"slide_type": "subslide"}
answers = pd.DataFrame(
    {
        "simulated": latency[10].loc[[0.5, 0.95, 1.0]],
        "theory: pT + d": {p: theory.fixed_rate_latency_quantile_s(p, 10.0, 0.042) for p in (0.5, 0.95, 1.0)},
    }
)
answers.index.name = "share of orders"
answers.round(2)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. How many looks are in vain?
#
# > **Predict first.** Orders come at random, one every ten seconds on average, and you look every ten
# > seconds. How many of your looks find nothing? None? Half? And if orders came like clockwork, every ten
# > seconds?

# %% slideshow={"slide_type": "subslide"}
axis = "polling.interval_s=1:60:log9"
random_orders = varied(shop, axis, "empty_ratio").assign(what="random orders")
clockwork = varied(
    shop.with_values(workload={"kind": "periodic", "rate_per_s": 0.1, "payload_bytes": 7000}),
    axis,
    "empty_ratio",
).assign(what="clockwork orders")
random_looks = varied(shop.with_values(**{"polling.schedule": "exponential"}), axis, "empty_ratio").assign(
    what="random looks"
)
curves(
    pd.concat([random_orders, clockwork, random_looks]),
    Scale("polling.interval_s", "a look every", "time", log=True),
    Scale("value", "looks in vain", "share"),
    "what",
    title="Even at one look an order, more than a third of the looks find nothing",
    theory={
        "random orders": lambda interval_s: math.exp(-0.1 * interval_s),
        "clockwork orders": lambda interval_s: theory.empty_ratio_periodic(10.0, interval_s),
        "random looks": lambda interval_s: 1 / (1 + 0.1 * interval_s),
    },
    marks=[(10, "one look an order")],
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# With $\lambda$ orders a second, $\lambda T$ come between two looks **on average**, but chance bunches
# them: two come at once, and then none for a while. A Poisson process leaves an interval empty with
# probability $e^{-\lambda T}$ (P3): **37 %** at one look an order. Only clockwork would waste none. Looking
# at random moments wastes more than looking regularly: $1/(1+\lambda T)$, or 50 %.
#
# Famous figures are points of this curve. "98.5 % of polls are wasted" (Zapier's REST Hooks campaign,
# <https://resthooks.org>) is $\lambda T = 0.015$: an event every 67 looks. It is not a law about polling;
# it says how seldom something happened to those who asked.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3. Late or wasteful: the trade
#
# > **Predict first.** Plot requests an order against the mean latency, one point for each $T$. Is there a
# > knee, a $T$ at which both are good?

# %% slideshow={"slide_type": "subslide"}
late = varied(shop, "polling.interval_s=1:300:log9", "latency_mean_s", ["webhook", "polling"])
asked = varied(shop, "polling.interval_s=1:300:log9", "requests_per_event", ["webhook", "polling"])
curves(
    late[["mechanism", "value"]].assign(requests=asked["value"]).rename(columns={"value": "latency_s"}),
    Scale("requests", "requests an order", log=True),
    Scale("latency_s", "mean latency", "time", log=True),
    "mechanism",
    title="There is no knee: half the latency costs twice the requests, until a webhook beats both",
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Latency is $T/2$, requests an order are $1/(\lambda T)$: their **product is $1/(2\lambda)$, whatever $T$
# is**. On logarithmic axes that is a straight line without a knee. So there is no technically right $T$.
# Somebody has to say what a second of lateness is worth. If a poll costs $c$ and an order's waiting costs
# $w$ a second, the sum
#
# $$ \underbrace{\frac{c}{T}}_{\text{asking}} + \underbrace{\frac{w \lambda T}{2}}_{\text{waiting}}
# \qquad\text{is least at}\qquad T^* = \sqrt{\frac{2c}{w\lambda}} $$
#
# (the same square root as in the economic order quantity: F. W. Harris, "How many parts to make at once",
# *Factory* 10, 1913).

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What a look brings
#
# > **Predict first.** You look every 10 s, one order comes every 10 s on average. When a look does find
# > something, how many orders does it find, on average: one?

# %% slideshow={"slide_type": "subslide"}
batches = compared(
    {f"every {T} s": shop.with_values(**{"polling.interval_s": T}) for T in (1, 10, 30, 60)},
    ["requests_per_event", "empty_ratio"],
    ["polling"],
)
batches["orders a successful look, simulated"] = 1 / (
    batches["requests_per_event"] * (1 - batches["empty_ratio"])
)
batches["theory"] = [theory.batch_nonempty_mean(0.1, T) for T in (1, 10, 30, 60)]
batches.drop(columns="mechanism").round(3)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Not one but 1.58: $\lambda T/(1-e^{-\lambda T})$ (P4). It is a selection effect: the empty looks are not
# counted, so the others must be fuller. Batches matter to the receiver: it gets its work in gulps (lesson
# 4).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. Does it matter *how* you look every ten seconds?
#
# Three programs, each "polls every 10 s":
#
# * **fixed rate**: at 0 s, 10 s, 20 s …
# * **sleep**: ask, wait for the answer, `sleep(10)`, ask again; here the answer takes 2 s
# * **random**: gaps are exponential with mean 10 s, so that a thousand clients never fall into step
#
# > **Predict first.** Which is latest on average, and by how much?

# %% slideshow={"slide_type": "subslide"}
slow_api = {"provider_api.service.mean_s": 2.0, "polling.interval_s": 10.0}
ways = {
    "fixed rate": shop.with_values(**slow_api),
    "sleep after the answer": shop.with_values(**slow_api, **{"polling.schedule": "fixed_delay"}),
    "random gaps": shop.with_values(**slow_api, **{"polling.schedule": "exponential"}),
}
schedules = compared(ways, ["latency_mean_s", "requests_per_event"], ["polling"], replications=5)
bars(
    schedules, "case", "latency_mean_s", kind="time", label="mean latency",
    title="The answer takes 2 s; the wait to be asked for is 5 s, 6 s or 10 s",
)  # fmt: skip

# %% [markdown] slideshow={"slide_type": "fragment"}
# An order waits for the **rest** of the gap it falls into, and it is more likely to fall into a long gap
# than a short one. The mean wait is $E[C^2]/(2E[C])$ for a gap $C$ (P2). For constant gaps that is $T/2$;
# for exponential ones it is $T$, twice as long: the *inspection paradox* (W. Feller, *An Introduction to
# Probability Theory and Its Applications*, vol. 2, 1971, I.4). And `sleep(10)` polls every 12 s.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5. Late is not the same as out of date
#
# A dashboard shows the newest value of something that changes $\lambda$ times a second. Four questions,
# four numbers:
#
# | | asks | |
# |---|---|---|
# | **latency** | how long until *this change* was seen? | about events |
# | **freshness** | how much of the time is the picture right? | about time |
# | **age** | for how long has it been wrong, on average over all moments? | about time |
# | **age of information** | how old is the newest thing it knows, right or not? | about time |
#
# > **Predict first.** You look as often as the thing changes: $\lambda T = 1$. How much of the time is your
# > picture right: 0 %, 50 %, 63 %, 100 %?

# %% slideshow={"slide_type": "subslide"}
board = shop.with_values(
    **{
        "network.one_way.mean_s": 0.0,
        "receiver.service.mean_s": 0.0,
        "provider_api.service.mean_s": 0.0,
        "workload.rate_per_s": 0.5,
    }
)
fresh = varied(board, "polling.interval_s=0.2:20:log9", "freshness")
curves(
    fresh,
    Scale("polling.interval_s", "a look every", "time", log=True),
    Scale("value", "freshness: share of time the picture is right", "share", to=1.0),
    "mechanism",
    title="Looking as often as it changes, your picture is right 63 % of the time",
    theory={"polling": lambda every_s: theory.freshness(theory.constant_cycle(every_s), 0.5)},
    marks=[(2, "as often as it changes")],
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# $F = (1-e^{-r})/r$ with $r=\lambda T$: right after a look you are right, and the longer ago it was the
# likelier something has changed. (J. Cho & H. Garcia-Molina, "Synchronizing a database to improve
# freshness", SIGMOD 2000, who asked how often a search engine should visit a page.)

# %% slideshow={"slide_type": "subslide"}
compared(
    {f"every {T:g} s": board.with_values(**{"polling.interval_s": T}) for T in (0.5, 2.0, 10.0)},
    ["latency_mean_s", "freshness", "age_mean_s", "aoi_mean_s"],
    ["webhook", "polling"],
    replications=5,
).round(3)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Look at the webhook's rows: latency 0, freshness 1, age 0, and yet an age of information of 2 s. It knows
# the newest change at once; the newest change just *is* two seconds old on average. Say which of the four
# you mean (age of information: S. Kaul, R. Yates & M. Gruteser, "Real-time status: how often should one
# update?", INFOCOM 2012).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Turn the knob
#
# > **Predict first.** At one order every ten seconds, for which interval are half of the looks in vain?
# > ($e^{-0.1\,T} = 0.5$.)


# %% slideshow={"slide_type": "subslide"}
def looks(interval_s: float) -> object:
    """What one interval means: lateness and waste, in one figure."""
    found = compared(
        {"polling": shop.with_values(**{"polling.interval_s": interval_s})},
        ["empty_ratio", "latency_mean_s"],
        ["polling"],
    ).iloc[0]
    late = f"{found['latency_mean_s']:.2g} s late on average"
    shares = pd.DataFrame(
        {"look": ["in vain", "find something"], "share": [found["empty_ratio"], 1 - found["empty_ratio"]]}
    )
    return bars(
        shares,
        "look",
        "share",
        kind="share",
        label="share of looks",
        title=f"A look every {interval_s} s: {late}",
    )


explore(looks, "interval (s)", [1, 2, 5, 7, 10, 20, 30, 60], twin=[1, 7, 30])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercises
#
# **1.** A status page is polled by 2,000 browsers every 15 s and changes four times a day. How many
# requests a day does it answer, and what share is in vain? Would a 304 (conditional polling) help, and what
# would it save?
#
# <details><summary>Solution</summary>
# $2000 \cdot 86400/15 = 11.5$ million requests a day. A browser's $\lambda T$ is $4 \cdot 15/86400 =
# 0.0007$, so 99.93 % are in vain. A 304 saves the body of those answers, not the request: the server still
# answers 133 a second. It helps with bytes, and with rate limits that leave 304s out (GitHub's does).
# </details>
#
# **2.** Your alert has to be on the screen within 20 s in 95 % of the cases, the way back takes half a
# second. What is the longest interval? Check it with a simulation.
#
# <details><summary>Solution</summary>
# $0.95\,T + 0.5 \le 20$, so $T \le 20.5$ s; see the cell below.
# </details>
#
# **3.** A poll costs 0.4 cents per thousand, an order's lateness 0.02 cents a minute, there are 0.1 orders
# a second. What is the best interval? (`theory.best_interval_s`)
#
# <details><summary>Solution</summary>
# $c = 0.0004$ cents, $w = 0.02/60$ cents a second: $T^* = \sqrt{2c/(w\lambda)} \approx 4.9$ s; see the cell
# below.
# </details>

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 2
tight = shop.with_values(**{"polling.interval_s": 20.5, "network.one_way.mean_s": 0.48})
compared({"T = 20.5 s": tight}, ["latency_p95_s"], ["polling"], replications=5).round(2)

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 3
round(theory.best_interval_s(rate_per_s=0.1, poll_cost=0.0004, event_second_cost=0.02 / 60), 2)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What to take home
#
# * Late by **$T/2$** on average and $T$ at worst, whatever the events do.
# * In vain: **$e^{-\lambda T}$** of all looks; 37 % even at one look an event.
# * Latency times requests is constant: **no interval is technically right**; price the waiting.
# * **Latency, freshness, age, age of information** are four things.
#
# ## Change this parameter
#
# Put in your own rate and interval. Which of the two curves of part 3 are you on, and what would a webhook
# change?

# %% slideshow={"slide_type": "skip"}
events_per_s = 1 / 600
interval_s = 60.0

mine = shop.with_values(
    **{
        "workload.rate_per_s": events_per_s,
        "polling.interval_s": interval_s,
        "run.duration_s": 2000 / events_per_s,
    }
)
compared(
    {"mine": mine},
    ["latency_mean_s", "latency_p95_s", "requests_per_event", "empty_ratio", "freshness"],
    ["webhook", "polling"],
).round(3)
