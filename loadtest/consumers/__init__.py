"""The other ways in: consumers that fetch events themselves and store them in the same inbox."""

from loadtest.consumers.poller import Poller, PollerApp

__all__ = ["Poller", "PollerApp"]
