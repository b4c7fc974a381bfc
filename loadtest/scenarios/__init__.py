"""Locust files, one an arm; each works with plain `locust -f` and under `hookbench load`/`race`.

Of the package they may import plans, schedules, senders, recorder, contract and signatures, never a server.
"""
