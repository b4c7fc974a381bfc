"""The reference webhook receiver."""

from loadtest.receiver.app import ReceiverApp
from loadtest.receiver.sources import SOURCES, Settings, Source, open_sources

__all__ = ["SOURCES", "ReceiverApp", "Settings", "Source", "open_sources"]
