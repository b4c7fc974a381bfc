"""The mechanisms compiled: the draws, records and counters of the SimPy models, many times faster.

How they work. The reference models (`sim.mechanisms`) say what happens; here the same happenings lie on
a heap and are popped in the documented order (`sim.happenings`), each a time and a packed integer
(`kernels.agenda`). Four things make them small and fast:

* A first-come-first-served queue needs no happenings of its own. When a job joins, its start is the
  later of now and the earliest time a worker is free, so its end is known at once
  (Kiefer & Wolfowitz 1955; `kernels.servers`).
* An attempt's fate is decided when its request arrives: the answer's time is known then, so either
  the answer or the timeout is scheduled, never both.
* What does not depend on the rest of a world is computed before it, and enters it as a sorted input: a
  poller's pages before the webhooks beside them, notifications before the fetches they cause. Where such
  parts meet at one instant, each happening waits for its turn (`kernels.turns`).
* An inner function works on arrays nobody counts references to (`kernels.borrowed`).

Every number comes from the functions the models call as well: draws (`sim.randomness`,
`sim.distributions`) and rules (`sim.policies`).
"""
