"""``python -m loadtest.validate.receiver receiver``: the reference receiver, whose answers are lost to order.

It takes the options of ``serve receiver`` and a table of lost answers: bytes, `ATTEMPTS` for each event by
its index, 1 where the answer to that attempt is not to arrive. The connection is cut instead, after the
event was stored. So the harness can lose exactly the answers that the model loses.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.asgi import Application, Handler, Receive, Scope, Send, cut_off
from loadtest.serve import main as serve

PATH = "/webhooks/standard"
ATTEMPTS = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code of ``loadtest.serve``."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.validate.receiver receiver", allow_abbrev=False)
    parser.add_argument("--lost-answers", type=Path, required=True, help="bytes, by event and attempt")
    options, rest = parser.parse_known_args(argv)
    lost = options.lost_answers.read_bytes()

    def losing(app: Application) -> Application:
        app.routes[PATH]["POST"] = _losing(app.routes[PATH]["POST"], lost)
        return app

    return serve(rest, wrap=losing)


def _losing(handler: Handler, lost: bytes) -> Handler:
    attempts: Counter[int] = Counter()

    async def post(scope: Scope, receive: Receive, send: Send) -> None:
        index = int(dict(scope["headers"])[b"webhook-id"].rpartition(b"_")[2])
        attempt, attempts[index] = attempts[index], attempts[index] + 1
        place = index * ATTEMPTS + attempt
        if attempt < ATTEMPTS and place < len(lost) and lost[place]:
            await handler(scope, receive, _nobody)
            await cut_off(scope, receive)
        else:
            await handler(scope, receive, send)

    return post


async def _nobody(_message: MutableMapping[str, Any]) -> None:
    """Where an answer goes that is lost."""


if __name__ == "__main__":
    sys.exit(main())
