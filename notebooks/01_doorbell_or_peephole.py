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
# # Doorbell or peephole?
#
# **One question:** a shop sells something. How soon does the mailing list know, and what does knowing cost?
#
# *About 45 minutes. You need nothing but the idea of a web request.*

# %% slideshow={"slide_type": "skip"}
# %matplotlib inline
import json

import pandas as pd
from IPython.display import Markdown

import sim
from loadtest.contract import envelope
from sim.animation.figures import picture
from sim.animation.storyboard import storyboard
from sim.figures import latency_cdf, latency_vs_interval
from sim.lessons.experiments import compared
from sim.lessons.figures import bars
from sim.lessons.widgets import explore, played
from sim.narration import narrate
from sim.results import reference_run
from sim.theory import fixed_rate_latency_mean_s

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Two ways to know
#
# There are two ways to find out that somebody is at your door.
#
# * **The doorbell.** Whoever comes rings. You do nothing until then, and you know at once. That is a
#   **webhook**: when an order is placed, the shop *posts* it to an address you gave it.
# * **The peephole.** You walk to the door and look, every so often. Mostly nobody is there; and whoever
#   does come waits until you look again. That is **polling**: you *ask* the shop for new orders, again and
#   again.
#
# ### The story
#
# A shop runs on Shopify. Whoever buys is to get a receipt and, later, a series of welcome letters, which
# Mailchimp sends. So for each order something has to carry the buyer's address from the one to the other.
# Shopify offers both ways: it can **post each order to a URL** (shopify.dev, "Webhooks"), or you can **ask
# its API** for the orders that were updated since you last asked. Somebody has to choose, and this is what
# comes through the door either way:

# %% slideshow={"slide_type": "subslide"}
order = json.loads(envelope("lesson", 0, 0, 0))["data"]
Markdown("```json\n" + json.dumps(order, indent=2) + "\n```")

# %% [markdown] slideshow={"slide_type": "fragment"}
# Do not confuse the two directions. An **API call** is you asking them; a **webhook** is them calling
# *you*: your server has to be there, to be reachable, and to find out whether the caller is who it says
# (lesson 9).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A picture first
#
# Eight orders, and two ways for them to reach the mailing list. The network is made so slow that you can
# watch.
#
# > **Predict first.** On the upper line are the moments at which orders happen. Where on the lower line
# > does each become visible by webhook? And if you look every four seconds? Draw it, then press *Play*.

# %% slideshow={"slide_type": "subslide"}
doorbell = sim.load_scenario("doorbell").with_values(
    title="Eight orders, two ways", **{"receiver.outages": [], "network.response_loss": 0.0}
)
board = storyboard(doorbell, ["webhook", "polling"], events=8)
played(board, 740)

# %% [markdown] slideshow={"slide_type": "skip"}
# The same, standing still (where a page cannot play it, and on paper):

# %% slideshow={"slide_type": "skip"}
picture(board)

# %% [markdown] slideshow={"slide_type": "skip"}
# Each arrow was moved by the simulation. Grey arrows are questions in vain. There are more ways than these
# two (lesson 5): `hookbench animate doorbell -m all -o picture.html` draws them all, and any scenario of
# your own.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## The story, step by step
#
# Five orders and one doorbell, told by the simulation happening by happening. Each order is posted when it
# is created, and visible once one of the mailing list's workers has dealt with it.

# %% slideshow={"slide_type": "skip"}
rush = sim.load_scenario("shop-orders-rush")
for line in narrate(rush, "webhook", events=5):
    print(f"{line.time_s:9.4f} s  {line.text}")

# %% [markdown] slideshow={"slide_type": "skip"}
# The same five orders, seen through the peephole, with a look every two seconds:

# %% slideshow={"slide_type": "skip"}
for line in narrate(rush, "polling", events=5):
    print(f"{line.time_s:9.4f} s  {line.text}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## How late is polling?
#
# > **Predict first.** You look every 2 seconds. An order arrives at some moment in between, without regard
# > to your looking. How late is it *on average*? How late at worst? And if you looked every minute?
#
# Write your answer down, then run the next cell.

# %% slideshow={"slide_type": "subslide"}
run = reference_run("demo")
scenario = rush
delay_s = (
    scenario.network.one_way.mean_s + scenario.provider_api.service.mean_s + scenario.receiver.service.mean_s
)
latency_vs_interval(
    run.table("latency_vs_interval"), lambda interval_s: fixed_rate_latency_mean_s(interval_s, delay_s)
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# On average you are late by **half the interval**, plus the way back: an order is as likely to come just
# after a look as just before the next one. The points are simulated, the line is theory; nothing was
# fitted. The doorbell does not care how often you would have looked.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Does the real thing do that?
#
# A model is an opinion until somebody measures. The same orders were sent through real servers on one
# machine: once by signed webhooks to a real receiver, once to a provider that a real poller asked every two
# seconds.
#
# > **Predict first.** What shape does the distribution of the polled orders' latency have? Where does it
# > start, where does it end?

# %% slideshow={"slide_type": "subslide"}
race = sim.results.read_run(run.path / run.notes["race"])
measured = {
    arm: rows["visible"] - rows["created"] for arm, rows in race.records().groupby("arm", observed=True)
}
predicted = {
    mechanism: rows["visible"] - rows["created"]
    for mechanism, rows in run.records("predicted_records").groupby("mechanism", observed=True)
}
latency_cdf(measured, predicted)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Every latency from nothing to a whole interval is equally likely: a straight line on a plain axis, a curve
# on this logarithmic one. The measured line follows the model's band closely for polling. For the webhook
# the model is a few milliseconds too kind: it does not know what it takes to publish, sign, and store an
# order durably before saying "got it".

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What does knowing cost?
#
# > **Predict first.** Which way needs more requests for an order: a doorbell that rings for each, or a look
# > every two seconds when twenty orders come every second? And with one order an hour?

# %% slideshow={"slide_type": "subslide"}
costs = run.table("predicted_and_measured").pivot_table(
    index="metric", columns=["arm", "source"], values="mean", sort=False
)
costs.loc[["requests_per_event", "empty_ratio", "provider_cpu_s_per_1k", "receiver_cpu_s_per_1k"]].round(4)

# %% [markdown] slideshow={"slide_type": "fragment"}
# In a rush, one look brings in some forty orders, so polling needs *fewer* requests, and less of the
# receiver's CPU. That turns around when orders are rare. The share of looks in vain is $e^{-\lambda T}$ for
# $\lambda$ orders a second and a look every $T$ seconds.
#
# > **Predict first.** You look every half-minute. For how many orders an hour are half of your looks in
# > vain?

# %% slideshow={"slide_type": "subslide"}
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

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Turn the knob
#
# > **Predict first.** Ten orders an hour. How many requests an order does each way make if you look every
# > minute?


# %% slideshow={"slide_type": "subslide"}
def requests(interval_s: float) -> object:
    """Requests an order, by webhook and by a look every so many seconds."""
    seldom = quiet.with_values(**{"workload.rate_per_s": 10 / 3600, "polling.interval_s": interval_s})
    found = compared({"": seldom}, ["requests_per_event", "latency_mean_s"], ["webhook", "polling"])
    late_s = found.set_index("mechanism")["latency_mean_s"]["polling"]
    return bars(
        found, "mechanism", "requests_per_event", label="requests an order",
        title=f"A look every {interval_s} s: {late_s:.0f} s late, at ten orders an hour",
    )  # fmt: skip


explore(requests, "interval (s)", [5, 10, 30, 60, 120, 300, 600], twin=[10, 60, 600])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## So: doorbell or peephole?
#
# * If **seconds matter**, the doorbell: polling is late by half its interval, always.
# * If events are **rare**, the doorbell again: nearly every look is in vain.
# * If events come **thick** and some delay is fine, the peephole: one look brings many, and you look when
#   it suits you.
# * A doorbell needs somebody **at home**. What happens when nobody is, is lesson 3.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercises
#
# **1.** For each, doorbell or peephole: a payment that releases a parcel; the weather, on a wall in a
# lobby; a phone that is off at night; a bank's statement at the end of the month.
#
# <details><summary>Solution</summary>
# Payment: doorbell (seconds matter, events are rare), and a peephole now and then in case it did not ring.
# Weather: peephole, every ten minutes; nobody minds. The phone cannot be rung when it is off: somebody has
# to keep the mail, or it asks when it wakes. Statement: either; a look a day costs nothing.
# </details>
#
# **2.** A provider bills 1 cent for 1,000 API calls, and posts webhooks for nothing. One event every ten
# minutes, a look every five seconds. What do you pay a month, and what for each event?
#
# <details><summary>Solution</summary>
# 17,280 looks a day are 17.3 cents, or 5.18 dollars a month; 120 looks an event, 0.12 cents each; 99.2 % of
# the money is for looks in vain (rate times interval is 0.0083; see the cell below).
# </details>
#
# **3.** The measured webhook was slower than the predicted one (in the figure above). Name three things
# that a real receiver does before it says "got it".
#
# <details><summary>Solution</summary>
# It parses the request, checks the signature over the raw bytes, and stores the event durably (a commit to
# disk); the operating system schedules both processes and passes the bytes from one to the other.
# </details>

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 2
rare = quiet.with_values(**{"workload.rate_per_s": 1 / 600, "polling.interval_s": 5.0})
compared({"": rare}, ["requests_per_event", "empty_ratio"], ["polling"]).round(4)

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Change this parameter
#
# Set the interval to what your own system uses, and the rate to what it sees. Where is the point at which
# polling needs as many requests as webhooks?

# %% slideshow={"slide_type": "skip"}
interval_s = 30.0
orders_per_s = 0.03

mine = quiet.with_values(**{"polling.interval_s": interval_s, "workload.rate_per_s": orders_per_s})
outcome = sim.simulate(mine, replications=5, records=False)
outcome.summary().query("metric in ['latency_mean_s', 'latency_p99_s', 'requests_per_event', 'empty_ratio']")
