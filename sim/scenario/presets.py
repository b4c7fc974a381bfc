"""What comes with hookbench: use cases (whole scenarios), and providers and pollers (parts of one).

A scenario may say ``provider = "shopify"`` or ``poller = "zapier"``: the preset's values then lie beneath its
own. Every value of a preset states in `[sources]` where it is published, or that it is assumed.
"""

from __future__ import annotations

import copy
import difflib
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from sim.errors import ScenarioError

PRESET_DIR = Path(__file__).parents[1] / "presets"
PARTS = {"provider": PRESET_DIR / "providers", "poller": PRESET_DIR / "pollers"}
"""The kinds of partial presets, and where they lie."""

_ABOUT = {"name", "title", "description"}


def preset_names() -> list[str]:
    """The names of the scenarios that come with hookbench, sorted."""
    return _names(PRESET_DIR)


def part_names(kind: str) -> list[str]:
    """The names of the partial presets of a kind, "provider" or "poller", sorted."""
    return _names(PARTS[kind])


def load_part(kind: str, name: str) -> dict[str, Any]:
    """A provider's or poller's preset as nested dicts.

    Raises:
        ScenarioError: there is none of this name; the message names the nearest.
    """
    if name not in part_names(kind):
        nearest = difflib.get_close_matches(name, part_names(kind), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ScenarioError(f"{kind}: none is called {name!r}; {hint}known: {', '.join(part_names(kind))}")
    return copy.deepcopy(_read(PARTS[kind] / f"{name}.toml"))


def with_presets(document: dict[str, Any]) -> dict[str, Any]:
    """A scenario's document with the presets it names laid beneath its own values.

    Raises:
        ScenarioError: it names one that does not exist.
    """
    document = _with_retry_preset(document)
    for kind in PARTS:
        name = document.get(kind)
        if isinstance(name, str):
            part = {key: value for key, value in load_part(kind, name).items() if key not in _ABOUT}
            sources = part.pop("sources", {})
            given = set(_dotted(document))
            inherited = {key: why for key, why in sources.items() if not _is_given(key, given)}
            own = document.get("sources", {})
            document = _laid_over(document, part)
            document["sources"] = inherited | own if isinstance(own, dict) else own
    return document


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.toml"))


@lru_cache(maxsize=64)
def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _with_retry_preset(document: dict[str, Any]) -> dict[str, Any]:
    webhook = document.get("webhook")
    retry = webhook.get("retry") if isinstance(webhook, dict) else None
    if not isinstance(retry, dict) or not isinstance(retry.get("preset"), str):
        return document
    preset = load_part("provider", retry["preset"]).get("webhook", {}).get("retry")
    if preset is None:
        raise ScenarioError(f"webhook.retry.preset: {retry['preset']!r} states no retries")
    own = {key: value for key, value in retry.items() if key != "preset"}
    return document | {"webhook": webhook | {"retry": preset | own}}  # type: ignore[operator]


def _laid_over(over: dict[str, Any], under: dict[str, Any]) -> dict[str, Any]:
    """`over`, with what it does not state taken from `under`; a table that states its `kind` stands alone."""
    merged = dict(over)
    for key, value in under.items():
        if key not in over:
            merged[key] = copy.deepcopy(value)
        elif isinstance(value, dict) and isinstance(over[key], dict) and "kind" not in over[key]:
            merged[key] = _laid_over(over[key], value)
    return merged


def _dotted(document: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in document.items():
        path = f"{prefix}{key}"
        stands_alone = not isinstance(value, dict) or "kind" in value
        keys += [path] if stands_alone else _dotted(value, f"{path}.")
    return keys


def _is_given(key: str, given: set[str]) -> bool:
    """Whether a key, a table that it lies in, or something within it is stated."""
    return any(key == g or key.startswith(f"{g}.") or g.startswith(f"{key}.") for g in given)
