"""What the engines can do, measured side by side in one run: ``python -m sim.benchmark``.

`engines`: each mechanism's kernel beside its SimPy model. `queues`: M/M/1 and M/M/4 beside SimPy, Ciw, cimba
and the bare loop, which is the yardstick (`bare`). `scale`: time and memory from 10^5 to 10^9 deliveries.
What is compared takes turns, so whatever else the machine does strikes all of it, and medians are told. Every
answer is checked, against the other engine or against theory: speed that changes it is worth nothing.
"""
