"""What an answer was: its status for the samples, and Locust's word for it."""

from __future__ import annotations

import time
from typing import NamedTuple

import brotli  # type: ignore[import-untyped]
from geventhttpclient.useragent import CompatRequest
from locust.contrib.fasthttp import (
    ErrorResponse,
    FastResponse,
    LocustBadStatusCode,
    LocustUserAgent,
)
from locust.env import Environment
from locust.exception import CatchResponseError

from loadtest.recorder import BROKEN, REFUSED, TIMED_OUT
from loadtest.scenarios.connection import FAILURES, Answer
from loadtest.scenarios.wire import Outgoing
from loadtest.traffic import FORGED

NOT_MODIFIED = 304


class Verdict(NamedTuple):
    """What the samples keep of an answer.

    Attributes:
        status: see `Samples.status`.
        body_bytes: of the decoded body.
        retry_after: the header of that name in a refusal, if it had one.
    """

    status: int
    body_bytes: int
    retry_after: str | None


class Judge:
    """Tells Locust of each request, by its own request event with the latency from the intended time.

    Args:
        environment: Locust's.
        name: under which its statistics show the requests.
    """

    def __init__(self, environment: Environment, name: str) -> None:
        self._request_event = environment.events.request
        self._name = name

    def __call__(self, request: Outgoing, outcome: Answer | Exception, latency_us: int, kind: int) -> Verdict:
        """Judge an answer, or the failure in its place; for `kind` see `loadtest.traffic`."""
        retry_after: str | None = None
        size = 0
        response: FastResponse
        failure: Exception | None
        if isinstance(outcome, Answer):
            response, failure, status = FastResponse(outcome), None, outcome.get_code()  # type: ignore[arg-type]
            try:
                # Decoding is for what is encoded; nearly nothing is, and this is done for every answer.
                size = len(response.content) if "content-encoding" in outcome else outcome.body_bytes
            except (*FAILURES, ValueError, brotli.error) as error:  # the body is not compressed as it says
                failure = error
            failure = failure or _failure(status, kind, request.url)
            if status in (429, 503):
                retry_after = _first(outcome.get("retry-after"))
        else:
            response = ErrorResponse(CompatRequest(request.url, request.method), outcome)
            failure, status = outcome, _status_without_answer(outcome)
        self._request_event.fire(  # type: ignore[no-untyped-call]
            request_type=request.method,
            name=self._name,
            response_time=latency_us / 1000.0,
            response_length=size,
            response=response,
            context={},
            exception=failure,
            start_time=time.time() - latency_us / 1e6,
            url=request.url,
        )
        return Verdict(status, size, retry_after)


def _failure(status: int, kind: int, url: str) -> Exception | None:
    """Locust counts a refused forgery as a success, and an acknowledged one as a failure."""
    if kind == FORGED:
        return (
            None
            if status in (401, 403)
            else CatchResponseError(f"a forged request was not refused: {status}")
        )
    if 300 <= status < 400 and status != NOT_MODIFIED:
        return CatchResponseError(f"HTTP {status}")  # an answer of this server, and not a success
    if status not in LocustUserAgent.valid_response_codes:
        return LocustBadStatusCode(url, code=status)
    return None


def _first(value: str | list[str] | None) -> str | None:
    return value[0] if isinstance(value, list) else value


def _status_without_answer(error: BaseException | None) -> int:
    if isinstance(error, ConnectionRefusedError):
        return REFUSED
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    return BROKEN
