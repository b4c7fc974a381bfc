"""Protects the published documents: they are OpenAPI, describe what is served and no more, and their examples
are true.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from unittest.mock import create_autospec

import jsonschema
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st

from loadtest.asgi import Application
from loadtest.contract import MalformedEvent, envelope_of
from loadtest.inbox import Inbox
from loadtest.openapi import PROVIDER, RECEIVER, served
from loadtest.openapi.parts import EVENT
from loadtest.provider import ProviderApp, WebhookPolicy
from loadtest.receiver import ReceiverApp
from loadtest.signatures import GitHub
from tests.loadtest.servers import SECRET, SIGNER, Answer, Server, running

DOCUMENTS = {"receiver": RECEIVER, "provider": PROVIDER}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    path = tmp_path_factory.mktemp("openapi") / "inbox.db"
    with running("receiver", "--inbox", f"sqlite:///{path}") as receiver, running("provider") as provider:
        yield {"receiver": receiver, "provider": provider}


def receiver_app(secret: str) -> Application:
    return ReceiverApp(create_autospec(Inbox, instance=True), [secret], 1_000_000, 1.0)


def application(role: str) -> Application:
    return receiver_app(SECRET) if role == "receiver" else ProviderApp(WebhookPolicy(), [SECRET])


@pytest.mark.parametrize("role", DOCUMENTS)
def test_the_document_is_openapi(role: str) -> None:
    schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENTS[role]))).validate()


@pytest.mark.parametrize("role", DOCUMENTS)
def test_what_is_routed_is_described_and_the_reverse(role: str) -> None:
    routed = {(path, method) for path, methods in application(role).routes.items() for method in methods}
    described = {(path, method.upper()) for path, item in DOCUMENTS[role]["paths"].items() for method in item}
    assert routed == described


@pytest.mark.parametrize("role", DOCUMENTS)
def test_it_is_published(role: str, servers: dict[str, Server]) -> None:
    answer = servers[role].request("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == json.loads(json.dumps(DOCUMENTS[role]))


def test_a_path_that_is_not_served_is_not_published() -> None:
    """A secret that is no ``whsec_`` one opens GitHub's path only."""
    paths = served(RECEIVER, receiver_app("a free string").routes)["paths"]
    assert "/webhooks/standard" not in paths
    assert "/webhooks/github" in paths


class Example(NamedTuple):
    """An example request, and the answer that the document promises."""

    role: str
    name: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes | None
    status: int
    answer: Any


def examples() -> Iterator[Example]:
    """Every named example of every operation; see `loadtest.openapi.parts` for how they pair."""
    for role, document in DOCUMENTS.items():
        for path, item in document["paths"].items():
            for method, operation in item.items():
                bodies = content_examples(operation.get("requestBody", {}))
                parameters = operation.get("parameters", [])
                names = {*bodies, *(name for p in parameters for name in p.get("examples", ()))}
                answers = {
                    name: (int(status), value)
                    for status, response in operation["responses"].items()
                    for name, value in content_examples(response).items()
                }
                assert answers.keys() <= names, f"{method} {path}: an answer to no request"
                well = min(int(status) for status in operation["responses"])
                for name in names or {"alone"}:
                    given = {
                        (p["in"], p["name"]): p["examples"][name]["value"]
                        for p in parameters
                        if name in p.get("examples", ())
                    }
                    query = "&".join(f"{key}={v}" for (place, key), v in given.items() if place == "query")
                    headers = {key: v for (place, key), v in given.items() if place == "header"}
                    body = json.dumps(bodies[name]).encode() if name in bodies else None
                    status, value = answers.get(name, (well, None))
                    yield Example(role, name, method.upper(), path, query, headers, body, status, value)


def content_examples(part: Mapping[str, Any]) -> dict[str, Any]:
    content = part.get("content", {}).get("application/json", {})
    return {name: example["value"] for name, example in content.get("examples", {}).items()}


def signed(example: Example) -> dict[str, str]:
    headers = dict(example.headers)
    if example.path == "/webhooks/standard":
        assert example.body is not None
        headers |= SIGNER.sign(json.loads(example.body)["id"], int(time.time()), example.body)
    elif example.path == "/webhooks/github":
        assert example.body is not None
        headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "1"} | headers
        headers |= GitHub([SECRET]).sign(example.body)
    return headers


def validates(schema: Mapping[str, Any], document: Mapping[str, Any], value: Any) -> None:
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def send(server: Server, example: Example) -> Answer:
    target = f"{example.path}?{example.query}" if example.query else example.path
    return server.request(example.method, target, example.body, signed(example))


EXAMPLES = list(examples())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.method} {e.path} {e.name}")
def test_every_example_is_true(example: Example, servers: dict[str, Server]) -> None:
    answer = send(servers[example.role], example)
    assert answer.status == example.status, answer.body
    if example.answer is not None:
        assert answer.json() == example.answer
    document = DOCUMENTS[example.role]
    response = document["paths"][example.path][example.method.lower()]["responses"][str(answer.status)]
    if "content" in response:
        validates(response["content"]["application/json"]["schema"], document, answer.json())
    else:
        assert answer.body == b""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.method} {e.path} {e.name}")
def test_an_example_fits_its_schema_unless_it_shows_a_refusal(example: Example) -> None:
    operation = DOCUMENTS[example.role]["paths"][example.path][example.method.lower()]
    if example.status < 400 and example.body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        validates(schema, DOCUMENTS[example.role], json.loads(example.body))


NAMES = st.text(st.characters(max_codepoint=300), max_size=210)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != int(x)),  # 1.0 is an integer there
    NAMES,
    st.integers(-(2**64), 2**64),
    st.sampled_from((-1, 0, 2**63 - 1, 2**63, "x" * 200, "x" * 201, "a\n", "\x7f", "~ ")),
    st.lists(st.integers(), max_size=2),
)
EVENTS = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(("id", "type", "index", "created_us", "data")), VALUES),
    st.fixed_dictionaries(
        {
            "id": NAMES | VALUES,
            "type": NAMES,
            "index": st.integers(-1, 2**63),
            "created_us": st.integers(0, 9),
        }
    ),
)


@given(EVENTS)
def test_the_schema_of_an_event_says_what_the_parser_does(document: Any) -> None:
    try:
        envelope_of(document)
    except MalformedEvent:
        accepted = False
    else:
        accepted = True
    assert jsonschema.Draft202012Validator(EVENT).is_valid(document) == accepted
