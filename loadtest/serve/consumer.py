"""``serve consumer``: its options and what they build."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loadtest.serve.options import inbox_options, open_inbox, read_json, server_options

if TYPE_CHECKING:
    from loadtest.asgi import Application
    from loadtest.brokers.ends import Broker


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("consumer", help="consume a broker's queue, stream or topic")
    server_options(role, _build, drain_s=30)
    inbox_options(role)
    broker_options(role, "--source", required=True, text="where from")
    role.set_defaults(queue_limit=1)  # what a broker delivers is never refused


def broker_options(role: argparse.ArgumentParser, option: str, *, required: bool, text: str) -> None:
    """Which broker, and what of it."""
    role.add_argument(
        option,
        dest="broker",
        required=required,
        metavar="URL",
        help=f"{text}: amqp://…, redis://… or kafka://HOST:PORT; rabbitmq, redis or kafka: as the "
        "environment says (HOOKBENCH_RABBITMQ, HOOKBENCH_REDIS, HOOKBENCH_KAFKA), which no other user sees",
    )
    role.add_argument(
        "--broker-name", default="hookbench", metavar="NAME", help="of the queue, stream or topic"
    )
    role.add_argument(
        "--broker-json", type=Path, metavar="FILE", help="its settings: a broker_push or broker_pull table"
    )


def broker_of(options: argparse.Namespace) -> Broker:
    """The broker that the options describe; nothing is connected yet.

    Raises:
        InputError: there is none such, or its client library is not installed.
    """
    from loadtest.brokers.address import address_of  # noqa: PLC0415
    from loadtest.brokers.ends import open_broker, settings_of  # noqa: PLC0415

    address = address_of(options.broker)
    table = {} if options.broker_json is None else read_json(options.broker_json)
    return open_broker(address, options.broker_name, settings_of(address.kind, table))


def _build(options: argparse.Namespace) -> Application:
    from loadtest.brokers.settings import PushSettings  # noqa: PLC0415
    from loadtest.consumers.broker import BrokerConsumer, BrokerConsumerApp  # noqa: PLC0415

    broker = broker_of(options)
    inbox = open_inbox(options)
    via: Literal["queue", "log"] = "queue" if isinstance(broker.settings, PushSettings) else "log"
    consumer = BrokerConsumer(broker.intake(), inbox, via, broker.settings.reconnect)
    return BrokerConsumerApp(consumer, inbox, broker.address.how_to_start, options.drain_s)
