"""The durable inbox every arm ends in: stored before acknowledged, deduplicated, visible once."""

from loadtest.inbox.completing import CannotComplete, Completer
from loadtest.inbox.handler import Handling, load_handler
from loadtest.inbox.inbox import Arrival, Inbox, InboxFull, InboxUnavailable, Retention
from loadtest.inbox.ledger import read_ledger
from loadtest.inbox.storage import MAX_SUBMISSION, LedgerRow, Storage, StorageError, StoredEvent, open_storage
from loadtest.inbox.worker import ServiceTimes, TimedWorker

__all__ = [
    "MAX_SUBMISSION",
    "Arrival",
    "CannotComplete",
    "Completer",
    "Handling",
    "Inbox",
    "InboxFull",
    "InboxUnavailable",
    "LedgerRow",
    "Retention",
    "ServiceTimes",
    "Storage",
    "StorageError",
    "StoredEvent",
    "TimedWorker",
    "load_handler",
    "open_storage",
    "read_ledger",
]
