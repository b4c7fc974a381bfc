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
# # Between push and poll
#
# **One question:** must you choose between the doorbell and the peephole, or is there something in between?
#
# *About 60 minutes. You need lessons 1 to 3.*

# %% slideshow={"slide_type": "skip"}
# %matplotlib inline
import math

import pandas as pd

import sim
from sim import theory
from sim.animation.figures import picture
from sim.animation.storyboard import storyboard
from sim.catalogue import MECHANISMS
from sim.figures import latency_cdf, transient
from sim.lessons.experiments import compared, varied
from sim.lessons.figures import Scale, bars, curves
from sim.lessons.widgets import explore

doorbell = sim.load_scenario("doorbell").with_values(**{"receiver.outages": [], "network.response_loss": 0.0})
shop = sim.load_scenario("shop-orders").with_values(
    **{
        "receiver.outages": [],
        "network.one_way": {"kind": "constant", "mean_s": 0.05},
        "receiver.service": {"kind": "constant", "mean_s": 0.0},
        "provider_api.service": {"kind": "constant", "mean_s": 0.0},
        "provider_api.rate_limit": None,
        "polling.page_size": 10_000,
        "run.duration_s": 20_000.0,
        "run.drain_s": 0.0,
    }
)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Do not hang up: long polling
#
# You ask "anything new?", and the provider does not say "no". It **waits** until there is something, and
# then answers.
#
# > **Predict first.** The network takes 50 ms each way. An order arrives while your request is waiting at
# > the provider: how late is it? And what is the worst that can happen to one?

# %% slideshow={"slide_type": "subslide"}
picture(storyboard(doorbell, ["polling", "long_polling"], events=6))

# %% [markdown] slideshow={"slide_type": "fragment"}
# While a request is held (the grey bar) an order needs one transit, like a webhook. The worst falls just
# after an answer has left: it waits for that answer to arrive, for the next request to come back, and then
# travels itself: **three transits** (RFC 6202, "Known Issues and Best Practices for the Use of Long Polling
# and Streaming in Bidirectional HTTP", 2011, §2.2).

# %% slideshow={"slide_type": "subslide"}
D, HOLD_S = 0.05, 30.0
held = shop.with_values(**{"long_polling.hold_s": HOLD_S, "run.warmup_s": 60.0})
rates = "workload.rate_per_s=0.01:100:log9"
lateness = varied(
    held.with_values(**{"run.duration_s": 3000.0}), rates, "latency_mean_s", ["long_polling"], replications=3
)
curves(
    lateness,
    Scale("workload.rate_per_s", "orders a second", log=True),
    Scale("value", "mean latency", "time", to=0.12),
    "mechanism",
    title="A long poll is one transit late when orders are rare, two when they are thick",
    theory={"long_polling": lambda rate: theory.LongPoll(rate, D, HOLD_S).latency_mean_s},
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Mean $d + g^2/(2E[C])$ with the gap $g = 2d$ and the cycle $E[C] = g + e^{-\lambda g}(1-e^{-\lambda
# H})/\lambda$ for a hold of $H$ seconds (`sim.theory.LongPoll` derives it). When orders are thick it turns
# into ordinary polling at an interval of $2d$: each answer carries whatever came since the last.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What does it cost?
#
# > **Predict first.** One order every 50 seconds, a hold of 30 s. How many requests a second does a long
# > poller make? And a poller that is as prompt?

# %% slideshow={"slide_type": "subslide"}
cost = varied(
    held.with_values(**{"run.duration_s": 3000.0}), rates, "requests_per_event",
    ["webhook", "long_polling", "polling"], replications=3,
)  # fmt: skip
curves(
    cost,
    Scale("workload.rate_per_s", "orders a second", log=True),
    Scale("value", "requests an order", log=True),
    "mechanism",
    title="Rare orders: a long poll asks about once a hold; thick ones: it asks less than once an order",
    theory={"long_polling": lambda rate: theory.LongPoll(rate, D, HOLD_S).requests_per_s / rate},
    names={"polling": "polling, 30 s"},
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# As prompt as a webhook, at the requests of a poll every 30 s: what is the catch? **The provider holds a
# connection for every subscriber, all the time.** A poller's connection is in use for 100 ms in 30 s. And
# intermediaries lose patience: a proxy that closes after 20 s turns each hold into an error (RFC 6202,
# §5.5).

# %% slideshow={"slide_type": "subslide"}
crowd = shop.with_values(
    **{
        "subscribers.count": 200,
        "run.duration_s": 600.0,
        "workload.rate_per_s": 0.02,
        "polling.interval_s": 30.0,
    }
)
connections = compared(
    {"200 subscribers": crowd},
    ["connections_mean", "requests_per_event", "latency_mean_s"],
    ["webhook", "polling", "long_polling", "streaming"],
    replications=2,
)
bars(
    connections, "mechanism", "connections_mean", label="connections in use, on average",
    title="What prompt delivery costs the provider: a connection for every subscriber",
)  # fmt: skip

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. Never hang up: streaming
#
# One request, and an answer that never ends: server-sent events (WHATWG HTML, "Server-sent events"); or a
# WebSocket (RFC 6455). No gap between answers, so one transit always.
#
# > **Predict first.** A proxy kills each stream after a minute or so. What happens to orders that come
# > while the client is reconnecting?

# %% slideshow={"slide_type": "subslide"}
flaky = shop.with_values(
    **{
        "workload.rate_per_s": 1.0,
        "streaming.lifetime": {"kind": "exponential", "mean_s": 60.0},
        "streaming.reconnect": {"kind": "exponential", "base_s": 1.0, "cap_s": 30.0, "jitter": "full"},
    }
)
streams = compared(
    {
        "closed, the client says where it was": flaky,
        "closed, the client does not say": flaky.with_values(**{"streaming.replay": False}),
        "silent, noticed after 45 s": flaky.with_values(**{"streaming.silent": True}),
    },
    ["latency_mean_s", "latency_p99_s", "lost_ratio", "requests_per_event"],
    ["streaming"],
)
streams.drop(columns="mechanism").round(4)

# %% [markdown] slideshow={"slide_type": "fragment"}
# With `Last-Event-ID` the provider replays what was missed: late, not lost. **Without it about one order in
# a hundred is gone**, and nobody is told. And a connection that dies without a word (a NAT that forgot it)
# looks open until heartbeats have failed to come: choose the heartbeat as carefully as you would a poll
# interval.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3. Somebody in between: brokers
#
# Provider and consumer need not be up at the same time if a third party keeps the mail.
#
# * **broker_push**, a postman: a queue that pushes, keeps each message until it is signed for, and delivers
#   again if not (RabbitMQ; AMQP 0-9-1).
# * **broker_pull**, a newspaper with bookmarks: a log that stays, and readers that remember how far they
#   are (Kafka; J. Kreps, N. Narkhede & J. Rao, NetDB 2011).
#
# > **Predict first.** The consumer is down for four seconds. With which of the two do you get duplicates?
# > Why?

# %% slideshow={"slide_type": "subslide"}
away = doorbell.with_values(
    **{
        "receiver.outages": [{"start_s": 13.5, "duration_s": 4.0}],
        "receiver.acknowledge": "after_processing",
        "broker_pull.commit_interval_s": 30.0,
    }
)
picture(storyboard(away, ["broker_push", "broker_pull"], events=8))

# %% [markdown] slideshow={"slide_type": "fragment"}
# Both deliver twice (the rings), each in its own way: the queue sends again what was **unacknowledged**
# when the connection dropped; the log's reader starts again from its last **commit**, and reads again all
# that it had done since. "Exactly once" is not on offer here either; idempotent consumers are.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. Belt and braces: webhooks, reconciled
#
# > **Predict first.** Webhooks that lose one order in twenty, and a poll every ten minutes to find them.
# > What does the distribution of latency look like? What is the chance to be later than five minutes?

# %% slideshow={"slide_type": "subslide"}
LOST, EVERY_S = 0.05, 600.0
leaky = shop.with_values(
    **{
        "receiver.error_probability": LOST,
        "webhook.retry": {"kind": "none"},
        "webhook.disabling": None,
        "reconciliation.interval_s": EVERY_S,
        "reconciliation.page_size": 10_000,
        "run.drain_s": 700.0,
    }
)
outcome = sim.simulate(leaky, ["webhook", "webhook_reconciled", "polling"], seed=2)
rows = outcome.records.assign(latency=lambda each: each["visible"] - each["created"])
latency_cdf(
    {name: group["latency"] for name, group in rows.groupby("mechanism", observed=True)},
    title="The webhook loses one in twenty; a poll every ten minutes brings them late",
)

# %% slideshow={"slide_type": "subslide"}
late = rows[rows["mechanism"] == "webhook_reconciled"]["latency"]
expected = theory.Reconciled(LOST, EVERY_S, one_way_s=D, return_s=D)
pd.DataFrame(
    {
        "simulated": {f"P(later than {x} s)": (late > x).mean() for x in (1, 300, 540)},
        "theory": {f"P(later than {x} s)": expected.latency_exceeds(x) for x in (1, 300, 540)},
    }
).round(4)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Most orders come by the webhook, at once; the rest uniformly within ten minutes. **Two cheap mechanisms,
# each covering the other's weakness**: that is why providers recommend it (Stripe Docs, "Process
# undelivered webhook events"), and why this lesson's answer is rarely "either, or".

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5. All of them, after an outage
#
# > **Predict first.** The receiver is down for two minutes. Rank the ways by how quickly all is well again
# > afterwards.

# %% slideshow={"slide_type": "subslide"}
outage = sim.load_scenario("shop-orders").with_values(
    **{"run.duration_s": 2400.0, "run.drain_s": 3600.0, "run.series_bin_s": 10.0}
)
ways = ["webhook", "polling", "long_polling", "streaming", "broker_push", "broker_pull"]
transient(
    sim.simulate(outage, ways, seed=3).series(),
    outage,
    (500, 1500),
    title="Whoever asks, or is connected, is well again at once; a webhook waits for its next attempt",
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Whoever **asks** or **is connected** resumes at once: the client knows best when it is back. The webhook
# alone has to wait for the sender's next attempt, and its back-off has grown with the outage.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The whole menu

# %% slideshow={"slide_type": "subslide"}
menu = compared(
    {"": outage},
    ["latency_p50_s", "latency_p99_s", "requests_per_event", "duplicates_per_event", "connections_mean"],
    list(MECHANISMS),
    replications=3,
).drop(columns="case")
menu.set_index("mechanism").round(3)

# %% [markdown] slideshow={"slide_type": "fragment"}
# | You can … | then consider |
# |---|---|
# | not be reached from outside (a laptop, a firewall) | long polling, streaming |
# | not hold a connection (serverless, PHP) | webhook, polling |
# | wait half a minute | polling, and be done |
# | not lose anything | whatever you like, **and reconcile** |
# | run a broker, with many consumers of the same events | a log |

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Turn the knob
#
# > **Predict first.** How long must a long poll be held to need fewer than two requests an order, at one
# > order a minute?


# %% slideshow={"slide_type": "subslide"}
def hold(hold_s: float) -> object:
    """Requests an order by how long the provider holds, against a plain poll at that interval."""
    slow = shop.with_values(
        **{
            "workload.rate_per_s": 1 / 60,
            "long_polling.hold_s": hold_s,
            "long_polling.timeout_s": hold_s + 15,
            "polling.interval_s": hold_s,
        }
    )
    found = compared({"": slow}, ["requests_per_event", "latency_mean_s"], ["long_polling", "polling"])
    return bars(
        found, "mechanism", "requests_per_event", label="requests an order",
        title=f"A hold of {hold_s} s, and a poll at that interval",
    )  # fmt: skip


explore(hold, "hold (s)", [1, 5, 10, 20, 30, 60, 120], twin=[5, 30, 120])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercises
#
# **1.** A chat has 50,000 users on-line, each gets a message every two minutes. Compare a poll every 5 s
# with a long poll held for 60 s: requests a second, connections.
#
# <details><summary>Solution</summary>
# Poll: 10,000 requests a second, 96 % of them in vain (rate times interval is 0.042), few connections at a
# time. Long poll: a cycle takes (1 − e^(−0.5))·120 s = 47 s on average, so 1,060 requests a second, 39 % of
# them answered with a message; 50,000 connections. The cell below computes it.
# </details>
#
# **2.** Why does the mean latency of a long poll not go to three transits when orders are thick, but to
# two?
#
# <details><summary>Solution</summary>
# Three is the worst. When orders are thick they fall evenly into the gap of two transits, wait for half of
# it on average, and travel for one.
# </details>
#
# **3.** A colleague wants to drop the reconciling poll: "we have retries for three days." Name two kinds of
# loss that no retry repairs.
#
# <details><summary>Solution</summary>
# Acknowledged and then lost (the receiver answered before it had stored the event); never sent (the
# endpoint was switched off or not yet registered, the provider's own outage or bug); retries that ended;
# events refused for a wrong signature after a secret was changed.
# </details>

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 1
chat = theory.LongPoll(rate_per_s=1 / 120, one_way_s=0.05, hold_s=60.0)
{
    "poll: requests/s": 50_000 / 5,
    "poll: in vain": math.exp(-5 / 120),
    "long poll: requests/s": 50_000 * chat.requests_per_s,
    "long poll: in vain": chat.empty_ratio,
}

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What to take home
#
# * **Long polling**: prompt like a webhook, reaches anybody, costs a held connection.
# * **Streaming**: the same without gaps; needs replay and heartbeats.
# * **Brokers** part provider and consumer in time; duplicates stay.
# * **Reconcile**: promptness from one way, certainty from another.
#
# ## Change this parameter
#
# Your rate, your network, how long your proxy lets a request wait.

# %% slideshow={"slide_type": "skip"}
events_per_s, one_way_s, hold_s = 0.2, 0.08, 25.0

poll = theory.LongPoll(events_per_s, one_way_s, hold_s)
pd.Series(
    {
        "mean latency, s": poll.latency_mean_s,
        "worst latency, s": poll.latency_max_s,
        "requests an event": poll.requests_per_s / events_per_s,
        "answers without news": poll.empty_ratio,
    }
).round(3)
