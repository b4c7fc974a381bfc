"""``python -m loadtest.benchmark_common INBOX``: the webhook receiver that tutorials show.

A FastAPI endpoint verifies with the standardwebhooks library and commits each event by itself, deduplicated
by its id. It keeps the same promise as the reference receiver (WAL with synchronous=FULL: on the disk before
the answer), so the two differ in how they keep it. Needs the extra ``bench``.
"""

import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

from loadtest import hosting
from loadtest.benchmark_noop import PATH
from loadtest.contract import SECRET_VARIABLE


def main(inbox: str) -> None:
    """Serve until SIGTERM, on uvicorn, httptools and uvloop as ours; the ready line comes as from ours."""
    listener = hosting.listen("127.0.0.1", 0)
    database = sqlite3.connect(inbox)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE inbox (event_id TEXT PRIMARY KEY, payload BLOB NOT NULL)")
    webhook = Webhook(os.environ[SECRET_VARIABLE])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ready = {
            "ready": True,
            "role": "common",
            "port": listener.getsockname()[1],
            "pid": os.getpid(),
            "loop": hosting.running_loop_name(),
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post(PATH)
    async def receive(request: Request) -> Response:
        body = await request.body()
        try:
            event = webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            return Response(status_code=401)
        with database:
            database.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?)", (event["id"], body))
        return Response(status_code=204)

    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1])
