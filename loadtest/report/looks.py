"""Which colour and dash an arm, a mechanism or a process has, as classes of the style sheet.

Colours follow Okabe and Ito ("Color Universal Design", 2008), darkened or lightened until text in them
has the contrast of WCAG 2.2 AA on either background. Relatives share a colour; dashes tell them apart,
and tell everything apart in grey.
"""

from __future__ import annotations

from collections.abc import Sequence

_LOOKS = {
    "webhook": "c0 d0",
    "polling": "c1 d1",
    "streaming": "c2 d2",
    "long_polling": "c3 d3",
    "broker_push": "c4 d4",
    "broker_pull": "c5 d5",
    "conditional_polling": "c1 d6",
    "adaptive_polling": "c5 d7",
    "webhook_reconciled": "c0 d8",
    "thin_webhook": "c5 d9",
    "rabbitmq": "c4 d4",
    "redis_streams": "c3 d8",
    "kafka": "c5 d5",
}
_ROLES = {"receiver": "c2 d0", "poller": "c2 d0", "provider": "c3 d1", "generator": "c6 d4"}
_FREE = tuple(f"c{number % 6} d{number % 10}" for number in range(10))


def looks(names: Sequence[str]) -> dict[str, str]:
    """A look for each arm: its own, or one that none of the others has."""
    taken = {_LOOKS[name] for name in names if name in _LOOKS}
    free = [look for look in _FREE if look not in taken] or list(_FREE)
    others = [name for name in dict.fromkeys(names) if name not in _LOOKS]
    return {name: _LOOKS[name] if name in _LOOKS else free[others.index(name) % len(free)] for name in names}


def solid(look: str) -> str:
    """A look's colour alone, for a curve that stands apart from the other arms' and has many small steps."""
    return f"{look.split(maxsplit=1)[0]} d0"


def role_look(role: str) -> str:
    """A process's look; an unknown one stands on the receiver's side."""
    return _ROLES.get(role, "c4 d3")
