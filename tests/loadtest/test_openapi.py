"""Protects the published documents: they are OpenAPI, describe what is served and no more, and their examples
are true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from unittest.mock import create_autospec
from urllib.parse import urlencode

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st

from loadtest.asgi import Application
from loadtest.contract import MalformedEvent, envelope_of
from loadtest.inbox import Inbox
from loadtest.openapi import PROVIDER, RECEIVER, served
from loadtest.openapi.parts import EVENT
from loadtest.provider import Defaults, Dispatcher, Outbound, ProviderApp
from loadtest.receiver import SOURCES, ReceiverApp, Settings, open_sources
from tests.loadtest.doors import PUBLIC_URL, receiver_arguments, signed
from tests.loadtest.servers import SECRET, Answer, Server, running

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS = {"receiver": RECEIVER, "provider": PROVIDER}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    arguments = receiver_arguments(tmp_path_factory.mktemp("openapi"))
    with running(*arguments) as receiver, running("provider") as provider:
        yield {"receiver": receiver, "provider": provider}


def receiver_app(*sources: str) -> Application:
    secrets = {source: [SECRET] for source in sources}
    settings = Settings(public_url=PUBLIC_URL)
    return ReceiverApp(create_autospec(Inbox, instance=True), open_sources(secrets, settings))


def application(role: str) -> Application:
    return receiver_app(*SOURCES) if role == "receiver" else ProviderApp(Dispatcher(Defaults(), Outbound()))


@pytest.mark.parametrize("role", DOCUMENTS)
def test_the_document_is_openapi(role: str) -> None:
    schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENTS[role]))).validate()


@pytest.mark.parametrize("role", DOCUMENTS)
def test_what_is_routed_is_described_and_the_reverse(role: str) -> None:
    routed = {(path, method) for path, methods in application(role).routes.items() for method in methods}
    described = {(path, method.upper()) for path, item in DOCUMENTS[role]["paths"].items() for method in item}
    assert routed | {("/metrics", "GET")} == described  # which the server around every application adds


@pytest.mark.parametrize("role", DOCUMENTS)
def test_it_is_published(role: str, servers: dict[str, Server]) -> None:
    answer = servers[role].request("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == json.loads(json.dumps(DOCUMENTS[role]))


def test_a_path_that_is_not_served_is_not_published() -> None:
    """A source without a secret is not open, and not described."""
    paths = served(RECEIVER, receiver_app("github").routes)["paths"]
    assert [path for path in paths if path.startswith("/webhooks/")] == ["/webhooks/github"]


class Example(NamedTuple):
    """An example request, and the answer that the document promises."""

    role: str
    name: str
    method: str
    path: str
    target: str
    headers: Mapping[str, str]
    media_type: str
    body: Any
    status: int
    answer: Any

    @property
    def operation(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = DOCUMENTS[self.role]["paths"][self.path][self.method.lower()]
        return found

    @property
    def encoded(self) -> bytes:
        if self.body is None:
            return b""
        form = self.media_type == "application/x-www-form-urlencoded"
        return urlencode(self.body).encode() if form else json.dumps(self.body).encode()


def examples() -> Iterator[Example]:
    """Every named example of every operation; see `loadtest.openapi.parts` for how they pair."""
    for role, document in DOCUMENTS.items():
        for path, item in document["paths"].items():
            for method, operation in item.items():
                for name, (media_type, body) in requests_of(operation).items():
                    given = {
                        (p["in"], p["name"]): str(p["examples"][name]["value"])
                        for p in operation.get("parameters", ())
                        if name in p.get("examples", ())
                    }
                    query = urlencode({key: v for (place, key), v in given.items() if place == "query"})
                    target = path
                    for (place, key), value in given.items():
                        target = target.replace(f"{{{key}}}", value) if place == "path" else target
                    headers = {key: value for (place, key), value in given.items() if place == "header"}
                    status, answer = answers_of(operation).get(name, (usual(operation), None))
                    yield Example(
                        *(role, name, method.upper(), path, f"{target}?{query}".rstrip("?"), headers),
                        *(media_type, body, status, answer),
                    )


def requests_of(operation: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """The media type and body of each request by the example's name; one without examples is sent bare."""
    named = {name: ("", None) for p in operation.get("parameters", ()) for name in p.get("examples", ())}
    return named | content_examples(operation.get("requestBody", {})) or {"bare": ("", None)}


def answers_of(operation: Mapping[str, Any]) -> dict[str, tuple[int, Any]]:
    return {
        name: (int(status), value)
        for status, response in operation["responses"].items()
        for name, (_, value) in content_examples(response).items()
    }


def usual(operation: Mapping[str, Any]) -> int:
    """The status of a request of which no response tells: what says "stored", else the first 2xx."""
    return 204 if "204" in operation["responses"] else min(int(s) for s in operation["responses"])


def content_examples(part: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    return {
        name: (media_type, example["value"])
        for media_type, content in part.get("content", {}).items()
        for name, example in content.get("examples", {}).items()
    }


def validates(schema: Mapping[str, Any], document: Mapping[str, Any], value: Any) -> None:
    jsonschema_rs.validate({"$schema": DIALECT, **schema, "components": document["components"]}, value)


def subscription(server: Server) -> str:
    """A new subscription to nobody: port 9 is for discarding (RFC 863)."""
    made = server.request("POST", "/subscriptions", b'{"url": "http://127.0.0.1:9/"}')
    name: str = made.json()["id"]
    return name


def send(server: Server, example: Example) -> Answer:
    target, headers = example.target, dict(example.headers)
    if "{id}" in target:
        target = target.replace("{id}", subscription(server))
    if example.media_type:
        headers["content-type"] = example.media_type
    if example.operation.get("security"):
        # What is no event of ours is signed under the id that the example's header gives, if any.
        id_header = next((value for name, value in headers.items() if name.endswith("-id")), None)
        door = signed(target, example.encoded, id_header)
        headers |= door.headers
        target += f"?{door.query}" if door.query else ""
    return server.request(example.method, target, example.encoded or None, headers)


EXAMPLES = list(examples())


def test_every_answer_with_an_example_has_a_request() -> None:
    for document in DOCUMENTS.values():
        for path, item in document["paths"].items():
            for method, operation in item.items():
                unasked = answers_of(operation).keys() - requests_of(operation).keys()
                assert not unasked, f"{method} {path}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.method} {e.path} {e.name}")
def test_every_example_is_true(example: Example, servers: dict[str, Server]) -> None:
    answer = send(servers[example.role], example)
    assert answer.status == example.status, answer.body
    response = example.operation["responses"][str(answer.status)]
    (media_type, content), *_ = *response.get("content", {}).items(), ("", {})
    assert answer.headers.get("content-type", "").partition(";")[0] == media_type or not answer.body
    said = answer.json() if media_type == "application/json" else answer.body.decode()
    if example.answer is not None:
        assert said == example.answer
    if content and example.method != "HEAD":
        validates(content["schema"], DOCUMENTS[example.role], said)
    elif not content:
        assert answer.body == b""
    for name, header in response.get("headers", {}).items():
        if name.lower() in {given.lower() for given in answer.headers}:
            value = next(v for n, v in answer.headers.items() if n.lower() == name.lower())
            typed: Any = int(value) if header["schema"].get("type") == "integer" else value
            validates(header["schema"], DOCUMENTS[example.role], typed)
        else:
            assert not header.get("required"), name


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.method} {e.path} {e.name}")
def test_an_example_fits_its_schema_unless_it_shows_a_refusal(example: Example) -> None:
    if example.status < 400 and example.body is not None:
        schema = example.operation["requestBody"]["content"][example.media_type]["schema"]
        validates(schema, DOCUMENTS[example.role], example.body)


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
    assert jsonschema_rs.is_valid(EVENT, document) == accepted  # it reads patterns as ECMA-262 does
