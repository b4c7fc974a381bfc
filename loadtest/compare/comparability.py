"""Whether two runs differ in nothing but what is to be compared; else what else differs, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtest.runs import RecordedRun

MACHINE = {
    "cpu_model": "CPU model",
    "cpu_count": "CPU count",
    "cpu_usable": "CPUs that could be used",
}
_SHOWN = 6


def obstacles(a: RecordedRun, b: RecordedRun) -> list[str]:
    """What forbids the comparison unless it is forced; empty when nothing does.

    A simulation's results do not depend on the machine, so simulations of different ones may be compared.
    """
    found = []
    if a.kind != b.kind:
        found.append(f"one is a {a.kind}, the other a {b.kind}")
    if "simulate" not in (a.kind, b.kind):
        one, other = (run.folder.document["machine"] for run in (a, b))
        found += [
            f"{name}: {one[key]} and {other[key]}" for key, name in MACHINE.items() if one[key] != other[key]
        ]
        pythons = [run.folder.document["versions"]["python"] for run in (a, b)]
        if pythons[0] != pythons[1]:
            found.append(f"Python: {pythons[0]} and {pythons[1]}")
    changes = scenario_changes(a, b)
    if changes:
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        found.append(f"scenario: {'; '.join(changes[:_SHOWN])}{more}")
    for run in (a, b):
        if run.void:
            found.append(f"{run.path.name} is void ({'; '.join(run.void)})")
    return found


def remarks(a: RecordedRun, b: RecordedRun) -> list[str]:
    """What differs and is worth knowing, but may be the very thing that is compared."""
    one, other = a.folder.document, b.folder.document
    found = []
    if (one["commit"], one["dirty"]) != (other["commit"], other["dirty"]):
        found.append(f"code: {_commit(one)} and {_commit(other)}")
    for package in one["versions"]:
        versions = (one["versions"][package], other["versions"].get(package))
        if package != "python" and versions[0] != versions[1]:
            found.append(f"{package}: {versions[0]} and {versions[1]}")
    if one["seeds"] != other["seeds"]:
        found.append("seeds: other events in each, so nothing is paired")
    for arm in sorted(set(a.arms) ^ set(b.arms)):
        found.append(f"arm {arm}: only in {a.path.name if arm in a.arms else b.path.name}")
    return found


def scenario_changes(a: RecordedRun, b: RecordedRun) -> list[str]:
    """The keys of the scenario in which the two differ, as ``polling.interval_s: 30 and 10``."""
    one, other = (run.folder.document["scenario"] for run in (a, b))
    if one["digest"] == other["digest"] and one.get("trace_sha256") == other.get("trace_sha256"):
        return []
    flat = _flattened(one["values"]), _flattened(other["values"])
    changes = [
        f"{key}: {flat[0].get(key, 'absent')} and {flat[1].get(key, 'absent')}"
        for key in dict.fromkeys([*flat[0], *flat[1]])
        if flat[0].get(key) != flat[1].get(key) and key not in ("name", "title", "description")
    ]
    return changes or ["the trace's content differs"]


def _flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _commit(document: Mapping[str, Any]) -> str:
    sha = document["commit"]
    return "no commit" if sha is None else sha[:8] + ("-dirty" if document["dirty"] else "")
