"""Load arms of pollers: a crowd at a provider's events API."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from loadtest.contract import envelope, now_us
from loadtest.plans import due_most, plan_of, pollers_and_interval
from loadtest.runner.inquiries import event_loop_at, get_json, opener
from loadtest.runner.loads.outside import begin, seen_from_outside, window_start_us
from loadtest.runner.outcome import Measured, count, finish
from loadtest.runner.processes import Child, ProcessFailed
from loadtest.runner.results import ArmRun
from loadtest.runner.session import Session, Settings
from sim.errors import InputError

if TYPE_CHECKING:
    from sim.scenario import Scenario

PUBLISH_BATCH_BYTES = 4_000_000
TAG_TIMEOUT_S = 10.0


def crowd(context: Session, arm: str, scenario: Scenario, settings: Settings) -> ArmRun:
    """Run a load of the events API once."""
    host, wishes = settings.host, settings.wishes
    pollers, interval_s = pollers_and_interval(scenario, wishes)
    plan = replace(
        plan_of(arm, scenario, settings.seed, wishes, context.run_id),
        pool_size=settings.pool_size,
        lead_in_s=0.5,
    )
    provider: Child | None = None
    if host is None:
        with context.progress.stage("starting the provider"):
            provider = context.crew.server("provider")
            context.monitor.watch("provider", provider.pid)
            cursors = _preload(provider, context.run_id, due_most(plan), scenario.workload.payload_bytes)
        plan = replace(plan, cursors=cursors)
        host = provider.url
    if arm == "conditional_polling":
        after = f"&after={quote(plan.cursors[0], safe='')}" if plan.cursors else ""
        plan = replace(
            plan, etag=_tag(f"{host}{plan.path}?limit={plan.page_size}{after}", context.crew.fleet.ca)
        )
    ready_us = now_us()
    generation, origin_us, _ = begin(context, plan, host, provider, settings, scenario)
    samples = generation.samples(origin_us, context.progress, f"{arm}: loading {host}")
    context.monitor.read_now()
    end_us = now_us()
    ledger = count(samples, None)
    metrics, judged = seen_from_outside(samples, origin_us, scenario)
    windowed = samples.due_from(window_start_us(origin_us, scenario))
    if provider is not None:
        empty = plan.due[windowed.index] == 0
        metrics["empty_ratio"] = float(empty.mean()) if empty.size else math.nan
    if plan.etag:
        sent = int(windowed.sent.sum())
        metrics["not_modified_ratio"] = float(np.sum(windowed.status == 304)) / sent if sent else math.nan
    pace = f"every {interval_s:g} s" if wishes.shape is None else wishes.shape
    if arm == "adaptive_polling":
        pace = "at their own pace"
    notes = {"pollers": pollers, "shape": f"{pollers} pollers, {pace}"}
    return finish(
        context,
        Measured(arm, samples, metrics, judged, ledger, None, ledger.acknowledged, origin_us, end_us),
        servers={} if provider is None else {"provider": (provider, ready_us)},
        settings=settings,
        notes=notes if arm == "adaptive_polling" else notes | {"interval_s": interval_s},
        loops=event_loop_at(settings.host, context.crew.fleet.ca) if settings.host else None,
    )


def _preload(provider: Child, run_id: str, most_due: int, payload_bytes: int) -> tuple[str, ...]:
    """Publish as many events as any poll finds; returns the cursors behind which 0, 1, 2 … of them lie.

    Raises:
        ProcessFailed: the provider does not take them.
    """
    batch = max(1, PUBLISH_BATCH_BYTES // max(payload_bytes, 500))
    try:
        cursors = [str(get_json(f"{provider.url}/events")["cursor"])]
        for start in range(0, most_due, batch):
            indices = range(start, min(start + batch, most_due))
            events = b",".join(envelope(run_id, index, now_us(), payload_bytes) for index in indices)
            get_json(f"{provider.url}/events", b"[" + events + b"]")
        for _ in range(most_due):
            page = get_json(f"{provider.url}/events?limit=1&after={quote(cursors[-1], safe='')}")
            cursors.append(str(page["cursor"]))
    except (OSError, ValueError) as error:
        raise ProcessFailed(
            f"the provider did not take {most_due} events of {payload_bytes:,} bytes: {error}"
        ) from None
    return tuple(reversed(cursors))


def _tag(url: str, ca: str | None) -> str:
    """The entity tag of a page.

    Raises:
        InputError: there is no answer, or none with a tag.
    """
    try:
        with opener(ca).open(url, timeout=TAG_TIMEOUT_S) as answer:
            tag = answer.headers["etag"]
    except (OSError, ValueError) as error:
        raise InputError(f"{url} does not answer: {error}") from None
    if not tag:
        raise InputError(f"{url} answers without an ETag: conditional polls have nothing to ask with")
    return str(tag)
