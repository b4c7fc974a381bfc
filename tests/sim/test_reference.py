"""Protects the reference of scenario files: it leaves no key out, and says what validation says."""

from __future__ import annotations

import re

from sim.scenario import Scenario
from sim.scenario.reference import scenario_reference

TEXT = scenario_reference()


def section(heading: str) -> str:
    match = re.search(rf"^##+ {re.escape(heading)}$(.*?)(?=^##)", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert match, f"no section {heading!r}"
    return match[1]


def test_every_key_of_every_form_is_told() -> None:
    schema = Scenario.model_json_schema()
    keys = {key for form in schema["$defs"].values() for key in form.get("properties", ())}
    keys |= set(schema["properties"])
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE))
    tables = set(re.findall(r"^## \[(\w+)\]$", TEXT, flags=re.MULTILINE))
    assert keys - rows - tables == set()


def test_ranges_and_defaults_are_those_of_the_schema() -> None:
    assert "| `workers` | a whole number from 1 up to 10000 | `4` |" in section("[receiver]")
    assert '| `acknowledge` | `"after_processing"`, `"on_receipt"` | `"after_processing"` |' in section(
        "[receiver]"
    )
    assert "| `on_share` | a number above 0 below 1 | `0.1` |" in section('workload, kind = `"bursty"`')
    assert "| `rate_per_s` | a number above 0 | *required* |" in section('workload, kind = `"poisson"`')


def test_every_form_that_is_referred_to_is_there() -> None:
    targets = set(re.findall(r"\]\(#([a-z0-9]+)\)", TEXT))
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", TEXT, flags=re.MULTILINE)}
    assert targets
    assert targets == headings
