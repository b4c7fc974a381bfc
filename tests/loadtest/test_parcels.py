"""Protects what master and workers send each other: large things arrive whole, though pieces are lost."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import hashlib, json, os
import loadtest.scenarios.parcels as parcels
from loadtest.scenarios.parcels import ASK, PIECE, PIECE_BYTES, Parcels, WorkerLost

parcels.ASK_TIMEOUT_S = 0.05


class End:
    "One end of a pair of runners; what it sends arrives at the other, unless it is the lost one."

    def __init__(self):
        self.listeners, self.lost, self.sent = {}, set(), 0

    def register_message(self, name, listener, concurrent=False):
        self.listeners[name] = listener

    def send_message(self, name, data=None, client_id=None):
        if name == PIECE:
            self.sent += 1
            if self.sent in self.lost:
                return
            if self.sent in getattr(self, "spoilt", ()):
                data = {**data, "piece": b"x" * len(data["piece"])}
        self.other.listeners[name](environment=None, msg=parcels.Message(name, data, ""))


here, there = End(), End()
here.other, there.other = there, here
giver, taker = Parcels(here), Parcels(there)
content = os.urandom(2 * PIECE_BYTES + 12345)
parcel = giver.offer("plan", content)
found = {"pieces": -(-len(content) // PIECE_BYTES)}

found["whole"] = taker.fetch(parcel) == content
found["sent"] = here.sent

here.lost = {5, 6}
found["whole though two were lost"] = taker.fetch(parcel) == content
found["sent again"] = here.sent - found["sent"]

here.spoilt = {here.sent + 2}
try:
    taker.fetch(parcel)
except WorkerLost as error:
    found["spoilt"] = str(error)

here.lost = set(range(here.sent + 2, here.sent + 100))
try:
    taker.fetch(parcel)
except WorkerLost as error:
    found["silent"] = str(error)
found["empty"] = taker.fetch(giver.offer("nothing", b"")) == b""
print(json.dumps(found))
"""


def test_pieces_are_asked_for_again_and_what_is_spoilt_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["whole"]
    assert found["pieces"] == found["sent"] == 3
    assert found["whole though two were lost"]
    assert found["sent again"] == 5
    assert "bytes that are not those announced" in found["spoilt"]
    assert "plan stopped coming after 1000000 bytes" in found["silent"]
    assert found["empty"]
