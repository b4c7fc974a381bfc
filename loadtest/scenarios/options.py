"""What plain Locust can be told about a schedule, on its command line and in its web page."""

from __future__ import annotations

import argparse
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gevent.ssl import create_default_context
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtest.plans import LOAD_ARMS, SENDERS, Wishes, plan_of, scenario_for
from loadtest.schedule import Plan, event_schedule, scheduled_scenario
from loadtest.tls import client_context
from sim.errors import InputError

TAG_TIMEOUT_S = 10.0


def add_options(parser: LocustArgumentParser) -> None:
    """Add the options that stand in for a plan."""
    group = parser.add_argument_group("hookbench schedule (without HOOKBENCH_PLAN)")
    group.add_argument("--scenario", default="shop-orders", help="preset or TOML file of the event list")
    group.add_argument("--rate-per-s", type=float, default=0.0, help="Poisson at this rate instead; 0: no")
    group.add_argument(
        "--shape", default="", help="a load shape instead, such as ramp:from=10,to=300; empty: no"
    )
    group.add_argument("--duration-s", type=float, default=0.0, help="seconds to run; 0: at most 30")
    group.add_argument("--seed", type=int, default=1, help="seed of the event list")
    group.add_argument(
        "--storm",
        default="",
        help="such as duplicates:share=0.3 or forgeries:share=0.5; blanks between several",
    )
    group.add_argument("--source", default="", help="whose webhooks, such as stripe; empty: the scenario's")
    group.add_argument(
        "--payload-cv", type=float, default=0.0, help="variation of the payloads' sizes, lognormal; 0: none"
    )
    group.add_argument("--public-url", default="", help="the receiver's URL as it is signed; empty: --host")
    group.add_argument(
        "--clients", type=int, default=0, help="pollers or held connections; 0: the scenario's"
    )
    group.add_argument("--ca", default="", help="file of certificates that vouch for an https server")
    group.add_argument("--samples", default="", help="write raw samples to this .npz file")


def trusting(environment: Environment) -> Callable[..., Any] | None:
    """What makes clients' TLS context; None: geventhttpclient's own, which trusts certifi's certificates."""
    assert environment.parsed_options is not None
    ca = environment.parsed_options.ca
    return (lambda **_: create_default_context(cafile=ca)) if ca else None


def plan_from(options: argparse.Namespace, arm: str) -> Plan:
    """The plan that the options ask for.

    Raises:
        InputError: they ask for something that cannot be.
    """
    from sim.scenario import load_scenario  # noqa: PLC0415 - only without a plan

    scenario, run_id = load_scenario(options.scenario), f"{time.time_ns():x}"
    wishes = Wishes(
        rate_per_s=options.rate_per_s or None,
        shape=options.shape or None,
        duration_s=options.duration_s or None,
        storms=tuple(options.storm.split()),
        source=options.source or None,
        payload_cv=options.payload_cv,
        clients=options.clients or None,
    )
    if arm not in LOAD_ARMS:  # the publisher: no load of its own, but it can be tried out
        scheduled = scheduled_scenario(scenario, wishes.rate_per_s, wishes.duration_s)
        return Plan(
            run_id=run_id,
            arm=arm,
            path="/events",
            offsets_us=event_schedule(scheduled, options.seed),
            payload_bytes=scheduled.workload.payload_bytes,
            timeout_s=scheduled.webhook.timeout_s,
        )
    plan = plan_of(arm, scenario_for(arm, scenario, wishes), options.seed, wishes, run_id)
    host = (options.host or "").rstrip("/")
    if arm in SENDERS:
        return replace(plan, public_url=options.public_url or host)
    if arm == "conditional_polling":
        return replace(plan, etag=_first_tag(f"{host}{plan.path}?limit={plan.page_size}", options.ca))
    return plan


def _first_tag(url: str, ca: str) -> str:
    """The entity tag of a page, which conditional polls then name.

    Raises:
        InputError: there is no answer with a tag.
    """
    secure = client_context(Path(ca) if ca else None) if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(  # noqa: S310 - the user's own --host
            url, timeout=TAG_TIMEOUT_S, context=secure
        ) as answer:
            tag = answer.headers["etag"]
    except (OSError, ValueError) as error:
        raise InputError(f"{url} does not answer: {error}") from None
    if not tag:
        raise InputError(f"{url} answers without an ETag: nothing to ask conditionally with")
    return str(tag)
