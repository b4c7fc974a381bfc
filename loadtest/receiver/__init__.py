"""The reference webhook receiver."""

from loadtest.receiver.app import ReceiverApp

__all__ = ["ReceiverApp"]
