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

# %% [markdown]
# # Doorbell or peephole?
#
# **One question:** a shop sells something. How soon does the mailing list know, and what does knowing cost?
#
# There are two ways to find out that somebody is at your door.
#
# * **The doorbell.** Whoever comes rings. You do nothing until then, and you know at once. That is a
#   **webhook**: when an order is placed, the shop *posts* it to an address you gave it.
# * **The peephole.** You walk to the door and look, every so often. Mostly nobody is there; and whoever
#   does come waits until you look again. That is **polling**: you *ask* the shop for new orders, again and
#   again.
#
# This is what comes through the door:

# %%
import json

from IPython.display import Markdown

from loadtest.contract import envelope

order = json.loads(envelope("lesson", 0, 0, 0))["data"]
Markdown("```json\n" + json.dumps(order, indent=2) + "\n```")

# %% [markdown]
# ## The story, step by step
#
# Five orders and one doorbell, told by the simulation happening by happening. Each order is posted when it
# is created, and visible once one of the mailing list's workers has dealt with it.

# %%
import sim
from sim.narration import narrate

rush = sim.load_scenario("shop-orders-rush")
for line in narrate(rush, "webhook", events=5):
    print(f"{line.time_s:9.4f} s  {line.text}")

# %% [markdown]
# The same five orders, seen through the peephole, with a look every two seconds:

# %%
for line in narrate(rush, "polling", events=5):
    print(f"{line.time_s:9.4f} s  {line.text}")

# %% [markdown]
# ## How late is polling?
#
# > **Predict first.** You look every 2 seconds. An order arrives at some moment in between, without regard to
# > your looking. How late is it *on average*? How late at worst? And if you looked every minute?
#
# Write your answer down, then run the next cell.

# %%
# %matplotlib inline
from sim.figures import latency_cdf, latency_vs_interval
from sim.results import reference_run
from sim.theory import fixed_rate_latency_mean_s

run = reference_run("demo")
scenario = rush
delay_s = (
    scenario.network.one_way.mean_s + scenario.provider_api.service.mean_s + scenario.receiver.service.mean_s
)
latency_vs_interval(
    run.table("latency_vs_interval"), lambda interval_s: fixed_rate_latency_mean_s(interval_s, delay_s)
)

# %% [markdown]
# On average you are late by **half the interval**, plus the way back: an order is as likely to come just
# after a look as just before the next one. The points are simulated, the line is theory; nothing was fitted.
# The doorbell does not care how often you would have looked.

# %% [markdown]
# ## Does the real thing do that?
#
# A model is an opinion until somebody measures. The same orders were sent through real servers on one
# machine: once by signed webhooks to a real receiver, once to a provider that a real poller asked every two
# seconds.
#
# > **Predict first.** What shape does the distribution of the polled orders' latency have? Where does it
# > start, where does it end?

# %%
race = sim.results.read_run(run.path / run.notes["race"])
measured = {
    arm: rows["visible"] - rows["created"] for arm, rows in race.records().groupby("arm", observed=True)
}
predicted = {
    mechanism: rows["visible"] - rows["created"]
    for mechanism, rows in run.records("predicted_records").groupby("mechanism", observed=True)
}
latency_cdf(measured, predicted)

# %% [markdown]
# Every latency from nothing to a whole interval is equally likely: a straight line on a plain axis, a curve
# on this logarithmic one. The measured line follows the model's band closely for polling. For the webhook the
# model is a few milliseconds too kind: it does not know what it takes to publish, sign, and store an
# order durably before saying "got it".

# %% [markdown]
# ## What does knowing cost?
#
# > **Predict first.** Which way needs more requests for an order: a doorbell that rings for each, or a look
# > every two seconds when twenty orders come every second? And with one order an hour?

# %%
costs = run.table("predicted_and_measured").pivot_table(
    index="metric", columns=["arm", "source"], values="mean", sort=False
)
costs.loc[["requests_per_event", "empty_ratio", "provider_cpu_s_per_1k", "receiver_cpu_s_per_1k"]].round(4)

# %% [markdown]
# In a rush, one look brings in some forty orders, so polling needs *fewer* requests, and less of the
# receiver's CPU. That turns around when orders are rare. The share of looks in vain is
# $e^{-\lambda T}$ for $\lambda$ orders a second and a look every $T$ seconds:

# %%
import pandas as pd

quiet = sim.load_scenario("shop-orders").with_values(**{"receiver.outages": [], "run.duration_s": 200_000.0})
waste = []
for per_hour in (1, 10, 60, 600):
    outcome = sim.simulate(
        quiet.with_values(**{"workload.rate_per_s": per_hour / 3600}), mechanisms=["polling"], records=False
    )
    metrics = outcome.estimates()["polling"]
    waste.append(
        {
            "orders an hour": per_hour,
            "polls an order": round(metrics["requests_per_event"].mean, 2),
            "polls in vain": f"{metrics['empty_ratio'].mean:.1%}",
        }
    )
pd.DataFrame(waste)

# %% [markdown]
# ## So: doorbell or peephole?
#
# * If **seconds matter**, the doorbell: polling is late by half its interval, always.
# * If events are **rare**, the doorbell again: nearly every look is in vain.
# * If events come **thick** and some delay is fine, the peephole: one look brings many, and you look when
#   it suits you.
# * A doorbell needs somebody **at home**. What happens when nobody is, is the next lesson.
#
# ## Change this parameter
#
# Set the interval to what your own system uses, and the rate to what it sees. Where is the point at which
# polling needs as many requests as webhooks?

# %%
interval_s = 30.0
orders_per_s = 0.03

mine = quiet.with_values(**{"polling.interval_s": interval_s, "workload.rate_per_s": orders_per_s})
outcome = sim.simulate(mine, replications=5, records=False)
outcome.summary().query("metric in ['latency_mean_s', 'latency_p99_s', 'requests_per_event', 'empty_ratio']")
