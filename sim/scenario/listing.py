"""Presets and scenarios as they are shown: TOML, with a word on each value about how far to trust it.

What is printed is the scenario itself: saved to a file it loads to the same values and sources.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable
from typing import Any

import tomli_w

from sim.scenario.document import Scenario, load_scenario
from sim.scenario.presets import (
    ABOUT,
    PARTS,
    is_distribution,
    leaves,
    load_part,
    nearest,
    part_names,
    preset_names,
    without_none,
)
from sim.spec import Spec

PUBLISHED, ASSUMED, STATED, DEFAULT = "published", "assumed", "stated", ""

_WIDTH = 110
_MARK_COLUMN = 44

Marking = Callable[[str], str]
"""A dotted key -> what is known of its value: `PUBLISHED`, `ASSUMED`, `STATED` or `DEFAULT`."""


def overview() -> str:
    """Every preset's name and title: use cases, then providers, then pollers."""
    groups = [("use cases (hookbench simulate NAME)", [(n, load_scenario(n).title) for n in preset_names()])]
    for kind in PARTS:
        heading = f'{kind}s ({kind} = "NAME" in a scenario; hookbench scenarios show NAME)'
        groups.append((heading, [(name, load_part(kind, name)["title"]) for name in part_names(kind)]))
    width = max(len(name) for _, presets in groups for name, _ in presets)
    return "\n\n".join(
        "\n".join([heading, *(f"  {name:<{width}}  {title}" for name, title in presets)])
        for heading, presets in groups
    )


def shown(name_or_path: str) -> str:
    """A scenario with every default written out, or a provider's or poller's preset, as annotated TOML.

    Raises:
        ScenarioError: no such preset or file, not TOML, or an invalid scenario.
    """
    for kind in PARTS:
        if name_or_path in part_names(kind):
            return part_shown(kind, name_or_path)
    return scenario_shown(load_scenario(name_or_path))


def part_shown(kind: str, name: str) -> str:
    """A provider's or poller's preset as annotated TOML."""
    part = load_part(kind, name)
    opening = (
        f'A part of a scenario: one that says {kind} = "{name}" has these values where it states none of '
        "its own."
    )
    return _annotated(part, _by_source(part["sources"], lambda _: True), opening)


def scenario_shown(scenario: Scenario) -> str:
    """A scenario as annotated TOML, every default written out."""
    document = without_none(scenario.model_dump())
    opening = "A scenario, every default written out."
    return _annotated(
        document, _by_source(document["sources"], lambda key: _is_stated(scenario, key)), opening
    )


def _by_source(sources: dict[str, Any], is_stated: Callable[[str], bool]) -> Marking:
    """A value's own source speaks for it, or else that of the nearest table around it."""

    def mark(dotted: str) -> str:
        if not is_stated(dotted):
            return DEFAULT
        key = nearest(sources, dotted)
        if key is None:
            return STATED
        return ASSUMED if sources[key].get("assumed", False) else PUBLISHED

    return mark


def _is_stated(scenario: Scenario, dotted: str) -> bool:
    value: Any = scenario
    for key in dotted.split("."):
        if not isinstance(value, Spec) or key not in value.model_fields_set:
            return False
        value = getattr(value, key)
    return True


def _annotated(document: dict[str, Any], mark: Marking, opening: str) -> str:
    body = {key: value for key, value in document.items() if key != "sources"}
    marks: Counter[str] = Counter()
    lines = _table(body, "", mark, marks)
    if document.get("sources"):
        lines += ["", "[sources]", *(_source(key, why) for key, why in document["sources"].items())]
    return "\n".join([*_legend(opening, marks), *lines]) + "\n"


def _source(key: str, why: dict[str, Any]) -> str:
    brief = {word: value for word, value in why.items() if value is not False}
    return f"{_key(key)} = {_inline(brief)}"


def _legend(opening: str, marks: Counter[str]) -> list[str]:
    words = [opening]
    if marks[PUBLISHED] or marks[ASSUMED]:
        words.append(
            f"Of its values {marks[PUBLISHED]} are published and {marks[ASSUMED]} assumed: "
            "[sources], at the end, says where and why."
        )
    if marks[STATED]:
        words.append(f"{marks[STATED]} are stated without a source.")
    if marks[DEFAULT]:
        words.append("Unmarked ones are hookbench's defaults.")
    return [f"# {line}" for line in textwrap.wrap(" ".join(words), _WIDTH - 2)]


def _table(table: dict[str, Any], path: str, mark: Marking, marks: Counter[str]) -> list[str]:
    lines, sections = [], []
    for key, value in table.items():
        known = {mark(leaf) for leaf in leaves(value, f"{path}{key}")}
        if isinstance(value, dict) and not (is_distribution(value) and len(known) == 1):
            rows = _table(value, f"{path}{key}.", mark, marks)
            header = [] if not rows or rows[0] == "" else ["", f"[{path}{key}]"]
            sections += [*header, *rows]
        elif not path and key in ABOUT:
            lines.append(f"{key} = {_text(value)}")
        else:
            (word,) = known
            marks[word] += 1
            line = f"{_key(key)} = {_inline(value)}"
            lines.append(f"{line:<{_MARK_COLUMN}} # {word}" if word else line)
    return lines + sections


def _text(text: str) -> str:
    """Several lines as several lines, where no escape is needed."""
    as_it_is = "\n" in text and "\\" not in text and '"""' not in text and not text.endswith('"')
    if as_it_is and all(letter.isprintable() or letter == "\n" for letter in text):
        return f'"""\n{text}"""'
    return _inline(text)


def _key(key: str) -> str:
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        pairs = [f"{_key(key)} = {_inline(inner)}" for key, inner in value.items()]
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_inline, value))}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n")
