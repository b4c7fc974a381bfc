"""A load or a race as JUnit XML, which CI systems read: one test case a void rule and a threshold.

There is no standard but what the readers take; this keeps to the schema of Jenkins' xUnit plugin
(https://github.com/jenkinsci/xunit-plugin, junit-10.xsd), which GitLab's and Azure's readers take as well.
A broken void rule is an *error* (nothing was measured), a missed threshold a *failure*; of a void run
the thresholds are *skipped*, since its figures are not to be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from loadtest.verdict import RULES, Reason

if TYPE_CHECKING:
    from loadtest.runner.results import ArmRun, LoadResult

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold (https://www.w3.org/TR/xml/#charsets), as a server's last words may."""


@dataclass(frozen=True)
class Case:
    """One test case: `outcome` is passed, failure, error or skipped, with a message unless passed."""

    group: str
    name: str
    outcome: str = "passed"
    message: str = ""
    output: str = ""


def cases(result: LoadResult) -> list[Case]:
    """Every void rule of every arm run, then every threshold."""
    repeated = len(result.runs) > len(result.arms)
    found = [
        case
        for run in result.runs
        for case in _rules(f"{run.arm}.run_{run.run + 1}" if repeated else run.arm, run)
    ]
    for each in result.thresholds:
        value = "it was undefined" if each.value is None else f"it was {each.value:g}"
        name = f"threshold: {each.threshold}"
        if result.void:
            found.append(Case(each.arm, name, "skipped", f"void, not to be trusted; {value}"))
        elif each.met:
            found.append(Case(each.arm, name, output=value))
        else:
            found.append(Case(each.arm, name, "failure", value))
    return found


def _rules(group: str, run: ArmRun) -> list[Case]:
    broken: dict[str, list[str]] = {}
    for reason in run.void:
        broken.setdefault(reason.rule if isinstance(reason, Reason) else "other", []).append(reason)
    found = []
    for rule, holds in RULES.items():
        counts = run.ledger.as_dict() if rule == "ledger" else {}
        output = "\n".join(f"{name}: {count}" for name, count in counts.items() if count is not None)
        words = "; ".join(broken.get(rule, ()))
        found.append(Case(group, f"sound: {holds}", "error" if words else "passed", words, output))
    return found


def write(path: Path, result: LoadResult, document: Mapping[str, Any]) -> None:
    """Write a result as JUnit XML.

    Args:
        path: the file, made or replaced.
        result: the load or race.
        document: its run.json, for the properties and the times.
    """
    properties = {
        "scenario.digest": document["scenario"]["digest"],
        "seed": result.seed,
        "commit": document["commit"] or "unknown",
        "dirty": document["dirty"],
        "cpu": f"{document['machine']['cpu_count']} × {document['machine']['cpu_model']}",
        "python": document["versions"]["python"],
        "run_folder": result.path,
    }
    for arm in result.arms:
        for name, value in result.metrics(arm).items():
            properties[f"{arm}.{name}"] = f"{value.mean:.9g}"
    _write(
        path,
        f"{result.command} {result.scenario.name}",
        cases(result),
        properties,
        str(document["start"]),
        float(document["duration_s"]),
    )


def write_failure(path: Path, name: str, reason: str) -> None:
    """Write that a run came to nothing, as one erroneous test case."""
    _write(path, name, [Case("run", "sound: the run took place", "error", reason)], {}, None, 0.0)


def _write(
    path: Path,
    name: str,
    found: list[Case],
    properties: Mapping[str, object],
    start: str | None,
    duration_s: float,
) -> None:
    counts = {
        "tests": len(found),
        "failures": sum(case.outcome == "failure" for case in found),
        "errors": sum(case.outcome == "error" for case in found),
        "skipped": sum(case.outcome == "skipped" for case in found),
    }
    counted = {key: str(count) for key, count in counts.items()}
    told = {"name": name, "time": f"{duration_s:.3f}"}
    # The schema of the root knows no count of what was skipped.
    root = ElementTree.Element(
        "testsuites", told | {key: value for key, value in counted.items() if key != "skipped"}
    )
    # ISO 8601 without fractions or an offset, which some readers take for local time: it is UTC.
    when = {} if start is None else {"timestamp": start[:19]}
    suite = ElementTree.SubElement(root, "testsuite", told | counted | when)
    if properties:
        holder = ElementTree.SubElement(suite, "properties")
        for key, value in properties.items():
            ElementTree.SubElement(holder, "property", {"name": key, "value": _legal(str(value))})
    prefix = "hookbench." + name.replace(" ", ".")
    for case in found:
        element = ElementTree.SubElement(
            suite, "testcase", {"classname": f"{prefix}.{case.group}", "name": _legal(case.name), "time": "0"}
        )
        if case.outcome != "passed":
            message = _legal(case.message)
            kind = {"failure": "ThresholdMissed", "error": "VoidRun"}.get(case.outcome)
            told_of = {"message": message} if kind is None else {"message": message, "type": kind}
            ElementTree.SubElement(element, case.outcome, told_of).text = message
        if case.output:
            ElementTree.SubElement(element, "system-out").text = _legal(case.output)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
