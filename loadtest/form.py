"""Form-encoded bodies and query strings, read strictly and within limits (WHATWG URL, 5.1).

Strict means: what two parsers might read differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from loadtest.contract import MalformedEvent

Fields = list[tuple[str, str]]
"""Names and values, decoded, in their order; a name may occur several times."""

MAX_FIELDS = 1000

_LONE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse_form(body: bytes) -> Fields:
    """The names and values of a form, in the order in which they stand.

    Raises:
        MalformedEvent: not ASCII, a percent sign that escapes nothing, text that is not UTF-8, a field
            without ``=``, too many fields.
    """
    if not body:
        return []
    if _LONE_PERCENT.search(body):
        raise MalformedEvent("the form has a % that two hexadecimal digits do not follow")
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except UnicodeDecodeError as error:
        raise MalformedEvent(f"the form is not UTF-8: {error.reason}") from None
    except ValueError:
        raise MalformedEvent(f"not a form of name=value pairs, at most {MAX_FIELDS} of them") from None


def query_of(target: bytes) -> Fields:
    """The names and values in a request target's query.

    Raises:
        MalformedEvent: it is no query of name=value pairs.
    """
    return parse_form(target.partition(b"?")[2])


def one(fields: Fields, name: str) -> str | None:
    """The value of a field that may occur once, or None.

    Raises:
        MalformedEvent: it occurs more than once.
    """
    values = [value for given, value in fields if given == name]
    if len(values) > 1:
        raise MalformedEvent(f"{name} is given {len(values)} times")
    return values[0] if values else None


def sorted_fields(form: Iterable[tuple[str, str]]) -> str:
    """Each name and value run together, sorted, as Twilio and Mandrill sign them; of a repeated pair one."""
    return "".join(name + value for name, value in sorted(set(form)))
