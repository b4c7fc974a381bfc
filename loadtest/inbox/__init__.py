"""The durable inbox every arm ends in: stored before acknowledged, deduplicated, visible once."""

from loadtest.inbox.inbox import Arrival, Inbox, InboxFull, InboxUnavailable
from loadtest.inbox.ledger import LedgerRow, read_ledger
from loadtest.inbox.storage import MAX_SUBMISSION, inbox_path
from loadtest.inbox.worker import ServiceTimes, Worker

__all__ = [
    "MAX_SUBMISSION",
    "Arrival",
    "Inbox",
    "InboxFull",
    "InboxUnavailable",
    "LedgerRow",
    "ServiceTimes",
    "Worker",
    "inbox_path",
    "read_ledger",
]
