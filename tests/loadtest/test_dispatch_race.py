"""Protects the race from an endpoint policy that the model obeys and the real dispatcher does not."""

from __future__ import annotations

from pathlib import Path

import sim
from loadtest.runner import race
from loadtest.runner.session import unlike_the_model
from tests.loadtest.test_load import steady


def test_disabling_and_redelivery_happen_as_in_the_model(tmp_path: Path) -> None:
    """The first of 20 events in 1 s occupies the only worker for 1.5 s, so the next three are refused and the
    endpoint is off for a second, with the rest unsent. The look at 2 s gets one of the dead letters in; three
    more are refused, and the endpoint is off again. So 1 + 3 + 1 + 3 attempts, and two events are visible."""
    scenario = steady(
        20.0,
        1.0,
        **{
            "receiver.service": {"kind": "constant", "mean_s": 1.5},
            "receiver.workers": 1,
            "receiver.queue_limit": 0,
            "receiver.acknowledge": "on_receipt",
            "webhook.retry": {"kind": "none"},
            "webhook.max_in_flight": 1,
            "webhook.disabling": {"consecutive_failures": 3, "re_enable_after_s": 1.0},
            "webhook.redelivery": {"every_s": 2.0},
        },
    )
    result = race(scenario, ["webhook"], out=tmp_path, figures=False, lag_limit_s=1.0)
    (run,) = result.runs
    modelled = sim.simulate(result.scenario, mechanisms=["webhook"], seed=1, records=True).records
    for records in (run.records, modelled):
        assert len(records) == 20
        assert records["attempts"].sum() == 8
        assert (records["status"] == "delivered").sum() == 2
        assert (records["status"] == "lost").sum() == 18
    provider = run.notes["statuses"]["provider"]
    assert (provider["dead_letters"], provider["redeliveries"], provider["unsent"]) == (19, 19, 16 + 15)
    assert run.metrics["unsent_per_event"] == 16 / 20
    assert not any("disabled" in told or "redelivered" in told for told in unlike_the_model(scenario))
