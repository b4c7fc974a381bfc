"""Protects a validation as a whole: a receiver that is the model is predicted, and another is found out.

Loads are of a model here; `test_validate.py` beside this folder loads real servers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.validate import Plan, validation
from loadtest.validate.comparison import Verdict
from loadtest.validate.figures import draw
from loadtest.validate.validation import Validation, validate
from sim.errors import InputError
from sim.results import read_run
from sim.scenario import Scenario, load_scenario
from tests.loadtest.validate.benches import ModelBench
from tests.loadtest.validate.machines import TRUE

PLAN = Plan(runs=2, duration_s=12.0, light_s=8.0)


def scenario() -> Scenario:
    """Four workers of 10 ms: 400 a second."""
    service = {"kind": "exponential", "mean_s": 0.01}
    return load_scenario("shop-orders-rush").with_values(**{"receiver.service": service})


def run(
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
    bench: ModelBench,
    parts: tuple[str, ...] = ("known", "natural"),
) -> Validation:
    monkeypatch.setattr(validation, "Bench", lambda *_: bench)
    return validate(scenario(), parts, plan=PLAN, out=out, figures=False)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return run(monkeypatch, tmp_path_factory.mktemp("validate"), ModelBench(scenario()))


def test_a_receiver_that_is_the_model_is_predicted(result: Validation) -> None:
    """Every stated tolerance of both grades: what is left for reality is the difference from here."""
    missed = [(each.load, each.metric, each.error.mean) for each in result.missed]
    assert missed == []
    assert result.exit_code == 0
    assert {each.part for each in result.comparisons} == {"known", "natural"}
    assert result.sentence().startswith("The model predicted 24 of 24 figures")


def test_distances_are_small(result: Validation) -> None:
    distances = [each for part in result.parts for each in part.distances]
    assert len(distances) == 8
    assert max(each.distance.value for each in distances) < 0.12


def test_the_highest_natural_load_is_not_judged(result: Validation) -> None:
    verdicts = {each.verdict for each in result.comparisons if (each.part, each.load) == ("natural", "85 %")}
    assert verdicts == {Verdict.FOUND}


def test_the_run_folder_holds_it_all(result: Validation) -> None:
    found = read_run(result.path)
    assert found.complete
    assert len(found.table("comparisons")) == len(result.comparisons)
    assert found.notes["sentence"] == result.sentence()
    assert found.notes["calibration"]["capacity_per_s"] > 0
    assert all(each["met"] for each in found.notes["thresholds"])


def test_the_document_is_plain(result: Validation) -> None:
    document: dict[str, Any] = json.loads(json.dumps(result.document(), allow_nan=False))
    assert document["command"] == "validate"
    assert {each["verdict"] for each in document["comparisons"]} == {"met", "as found"}
    assert document["calibration"]["stages"]["persist"]["kind"] == "empirical"


def test_every_part_is_drawn(result: Validation) -> None:
    assert set(draw(result)) == {
        "errors", "cdf_known", "quantiles_known", "cdf_natural", "quantiles_natural",
    }  # fmt: skip


def test_the_calibration_serves_later_forecasts(result: Validation) -> None:
    from loadtest.validate.sources import read_source

    source = read_source(result.path, 1)
    assert source.stages.workers == 4
    assert source.stages.wake_s == pytest.approx(TRUE.wake_s, rel=0.3)


class Slowing(ModelBench):
    """A receiver that at higher loads does what it did not at light ones: each event costs it more."""

    def run(self, rate_per_s: float, duration_s: float, seed: int, **more: Any) -> Any:
        heavy = 500 < rate_per_s < 5000
        self.truth = TRUE.model_copy(update={"request_work_s": 4 * TRUE.request_work_s}) if heavy else TRUE
        return super().run(rate_per_s, duration_s, seed, **more)


def test_a_receiver_that_is_not_the_model_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = run(monkeypatch, tmp_path, Slowing(scenario()), ("natural",))
    assert found.exit_code == 4
    missed = {each.metric for each in found.missed}
    assert "receiver_cpu_s_per_1k" in missed
    assert "too low" in found.sentence()
    notes = read_run(found.path).notes
    assert any(not each["met"] for each in notes["thresholds"])


def test_a_void_load_voids_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = run(monkeypatch, tmp_path, ModelBench(scenario(), void=("it lagged",)), ("natural",))
    assert found.exit_code == 3
    assert "natural, 50 %: it lagged" in found.void
    assert not any("85 %" in reason for reason in found.void)


@pytest.mark.parametrize(
    ("parts", "plan", "message"),
    [
        (("wind",), Plan(), "--part 'wind': there is no such part; parts: known, natural"),
        ((), Plan(), "at least one, got none"),
        (("known", "known"), Plan(), "each part once"),
        (("known",), Plan(runs=0), "--runs must be at least 1, got 0"),
        (("known",), Plan(duration_s=0.5), "--duration must be from 1 to 3600"),
    ],
)
def test_bad_input_makes_no_folder(tmp_path: Path, parts: tuple[str, ...], plan: Plan, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate(scenario(), parts, plan=plan, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_service_is_no_known_service(tmp_path: Path) -> None:
    idle = scenario().with_values(**{"receiver.service": {"kind": "constant", "mean_s": 0.0}})
    with pytest.raises(InputError, match="takes no time"):
        validate(idle, ("known",), out=tmp_path)
