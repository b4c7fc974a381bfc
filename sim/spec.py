"""The base of every part of a scenario: frozen, strict about keys, finite about numbers."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

LARGEST = 1e12
"""No number of a scenario is larger: 30,000 years in seconds, a terabyte."""

Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Bytes = Annotated[int, Field(ge=0, le=10**9)]
Variation = Annotated[float, Field(ge=1e-3, le=1e3, allow_inf_nan=False)]


class Spec(BaseModel):
    """A frozen table of a scenario whose unknown keys are errors naming the nearest known key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError("unknown_key", "{reason}", {"reason": _unknown(key, cls)})
        return data


def _unknown(key: object, spec: type[BaseModel]) -> str:
    known = list(spec.model_fields)
    nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown key {str(key)!r}; {hint}(known here: {', '.join(known)})"


def describe_errors(error: ValidationError, document: Any) -> str:
    """The problems found in `document`, on one line, each with its key's path and the value given."""
    return "; ".join(_describe(dict(problem), document) for problem in error.errors(include_url=False))


def _describe(problem: dict[str, Any], document: Any) -> str:
    path = _path_in(document, problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    named = problem["type"] in {"unknown_key", "missing", "value_error"} or isinstance(given, dict)
    return (f"{path}: " if path else "") + message + ("" if named else f", got {given!r}")


def _path_in(document: Any, location: tuple[str | int, ...]) -> str:
    """The dotted path of a problem, without the union tags pydantic puts between the user's own keys."""
    path: list[str] = []
    node = document
    for position, part in enumerate(location):
        inside = isinstance(node, dict) and part in node
        if inside or isinstance(part, int):
            node = node[part]
        elif position < len(location) - 1 or (isinstance(node, dict) and node.get("kind") == part):
            continue
        path.append(str(part))
    return ".".join(path)
