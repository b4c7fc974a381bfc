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
# # Load testing honestly
#
# **One question:** a load test says "99 % within 4 ms". Would it have told you if the server had stood
# still for more than a second?
#
# *About 50 minutes. You need lesson 1; lesson 4 helps. This lesson starts a real server on your machine,
# for six seconds.*

# %% slideshow={"slide_type": "skip"}
# %matplotlib inline
import tempfile

import pandas as pd
from IPython.display import Image

import sim
from loadtest.figures import load_cdf
from loadtest.runner import load
from loadtest.selftest.checks import steady
from sim.lessons.figures import Scale, bars, curves
from sim.lessons.widgets import explore
from sim.results import reference_run

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. A server that stops
#
# A real receiver, real HTTP, 100 webhooks a second for six seconds. After two seconds we **stop the
# server's process** for 1.4 s (`SIGSTOP`), as a garbage collector, a full disk or a neighbour on the
# machine might. Then it goes on.
#
# > **Predict first.** What share of the 600 requests is held up? What should the 99th percentile of latency
# > be? (In the middle of the stall a request has another 0.7 s to wait.)

# %% slideshow={"slide_type": "subslide"}
RATE_PER_S, DURATION_S, STALL_S, SENDERS = 100.0, 6.0, 1.4, 3
runs = tempfile.TemporaryDirectory(prefix="hookbench-lesson-")  # gone when the kernel is
result = load(
    steady(RATE_PER_S, DURATION_S),
    faults=[f"pause@2+{STALL_S}"],
    pool_size=SENDERS,
    lag_limit_s=1.0,  # a lesson's machine may be busy with other things
    out=runs.name,
    figures=False,
)
load_cdf(result)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Two curves from **one** run. The solid one runs from when each request **should** have been sent; the
# dotted one from when it really was, as most tools measure. The dotted one has hardly noticed.

# %% slideshow={"slide_type": "subslide"}
(run,) = result.runs
quantiles = ("p50", "p95", "p99", "max")
pd.DataFrame(
    {
        "from the intended send, s": {q: run.metrics[f"latency_{q}_s"] for q in quantiles},
        "from the real send, s": {q: run.metrics[f"uncorrected_latency_{q}_s"] for q in quantiles},
    }
).round(3)

# %% [markdown] slideshow={"slide_type": "fragment"}
# $1.4/6 = 23$ % of the requests are held up, the first of them for almost all of the 1.4 s. So the 99th
# percentile **must** be near $1.4 - 0.01 \cdot 6 = 1.34$ s. Whoever reports a few milliseconds has measured
# something else.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. Why the dotted curve is wrong
#
# The three senders of this test each wait for an answer before they send again. While the server stands
# still they stand still too: **three** requests see the stall, and a hundred a second that *would* have
# come are never sent, or sent later, when all is well, and measured then. The tool politely waits until it
# does not hurt. G. Tene has called it **coordinated omission** ("How NOT to Measure Latency", talk, 2013
# and later; `wrk2`, <https://github.com/giltene/wrk2>).
#
# | | closed loop | open loop |
# |---|---|---|
# | who decides when the next request comes? | the server, by answering | the world |
# | like | a few people with a form | the internet, webhooks, any crowd |
# | server slows down | load falls | load stays, queues grow |
# | latency runs from | the send | the **intended** send |
#
# (B. Schroeder, A. Wierman & M. Harchol-Balter, "Open versus closed: a cautionary tale", NSDI 2006.)
#
# > **Predict first.** Here are the 600 requests in the order in which they were due. Draw the latency of
# > each over time, as it should be measured: which shape does the stall have?

# %% slideshow={"slide_type": "subslide"}
samples = run.samples
due_s = (samples.intended_us - samples.intended_us[0]) / 1e6
seen = pd.concat(
    pd.DataFrame({"due_s": due_s, "latency_s": (samples.done_us - start_us) / 1e6, "clock": clock})
    for clock, start_us in (
        ("from the intended send", samples.intended_us),
        ("from the real send", samples.sent_us),
    )
)
seen = seen[seen["latency_s"] >= 0].iloc[::5]
curves(
    seen,
    Scale("due_s", "when the request was due", "time"),
    Scale("latency_s", "latency", "time"),
    "clock",
    title="The stall is a triangle: whoever comes first waits longest",
)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Its height is the stall; its base is the stall and the time it then takes to work off what has piled up.
# The other clock saw three requests of it, as many as there were senders.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3. Where did every request go?
#
# > **Predict first.** A test scheduled 600 requests and reports 580 good answers. What do you want to know
# > next?

# %% slideshow={"slide_type": "subslide"}
pd.Series(run.ledger.as_dict(), name="requests").to_frame().dropna()

# %% [markdown] slideshow={"slide_type": "fragment"}
# The **ledger** must balance exactly: scheduled = sent + not sent; sent = acknowledged + failed;
# acknowledged = visible + lost. A request that silently disappears is the best latency of all. If it does
# not balance, if the generator itself could not keep its schedule, or if a server ran on something slower
# than it says, the run is **VOID**, and every figure says so across its face. Here:

# %% slideshow={"slide_type": "fragment"}
result.void or "sound: nothing to object to"

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. Push and poll, the same events
#
# Two arms, one list of 237 orders, fresh servers for each: signed webhooks to a real receiver, and a real
# poller that asks a real provider every two seconds. Measured from *created* to *visible to the consumer*,
# event by event (a committed run; `hookbench demo` makes one on your machine).
#
# > **Predict first.** For how many of the 237 orders is the webhook quicker: nearly all, all but a few, two
# > in three? By how much, on average?

# %% slideshow={"slide_type": "subslide"}
demo = reference_run("demo")
race = sim.results.read_run(demo.path / demo.notes["race"])
latency = (
    race.records()
    .assign(latency_s=lambda rows: rows["visible"] - rows["created"])
    .pivot_table(index="event", columns="arm", values="latency_s", observed=True)
)
paired = latency["polling"] - latency["webhook"]
pd.Series(
    {
        "orders": len(paired),
        "webhook quicker": int((paired > 0).sum()),
        "mean difference, s": paired.mean(),
        "smallest, s": paired.min(),
        "largest, s": paired.max(),
    }
).round(3).to_frame("by webhook and by polling, the same order")

# %% [markdown] slideshow={"slide_type": "fragment"}
# **Paired** on the same events, the difference is one number an order; chance in the workload cancels out.
# Two separate tests with separate traffic would have had to be far longer to say as much.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5. What does it cost the servers?
#
# > **Predict first.** Which needs more CPU for a thousand orders in a rush: the provider that signs and
# > posts each, or the one that is asked every two seconds? And the receiver?

# %% slideshow={"slide_type": "subslide"}
measured = demo.table("predicted_and_measured")
measured = measured[measured["source"] == "measured"]
cpu = measured[measured["metric"].isin(["provider_cpu_s_per_1k", "receiver_cpu_s_per_1k"])].assign(
    what=lambda rows: rows["arm"] + ": " + rows["metric"].str.split("_").str[0]
)
bars(
    cpu.sort_values("mean", ascending=False), "what", "mean", kind="time", label="CPU time for 1,000 orders",
    title="In a rush, pushing costs both ends more: every order is a request of its own",
)  # fmt: skip

# %% slideshow={"slide_type": "subslide"}
Image(filename=str(demo.path / "server_load_webhook.png"), width=640)

# %% [markdown] slideshow={"slide_type": "fragment"}
# CPU is read **from outside** the process (its whole process tree, by difference), an idle baseline
# subtracted; so empty polls are paid for too. With rare orders the picture turns round (lesson 2): hardly
# any orders to divide the looks by.
#
# One machine, over loopback: this measures **software, not networks**. And one run has no interval:
# `hookbench race … --runs 5` repeats and interleaves the arms.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Turn the knob
#
# > **Predict first.** At which percentile do the two clocks of our run begin to disagree?


# %% slideshow={"slide_type": "subslide"}
def at(percentile: float) -> object:
    """One percentile by both clocks."""
    wanted = pd.DataFrame(
        {
            "clock": ["from the intended send", "from the real send"],
            "latency_s": [
                pd.Series(samples.corrected_us).quantile(percentile / 100) / 1e6,
                pd.Series(samples.uncorrected_us).quantile(percentile / 100) / 1e6,
            ],
        }
    )
    return bars(wanted, "clock", "latency_s", kind="time", label="latency", title=f"{percentile} % within")


explore(at, "percentile", [50, 70, 75, 80, 90, 95, 99, 99.9], twin=[50, 80, 99])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercises
#
# **1.** The same stall of 1.4 s, but in a run of 30 s at a constant rate. What are the 95th and the 99th
# percentile?
#
# <details><summary>Solution</summary>
# 1.4/30 = 4.7 % are held up. The 99th percentile is 1.4 − 0.3 = 1.1 s; the 95th is a normal one: fewer than
# 5 % noticed. Longer runs dilute a stall, so a percentile means nothing without the length of the run.
# </details>
#
# **2.** A closed-loop tool with 10 users measures 20 ms an answer and reports 500 requests a second. The
# server then takes 2 s for each. What load does the tool report, and what would an open-loop one show?
#
# <details><summary>Solution</summary>
# 10 users / 2 s = 5 requests a second: the tool has reduced its own load a hundredfold (Little's law). Open
# loop: 500 a second keep coming, the server does 5, and the queue grows by 495 a second. That is what your
# users would live through.
# </details>
#
# **3.** Why is it not enough to correct the recorded latencies afterwards, by adding the values that are
# missing?
#
# <details><summary>Solution</summary>
# The correction has to guess what the requests not sent would have met; and their load was missing, so the
# server had an easier time than it would have had. A schedule fixed beforehand needs no guess.
# </details>
#
# **4.** Prove that the harness would have noticed: stop it, delay it, drop answers. (`hookbench selftest`
# does.) Why is a negative test worth more than ten good reports?
#
# <details><summary>Solution</summary>
# A harness that cannot see a stall gives the same good report with and without one. Only a known fault
# tells the two apart.
# </details>

# %% tags=["solution"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
# Exercise 1
{f"p{q}": round(max(STALL_S - 30.0 * (1 - q / 100), 0.0), 2) for q in (95, 99)}

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What to take home
#
# * Measure from the **intended** send. Ask of every tool: what does it do while it waits?
# * **Open loop** for webhooks: nobody waits for your answer before the next order comes.
# * **Account for every request**; void what cannot be trusted.
# * Compare on the **same events**, paired.
# * **Test the tester.**
#
# ## Change this parameter
#
# `SENDERS` in part 1: let more of them wait for answers, and run the lesson again. With how many does the
# dotted curve begin to tell the truth, and why? How many would your users be?

# %% slideshow={"slide_type": "skip"}
pd.Series(
    {
        "senders": SENDERS,
        "requests due during the stall": round(RATE_PER_S * STALL_S),
        "of them seen by the uncorrected clock, at most": min(SENDERS, round(RATE_PER_S * STALL_S)),
    }
).to_frame("")
