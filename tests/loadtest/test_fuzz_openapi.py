"""Protects the servers from whatever their own documents allow a client to think of.

Schemathesis reads what is published and generates requests that fit it and requests that do not: the first
must be served, the second refused, and every answer must be one that the document describes.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.schemas import BaseSchema

from loadtest.openapi import PROVIDER, RECEIVER
from tests.loadtest.conversations import Watched, watched
from tests.loadtest.doors import provider_arguments, receiver_arguments, signed
from tests.loadtest.servers import event

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WHOLE = (
    "index",
    "created_us",
    "since_us",
    "until_us",
    "max_in_flight",
    "max_redirects",
    "notification_bytes",
)

FEW = settings(max_examples=15, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=500, suppress_health_check=list(HealthCheck))


MAY_REFUSE = {
    "twilio": ["400"],  # either a token in a header or an id in the form: JSON Schema sees one of the two
    "cloudeventsGreeting": ["403"],  # an origin that we do not know
    "mandrill": ["400"],  # what is written inside a string of the form
    "one": ["404"],  # an id that nobody published
    "subscribe": ["400", "409"],  # a preset that is none, a secret of another format; too many
    "change": ["400"],
    "rotate": ["400"],  # more secrets than may be in use, a format that has no room for two
    "redeliver": ["404", "409"],  # an event that is not remembered, a subscription that is off
    "websubGreeting": ["400", "404"],  # a topic we did not ask for; topic and challenge are needed at times
}
"""What the document says in words: a request that fits may still be refused so."""


def schema_of(document: Mapping[str, Any], *, signed: bool = False, covered: bool = True) -> BaseSchema:
    """The document as Schemathesis knows it; when the tests sign, it generates no signatures itself.

    With `covered` every keyword of the schemas is tried systematically, before anything is drawn at random.

    A cursor that only fits the pattern is one of another run, which is gone.
    """
    accepted = ["2xx", "304", "410", "503", *(() if signed else ("401",))]
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {"with-security-parameters": not signed},
            "phases": {"coverage": {"enabled": covered}},
            "checks": {
                "positive_data_acceptance": {"expected-statuses": accepted},
                "negative_data_rejection": {"expected-statuses": ["400", "401", "403", "404", "410", "415"]},
            },
            "operations": [
                {
                    "include-operation-id": operation,
                    "checks": {"positive_data_acceptance": {"expected-statuses": [*accepted, *more]}},
                }
                for operation, more in MAY_REFUSE.items()
            ]
            + [{"include-operation-id": "stream", "request-timeout": 0.5, "max-stream-events": 1}],
        }
    )
    return schemathesis.openapi.from_dict(json.loads(json.dumps(document)), config=config)


UNSIGNED_SCHEMA = schema_of(RECEIVER, covered=False)  # what is unsigned is not looked at
SIGNED_SCHEMA = schema_of(RECEIVER, signed=True)
PROVIDER_SCHEMA = schema_of(PROVIDER)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(*receiver_arguments(tmp_path_factory.mktemp("schemathesis"))) as server:
        yield server


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    arguments = provider_arguments(tmp_path_factory.mktemp("schemathesis"))
    with watched(*arguments, "--heartbeat-s", "0.05", "--stall-s", "1") as server:
        assert server.request("POST", "/events", event("fuzz", 0)[1]).status == 202  # else streams are silent
        yield server


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port where nobody listens, and nobody else begins to."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


class Signed(requests.auth.AuthBase):
    """Signs what is about to be sent, so that it gets past the door.

    Headers that are wrong on purpose stay as they are; else the id and the time are made to fit.
    """

    def __init__(self, case: schemathesis.Case) -> None:
        self._spoiled = case.meta is not None and case.meta.is_negative_at("header")

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        target = request.path_url
        door = signed(target, body.encode() if isinstance(body, str) else body)
        for name, value in door.headers.items():
            if not (self._spoiled and name.endswith(("-id", "-timestamp"))):
                request.headers[name] = value
        if door.query:
            request.prepare_url(f"{request.url}{'&' if '?' in target else '?'}{door.query}", None)
        return request


def written_with_a_fraction(body: Any) -> bool:
    """Whether an event has a number like 5.0, an integer to JSON Schema and none to the servers.

    Python's JSON tells 5 and 5.0 apart, and so does every reader that must not lose a digit of 2^63 - 1.
    """
    events = body if isinstance(body, list) else [body]
    return any(
        isinstance(event, dict) and any(isinstance(event.get(key), float) for key in WHOLE)
        for event in events
    )


def mislabelled(case: schemathesis.Case) -> bool:
    """Whether a body meant to be wrong is right: Schemathesis spoils one branch of an anyOf at a time."""
    spoiled = case.meta is not None and case.meta.is_negative_at("body")
    if not spoiled or case.media_type != "application/json" or isinstance(case.body, bytes):
        return False
    document = case.operation.schema.raw_schema
    operation = document["paths"][case.operation.path][case.operation.method.lower()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return jsonschema_rs.is_valid(
        {"$schema": DIALECT, **schema, "components": document["components"]}, case.body
    )


def exchange(case: schemathesis.Case, server: Watched, **options: Any) -> Response:
    """Send it and check the answer; every unhandled exception in the server's log is this case's."""
    assume(not written_with_a_fraction(case.body) and not mislabelled(case))
    try:
        return case.call_and_validate(base_url=server.url, **options)
    finally:
        assert server.failures() == [], case.as_curl_command()


def float_or_zero(text: object) -> float:
    return float(text) if isinstance(text, str) and re.fullmatch(r"[0-9.]*[0-9]", text) else 0.0


def tame(case: schemathesis.Case, server: Watched, port: int) -> None:
    """Wait for moments only, send nothing to somebody else's server on this machine, and mean a subscription
    that there is.
    """
    # Schemathesis 4.32 takes this for a fitting header in cases that vary the query.
    assume(case.headers.get("Last-Event-ID") != "0")
    if float_or_zero(case.query.get("wait")) > 0.05:
        case.query["wait"] = "0.05"
    if isinstance(case.body, dict) and isinstance(case.body.get("url"), str):
        case.body["url"] = re.sub(
            r"^(https?://[^:/?#]+|https?://\[::1\])(:[0-9]*)?", rf"\1:{port}", case.body["url"]
        )
    if "id" in case.path_parameters and not (case.meta and case.meta.is_negative_at("path")):
        case.path_parameters["id"] = a_subscription(server, port)


def a_subscription(server: Watched, port: int) -> str:
    """The id of the newest; of a new one when there is none, or when there are so many that no more fit."""
    made = server.request("GET", "/subscriptions").json()["subscriptions"]
    if len(made) > 90:
        for subscription in made:
            server.request("DELETE", f"/subscriptions/{subscription['id']}")
    elif made:
        return str(made[-1]["id"])
    body = json.dumps({"url": f"http://127.0.0.1:{port}/"}).encode()
    return str(server.request("POST", "/subscriptions", body).json()["id"])


@UNSIGNED_SCHEMA.parametrize()
@FEW
def test_the_receiver_unsigned(case: schemathesis.Case, receiver: Watched) -> None:
    exchange(case, receiver)


@SIGNED_SCHEMA.parametrize()
@FEW
def test_the_receiver_signed(case: schemathesis.Case, receiver: Watched) -> None:
    exchange(case, receiver, auth=Signed(case))


@PROVIDER_SCHEMA.parametrize()
@FEW
def test_the_provider(case: schemathesis.Case, provider: Watched, closed_port: int) -> None:
    tame(case, provider, closed_port)
    exchange(case, provider)


@pytest.mark.slow
@SIGNED_SCHEMA.parametrize()
@MANY
def test_the_receiver_signed_at_length(case: schemathesis.Case, receiver: Watched) -> None:
    exchange(case, receiver, auth=Signed(case))


@pytest.mark.slow
@PROVIDER_SCHEMA.parametrize()
@MANY
def test_the_provider_at_length(case: schemathesis.Case, provider: Watched, closed_port: int) -> None:
    tame(case, provider, closed_port)
    exchange(case, provider)
