"""A reference of scenario files, written from the schema: every key, what it takes, its default."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from sim.scenario.document import Scenario

Schema = Mapping[str, Any]

OPENING = """\
# Scenario files

A scenario is one TOML file. It needs `name`, `[workload]` and `[run]`; every other key has a default. An
unknown key is an error that names the nearest known one. `hookbench scenarios show NAME` prints any scenario
with its defaults written out, `hookbench scenarios schema` the JSON Schema for editors.
"""
_UNBOUNDED = 1e9
"""Limits from here on only keep numbers finite, and are not worth telling."""


def scenario_reference() -> str:
    """The reference as Markdown: the keys of the file itself, its tables, then the forms that values take."""
    return _Reference(Scenario.model_json_schema()).text()


class _Reference:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._forms: Schema = schema["$defs"]
        self._told: dict[str, None] = {}
        """Forms that some key refers to, in the order in which they are met."""

    def text(self) -> str:
        plain: dict[str, Schema] = {}
        tables: dict[str, Schema] = {}
        for name, value in self._schema["properties"].items():
            (tables if self._alternatives(value) else plain)[name] = value
        parts = [OPENING, "## The file itself\n", *self._rows(plain, self._schema.get("required", ()))]
        for name, value in tables.items():
            parts += self._table(name, self._alternatives(value))
        parts.append("## Forms of values\n")
        done: set[str] = set()
        while waiting := [form for form in self._told if form not in done]:
            for form in waiting:
                done.add(form)
                parts += [f"### {form}\n", *self._described(self._forms[form])]
        return "\n".join(parts)

    def _table(self, name: str, forms: list[str]) -> Iterator[str]:
        yield f"## [{name}]\n"
        for form in forms:
            if len(forms) > 1:
                yield f"### {name}, kind = {_code(self._kind(form))}\n"
            yield from self._described(self._forms[form])

    def _described(self, form: Schema) -> Iterator[str]:
        if "description" in form:
            yield _prose(form["description"])
        yield from self._rows(form.get("properties", {}), form.get("required", ()))

    def _rows(self, keys: Schema, required: Any) -> Iterator[str]:
        yield "| key | takes | default |"
        yield "|---|---|---|"
        for name, value in keys.items():
            default = "*required*" if name in required else self._default(value)
            yield f"| `{name}` | {self._takes(value)} | {default} |"
        yield ""

    def _default(self, value: Schema) -> str:
        default = value.get("default")
        if default is None:
            return "none" if "default" in value else ""
        if isinstance(default, dict):
            named = {key: each for key, each in default.items() if each is not None}
            return _code(", ".join(f"{key} = {json.dumps(each)}" for key, each in named.items()))
        return _code(json.dumps(default))

    def _takes(self, value: Schema) -> str:
        """What a key takes, in words; forms met on the way are told later on."""
        if options := value.get("anyOf"):
            words = [self._takes(option) for option in options if option.get("type") != "null"]
            return " or ".join(dict.fromkeys(words))
        if "$ref" in value or "oneOf" in value:
            names = self._alternatives(value, tables=False)
            self._told.update(dict.fromkeys(names))
            return " or ".join(f"[{name}](#{name.lower()})" for name in names)
        if "enum" in value:
            return ", ".join(_code(json.dumps(each)) for each in value["enum"])
        if "const" in value:
            return _code(json.dumps(value["const"]))
        if value.get("type") == "array":
            items = value.get("items") or {}
            return f"a list of {self._takes(items)}" if items else "a list"
        if value.get("type") == "object":
            values = value.get("additionalProperties")
            return f"a table, each value {self._takes(values)}" if values else "a table"
        if "type" not in value:
            return "anything"
        kinds = {"number": "a number", "integer": "a whole number", "boolean": "`true` or `false`"}
        return kinds.get(value["type"], "text") + _bounds(value)

    def _alternatives(self, value: Schema, *, tables: bool = True) -> list[str]:
        """The names of the forms a value may have; of tables only where all of them are tables."""
        options = value.get("oneOf") or value.get("anyOf") or [value]
        names = [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]
        if tables and any(self._forms[name].get("type") != "object" for name in names):
            return []
        return names

    def _kind(self, form: str) -> str:
        return json.dumps(self._forms[form]["properties"]["kind"]["const"])


def _bounds(value: Schema) -> str:
    told = []
    if (least := value.get("exclusiveMinimum")) is not None:
        told.append(f"above {least:g}")
    if (least := value.get("minimum")) is not None and abs(least) < _UNBOUNDED:
        told.append(f"from {least:g}")
    if (most := value.get("maximum")) is not None and most < _UNBOUNDED:
        told.append(f"up to {most:g}")
    if (below := value.get("exclusiveMaximum")) is not None and below < _UNBOUNDED:
        told.append(f"below {below:g}")
    if pattern := value.get("pattern"):
        told.append(f"matching {_code(pattern)}")
    return f" {' '.join(told)}" if told else ""


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _prose(docstring: str) -> str:
    return textwrap.dedent(docstring).strip().replace("``", "`") + "\n"
