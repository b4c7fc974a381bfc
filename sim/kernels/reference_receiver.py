"""The reference receiver compiled: what `sim.reference_receiver.model` says, over one heap of happenings."""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import Distribution, compile_distribution, sample
from sim.randomness import Stream

if TYPE_CHECKING:
    from sim.reference_receiver.stages import Stages

_Floats = NDArray[np.float64]

# In their order when simultaneous.
_SERVICE_END, _SHOWN, _SENDER_DONE, _CORE_DONE, _PERSISTED, _SETTLE, _DUE, _ARRIVED, _ANSWERED = range(9)
_WAKE, _SEND, _READ = range(3)  # jobs of the sender's core
_PARSE, _GATHER, _WRITE, _REPORT, _ANSWER = range(1, 6)  # jobs of the receiver's, besides waking
_NOTHING_TO_STORE = 0
_REQUEST_TRANSIT, _RESPONSE_TRANSIT = int(Stream.REQUEST_TRANSIT), int(Stream.RESPONSE_TRANSIT)
_PERSIST, _SERVICE, _TIMER = int(Stream.PERSIST), int(Stream.SERVICE), int(Stream.TIMER)


class _Numbers(NamedTuple):
    """`Stages` as the kernel reads it."""

    send_work_s: float
    read_work_s: float
    sender_wake_s: float
    request_work_s: float
    wake_s: float
    wake_first: float
    cooling_s: float
    write_work_s: float
    row_work_s: float
    report_work_s: float
    answer_work_s: float
    most_in_group: int
    settle_after_s: float
    workers: int
    serves_at_once: bool
    lateness: Distribution
    request_transit: Distribution
    persist: Distribution
    response_transit: Distribution
    service: Distribution
    timer: Distribution


@jit
def woken_s(wake_s: float, cooling_s: float, idle_s: float) -> float:
    """What waking a core costs that was idle for so long; both engines ask."""
    if cooling_s == 0.0:
        return wake_s
    return wake_s * (1.0 - math.exp(-idle_s / cooling_s))


@allocating
def _pass(
    numbers: _Numbers,
    intended_s: _Floats,
    seed: int,
    sent: _Floats,
    received: _Floats,
    stored: _Floats,
    begun: _Floats,
    acknowledged: _Floats,
    visible: _Floats,
    totals: _Floats,
) -> None:
    n = len(intended_s)
    heap = [(intended_s[0] + sample(numbers.lateness, seed, _TIMER, 0, 1), _DUE, 0)]
    # Parsed webhooks wait in one line, are stored in that order and queue for workers in that order.
    parsed = np.empty(n, dtype=np.int64)
    parsed_count, stored_from, stored_to, served_from, offered_to = 0, 0, 0, 0, 0
    # Jobs: what, whose, how much; lines are lists read from a moving place.
    sender_jobs, sender_next, sender_running = [(_SEND, 0, 0.0)], 1, False
    core_jobs, core_next, core_running = [(_GATHER, 0, 0.0)], 1, False
    sender_now, core_now = (_SEND, 0), (_GATHER, 0)
    statements, statement_next, statement_number = [_NOTHING_TO_STORE], 1, 0
    sender_idle_since_s, core_idle_since_s = -math.inf, -math.inf
    sender_left_s, core_left_s, sender_ends_s, core_ends_s = 0.0, 0.0, 0.0, 0.0
    gathering, storing, writing, settling = False, False, False, False
    size = 0  # of the statement that is executed or persisted now
    free = numbers.workers
    groups, settles, wakes, busy_s, sender_busy_s, now = 0, 0, 0, 0.0, 0.0, 0.0
    for i in range(1, n):
        heappush(heap, (intended_s[i] + sample(numbers.lateness, seed, _TIMER, i, 1), _DUE, i))
    while len(heap) > 0:
        now, kind, i = heappop(heap)
        if (kind == _SENDER_DONE and i != sender_next) or (kind == _CORE_DONE and i != core_next):
            continue  # it was dropped for something better
        store, serve, begin_statement = False, False, False
        if kind == _DUE:
            sender_jobs.append((_SEND, i, numbers.send_work_s))
        elif kind == _ARRIVED:
            core_jobs.append((_PARSE, i, numbers.request_work_s))
        elif kind == _ANSWERED:
            sender_jobs.append((_READ, i, numbers.read_work_s))
        elif kind == _SENDER_DONE:
            job, whose = sender_now
            if job == _SEND:
                sent[whose] = now - numbers.send_work_s
                transit_s = sample(numbers.request_transit, seed, _REQUEST_TRANSIT, whose, 0)
                heappush(heap, (now + transit_s, _ARRIVED, whose))
            elif job == _READ:
                acknowledged[whose] = now
        elif kind == _CORE_DONE:
            job, whose = core_now
            if job == _PARSE:
                received[whose] = now
                parsed[parsed_count] = whose
                parsed_count += 1
                if not storing and not gathering:
                    gathering = True
                    core_jobs.append((_GATHER, 0, 0.0))
            elif job == _GATHER:
                gathering = False
                store = not storing and parsed_count > stored_to
            elif job == _WRITE:
                persist_s = sample(numbers.persist, seed, _PERSIST, statement_number, 0)
                statement_number += 1
                heappush(heap, (now + persist_s, _PERSISTED, 0))
            elif job == _ANSWER:
                transit_s = sample(numbers.response_transit, seed, _RESPONSE_TRANSIT, whose, 0)
                heappush(heap, (now + transit_s, _ANSWERED, whose))
            elif job == _REPORT:
                storing = False
                for place in range(stored_from, stored_to):
                    stored[parsed[place]] = now
                if numbers.serves_at_once:
                    for place in range(stored_from, stored_to):
                        begun[parsed[place]] = now
                        visible[parsed[place]] = now
                    if not settling:
                        settling = True
                        heappush(heap, (now + numbers.settle_after_s, _SETTLE, 0))
                else:
                    offered_to = stored_to
                    serve = True
                for place in range(stored_from, stored_to):
                    core_jobs.append((_ANSWER, parsed[place], numbers.answer_work_s))
                stored_from = stored_to
                store = parsed_count > stored_to
        elif kind == _PERSISTED:
            writing = False
            begin_statement = len(statements) > statement_next
            if size > _NOTHING_TO_STORE:
                # Here, because the next statement overwrites the size; its job comes before the report's.
                if begin_statement:
                    size = statements[statement_next]
                    statement_next += 1
                    writing, begin_statement = True, False
                    core_jobs.append((_WRITE, 0, numbers.write_work_s + numbers.row_work_s * size))
                core_jobs.append((_REPORT, 0, numbers.report_work_s))
        elif kind == _SETTLE:
            settling = False
            settles += 1
            statements.append(_NOTHING_TO_STORE)
            begin_statement = not writing
        elif kind == _SERVICE_END:
            free += 1
            serve = True
            late_s = sample(numbers.timer, seed, _TIMER, i, 0)
        else:
            visible[i] = now
            if not settling:
                settling = True
                heappush(heap, (now + numbers.settle_after_s, _SETTLE, 0))
        if store:
            storing = True
            groups += 1
            grouped = min(parsed_count - stored_to, numbers.most_in_group)
            stored_from, stored_to = stored_to, stored_to + grouped
            statements.append(grouped)
            begin_statement = not writing
        if begin_statement:
            writing = True
            size = statements[statement_next]
            statement_next += 1
            core_jobs.append((_WRITE, 0, numbers.write_work_s + numbers.row_work_s * size))
        if serve:
            while free > 0 and served_from < offered_to:
                event = parsed[served_from]
                served_from += 1
                begun[event] = now
                free -= 1
                service_s = sample(numbers.service, seed, _SERVICE, event, 0)
                heappush(heap, (now + service_s, _SERVICE_END, event))
            if kind == _SERVICE_END:
                heappush(heap, (now + late_s, _SHOWN, i))
        awake = kind == _SENDER_DONE
        if awake:
            sender_running = False
            if sender_next == len(sender_jobs):
                if sender_left_s > 0.0:
                    sender_jobs.append((_WAKE, 0, sender_left_s))
                    sender_left_s = 0.0
                else:
                    sender_idle_since_s = now
        elif sender_running and sender_now[0] == _WAKE and sender_next < len(sender_jobs):
            sender_busy_s -= sender_ends_s - now
            sender_running, awake = False, True
        if not sender_running and sender_next < len(sender_jobs):
            job, whose, work_s = sender_jobs[sender_next]
            if not awake:
                extra_s = woken_s(numbers.sender_wake_s, numbers.cooling_s, now - sender_idle_since_s)
                sender_left_s = (1.0 - numbers.wake_first) * extra_s
                work_s += numbers.wake_first * extra_s
            sender_next += 1
            sender_now, sender_running = (job, whose), True
            sender_busy_s += work_s
            sender_ends_s = now + work_s
            heappush(heap, (sender_ends_s, _SENDER_DONE, sender_next))
        awake = kind == _CORE_DONE
        if awake:
            core_running = False
            if core_next == len(core_jobs):
                if core_left_s > 0.0:
                    core_jobs.append((_WAKE, 0, core_left_s))
                    core_left_s = 0.0
                else:
                    core_idle_since_s = now
        elif core_running and core_now[0] == _WAKE and core_next < len(core_jobs):
            busy_s -= core_ends_s - now
            core_running, awake = False, True
        if not core_running and core_next < len(core_jobs):
            job, whose, work_s = core_jobs[core_next]
            if not awake:
                wakes += 1
                extra_s = woken_s(numbers.wake_s, numbers.cooling_s, now - core_idle_since_s)
                core_left_s = (1.0 - numbers.wake_first) * extra_s
                work_s += numbers.wake_first * extra_s
            core_next += 1
            core_now, core_running = (job, whose), True
            busy_s += work_s
            core_ends_s = now + work_s
            heappush(heap, (core_ends_s, _CORE_DONE, core_next))
    totals[0], totals[1], totals[2], totals[3], totals[4], totals[5] = (
        groups, settles, busy_s, sender_busy_s, wakes, now,
    )  # fmt: skip


def run(
    stages: Stages, intended_s: _Floats, seed: int
) -> tuple[_Floats, _Floats, _Floats, _Floats, _Floats, _Floats, int, int, float, float, int, float]:
    """All of a `Passage` but the schedule."""
    numbers = _Numbers(
        stages.send_work_s,
        stages.read_work_s,
        stages.sender_wake_s,
        stages.request_work_s,
        stages.wake_s,
        stages.wake_first,
        stages.cooling_s,
        stages.write_work_s,
        stages.row_work_s,
        stages.report_work_s,
        stages.answer_work_s,
        stages.most_in_group,
        stages.settle_after_s,
        stages.workers,
        stages.serves_at_once,
        compile_distribution(stages.lateness),
        compile_distribution(stages.request_transit),
        compile_distribution(stages.persist),
        compile_distribution(stages.response_transit),
        compile_distribution(stages.service),
        compile_distribution(stages.timer),
    )
    times = tuple(np.full(intended_s.size, np.nan) for _ in range(6))
    sent, received, stored, begun, acknowledged, visible = times
    totals = np.zeros(6)
    _pass(numbers, intended_s, seed, sent, received, stored, begun, acknowledged, visible, totals)
    groups, settles, busy_s, sender_busy_s, wakes, end_s = totals.tolist()
    return (
        sent, received, stored, begun, acknowledged, visible,
        int(groups), int(settles), busy_s, sender_busy_s, int(wakes), end_s,
    )  # fmt: skip
