"""The advice in words: a paragraph a choice, what was rejected, what it hangs on; plain text and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sim.catalogue import MECHANISMS
from sim.decide.advice import Advice, Choice, Rejected
from sim.decide.ranking import TRADED
from sim.decide.reasons import Reason, settings_text, value_text
from sim.scenario import part_names
from sim.tables import estimate_text, number_text

UNTOLD = frozenset({"confirmed"})
"""Reasons that hold for every choice alike, and are told once."""

WORTH_TELLING = 1.2
"""A trade-off of less than this ratio is left out."""

MOST_FLIPS = 8


def finding(advice: Advice) -> str:
    """The advice in a sentence."""
    asked = " and ".join(each.text for each in advice.requirements)
    if not advice.choices:
        nearest = next((each for each in advice.rejected if each.candidate is not None), None)
        near = "" if nearest is None else f"; {named(nearest)} comes nearest: {nearest.reasons[0].text}"
        return f"Nothing meets {asked}{near}"
    count = len(advice.choices)
    others = "the only way that meets" if count == 1 else f"the first of {count} ways that meet"
    return f"{named(advice.choices[0])} is {others} {asked}"


def named(each: Choice | Rejected) -> str:
    """A candidate with its settings: polling every 12 s."""
    candidate = each.candidate
    if candidate is None:
        assert isinstance(each, Rejected)
        return each.label
    settings = settings_text(candidate.settings)
    joint = " " if settings.startswith("every") else ", "
    return candidate.label if settings == "as it is" else f"{candidate.label}{joint}{settings}"


def required(advice: Advice) -> list[str]:
    """A line a requirement, and where it comes from if nobody stated it."""
    return [each.text + (f": {each.why}" if each.why else "") for each in advice.requirements]


def paragraph(reasons: Sequence[Reason]) -> str:
    """Reasons as sentences."""
    told = [reason.text for reason in reasons if reason.kind not in UNTOLD]
    return " ".join(f"{_capital(text)}." for text in told)


def _capital(text: str) -> str:
    """A sentence's first letter in capitals, unless it begins with a metric, a key or a preset's name."""
    first = text.partition(" ")[0]
    names = {*MECHANISMS, *part_names("provider"), *part_names("poller")}
    is_name = "_" in first or "." in first or first.rstrip(",") in names
    return text if is_name else f"{text[:1].upper()}{text[1:]}"


def unrun(advice: Advice) -> dict[str, list[str]]:
    """What was rejected without a run: kind of reason -> the mechanisms."""
    by_kind: dict[str, list[str]] = {}
    for each in advice.rejected:
        if each.candidate is None:
            by_kind.setdefault(each.reasons[0].kind, []).append(each.label)
    return by_kind


UNRUN = {
    "no_inbound": "The provider would have to call a consumer that cannot be called",
    "not_offered": "No source that we know says that {provider} offers these (--offers NAME if it does)",
}


def trade_off(advice: Advice) -> str | None:
    """The best choice of another kind against the first, in a sentence; None where there is none."""
    if advice.alternative is None:
        return None
    told = [_traded(each) for each in advice.trade_offs if _differs(each)]
    if not told:
        return None
    return f"{advice.alternative} in place of {advice.choices[0].candidate.label}: {'; '.join(told)}."


def _differs(traded: Any) -> bool:
    low, high = sorted((traded["first"], traded["second"]))
    return bool(low >= 0 and high > 0 and (low == 0 or high / low >= WORTH_TELLING))


def _traded(traded: Any) -> str:
    metric, first, second = traded["metric"], traded["first"], traded["second"]
    text = f"{TRADED[metric]} {value_text(second, metric)} instead of {value_text(first, metric)}"
    if first > 0 and second > 0:
        times = max(first, second) / min(first, second)
        word = ("less" if second < first else "more") if not metric.endswith("_s") else (
            "shorter" if second < first else "longer"
        )  # fmt: skip
        text += f" ({number_text(times, 2)} times {word})"
    return text


def flips(advice: Advice) -> list[str]:
    """What changes the verdict, the changes of the first choice first."""
    found = sorted(advice.sensitivity.flips, key=lambda flip: not flip.flips_first)
    return [flip.sentence() for flip in found]


def held(advice: Advice) -> str:
    """How many assumptions were tried, in a sentence."""
    asked = len(advice.sensitivity.asked)
    keys = {flip.key for flip in advice.sensitivity.flips}
    if not advice.evaluations:
        return "Nothing was run, so nothing was varied."
    if not asked:
        return "The scenario marks none of its numbers as assumed, so none was varied."
    if not keys:
        which = "Its one assumed value" if asked == 1 else f"None of its {asked} assumed values"
        return f"{which}, halved or doubled, changes {'nothing' if asked == 1 else 'the verdict'}."
    if len(keys) == 1:
        return f"Of its {asked} assumed values, halved and doubled one by one, one changes the verdict:"
    return f"Of its {asked} assumed values, halved and doubled one by one, {len(keys)} change the verdict:"


def markdown(advice: Advice) -> str:
    """The whole advice as a document."""
    scenario = advice.scenario
    parts = [f"# {_md(finding(advice))}", f"{_md(scenario.title or scenario.name)}"]
    parts.append("## Required\n\n" + "\n".join(f"- {_md(line)}" for line in required(advice)))
    if advice.choices:
        parts.append("## Choices\n\n" + _table(advice) + f"\n\n{_md(advice.rule)}")
        parts += [
            f"### {rank}. {_md(named(choice))}\n\n{_md(paragraph(choice.reasons))}"
            for rank, choice in enumerate(advice.choices, 1)
        ]
    traded = trade_off(advice)
    if traded is not None:
        parts.append(f"## Trade-off\n\n{_md(traded)}")
    run = [each for each in advice.rejected if each.candidate is not None]
    lines = [f"- **{_md(named(each))}** {_md(paragraph(each.reasons))}" for each in run]
    lines += [f"- {_md(line)}" for line in unrun_lines(advice)]
    if lines:
        parts.append("## Rejected\n\n" + "\n".join(lines))
    parts.append(
        "## What the verdict hangs on\n\n"
        + "\n".join([_md(held(advice)), "", *(f"- {_md(line)}" for line in flips(advice))]).rstrip()
    )
    parts.append(_md(provenance(advice)))
    return "\n\n".join(parts) + "\n"


def unrun_lines(advice: Advice) -> list[str]:
    """What was rejected without a run, a line a reason."""
    return [f"{_unrun(kind, advice)}: {', '.join(names)}." for kind, names in unrun(advice).items()]


def _unrun(kind: str, advice: Advice) -> str:
    return UNRUN[kind].format(provider=advice.scenario.provider)


def provenance(advice: Advice) -> str:
    """On what runs all this rests."""
    full = advice.scale.sentence(advice.scenario)
    return (
        f"Means over {advice.replications} replications of the search (seed {advice.seed}); what is "
        "recommended was run again on random numbers that had no part in choosing it, and its figures are "
        "from there. "
        "Requirements are judged by the end of the 95 % interval that speaks against them."
        + (f" {full}" if full else "")
    )


def _table(advice: Advice) -> str:
    metrics = shown_metrics(advice)
    rows = [
        [
            f"{rank}. {_md(choice.candidate.label)}",
            _md(settings_text(choice.candidate.settings)),
            *(_md(estimate_text(choice.candidate.evaluation.estimate(metric), metric)) for metric in metrics),
            "yes" if choice.on_front else "no",
        ]
        for rank, choice in enumerate(advice.choices, 1)
    ]
    head = ["choice", "settings", *metrics, "on the front"]
    rule = [":--", ":--", *("--:" for _ in metrics), ":--"]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def shown_metrics(advice: Advice) -> list[str]:
    """What a table of choices shows: what is required, and what the front looks at."""
    return list(dict.fromkeys([*(each.metric for each in advice.requirements), *advice.metrics]))


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")
