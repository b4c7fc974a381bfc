"""The other ways in: consumers that fetch events themselves and store them in the same inbox."""

from loadtest.background import Background, Consumer
from loadtest.consumers.app import ConsumerApp
from loadtest.consumers.fetcher import Fetcher
from loadtest.consumers.pages import PageReader
from loadtest.consumers.poller import Poller
from loadtest.consumers.rhythm import Adaptive, AdaptiveRule, FixedRate, Holding, Origin
from loadtest.consumers.stream import StreamClient, Timing

__all__ = [
    "Adaptive",
    "AdaptiveRule",
    "Background",
    "Consumer",
    "ConsumerApp",
    "Fetcher",
    "FixedRate",
    "Holding",
    "Origin",
    "PageReader",
    "Poller",
    "StreamClient",
    "Timing",
]
