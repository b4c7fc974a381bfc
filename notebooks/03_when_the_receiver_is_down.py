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
# # When the receiver is down
#
# **One question:** the doorbell rings and nobody is at home. What becomes of the event, and of the receiver
# when it comes back?
#
# *About 60 minutes. You need lesson 1.*

# %% slideshow={"slide_type": "skip"}
# %matplotlib inline
import pandas as pd

import sim
from sim import theory
from sim.animation.figures import picture
from sim.animation.storyboard import storyboard
from sim.figures import transient
from sim.lessons.experiments import compared, over_time, varied
from sim.lessons.figures import Scale, bars, curves
from sim.lessons.widgets import explore
from sim.scenario import scenario_from
from sim.studies import STUDIES
from sim.studies.figures import FIGURES

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Nobody at home
#
# Eight orders. The receiver's server is restarted and refuses connections for four seconds. One more thing
# goes wrong: an answer ("got it") is lost on its way back.
#
# > **Predict first.** Which orders will the webhook lose? Will any arrive twice? And polling: what does the
# > same restart do to it?

# %% slideshow={"slide_type": "subslide"}
doorbell = sim.load_scenario("doorbell")
picture(storyboard(doorbell, ["webhook", "polling"], events=8))

# %% [markdown] slideshow={"slide_type": "fragment"}
# * Nothing is lost: what is refused is **tried again** (dashed, orange), later and later.
# * Order 6 arrives **twice** (the ring). The receiver had it; the provider could not know. Whoever hears no
#   answer cannot tell a lost request from a lost answer, so it must send again or risk a loss. That is
#   **at-least-once** delivery, and every provider promises at most that (Standard Webhooks specification,
#   "Reliability", <https://www.standardwebhooks.com>).
# * The poller that was away simply asks later. Its memory is the **cursor**: it lost nothing, and got
#   nothing twice.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. How long must you retry?
#
# GitHub never retries by itself (its deliveries can be redelivered by hand for three days); Slack tries
# three more times, at once, after a minute and after five; Shopify eight times within four hours; Svix for
# 27 hours.
#
# > **Predict first.** The receiver is down for ten minutes. Attempts come 0, 10, 30, 70, 150 and 310 s
# > after the event. Which events are lost: all, none, the early ones, the late ones? What share?

# %% slideshow={"slide_type": "subslide"}
OUTAGE_S = 600.0
down = scenario_from(
    {
        "name": "ten-minutes",
        "workload": {"kind": "poisson", "rate_per_s": 2.0},
        "network": {"one_way": {"kind": "constant", "mean_s": 0.0}},
        "webhook": {
            "retry": {"kind": "exponential", "base_s": 10.0, "factor": 2.0, "max_attempts": 6, "cap_s": 1e6},
            "max_in_flight": 100_000,
        },
        "receiver": {
            "workers": 4,
            "service": {"kind": "constant", "mean_s": 0.0},
            "outages": [{"start_s": 0.0, "duration_s": OUTAGE_S}],
        },
        "run": {"duration_s": OUTAGE_S, "drain_s": 100_000.0},
    }
)
lost = varied(down, "webhook.retry.max_attempts=1,2,3,4,5,6,7", "lost_ratio", ["webhook"], replications=10)


def lost_by_theory(attempts: float) -> float:
    """The share lost of an outage's events, with so many attempts."""
    retry = down.webhook.retry.model_copy(update={"max_attempts": round(attempts)})
    return theory.outage_lost_ratio(theory.retry_offsets_s(retry), OUTAGE_S)


lost["theory"] = lost["webhook.retry.max_attempts"].map(lost_by_theory)
curves(
    lost.rename(columns={"webhook.retry.max_attempts": "attempts"}).assign(what="10, 20, 40 … s apart"),
    Scale("attempts", "attempts allowed"),
    Scale("value", "lost, of the events of a ten-minute outage", "share"),
    "what",
    title="Six attempts lose nearly half of a ten-minute outage, a seventh saves all",
)

# %% slideshow={"slide_type": "subslide"}
lost[["webhook.retry.max_attempts", "value", "low", "high", "theory"]].round(3)

# %% [markdown] slideshow={"slide_type": "fragment"}
# An event is lost if **all its attempts fall into the outage**: the early ones are. With the last attempt
# at $t_n$ and an outage of length $D$ that is the share $\max(0,\,1-t_n/D)$: it is the **span** of the
# schedule that counts, not the number of attempts. Doubling makes the span grow as $2^n$, which is why
# everybody doubles: long cover for few attempts. The price is paid in latency: what comes through waits for
# its next turn.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3. The herd
#
# Ten minutes of outage are over. Retries come back.
#
# > **Predict first.** Two orders a second. Policy A retries every 10 s; policy B doubles, 10, 20, 40 … s;
# > policy C doubles and adds full jitter (a random part of the doubled wait). How many requests arrive **in
# > the first ten seconds** after the receiver is back?

# %% slideshow={"slide_type": "subslide"}
hour = down.with_values(
    **{
        "receiver.outages": [{"start_s": 100.0, "duration_s": OUTAGE_S}],
        "receiver.service": {"kind": "constant", "mean_s": 0.005},
        "run.duration_s": 1000.0,
        "run.drain_s": 1000.0,
        "run.series_bin_s": 10.0,
    },
)
doubling = {"kind": "exponential", "base_s": 10.0, "cap_s": 1e6, "max_attempts": 500}
policies = {
    "A: every 10 s": {"kind": "fixed", "base_s": 10.0, "max_attempts": 500},
    "B: doubling": doubling,
    "C: doubling, full jitter": doubling | {"jitter": "full"},
}
cases = {name: hour.with_values(**{"webhook.retry": retry}) for name, retry in policies.items()}
story = over_time(cases)
transient(
    story,
    hour,
    (0, 1400),
    title="Retrying every ten seconds sends ten minutes' orders back at once; doubling spreads them",
)

# %% slideshow={"slide_type": "subslide"}
first = story[story["start_s"] == 700.0].set_index("mechanism")["requests"]
pd.DataFrame(
    {
        "in the first 10 s": first,
        "theory": [
            theory.fixed_gap_herd_per_s(2.0, OUTAGE_S, 10.0) * 10,
            theory.doubling_herd_per_s(2.0, OUTAGE_S, 10.0) * 10,
            float("nan"),
        ],
        "requests during the outage": story[story["start_s"].between(100, 690)]
        .groupby("mechanism", sort=False)["requests"]
        .sum(),
    }
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Everything that is waiting under policy A comes within one gap: $\lambda D$ events, ten minutes' worth, in
# ten seconds. Doubling brings back only a share of them in any ten seconds: of those that have waited
# $10\cdot 2^k$ s, one in $2^k$, which makes about $\log_2(D/10)$ shares of $\lambda\cdot 10$ s. But see the
# price in the left-hand panels: the backlog under doubling lasts about as long again as the outage.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. Jitter: why randomness helps
#
# A hundred clients want to change the same row of a database at the same moment; one can succeed at a time,
# the others are told to try again. M. Brooker simulated it ("Exponential Backoff and Jitter", AWS
# Architecture Blog, 2015, <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#
# > **Predict first.** All clients double their wait after each failure, without jitter. Does that help?

# %% slideshow={"slide_type": "subslide"}
study = STUDIES["backoff-and-jitter"]
jitter = study.run(replications=4)
FIGURES["backoff-and-jitter"](jitter)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Doubling alone **keeps the crowd together**: all come at once, fail at once, wait equally long and come at
# once again, only later. Jitter spreads them. (This is the study `hookbench studies backoff-and-jitter`
# with few replications; the full one judges each of the published claims.)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5. When retrying is the problem
#
# > **Predict first.** A database answers 300 queries a second. Callers ask 280 a second, give up after one
# > second and ask once more. It stalls for ten seconds. How long until all is well again?

# %% slideshow={"slide_type": "subslide"}
from sim.studies import metastable_failure

storm = {
    "280 a second, one retry": metastable_failure.scenario(280.0),
    "280 a second, no retry": metastable_failure.scenario(280.0, **{"webhook.retry": {"kind": "none"}}),
    "140 a second, one retry": metastable_failure.scenario(140.0),
}
storm = {
    name: each.with_values(**{"run.warmup_s": 0.0, "run.duration_s": 250.0}) for name, each in storm.items()
}
transient(
    over_time(storm),
    next(iter(storm.values())),
    title="Ten seconds of stall, and with retries the database never recovers: 560 requests a second",
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# **Never.** While everything times out each query is sent twice: 560 a second, against a capacity of 300.
# The cause is gone, the overload feeds itself: a *metastable failure* (N. Bronson et al., HotOS '21,
# <https://doi.org/10.1145/3458336.3465286>). It can happen whenever $\lambda(1+m) > \mu$, with $m$ extra
# tries. So below half of the capacity one retry is safe; above, somebody has to shed load: a short queue, a
# budget for retries, or `429`/`503` with `Retry-After`.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6. Twice, or never
#
# > **Predict first.** One request in ten is lost, and one answer in twenty; four attempts. How many of
# > 10,000 events never arrive? How many arrive at least twice?

# %% slideshow={"slide_type": "subslide"}
lossy = down.with_values(
    workload={"kind": "poisson", "rate_per_s": 20.0},
    **{
        "network.request_loss": 0.1,
        "network.response_loss": 0.05,
        "receiver.outages": [],
        "run.duration_s": 5000.0,
        "webhook.retry": {"kind": "fixed", "base_s": 5.0, "max_attempts": 4},
    },
)
found = compared({"simulated": lossy}, ["attempts_per_event", "duplicates_per_event", "lost_ratio"])
expected = theory.AtLeastOnce(request_loss=0.1, response_loss=0.05, attempts_allowed=4)
pd.DataFrame(
    {
        "simulated": found.iloc[0, 2:],
        "theory": [expected.attempts_mean, expected.duplicates_mean, expected.never_received],
        "of 10,000 events": (10_000 * found.iloc[0, 2:].astype(float)).round(),
    }
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# One in ten thousand never; **five in a hundred twice**. More attempts make the first number smaller and
# leave the second: duplicates are the price of not losing. So the receiver must be **idempotent**: remember
# the event's id (`webhook-id`, `X-GitHub-Delivery`, Stripe's `evt_…`) for as long as the provider may
# retry, and do the work once.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7. Dead letters, and the second way in
#
# What is out of attempts is a **dead letter**. Three things can still save it: somebody redelivers it by
# hand, a poll finds it, or both sides had agreed on longer retries to begin with.
#
# > **Predict first.** The receiver fails on one event in ten, nobody tries again, and a poll every ten
# > minutes fetches what is missing. What does that do to the mean latency? To the 99th percentile?

# %% slideshow={"slide_type": "subslide"}
leaky = lossy.with_values(
    **{
        "network.request_loss": 0.0,
        "network.response_loss": 0.0,
        "receiver.error_probability": 0.1,
        "webhook.retry": {"kind": "none"},
        "reconciliation.interval_s": 600.0,
        "reconciliation.page_size": 1000,
        "run.duration_s": 20_000.0,
        "workload.rate_per_s": 1.0,
    }
)
saved = compared(
    {
        "webhook alone, one attempt": leaky,
        "by hand, once an hour": leaky.with_values(
            **{"webhook.redelivery": {"every_s": 3600.0, "rounds": 3}}
        ),
    },
    ["lost_ratio", "latency_mean_s", "latency_p95_s", "latency_p99_s"],
)
polled = compared(
    {"with a poll every 10 min": leaky},
    ["lost_ratio", "latency_mean_s", "latency_p95_s", "latency_p99_s"],
    ["webhook_reconciled"],
)
pd.concat([saved, polled]).drop(columns="mechanism").round(3)

# %% [markdown] slideshow={"slide_type": "fragment"}
# The poll loses nothing and bounds the worst case by its interval: $P(L > x) = p\,(1 - x/T)$ for a share
# $p$ lost. The mean rises, for now the lost ones are *counted*: latency covers what was delivered, so
# **always read it beside what was lost**.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Turn the knob
#
# > **Predict first.** With how long an outage does Slack's schedule (at once, 1 min, 5 min) begin to lose
# > events?

# %% slideshow={"slide_type": "subslide"}
schedules = {
    name: sim.load_scenario("shop-orders").with_values(**{"webhook.retry": {"preset": name}}).webhook.retry
    for name in ("slack", "shopify", "svix", "standard-webhooks")
}


def losses(outage_min: float) -> object:
    """What an outage of so many minutes costs under published retry schedules."""
    rows = [
        (name, theory.outage_lost_ratio(theory.retry_offsets_s(retry), 60.0 * outage_min))
        for name, retry in schedules.items()
    ]
    rows.insert(0, ("github", 1.0))
    table = pd.DataFrame(rows, columns=["provider", "lost"])
    return bars(
        table, "provider", "lost", kind="share",
        label="lost, of the events of the outage, unless redelivered",
        title=f"An outage of {outage_min} minutes",
    )  # fmt: skip


explore(losses, "outage (min)", [1, 5, 6, 10, 60, 240, 480, 1440, 2880], twin=[5, 60, 2880])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercises
#
# **1.** Why must the answer to a webhook not wait until the event has been dealt with?
#
# <details><summary>Solution</summary>
# The sender gives up after its timeout (Slack: 3 s, Shopify: 5 s, GitHub: 10 s) and sends again, although
# the work is being done. A slow receiver therefore gets more work the slower it is: the storm of part 5.
# Store the event, answer, then work.
# </details>
#
# **2.** How many attempts, doubling from 5 s, cover an outage of 24 hours completely?
#
# <details><summary>Solution</summary>
# The last attempt is 5 · (2^(n−1) − 1) s after the event; that is at least 86,400 s from n = 16 on (5 ·
# 32,767 s = 45.5 hours; with 15 it is 22.75 hours). The cell below counts.
# </details>
#
# **3.** In part 3, policy C has a herd too. How large is it, compared with B's? What does jitter do here,
# where events come one by one, that it did not do in part 4?
#
# <details><summary>Solution</summary>
# Events that happen one by one are spread by themselves, so B's retries are not in step and jitter has
# little to spread. Full jitter draws the wait from 0 to the doubled one, half of it on average: C comes
# back sooner, with more attempts. Jitter matters when many begin at the same instant.
# </details>

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 2
from sim.scenario import Retry

next(
    n
    for n in range(1, 40)
    if theory.retry_offsets_s(Retry(kind="exponential", base_s=5.0, cap_s=1e9, max_attempts=n))[-1] >= 86_400
)

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 3
first.to_frame()

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What to take home
#
# * Retries cover an outage as long as their **span**; doubling buys span.
# * Doubling spreads a **herd** in time; **jitter** spreads a crowd that is in step.
# * Retries can keep an overload alive: **$\lambda(1+m) < \mu$**, or shed load.
# * At-least-once means **duplicates**: be idempotent.
# * A slow poll beside the webhooks turns "lost" into "late".
#
# ## Change this parameter
#
# How long was your own last outage? Which of your providers' events would have been lost?

# %% slideshow={"slide_type": "skip"}
outage_min = 45.0

losses(outage_min)
