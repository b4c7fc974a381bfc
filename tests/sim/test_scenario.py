"""Protects scenario files: what is wrong is named with its key and value; what is right survives TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from sim.errors import ScenarioError
from sim.scenario import Scenario, load_scenario, preset_names, scenario_from
from tests.sim.generated import scenarios


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_says_what_it_is(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.title
    assert scenario.description


@given(scenario=scenarios())
def test_a_scenario_survives_its_own_toml(scenario: Scenario) -> None:
    assert scenario_from(tomllib.loads(scenario.to_toml())) == scenario


BAD = [
    ({"polling.intervall_s": 5.0}, "polling: unknown key 'intervall_s'; did you mean 'interval_s'?"),
    ({"pollling": {}}, "unknown key 'pollling'; did you mean 'polling'?"),
    ({"workload.rate_per_s": -1}, "workload.rate_per_s: Input should be greater than 0, got -1"),
    ({"polling.interval_s": "5"}, "polling.interval_s: Input should be a valid number, got '5'"),
    ({"receiver.workers": 2.5}, "receiver.workers: Input should be a valid integer"),
    ({"run.duration_s": float("inf")}, "run.duration_s: Input should be a finite number, got inf"),
    ({"network.one_way": {"kind": "normal"}}, "network.one_way: Input tag 'normal'"),
    ({"network.one_way": {"kind": "lognormal", "mean_s": 1.0}}, "network.one_way.cv: Field required"),
    ({"network.request_loss": 1.5}, "less than or equal to 1, got 1.5"),
    ({"network.one_way": {"kind": "uniform", "low_s": 2.0, "high_s": 1.0}}, "high_s must be at least low_s"),
    ({"webhook.retry": {"kind": "fixed"}}, 'kind = "fixed" needs max_attempts'),
    ({"webhook.retry": {"kind": "schedule"}}, "a schedule needs gaps_s"),
    ({"webhook.retry": {"kind": "none", "gaps_s": [1.0]}}, "gaps_s belongs to"),
    ({"webhook.retry": {"kind": "linear", "max_attempts": 2, "jitter": "decorrelated"}}, "decorrelated"),
    ({"polling.jitter_s": 31.0}, "jitter_s must be at most interval_s = 30.0, got 31.0"),
    ({"polling.schedule": "exponential", "polling.jitter_s": 1.0}, "jitter_s must be 0"),
    ({"provider_api.retention": {}}, "state either events or seconds"),
    ({"run.warmup_s": 100.0}, "warmup_s must be below duration_s = 100.0, got 100.0"),
    ({"name": "Not A Name"}, "name: String should match pattern"),
    ({"polling.interval_s.x": 1}, "polling.interval_s.x: interval_s holds a value"),
    (
        {"receiver.outages": [{"start_s": 1.0, "duration_s": 5.0}, {"start_s": 2.0, "duration_s": 5.0}]},
        "receiver.outages: the outage from 2.0 s starts before the one from 1.0 s ends at 6.0 s",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_is_wrong_is_named_on_one_line(changes: dict[str, Any], message: str) -> None:
    good = scenario_from(
        {
            "name": "good",
            "workload": {"kind": "poisson", "rate_per_s": 1.0},
            "run": {"duration_s": 100.0},
        }
    )
    with pytest.raises(ScenarioError) as raised:
        good.with_values(**changes)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    for given_name, message in [
        ("shop-order", "no preset is called 'shop-order'; did you mean 'shop-orders'?"),
        (str(tmp_path / "absent.toml"), "no such scenario file"),
        (str(broken), "not a TOML file"),
        (str(tmp_path), "no such scenario file"),
    ]:
        with pytest.raises(ScenarioError) as raised:
            load_scenario(given_name)
        assert message in str(raised.value)


def test_a_trace_lies_beside_its_scenario(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\n[workload]\nkind = "trace"\npath = "events.csv"\n[run]\nduration_s = 10'
    )
    workload = load_scenario(tmp_path / "mine.toml").workload
    assert workload.kind == "trace"
    assert Path(workload.path) == tmp_path / "events.csv"


def test_the_digest_follows_what_decides_the_outcome() -> None:
    scenario = load_scenario("shop-orders")
    assert scenario.with_values(title="another").digest() == scenario.digest()
    assert scenario.with_values(**{"polling.interval_s": 31.0}).digest() != scenario.digest()
