"""What comes with hookbench: use cases (whole scenarios), and providers and pollers (parts of one).

A scenario may say ``provider = "shopify"`` or ``poller = "zapier"``: the preset's values then lie beneath its
own, and a provider's beneath a poller's, since it is the poller who decides how often to ask. A value the
scenario states wins; ``false`` takes a preset's value away, so that hookbench's default applies. A table that
states its `kind` is not mixed with one of a preset that states its own. ``retry = { preset = "stripe" }``
borrows a provider's retries alone.

Every value of a preset states in `[sources]` where it is published, or that it is assumed; a table's source
is that of each value stated in it. Once laid together each value has its own, so that a source goes where
its value goes: neither a value replaced nor a default is ever credited to somebody else's document.
"""

from __future__ import annotations

import copy
import difflib
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from sim.errors import ScenarioError

PRESET_DIR = Path(__file__).parents[1] / "presets"
PARTS = {"provider": PRESET_DIR / "providers", "poller": PRESET_DIR / "pollers"}
"""The kinds of partial presets, and where they lie."""

ABOUT = frozenset({"name", "title", "description", "provider", "poller", "sources"})
"""The keys that say what a scenario is about, and decide no outcome."""

_OF_DISTRIBUTIONS = ("mean_s", "low_s", "values_s")


def preset_names() -> list[str]:
    """The names of the scenarios that come with hookbench, sorted."""
    return _names(PRESET_DIR)


def part_names(kind: str) -> list[str]:
    """The names of the partial presets of a kind, "provider" or "poller", sorted."""
    return _names(PARTS[kind])


def load_part(kind: str, name: str, key: str | None = None) -> dict[str, Any]:
    """A provider's or poller's preset as nested dicts; `key` is where a scenario names it.

    Raises:
        ScenarioError: there is none of this name; the message names the nearest.
    """
    if name not in part_names(kind):
        close = difflib.get_close_matches(name, part_names(kind), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ScenarioError(
            f"{key or kind}: none is called {name!r}; {hint}known: {', '.join(part_names(kind))}"
        )
    return copy.deepcopy(_read(PARTS[kind] / f"{name}.toml"))


def with_presets(document: dict[str, Any]) -> dict[str, Any]:
    """A scenario's document with the presets it names laid beneath its own values.

    Raises:
        ScenarioError: it names one that does not exist.
    """
    return _upon(_with_retry_preset(document), _named_parts(document))


def without_none(document: dict[str, Any]) -> dict[str, Any]:
    """A complete document without its Nones, which TOML cannot say.

    Where a preset that it names would supply a value in place of one, it says ``false``.
    """
    return _without_none(document, _named_parts(document))


def leaves(value: Any, path: str) -> Iterator[str]:
    """The dotted keys of the values at or within the value at `path`; a None is none."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif value is not None:
        yield path


def is_distribution(value: Any) -> bool:
    """Whether a table is a random duration, which is read as one value."""
    return isinstance(value, dict) and "kind" in value and not value.keys().isdisjoint(_OF_DISTRIBUTIONS)


def nearest(sources: dict[str, Any], dotted: str) -> str | None:
    """The key under which `sources` speaks of a value: its own, or that of the closest table around it."""
    key = dotted
    while key not in sources:
        if "." not in key:
            return None
        key = key.rpartition(".")[0]
    return key


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.toml"))


@lru_cache(maxsize=64)
def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _named_parts(document: dict[str, Any]) -> dict[str, Any]:
    """The presets a document names, laid upon one another: the poller's upon the provider's."""
    beneath: dict[str, Any] = {}
    for kind in ("poller", "provider"):
        name = document.get(kind)
        if isinstance(name, str):
            part = {
                key: value for key, value in load_part(kind, name).items() if key not in ABOUT - {"sources"}
            }
            beneath = _upon(beneath, part)
    return beneath


def _upon(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in part.items() if key != "sources"}
    taken: set[str] = set()
    merged = _laid_over(document, values, "", taken)
    own = document.get("sources", {})
    if isinstance(own, dict):
        own = _flat(own)
        inherited = {
            key: why
            for key, why in _value_by_value(part.get("sources", {}), values).items()
            if taken.issuperset(leaves(_at(values, key), key))
        }
        merged["sources"] = inherited | _value_by_value(own, document)
    return merged


def _flat(sources: dict[str, Any]) -> dict[str, Any]:
    """Sources by dotted keys, for one who wrote ``webhook.timeout_s = …`` without the quotes as well."""
    flat: dict[str, Any] = {}
    for key, why in sources.items():
        if isinstance(why, dict) and why and all(isinstance(inner, dict) for inner in why.values()):
            flat |= {f"{key}.{inner}": source for inner, source in _flat(why).items()}
        else:
            flat[key] = why
    return flat


def _value_by_value(sources: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The sources of a document with each table's given to the values stated in it.

    One that speaks of no value stated here, but perhaps of one that comes from a preset, is left as it is.
    """
    spread, used = {}, set()
    for dotted in _valued(values, sources, ""):
        holder = nearest(sources, dotted)
        if holder is not None:
            spread[dotted] = sources[holder]
            used.add(holder)
    return spread | {key: why for key, why in sources.items() if key not in used}


def _valued(table: dict[str, Any], sources: dict[str, Any], path: str) -> Iterator[str]:
    for key, value in table.items():
        here = f"{path}{key}"
        if not path and key in ABOUT:
            continue
        within = any(source.startswith(f"{here}.") for source in sources)
        if isinstance(value, dict) and (within or not is_distribution(value)):
            yield from _valued(value, sources, f"{here}.")
        elif value is not None:
            yield here


def _laid_over(over: dict[str, Any], under: dict[str, Any], path: str, taken: set[str]) -> dict[str, Any]:
    """`over`, with what it does not state taken from `under`; the dotted keys of that go to `taken`."""
    merged = dict(over)
    for key, value in under.items():
        here = f"{path}{key}"
        if key not in over:
            merged[key] = copy.deepcopy(value)
            taken.update(leaves(value, here))
        elif over[key] is False and not isinstance(value, bool):
            del merged[key]
        elif _mixes(key, over[key], value):
            merged[key] = _laid_over(over[key], value, f"{here}.", taken)
    return merged


def _mixes(key: str, over: Any, under: Any) -> bool:
    """Whether two tables are merged key by key, or the upper one stands alone."""
    if not isinstance(over, dict) or not isinstance(under, dict):
        return False
    one_or_the_other = key == "retention"  # counted in events or in seconds, never both
    return not one_or_the_other and not ("kind" in over and "kind" in under)


def _without_none(document: dict[str, Any], under: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            beneath = under.get(key, {})
            kept[key] = _without_none(value, beneath if _mixes(key, value, beneath) else {})
        elif value is not None:
            kept[key] = value
        elif key in under:
            kept[key] = False
    return kept


def _at(document: dict[str, Any], dotted: str) -> Any:
    value: Any = document
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _with_retry_preset(document: dict[str, Any]) -> dict[str, Any]:
    webhook = document.get("webhook")
    retry = webhook.get("retry") if isinstance(webhook, dict) else None
    if not isinstance(webhook, dict) or not isinstance(retry, dict) or "preset" not in retry:
        return document
    if not isinstance(name := retry["preset"], str):
        raise ScenarioError(f"webhook.retry.preset: Input should be a provider's name, got {name!r}")
    if "kind" in retry:
        raise ScenarioError(
            f"webhook.retry: state preset or kind, not both, got {name!r} and {retry['kind']!r}"
        )
    part = load_part("provider", name, "webhook.retry.preset")
    borrowed = part.get("webhook", {}).get("retry")
    if borrowed is None:
        raise ScenarioError(f"webhook.retry.preset: {name!r} states no retries")
    own = {key: value for key, value in retry.items() if key != "preset"}
    sources = {key: why for key, why in part["sources"].items() if f"{key}.".startswith("webhook.retry.")}
    return _upon(
        document | {"webhook": webhook | {"retry": own}}, {"webhook": {"retry": borrowed}, "sources": sources}
    )
