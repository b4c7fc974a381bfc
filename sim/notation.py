"""The one-line notation of options with parameters: ``KIND:NAME=VALUE,NAME=VALUE``, and its errors."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from sim.errors import InputError


class Form(NamedTuple):
    """What a kind takes.

    Attributes:
        parameters: by name the default; None: it must be given.
        example: a text that is right.
    """

    parameters: Mapping[str, str | None]
    example: str


def read_parameters(text: str, what: str, forms: Mapping[str, Form]) -> tuple[str, dict[str, str]]:
    """The kind that a text names, and a word for each of its parameters.

    Args:
        text: the text.
        what: the option's noun, for the errors.
        forms: by kind what it takes.

    Raises:
        InputError: an unknown kind or parameter (the nearest known one is named), one that is missing or
            given twice, or something that is not NAME=VALUE.
    """
    kind, _, rest = text.strip().partition(":")
    form = forms.get(kind)
    if form is None:
        raise InputError(f"{what} {text!r}: no {what} is called {kind!r}; {nearest(kind, forms)}")
    given: dict[str, str] = {}
    for part in rest.split(",") if rest else ():
        name, _, value = (word.strip() for word in part.partition("="))
        if not name or not value:
            raise InputError(f"{what} {text!r}: expected NAME=VALUE, as in {form.example}, got {part!r}")
        if name not in form.parameters:
            raise InputError(f"{what} {text!r}: {kind} has no {name!r}; {nearest(name, form.parameters)}")
        if name in given:
            raise InputError(f"{what} {text!r}: {name} is given twice")
        given[name] = value
    words = {}
    for name, default in form.parameters.items():
        word = given.get(name, default)
        if word is None:
            raise InputError(f"{what} {text!r}: {name} is missing, as in {form.example}")
        words[name] = word
    return kind, words


def read_number(text: str, what: str, name: str, word: str, *, positive: bool = False) -> float:
    """A finite number from 0 on, or above 0.

    Raises:
        InputError: `word` is no such number.
    """
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        wanted = "above 0" if positive else "from 0 on"
        raise InputError(f"{what} {text!r}: {name} must be a number {wanted}, got {word!r}")
    return value


def nearest(name: str, known: Collection[str]) -> str:
    """What might have been meant, and all there is."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {found[0]!r}? " if found else ""
    return f"{hint}known: {', '.join(known) or 'none'}"
