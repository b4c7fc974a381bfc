"""Protects the answer to "what if our rate doubles?": it is a queue's, and an overload is called one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.validate.sources import Source
from loadtest.validate.what_if import forecast, what_if
from sim.distribution_specs import Exponential
from sim.errors import InputError
from sim.reference_receiver import Stages
from sim.theory.queues import MMc
from tests.loadtest.validate.machines import TRUE

FOUR = Stages(workers=4, service=Exponential(kind="exponential", mean_s=0.01))


def source(rate_per_s: float | None = 100.0) -> Source:
    return Source("a test", FOUR, rate_per_s, ("a remark",))


def test_a_forecast_is_the_queue_s() -> None:
    """Erlang's M/M/4 at 70 %, within 1.5 times the 95 % interval of ten replications: 99 % of Student's t."""
    found = forecast(FOUR, 280.0, 10, 1)
    theory = MMc(4, 280.0, 100.0)
    mean = found.metrics["visible_latency_mean_s"]
    assert mean.high is not None
    assert mean.mean == pytest.approx(theory.sojourn_mean_s, abs=1.5 * (mean.high - mean.mean))
    queue = found.metrics["receiver_queue_mean"]
    assert queue.high is not None
    assert queue.mean == pytest.approx(theory.queue_mean, abs=1.5 * (queue.high - queue.mean))
    assert found.utilisation == pytest.approx(0.7)


def test_an_overload_has_no_latency_but_a_growth() -> None:
    found = forecast(FOUR, 500.0, 1, 1)
    assert found.metrics == {}
    assert found.grows_per_s == pytest.approx(100.0)


def test_a_receiver_without_service_gives_in_when_its_core_does() -> None:
    kept_per_s = 1 / TRUE.work_per_event_s
    assert forecast(TRUE, 1.1 * kept_per_s, 1, 1).grows_per_s == pytest.approx(0.1 * kept_per_s)


def test_by_default_multiples_of_the_measured_rate(tmp_path: Path) -> None:
    result = what_if(source(), replications=2, out=tmp_path)
    assert [each.rate_per_s for each in result.forecasts] == [100.0, 150.0, 200.0, 300.0]
    p99 = [each.metrics["visible_latency_p99_s"].mean for each in result.forecasts]
    assert p99 == sorted(p99)
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert document["forecasts"][0]["core_share"] is None
    assert (result.path / "forecasts.csv").is_file()


def test_the_sentence_tells_where_it_breaks(tmp_path: Path) -> None:
    told = what_if(source(), (100.0, 500.0), replications=2, out=tmp_path).sentence()
    assert "at 500/s the queue would grow by 100 a second" in told
    assert "None of these rates" in what_if(source(), (500.0,), out=tmp_path).sentence()


@pytest.mark.parametrize(
    ("rates", "rate", "message"),
    [((), None, "give --rate"), ((0.0,), 1.0, "above 0, got 0"), ((float("nan"),), 1.0, "above 0, got nan")],
)
def test_bad_rates(tmp_path: Path, rates: tuple[float, ...], rate: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        what_if(source(rate), rates, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
