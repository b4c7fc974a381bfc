"""`hookbench selftest`: does the harness see what a load test must see? Known faults, and what it reports.

`receiver` is a reference receiver that misbehaves on order; `checks` run loads against it; nothing else
uses either.
"""

from loadtest.selftest.checks import Check, SelfTest, selftest

__all__ = ["Check", "SelfTest", "selftest"]
