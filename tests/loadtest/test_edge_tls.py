"""Protects TLS: own certificates on both sides, verified host names, clear words for what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from loadtest.tls import Certificate, client_context
from sim.errors import InputError
from tests.loadtest.raw import Raw, connected, get, post
from tests.loadtest.servers import event, eventually, refused, running

APP = "tests.loadtest.edge_app"


class Files:
    """A certificate authority and a server's certificate, on disk."""

    def __init__(self, folder: Path, *names: str) -> None:
        authority = trustme.CA()
        server = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
        self.ca, self.cert, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(self.ca)
        server.private_key_pem.write_to_path(self.key)
        self.cert.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))

    @property
    def options(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))

    @property
    def client(self) -> ssl.SSLContext:
        return client_context(self.ca)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@LOOPS
def test_a_server_speaks_tls(files: Files, loop: str) -> None:
    with running("--loop", loop, *files.options, module=APP) as server:
        assert server.ready["scheme"] == "https"
        with connected(server.port, tls=files.client) as raw:
            for _ in range(3):
                assert raw.send(get()).answer().status == 200
            large = raw.send(get("/large/3000000")).answer()
            assert len(large.body) == 3_000_000
            assert isinstance(raw.socket, ssl.SSLSocket)
            assert raw.socket.version() == "TLSv1.3"
        assert server.stop()[0] == 0


@LOOPS
def test_old_versions_and_plain_http_are_turned_away(files: Files, loop: str) -> None:
    with running("--loop", loop, *files.options, module=APP) as server:
        old = files.client
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Raw(server.port, tls=old)
        with connected(server.port) as plain:
            plain.send(get())
            assert b"HTTP/" not in plain.socket.recv(100)  # a TLS alert at most
        with connected(server.port, tls=files.client) as raw:
            status = raw.send(get("/status")).answer().json()
        assert status["ended"]["handshake"] == 2
        assert status["http_connections_open"] == 1
        _, _, err = server.stop()
        assert err.startswith("stopped")  # and no traceback for a client's mistake


@LOOPS
def test_a_handshake_has_a_time_and_takes_a_place(files: Files, loop: str) -> None:
    arguments = (*files.options, "--max-connections", "3", "--header-timeout-s", "0.5", "--loop", loop)
    with (
        running(*arguments, module=APP) as server,
        connected(server.port) as first,
        connected(server.port) as second,
        connected(server.port) as third,
        connected(server.port, tls=files.client) as fourth,  # in place of the longest silent one
    ):
        assert fourth.send(get()).answer().status == 200
        for silent in (first, second, third):
            assert silent.closed()
        eventually(lambda: fourth.send(get("/status")).answer().json()["http_connections_open"] == 1)


@LOOPS
def test_failed_handshakes_leave_no_open_file(files: Files, loop: str) -> None:
    with running("--loop", loop, *files.options, module=APP) as server:
        open_files = Path(f"/proc/{server.process.pid}/fd")

        def fail(times: int) -> None:
            for number in range(times):
                with socket.create_connection(("127.0.0.1", server.port)) as sock:
                    sock.sendall(
                        (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(50), b"\x16\x03\x01")[number % 4]
                    )

        fail(4)
        eventually(lambda: ended_handshakes(server.port, files) == 4)
        before = len(list(open_files.iterdir()))
        fail(100)
        eventually(lambda: ended_handshakes(server.port, files) == 104)
        eventually(lambda: len(list(open_files.iterdir())) <= before)


def ended_handshakes(port: int, files: Files) -> int:
    with connected(port, tls=files.client) as raw:
        return int(raw.send(get("/status")).answer().json()["ended"].get("handshake", 0))


def test_limits_hold_behind_tls(files: Files) -> None:
    with (
        running(*files.options, "--header-timeout-s", "0.5", module=APP) as server,
        connected(server.port, tls=files.client) as raw,
    ):
        raw.send(b"GET /health HTTP/1.1\r\nhost: x\r\n")
        assert raw.answer().status == 408
        assert raw.closed()


def test_a_renewed_certificate_is_read_on_sighup(files: Files, tmp_path: Path) -> None:
    with running(*files.options, "--log-level", "info", module=APP) as server:
        old = files.client
        with connected(server.port, tls=old) as kept:
            kept.send(get()).answer()
            files.key.write_text("no key")
            server.process.send_signal(signal.SIGHUP)
            with connected(server.port, tls=old) as raw:  # a bad one changes nothing
                assert raw.send(get()).answer().status == 200
            renewed = Files(tmp_path)
            server.process.send_signal(signal.SIGHUP)

            def with_the_new() -> bool:
                try:
                    with connected(server.port, tls=renewed.client) as raw:
                        return raw.send(get()).answer().status == 200
                except ssl.SSLCertVerificationError:
                    return False

            eventually(with_the_new)
            assert kept.send(get()).answer().status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            Raw(server.port, tls=old)
        _, _, err = server.stop()
        assert "the certificate is not reloaded" in err
        assert "no key" not in err


def test_what_is_wrong_with_the_files_is_said_in_one_line(files: Files, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Files(tmp_path / "other")
    cert, key = str(files.cert), str(files.key)
    receiver = ("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db")
    assert "--tls-key is missing" in refused(*receiver, "--tls-cert", cert)
    assert "--tls-cert is missing" in refused(*receiver, "--tls-key", key)
    assert "No such file" in refused(*receiver, "--tls-cert", cert, "--tls-key", str(tmp_path / "none"))
    assert "key values mismatch" in refused(*receiver, "--tls-cert", cert, "--tls-key", str(other.key))
    assert "not pem" in refused(*receiver, "--tls-cert", str(_file(tmp_path)), "--tls-key", key)


def _file(folder: Path) -> Path:
    path = folder / "not.pem"
    path.write_text("nothing of the kind")
    return path


def test_an_encrypted_key_is_refused_not_asked_about(files: Files, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s

    key = s.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"the password"))
    )
    err = refused("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", *files.options)
    assert "is encrypted" in err


def test_the_poller_polls_over_tls_whom_it_trusts(files: Files, tmp_path: Path) -> None:
    inbox = f"sqlite:///{tmp_path}/inbox.db"
    with running("provider", *files.options) as provider:
        with connected(provider.port, tls=files.client) as raw:
            body = event("tls", 0)[1]
            raw.send(b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert raw.answer("POST").status == 202
        source = f"https://localhost:{provider.port}"
        poll = ("poller", "--inbox", inbox, "--interval-s", "0.1", "--source")
        with running(*poll, source, "--tls-ca", str(files.ca)) as poller:
            eventually(lambda: poller.status()["visible"] == 1)
        with running(*poll, source) as poller:
            eventually(lambda: poller.status()["errors"] > 1)
            assert "CERTIFICATE_VERIFY_FAILED" in poller.stop()[2]


def test_the_poller_verifies_the_host_name(tmp_path: Path) -> None:
    files = Files(tmp_path, "elsewhere.example")
    with running("provider", *files.options) as provider:
        source = f"https://localhost:{provider.port}"
        with running(
            *("poller", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--interval-s", "0.1"),
            *("--source", source, "--tls-ca", str(files.ca)),
        ) as poller:
            eventually(lambda: poller.status()["errors"] > 1)
            assert poller.status()["events"] == 0
            assert "Hostname mismatch" in poller.stop()[2]


def test_what_is_wrong_with_a_source_is_said_in_one_line(files: Files, tmp_path: Path) -> None:
    poll = ("poller", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--source")
    assert "is for an https:// source" in refused(*poll, "http://localhost:1", "--tls-ca", str(files.ca))
    assert "not on this machine" in refused(*poll, "https://example.org")
    assert "http:// or https://" in refused(*poll, "ftp://localhost")
    assert "cannot be read" in refused(*poll, "https://localhost:1", "--tls-ca", str(tmp_path / "none"))
    assert "no certificates" in refused(*poll, "https://localhost:1", "--tls-ca", str(_file(tmp_path)))


def test_a_webhook_reaches_a_receiver_behind_tls(files: Files, tmp_path: Path) -> None:
    with (
        running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", *files.options) as receiver,
        connected(receiver.port, tls=files.client) as raw,
    ):
        assert raw.send(post(*event("tls", 1))).answer("POST").status == 204


def test_a_server_offers_nothing_older_than_tls_1_2(files: Files) -> None:
    assert Certificate(files.cert, files.key).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_context_trusts_only_what_it_was_given(files: Files) -> None:
    context = client_context(files.ca)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1
    with pytest.raises(InputError, match="cannot be read"):
        client_context(files.ca.parent / "none")
