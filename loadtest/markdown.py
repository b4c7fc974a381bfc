"""A load or a race in Markdown, for a pull request or a CI job's summary: the verdict first.

GitHub's flavour (https://github.github.com/gfm/): tables, and nothing that another renderer would not show
as readable text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.tables import MEANING, shown_metrics
from sim.experiment import CONFIDENCE
from sim.tables import estimate_text

if TYPE_CHECKING:
    from loadtest.runner.results import LoadResult

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the summary file of a GitHub Actions step, to which every command adds its part:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#adding-a-job-summary"""

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#~"})


def text(words: object) -> str:
    """Words as Markdown shows them unchanged, on one line."""
    return " ".join(str(words).split()).translate(_SPECIAL)


def code(words: object) -> str:
    """Words in the font of code, fit for a table's cell."""
    return f"`{' '.join(str(words).split()).replace('`', ' ').replace('|', '¦')}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of ready Markdown cells: the first column to the left, the others to the right."""
    rule = [":--", *("--:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def write(path: Path, document: str) -> None:
    """Write a summary; what is in the step summary of GitHub Actions already stays there."""
    appending = os.environ.get(STEP_SUMMARY) == str(path)
    with path.open("a" if appending else "w", encoding="utf-8") as stream:
        stream.write(document)


def load_summary(result: LoadResult, document: Mapping[str, Any]) -> str:
    """The summary of a load or a race.

    Args:
        result: what was found.
        document: its run.json.
    """
    name = f"{result.command} {text(result.scenario.name)}"
    parts = [f"## {_verdict(result)}: {name}"]
    if result.void:
        parts.append("\n".join(f"- {text(reason)}" for reason in result.void))
    if result.thresholds:
        parts.append(
            table(
                ["threshold", "arm", "was", ""],
                [
                    [
                        code(each.threshold),
                        text(each.arm),
                        "undefined" if each.value is None else f"{each.value:g}",
                        "void" if result.void else "met" if each.met else "**missed**",
                    ]
                    for each in result.thresholds
                ],
            )
        )
    by_arm = {arm: result.metrics(arm) for arm in result.arms}
    parts.append(
        table(
            ["metric", *map(text, result.arms)],
            [
                [
                    code(metric),
                    *(
                        text(estimate_text(metrics[metric], metric)) if metric in metrics else "–"
                        for metrics in by_arm.values()
                    ),
                ]
                for metric in shown_metrics(by_arm)
            ],
        )
    )
    runs = len(result.of(result.arms[0]))
    over = f"mean of {runs} runs ± half a {CONFIDENCE:.0%} interval" if runs > 1 else "one run, no interval"
    parts.append(f"{text(MEANING[result.command])}; {over}.")
    ledgers = {arm: result.ledger(arm) for arm in result.arms}
    parts.append(
        table(
            ["ledger", *map(text, result.arms)],
            [
                [text(name), *("–" if of[name] is None else f"{of[name]:,}" for of in ledgers.values())]
                for name in ledgers[result.arms[0]]
                if any(of[name] is not None for of in ledgers.values())
            ],
        )
    )
    parts.append(provenance(document, str(result.path)))
    return "\n\n".join(parts) + "\n\n"


def provenance(document: Mapping[str, Any], path: str) -> str:
    """What ran where, from a run.json, in one line."""
    machine, versions = document["machine"], document["versions"]
    commit = "unknown commit" if document["commit"] is None else f"commit {document['commit'][:8]}"
    return (
        f"<sub>{code(document['command'])} · {commit}{', changed' if document['dirty'] else ''} · "
        f"{machine['cpu_count']} × {text(machine['cpu_model'])} · Python {versions['python']} · "
        f"{document['start'][:19]}Z · scenario {document['scenario']['digest'][:8]} · {code(path)}</sub>"
    )


def _verdict(result: LoadResult) -> str:
    if result.void:
        return "VOID"
    missed = sum(not each.met for each in result.thresholds)
    if missed:
        return f"{missed} of {len(result.thresholds)} thresholds missed"
    return f"all {len(result.thresholds)} thresholds met" if result.thresholds else "sound"
