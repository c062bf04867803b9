"""What both ends of a link do with a broker: Celery's application, and one confirmed connection to publish over."""

from __future__ import annotations

import contextlib
import ssl
import threading
from typing import Any

import kombu
import pika
from amqp.exceptions import AMQPError, ChannelError, MessageNacked
from celery import Celery
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.asynchronous import set_event_loop
from kombu.exceptions import KombuError

from luhyaapi.errors import Refused, Unavailable
from luhyaapi.transfer.base import Trust

TASK = "educloud.execute"
QUORUM = {"x-queue-type": "quorum"}
CONFIRM_S = 5.0
_CONNECT_S = 10.0
"""A broker under load takes seconds to greet: who gives up before never gets in, however often it knocks."""
ANSWER_S = 10.0
"""A broker that stands still, and whose kernel goes on, must hold up nobody for ever."""
DOWN = (OSError, AMQPError, KombuError, pika.exceptions.AMQPError, TimeoutError)


class QuietConsumer(CeleryConsumer):  # type: ignore[misc]
    """Celery's consumer without what a child may not and need not do at the broker."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """Delayed delivery would declare exchanges; gossip, mingle, control and events would declare queues."""

        default_steps = [
            s for s in CeleryConsumer.Blueprint.default_steps
            if not any(w in str(s) for w in ("delayed_delivery", "gossip", "mingle", "control", "events", "heart", "agent"))
        ]


class _Seat(kombu.Queue):  # type: ignore[misc]
    """A queue that the broker lets one alone read."""

    def consume(self, consumer_tag="", callback=None, no_ack=None, nowait=False, on_cancel=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG002
        """As any queue is, but who comes second is refused, and is told so before anything else is read."""
        return self.channel.basic_consume(
            queue=self.name, no_ack=bool(no_ack), consumer_tag=consumer_tag, callback=callback, nowait=False, exclusive=True, on_cancel=on_cancel,
        )


def queue_of(name: str) -> kombu.Queue:
    """A queue of orders that is there already."""
    return kombu.Queue(name, exchange="", routing_key=name, no_declare=True, queue_arguments=dict(QUORUM))


def seat_of(name: str) -> kombu.Queue:
    """A seat that is there already."""
    return _Seat(name, exchange="", routing_key=name, no_declare=True)


def secured(trusted: Trust | None) -> dict[str, Any] | None:
    """What kombu and Celery are told of TLS."""
    return {
        "ca_certs": str(trusted.authority), "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": trusted.name,
    } if trusted else None


def celery_app(url: str, trusted: Trust | None = None) -> Celery:
    """Celery as this project uses it: late acknowledgements, JSON, nothing declared and nothing tried again behind our back."""
    app = Celery("educloud", broker=url, set_as_current=False)
    app.conf.update(
        broker_use_ssl=secured(trusted),
        task_default_queue_type="quorum",
        task_create_missing_queues=False,
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_consumer="luhyaapi.wire.amqp.broker:QuietConsumer",
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_timeout=_CONNECT_S,
        broker_connection_retry=False,
        broker_connection_retry_on_startup=False,
        broker_heartbeat=10,
        broker_transport_options={"confirm_publish": True},
        task_serializer="json",
        accept_content=["json"],
    )
    return app


def forget_loop() -> None:
    """Have the next worker begin with an event loop of its own: one whose closing failed half-way stays the current one, and is deaf."""
    set_event_loop(None)


class Publisher:
    """One confirmed kombu connection, opened when needed, discarded after any trouble. Safe for threads."""

    def __init__(self, url: str, trusted: Trust | None = None) -> None:
        self._url, self._trusted = url, trusted
        self._lock = threading.Lock()
        self._connection: kombu.Connection | None = None
        self._producer: kombu.Producer | None = None

    @contextlib.contextmanager
    def producer(self) -> Any:
        """A producer for one message. Raises Unavailable(broker_down), Refused(not_found) for no route."""
        with self._lock:
            try:
                yield self._open()
            except ChannelError as e:
                self._discard()
                if getattr(e, "reply_code", getattr(e, "code", 0)) in (312, 404):
                    raise Refused("not_found", "Nobody reads that queue", str(e)) from e
                raise Unavailable("broker_down", "The broker did not take a message", str(e)) from e
            except MessageNacked as e:
                self._discard()
                raise Unavailable("busy", "A queue is full", str(e)) from e
            except DOWN as e:
                self._discard()
                raise Unavailable("broker_down", "The broker does not answer", f"{type(e).__name__}: {e}") from e

    def _open(self) -> kombu.Producer:
        if self._producer is None:
            self._connection = kombu.Connection(
                self._url, heartbeat=0, connect_timeout=_CONNECT_S, ssl=secured(self._trusted),
                transport_options={"confirm_publish": True, "socket_settings": {}, "read_timeout": ANSWER_S, "write_timeout": ANSWER_S},
            )
            self._connection.connect()
            self._producer = kombu.Producer(self._connection.channel())
        return self._producer

    def _discard(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.collect(socket_timeout=1)

    def close(self) -> None:
        with self._lock:
            self._discard()
