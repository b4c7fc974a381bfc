"""``python -m loadtest.benchmark_noop``: answers 204 without looking; what the server itself can do."""

from __future__ import annotations

from loadtest import hosting
from loadtest.asgi import Application, Receive, Scope, Send, reply_no_content

PATH = "/webhooks/standard"


class NoopApp(Application):
    """Answers 204 to every POST without looking at it."""

    role = "noop"

    def __init__(self) -> None:
        super().__init__()
        self.routes[PATH] = {"POST": self._post}

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply_no_content(send)


if __name__ == "__main__":
    hosting.serve(NoopApp(), hosting.listen("127.0.0.1", 0), "uvloop", 1.0)
