"""The mechanisms compiled: the draws, records and counters of the SimPy models, many times faster.

How they work. The reference models (`sim.mechanisms`) say what happens; here the same happenings are taken in
the documented order (`sim.happenings`) out of whatever holds them most cheaply. Every number comes from the
functions the models call as well: draws (`sim.randomness`, `sim.distributions`) and rules (`sim.policies`). A
draw is a function of whom it is for, so happenings may be computed in any order that respects their causes.

**What lies on an agenda, and what need not.**

* The general case is a heap of (time, key) in two arrays, the key being the documented order packed into one
  integer (`agenda`). What comes sorted (events, pages, notifications) is merged beside it.
* A first-come-first-served queue needs no happenings of its own. When a job joins, its start is the later of
  now and the earliest time a worker is free, so its end is known at once (Kiefer & Wolfowitz 1955:
  `servers`).
* An attempt's fate is decided when its request arrives: either the answer or the timeout is put down, never
  both.
* Where nothing can disturb them, polls and webhooks are a walk along sorted lists, without an agenda
  (`calm_poll`, `calm_push`). These try, and say so when something did disturb them; then the general kernel
  starts over. Both give the same, which generated worlds test.
* What does not depend on the rest of a world is computed before it and enters it as a sorted input: a
  poller's pages before the webhooks beside them, notifications before the fetches they cause. Where such
  parts meet at one instant, each happening waits for its turn (`turns`).

**One subscriber at a time.** Nothing that is pushed to one subscriber concerns another. Pollers meet only at
the provider's API: each is first run by itself, with its share of the API's workers, and if no request ever
waited that is what all together would have done (`sim.launch.pull`). So subscribers are taken in blocks
(`each`), on as many threads as there are cores, and added up in the order of the blocks: the number of
threads changes no bit. A subscriber's records go into a row (`book`) that is kept, or folded into sums and a
histogram and used again (`sim.metrics.scans`): memory is that of one subscriber's events.

**Why they are fast.** No step makes an array, and code that makes none counts no references
(`sim.compiled.jit`): Numba counts with atomic instructions, at every call that takes an array, which was more
than half of the time. A kernel that runs out of room returns how far it has come (`_Progress`); its caller,
compiled with `sim.compiled.allocating`, makes more room and calls it again.

**To add one**, read a pair: `sim.mechanisms.webhook` and `push`, with `each.push_to_each` around it and
`sim.launch.push.webhook` to start it.
"""
