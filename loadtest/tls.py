"""TLS for servers and clients: certificate files in, contexts out, and one clear line for what is wrong."""

from __future__ import annotations

import ssl
from pathlib import Path

from sim.errors import InputError


class Certificate:
    """A server's certificate chain and private key, as files; TLS 1.2 at least, HTTP/1.1 only.

    Args:
        cert: PEM, the server's own certificate first. key: PEM, not encrypted.

    Attributes:
        context: for new connections.

    Raises:
        InputError: a file is missing or no PEM, the key is encrypted or belongs to another certificate.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self.context = self._load(_context())

    def reload(self) -> None:
        """Read the files again; connections that are open keep what they have.

        Raises:
            InputError: they are not good; the old ones stay in use.
        """
        self._load(_context())
        self._load(self.context)

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        for option, path in (("--tls-cert", self._cert), ("--tls-key", self._key)):
            _readable(option, path)
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except ssl.SSLError as error:
            raise InputError(
                f"--tls-cert {self._cert} and --tls-key {self._key} do not go together: {_reason(error)}"
            ) from None
        return context


def client_context(ca: Path | None) -> ssl.SSLContext:
    """What a client trusts: the certificates of `ca` (PEM), or the system's; host names are verified.

    Raises:
        InputError: `ca` cannot be read, or holds no certificate.
    """
    if ca is not None:
        _readable("--tls-ca", ca)
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except ssl.SSLError as error:
        raise InputError(f"--tls-ca {ca} holds no certificates in PEM: {_reason(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _readable(option: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise InputError(f"{option} {path} cannot be read: {error.strerror}") from None


def _no_password() -> str:
    raise InputError("--tls-key is encrypted; give one that is not, readable by its owner only")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not PEM").replace("_", " ").lower()
