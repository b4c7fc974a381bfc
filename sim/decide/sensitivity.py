"""Which assumptions the verdict hangs on: each assumed value halved and doubled, all else as it is.

The candidates keep the settings that were found for them: this asks whether the advice still holds if an
assumption turns out wrong, not what one would then advise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sim.catalogue import MECHANISMS
from sim.decide.evaluation import Evaluator
from sim.decide.offers import INBOUND
from sim.decide.ranking import ranked
from sim.decide.reasons import value_text
from sim.decide.requirement import Requirement
from sim.decide.tuning import Candidate, unmet
from sim.errors import InputError
from sim.scenario import Scenario
from sim.scenario.presets import is_distribution

FACTORS = (0.5, 2.0)

_TUNED = frozenset({"polling.interval_s"})
_RUN = "run."

_IDLE: Mapping[str, frozenset[str]] = {
    "provider_api.": frozenset({"webhook", "broker_push", "broker_pull"}),
    "receiver.queue_limit": frozenset(set(MECHANISMS) - INBOUND),
    "receiver.signature_tolerance_s": frozenset(set(MECHANISMS) - INBOUND),
}
"""The beginning of a key -> mechanisms to which it is nothing, beyond what `Mechanism.heeds` knows."""


@dataclass(frozen=True)
class Flip:
    """What changes when one assumption does.

    Attributes:
        key: of the assumed value.
        factor: by which it was multiplied.
        value: what it became.
        first: the first choice then; None where nothing meets what is required.
        before: the first choice as it is.
        fails: candidate -> the requirements that it no longer keeps.
        keeps: the candidates that only then keep all of them.
    """

    key: str
    factor: float
    value: str
    first: str | None
    before: str | None
    fails: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keeps: tuple[str, ...] = ()

    @property
    def flips_first(self) -> bool:
        """Whether the first choice is another one."""
        return self.first != self.before

    def sentence(self) -> str:
        """What changes, in words."""
        how = "halved" if self.factor < 1 else "doubled"
        told = []
        if self.flips_first:
            told.append(f"first is {self.first}" if self.first else "nothing meets the requirements")
        told += [
            f"{label} misses {' and '.join(missed)}"
            for label, missed in self.fails.items()
            if self.first is not None or label == self.before
        ]
        told += [f"{label} meets the requirements" for label in self.keeps]
        return f"{self.key} {how} ({self.value}): {'; '.join(told)}"


@dataclass(frozen=True)
class Sensitivity:
    """What was asked, and what flips.

    Attributes:
        flips: the changes that change the verdict.
        asked: every assumed key that was halved and doubled.
        impossible: key and factor -> why the scenario refuses that.
    """

    flips: tuple[Flip, ...]
    asked: tuple[str, ...]
    impossible: Mapping[str, str]


def assumed_keys(scenario: Scenario) -> list[str]:
    """The keys of assumed values that can be halved, other than those the advice itself chooses."""
    document = scenario.model_dump()
    return [
        key
        for key, source in scenario.sources.items()
        if source.assumed
        and key not in _TUNED
        and not key.startswith(_RUN)
        and scaled(key, _at(document, key), 2.0) is not None
    ]


def concerns(key: str, mechanism: str) -> bool:
    """Whether a value can make any difference to a mechanism."""
    idle = any(mechanism in which for start, which in _IDLE.items() if key.startswith(start))
    return MECHANISMS[mechanism].heeds(key) and not idle


def scaled(key: str, value: Any, factor: float) -> tuple[dict[str, Any], str] | None:
    """The change that multiplies a value, and the new value in words; None for what is no amount."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return None
    if isinstance(value, int):
        new = max(1, round(value * factor))
        return None if new == value else ({key: new}, str(new))
    if isinstance(value, float):
        return None if value == 0 else ({key: value * factor}, f"{value * factor:g}")
    if isinstance(value, dict):
        return _scaled_distribution(key, value, factor) if is_distribution(value) else None
    if isinstance(value, list | tuple):
        return _scaled_list(key, list(value), factor)
    return None


def _scaled_distribution(key: str, value: dict[str, Any], factor: float) -> tuple[dict[str, Any], str] | None:
    times: dict[str, Any] = {
        name: value[name] * factor for name in ("mean_s", "low_s", "high_s") if name in value
    }
    if "values_s" in value:
        times["values_s"] = [each * factor for each in value["values_s"]]
    if not any(times.values()):
        return None
    told = ", ".join(f"{name} = {number:g}" for name, number in times.items() if isinstance(number, float))
    return {key: {**value, **times}}, told or "values_s"


def _scaled_list(key: str, value: list[Any], factor: float) -> tuple[dict[str, Any], str] | None:
    if value and all(isinstance(each, dict) and "duration_s" in each for each in value):
        longer = [{**each, "duration_s": each["duration_s"] * factor} for each in value]
        return {key: longer}, "durations " + ", ".join(f"{each['duration_s']:g} s" for each in longer)
    if value and all(isinstance(each, float) for each in value) and any(value):
        return {key: [each * factor for each in value]}, ", ".join(f"{each * factor:g}" for each in value)
    return None


def sensitivity(
    candidates: Sequence[Candidate],
    evaluator: Evaluator,
    requirements: Sequence[Requirement],
    metrics: tuple[str, str, str],
    replications: int,
) -> Sensitivity:
    """Halve and double each assumed value, and see what becomes of candidates with their settings.

    Args:
        candidates: what to look at.
        evaluator: runs them, on the random numbers that confirmed them.
        requirements: what is asked.
        metrics: of the front.
        replications: of each look, also of the one that changes nothing.
    """
    scenario = evaluator.scenario
    if not candidates:
        return Sensitivity((), (), {})

    def looked(changed: Scenario, which: Sequence[Candidate]) -> dict[str, Candidate]:
        trials = [(each.mechanism, each.settings) for each in which]
        evaluations = evaluator.elsewhere(changed, trials, replications)
        return {each.label: replace(each, evaluation=e) for each, e in zip(which, evaluations, strict=True)}

    as_it_is = looked(scenario, candidates)
    before = _verdict(list(as_it_is.values()), requirements, metrics)
    flips, impossible = [], {}
    keys = assumed_keys(scenario)
    for key, factor, change, told in _changes(scenario, keys):
        try:
            changed = scenario.with_values(**change)
        except InputError as error:
            impossible[f"{key} × {factor:g}"] = str(error)
            continue
        concerned = [each for each in candidates if concerns(key, each.mechanism)]
        after = _verdict(list((as_it_is | looked(changed, concerned)).values()), requirements, metrics)
        flip = _flip(key, factor, told, before, after)
        if flip is not None:
            flips.append(flip)
    return Sensitivity(tuple(flips), tuple(keys), impossible)


def _changes(scenario: Scenario, keys: Sequence[str]) -> Iterator[tuple[str, float, dict[str, Any], str]]:
    document = scenario.model_dump()
    for key in keys:
        for factor in FACTORS:
            found = scaled(key, _at(document, key), factor)
            if found is not None:
                yield key, factor, *found


_Verdict = tuple[str | None, dict[str, tuple[str, ...]]]


def _verdict(
    candidates: Sequence[Candidate], requirements: Sequence[Requirement], metrics: tuple[str, str, str]
) -> _Verdict:
    """The first choice, and what each candidate misses."""
    misses = {
        each.label: tuple(_missed(r, each) for r in unmet(each.evaluation, requirements))
        for each in candidates
    }
    meeting = [each for each in candidates if not misses[each.label]]
    order = ranked(meeting, metrics)
    return (order[0][0].label if order else None), misses


def _missed(requirement: Requirement, candidate: Candidate) -> str:
    worst = requirement.unfavourable(candidate.evaluation.judged(requirement.metric))
    return f"{requirement.text} ({value_text(worst, requirement.metric)})"


def _flip(key: str, factor: float, value: str, before: _Verdict, after: _Verdict) -> Flip | None:
    first, misses = after
    fails = {label: missed for label, missed in misses.items() if missed and not before[1][label]}
    keeps = tuple(label for label, missed in misses.items() if not missed and before[1][label])
    if first == before[0] and not fails and not keeps:
        return None
    return Flip(key, factor, value, first, before[0], fails, keeps)


def _at(document: dict[str, Any], dotted: str) -> Any:
    value: Any = document
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
