"""Protects how scenarios are shown: which numbers to trust, in a file that loads to the same scenario."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given

from sim.scenario import Scenario, load_scenario, part_names, preset_names, scenario_from
from sim.scenario.listing import overview, scenario_shown, shown
from sim.scenario.presets import PARTS, load_part
from tests.sim.generated import scenarios

PART_NAMES = [(kind, name) for kind in PARTS for name in part_names(kind)]


def marks_of(text: str) -> dict[str, str]:
    """Dotted key -> the word beside its value."""
    table, marks = "", {}
    for line in text.partition("\n[sources]\n")[0].splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif " = " in line and line.partition(" ")[0].isidentifier():
            marks[table + line.partition(" ")[0]] = line.rpartition(" # ")[2] if " # " in line else ""
    return marks


def test_everything_is_listed_in_its_group() -> None:
    use_cases, providers, pollers = (group.splitlines() for group in overview().split("\n\n"))
    assert [line.split()[0] for line in use_cases[1:]] == preset_names()
    assert [line.split()[0] for line in providers[1:]] == part_names("provider")
    assert [line.split()[0] for line in pollers[1:]] == part_names("poller")
    assert 'provider = "NAME"' in providers[0]
    assert 'poller = "NAME"' in pollers[0]
    assert any(line.endswith(load_scenario("iot-alerts").title) for line in use_cases)


@pytest.mark.parametrize("name", preset_names())
def test_what_is_shown_loads_to_the_same_scenario(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(shown(name), encoding="utf-8")
    assert load_scenario(tmp_path / "mine.toml") == load_scenario(name)


@given(scenario=scenarios())
def test_any_scenario_loads_as_it_is_shown(scenario: Scenario) -> None:
    assert scenario_from(tomllib.loads(scenario_shown(scenario))) == scenario


@pytest.mark.parametrize(("kind", "name"), PART_NAMES, ids=[name for _, name in PART_NAMES])
def test_a_part_is_shown_as_it_is(kind: str, name: str) -> None:
    text = shown(name)
    assert tomllib.loads(text) == load_part(kind, name)
    assert f'{kind} = "{name}"' in text.partition("name = ")[0].replace("\n# ", " ")


def test_each_value_says_how_far_to_trust_it() -> None:
    marks = marks_of(shown("shop-orders"))
    assert marks["webhook.timeout_s"] == "published"
    assert marks["webhook.retry.max_attempts"] == "published"
    assert marks["webhook.retry.base_s"] == "assumed"
    assert marks["webhook.retry.spread"] == ""  # hookbench's default
    assert marks["polling.interval_s"] == "assumed"
    assert marks["network.one_way"] == "assumed"
    assert marks["network.request_loss"] == ""
    assert marks["provider_api.service"] == "assumed"
    assert marks_of(shown("slack"))["webhook.retry.gaps_s"] == "published"


def test_the_opening_counts(tmp_path: Path) -> None:
    assert "6 are published and 2 assumed" in shown("slack").replace("\n# ", " ")
    text = shown("shop-orders")
    words, marks = text.partition("name = ")[0].replace("\n# ", " "), list(marks_of(text).values())
    assert f"{marks.count('published')} are published and {marks.count('assumed')} assumed" in words
    assert "Unmarked ones are hookbench's defaults." in words


def test_what_a_file_states_without_a_source_is_told_from_a_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nprovider = "slack"\ndescription = "a\\\\b\\n\\"quoted\\""\n'
        '[workload]\nkind = "poisson"\nrate_per_s = 2.0\n'
        "[webhook]\ntimeout_s = 2.0\n"
        "[provider_api]\nrate_limit = false\n"
        "[run]\nduration_s = 10.0\n"
        '[sources]\n"run.duration_s" = { source = "short" }\n'
    )
    text = shown(str(path))
    marks = marks_of(text)
    assert marks["webhook.timeout_s"] == "stated"
    assert marks["webhook.retry.gaps_s"] == "published"
    assert marks["run.duration_s"] == "published"
    assert marks["run.drain_s"] == ""
    assert "3 are stated without a source." in text.replace("\n# ", " ")
    assert scenario_from(tomllib.loads(text)) == load_scenario(path)


def test_a_distribution_half_of_which_is_published_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[workload]\nkind = "poisson"\nrate_per_s = 2.0\n'
        '[network]\none_way = { kind = "lognormal", mean_s = 0.1, cv = 2.0 }\n'
        "[run]\nduration_s = 10.0\n"
        '[sources]\n"network.one_way.mean_s" = { source = "measured" }\n'
        '"network.one_way.cv" = { source = "a guess", assumed = true }\n'
    )
    text = shown(str(path))
    assert marks_of(text)["network.one_way.mean_s"] == "published"
    assert marks_of(text)["network.one_way.cv"] == "assumed"
    assert scenario_from(tomllib.loads(text)) == load_scenario(path)
