"""Questions to running servers, over HTTP and without a proxy: what they count, whether they answer."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from sim.errors import InputError

STATUS_TIMEOUT_S = 15.0
"""A busy server answers late; one that has ended refuses at once."""

REACH_TIMEOUT_S = 2.0

# Our servers are on this machine: a proxy from the environment would be asked for its own loopback.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def opener(ca: str | None) -> urllib.request.OpenerDirector:
    """What opens URLs without a proxy, trusting certificates as `Fleet` says."""
    if ca is None:
        return _direct
    context = ssl.create_default_context(cafile=ca)
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )


def get_json(
    url: str, data: bytes | None = None, timeout_s: float | None = None, ca: str | None = None
) -> Any:
    """GET, or POST `data`, and parse the JSON answer; `ca` as in `Fleet`.

    Raises:
        OSError: no connection, no answer in time, or an HTTP error.
        ValueError: the answer is not JSON.
    """
    headers = {"content-type": "application/json"} if data else {}
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - hosts are checked first
    with opener(ca).open(request, timeout=timeout_s or STATUS_TIMEOUT_S) as response:
        body = response.read()
    return json.loads(body) if body else {}


def event_loop_at(host: str, ca: str | None = None) -> dict[str, str]:
    """Of a reference server at a base URL, its role and the event loop it says it runs on; else nothing."""
    try:
        match get_json(f"{host.rstrip('/')}/status", timeout_s=REACH_TIMEOUT_S, ca=ca):
            case {"role": "receiver" | "provider" as role, "loop": str(loop)}:
                return {role: loop}
    except (OSError, ValueError):
        pass  # somebody else's server need not have such a page
    return {}


def require_reachable(host: str, ca: str | None = None) -> None:
    """Check that an HTTP server answers at a base URL, whatever it answers.

    Raises:
        InputError: not an http(s) URL, or nothing answers there.
    """
    if not host.startswith(("http://", "https://")):
        raise InputError(f"--host {host!r}: expected a URL such as http://127.0.0.1:8080")
    try:
        with opener(ca).open(host, timeout=REACH_TIMEOUT_S):
            pass
    except urllib.error.HTTPError:
        return  # it answers; that is all we ask here
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise InputError(
                f"--host {host}: its certificate is not trusted ({reason.verify_message}); "
                "--ca FILE names certificates that vouch for it"
            ) from None
        raise InputError(f"--host {host}: no server answers there ({reason}); is it running?") from None
