"""Transport over RabbitMQ: Celery carries commands, kombu publishes, pika consumes reports. The only module that knows a broker.

The boss declares everything; a child may only read its two queues and write its own exchange. Queues are quorum
queues with a delivery limit and a dead-letter queue; every message is persistent, confirmed and mandatory.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import httpx
import kombu
import pika
from amqp.exceptions import AMQPError, ChannelError, MessageNacked
from celery import Celery
from celery.exceptions import Reject
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import KombuError
from pika.adapters.blocking_connection import BlockingChannel

from luhyaapi import clock, ids, log
from luhyaapi.conf import Broker, read_secret
from luhyaapi.errors import Failed, Refused, Unavailable, of
from luhyaapi.process import Loop
from luhyaapi.transfer.base import Trust
from luhyaapi.wire import topology
from luhyaapi.wire.delivered import GATHER_S, MORE_S, PREFETCH, Delivered, Waiting, dead_letter
from luhyaapi.wire.link import Account, OnCommand, OnDead, OnReports

_log = log.get(__name__)
TASK = "educloud.execute"
_QUORUM = {"x-queue-type": "quorum"}
_DELIVERY_LIMIT = 5
_CONFIRM_S = 5.0
_CONNECT_S = 10.0
"""A broker under load takes seconds to greet: who gives up before never gets in, however often it knocks."""
_AGAIN_S = 1.0
_EARS_EVERY_S = 20.0
_STOP_S = 1.0
_HELD_S = 1.0
_AFTER_FAILURE_S = 0.5
_TWICE = "another connection has this host's identity: an older one of ours that the broker has not missed yet, or a machine with a copy of it"
_DOWN = (OSError, AMQPError, KombuError, pika.exceptions.AMQPError, TimeoutError)


class QuietConsumer(CeleryConsumer):  # type: ignore[misc]
    """Celery's consumer without what a child may not and need not do at the broker."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """Delayed delivery would declare exchanges; gossip, mingle, control and events would declare queues."""

        default_steps = [
            s for s in CeleryConsumer.Blueprint.default_steps
            if not any(w in str(s) for w in ("delayed_delivery", "gossip", "mingle", "control", "events", "heart", "agent"))
        ]


class _OwnQueue(kombu.Queue):  # type: ignore[misc]
    """Read by one alone: of two machines with one identity each would get every other order."""

    def consume(self, consumer_tag="", callback=None, no_ack=None, nowait=False, on_cancel=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return self.channel.basic_consume(
            queue=self.name, no_ack=bool(no_ack), consumer_tag=consumer_tag, callback=callback, nowait=nowait, exclusive=True, on_cancel=on_cancel,
        )


def _queue(name: str) -> kombu.Queue:
    return _OwnQueue(name, exchange="", routing_key=name, no_declare=True, queue_arguments=dict(_QUORUM))


def _secured(trusted: Trust | None) -> dict[str, Any] | None:
    """What kombu and Celery are told of TLS."""
    return {
        "ca_certs": str(trusted.authority), "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": trusted.name,
    } if trusted else None


def _celery(url: str, trusted: Trust | None = None) -> Celery:
    app = Celery("educloud", broker=url, set_as_current=False)
    app.conf.update(
        broker_use_ssl=_secured(trusted),
        task_default_queue_type="quorum",
        task_create_missing_queues=False,
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_consumer="luhyaapi.wire.amqp:QuietConsumer",
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


class _Publisher:
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
            except _DOWN as e:
                self._discard()
                raise Unavailable("broker_down", "The broker does not answer", f"{type(e).__name__}: {e}") from e

    def _open(self) -> kombu.Producer:
        if self._producer is None:
            self._connection = kombu.Connection(
                self._url, heartbeat=0, connect_timeout=_CONNECT_S, ssl=_secured(self._trusted),
                transport_options={"confirm_publish": True, "socket_settings": {}},
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


class AmqpUpLink:
    """A child's end: a Celery worker on its two queues, a publisher to its own exchange.

    The two queues have one reader, so whoever reads them is the host of that identity. A second machine with a copy of it says
    nothing, waits, and takes the place once it is free.
    """

    def __init__(self, url: str, me: str, trusted: Trust | None = None) -> None:
        self._me = me
        self._url = url
        self._publisher = _Publisher(url, trusted)
        self._app = _celery(url, trusted)
        self._worker: Any = None
        self._thread: threading.Thread | None = None
        self._connected = threading.Event()
        self._reading = threading.Event()
        self._trouble = ""
        self._stopping = threading.Event()
        self._was_deaf = False

    def start(self, on_command: OnCommand, on_connect: Callable[[], None]) -> None:
        app = self._app

        @app.task(name=TASK, shared=False)  # type: ignore[untyped-decorator]
        def execute(message: str) -> None:
            try:
                on_command(message.encode())
            except Exception as e:
                _log.exception("order could not be kept, it comes again")
                clock.sleep(1)
                raise Reject(str(e), requeue=True) from e

        app.set_default()  # where the threads of its pool look for the task
        queues = [_queue(topology.command_queue(self._me, control=c)) for c in (True, False)]
        app.conf.task_queues = queues
        app.conf.task_default_queue = queues[1].name
        names = [queue.name for queue in queues]
        self._greeter = Loop("greeter", lambda: self._greet(on_connect), 1.0).start()
        self._ears = Loop("ears", lambda: self._look_for_ears(names), _EARS_EVERY_S).start()
        self._thread = threading.Thread(target=self._work, args=(names,), name="celery", daemon=True)
        self._thread.start()

    def _work(self, queues: list[str]) -> None:
        while not self._stopping.is_set():
            try:
                self._tell(_TWICE if any(self._readers(queues)) else "")
                if not self._trouble:
                    self._worker = self._app.WorkController(
                        app=self._app, pool_cls="threads", concurrency=1, loglevel="ERROR", hostname=f"educloud@{self._me}",
                        without_heartbeat=True, without_gossip=True, without_mingle=True, ready_callback=self._begin,
                    )
                    self._worker.start()
            except (Refused, Unavailable) as e:
                self._tell(e.why or e.what)
            except Exception as e:
                _log.warning("command consumer ended, starts again", why=f"{type(e).__name__}: {e}")
            self._reading.clear()
            clock.wait(self._stopping, _AGAIN_S)

    def _readers(self, queues: list[str]) -> list[int]:
        """How many read each queue. Raises Refused(not_found) before the boss made them, Unavailable(broker_down)."""
        with self._publisher.producer() as producer:
            return [producer.channel.queue_declare(queue, passive=True).consumer_count for queue in queues]

    def _begin(self, _consumer: object) -> None:
        """The broker let us read, and nobody else."""
        self._connected.clear()
        self._reading.set()
        self._greeter.wake()

    def _tell(self, trouble: str) -> None:
        """The same trouble again and again is one line."""
        if trouble not in ("", self._trouble):
            _log.warning("orders are not read yet", why=trouble)
        self._trouble = trouble

    def _greet(self, on_connect: Callable[[], None]) -> None:
        """Says hello once per connection: the publisher's connection stands for the broker's life."""
        if not self._reading.is_set():
            return
        connection = self._publisher._connection  # noqa: SLF001 - same module
        if connection is not None and connection.connected and self._connected.is_set():
            return
        with self._publisher.producer():
            pass
        self._connected.set()
        _log.info("connected to the boss's broker")
        on_connect()

    def _look_for_ears(self, queues: list[str]) -> None:
        """Where the broker says twice that nobody consumes, who believes to is cut off, and connects anew: else it would be deaf for ever."""
        try:
            is_deaf = not all(self._readers(queues))
        except (Refused, Unavailable):
            return  # no queue, or no broker: who connects finds that out
        if is_deaf and self._was_deaf:
            _log.warning("orders are not consumed, the connection begins anew")
            self._cut()
        self._was_deaf = is_deaf

    def _cut(self) -> None:
        consumer = getattr(self._worker, "consumer", None)
        sock = getattr(getattr(getattr(consumer, "connection", None), "_connection", None), "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def report(self, message: bytes, *, durable: bool) -> None:
        if not self._reading.is_set():
            raise Unavailable("broker_down", "The boss's broker does not let us read our orders yet", self._trouble)
        try:
            with self._publisher.producer() as producer:
                producer.publish(
                    message, exchange=topology.out_exchange(self._me), routing_key="", content_type="application/json",
                    content_encoding="utf-8", delivery_mode=2 if durable else 1, mandatory=True, retry=False,
                    timeout=_CONFIRM_S, confirm_timeout=_CONFIRM_S,
                )
        except Refused as e:
            raise Unavailable("broker_down", "The boss has no queue for us yet", e.why) from e
        except Unavailable:
            self._connected.clear()
            raise

    def is_connected(self) -> bool:
        return self._connected.is_set() and self._reading.is_set()

    def trouble(self) -> str:
        return "" if self.is_connected() else self._trouble or "nothing was heard of its broker yet"

    def stop(self) -> None:
        self._stopping.set()
        if hasattr(self, "_greeter"):
            self._greeter.stop()
            self._ears.stop()
        if self._worker is not None:
            # Celery waits here for its broker connection; what it has not acknowledged comes again, so we need not.
            ending = threading.Thread(target=self._worker.stop, name="celery-stop", daemon=True)
            ending.start()
            ending.join(_STOP_S)
            self._cut()
        self._publisher.close()


class AmqpDownLink:
    """A boss's end: a pika consumer of its report queue, a Celery publisher of commands, the broker's accounts."""

    def __init__(self, broker: Broker, me: str, children: Callable[[], Iterable[str]]) -> None:
        self._conf = broker
        self._me = me
        self._children = children
        password = read_secret(broker.password_file)
        self._auth = (broker.user, password)
        self._url = self._address(broker.user, password, f"{broker.host}:{broker.port}")
        self._publisher = _Publisher(self._url)
        self._app = _celery(self._url)
        self._connected = threading.Event()
        self._since = 0.0
        self._stopping = threading.Event()
        self._consuming: Loop | None = None

    def _address(self, user: str, password: str, where: str, scheme: str = "amqp") -> str:
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{where}/{quote(self._conf.vhost, safe='')}"

    def start(self, on_reports: OnReports, on_dead: OnDead = lambda _dead: None) -> None:
        self._consuming = Loop("reports", lambda: self._consume(on_reports, on_dead), 1.0).start()

    def _connect(self) -> pika.BlockingConnection:
        params = pika.URLParameters(f"{self._url}?heartbeat=30&connection_attempts=1&socket_timeout=5&blocked_connection_timeout=30")
        return pika.BlockingConnection(params)

    def _consume(self, on_reports: OnReports, on_dead: OnDead) -> None:
        try:
            connection = self._connect()
        except _DOWN as e:
            self._connected.clear()
            raise Unavailable("broker_down", "The broker does not answer", f"{type(e).__name__}: {e}") from e
        try:
            # Two channels: reports are acknowledged many at once, and dead letters must not be among them.
            channel, letters = connection.channel(), connection.channel()
            self._declare(channel)
            channel.basic_qos(prefetch_count=PREFETCH)
            letters.basic_qos(prefetch_count=1)
            waiting = Waiting()
            channel.basic_consume(topology.report_queue(self._me), lambda _c, m, _p, b: waiting.add(m, b))
            letters.basic_consume(topology.dead_queue(self._me), lambda c, m, p, b: self._bury(connection, lambda: on_dead(dead_letter(p, b)), c, m))
            self._since = clock.now()
            self._connected.set()
            _log.info("consuming reports")
            while not self._stopping.is_set():
                connection.process_data_events(time_limit=0.5)
                if waiting:
                    self._gather(connection, waiting)
                    self._deliver(connection, on_reports, channel, waiting.taken())
        except _DOWN as e:
            raise Unavailable("broker_down", "The broker went away", f"{type(e).__name__}: {e}") from e
        finally:
            self._connected.clear()
            with contextlib.suppress(Exception):
                connection.close()

    @staticmethod
    def _gather(connection: pika.BlockingConnection, waiting: Waiting) -> None:
        """What comes in one go is taken together; a lone report waits for nobody."""
        until = clock.monotonic() + GATHER_S
        before = 1
        while before < len(waiting) and not waiting.is_full() and clock.monotonic() < until:
            before = len(waiting)
            connection.process_data_events(time_limit=MORE_S)

    def _deliver(self, connection: pika.BlockingConnection, on_reports: OnReports, channel: BlockingChannel, batch: list[Delivered]) -> None:
        """Have them taken, then acknowledge: all at once, but for those that failed alone."""
        told = [(topology.host_of_exchange(method.exchange), body) for method, body in batch]
        while not self._stopping.is_set():
            try:
                failed = on_reports(told)
            except Exception as e:
                self._held(connection, e)
                continue
            tags = [(method.delivery_tag, error) for (method, _), error in zip(batch, failed, strict=True)]
            wrong = [(tag, error) for tag, error in tags if error is not None]
            for _, error in wrong:
                _log.error("report could not be kept, it comes again", why=str(error), exc_info=error)
            if wrong:
                clock.sleep(_AFTER_FAILURE_S)
            for tag, _ in wrong:
                channel.basic_nack(tag, requeue=True)
            if good := [tag for tag, error in tags if error is None]:
                channel.basic_ack(good[-1], multiple=True)  # a tag that was given back names nothing any more
            return

    def _held(self, connection: pika.BlockingConnection, error: Exception) -> None:
        """Nothing is wrong with the messages: a few tries more, and the broker would call them dead."""
        trouble = of(error)
        if trouble.family != "unavailable" and trouble.code != "disk_full":
            raise error
        _log.warning("reports wait in hand", code=trouble.code, why=str(error))
        connection.sleep(_HELD_S)

    def _bury(self, connection: pika.BlockingConnection, take: Callable[[], None], channel: BlockingChannel, method: Any) -> None:
        """Have one dead letter taken."""
        while not self._stopping.is_set():
            try:
                take()
            except Exception as e:
                trouble = of(e)
                if trouble.family == "unavailable" or trouble.code == "disk_full":
                    self._held(connection, e)
                    continue
                _log.exception("dead letter could not be kept, it comes again")
                clock.sleep(_AFTER_FAILURE_S)
                channel.basic_nack(method.delivery_tag, requeue=True)
            else:
                channel.basic_ack(method.delivery_tag)
            return

    def _declare(self, channel: BlockingChannel, only: str | None = None) -> None:
        dead = topology.dead_queue(self._me)
        limits = {**_QUORUM, "x-delivery-limit": _DELIVERY_LIMIT, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        if only is None:
            channel.queue_declare(dead, durable=True, arguments=dict(_QUORUM))
            channel.queue_declare(topology.report_queue(self._me), durable=True, arguments=limits)
        for child in [only] if only else self._children():
            exchange = topology.out_exchange(child)
            channel.exchange_declare(exchange, "topic", durable=True)
            channel.queue_bind(topology.report_queue(self._me), exchange, "#")
            for control in (False, True):
                channel.queue_declare(topology.command_queue(child, control=control), durable=True, arguments=limits)

    def command(self, to: str, message: bytes, *, control: bool) -> None:
        queue = _queue(topology.command_queue(to, control=control))
        with self._publisher.producer() as producer:
            self._app.send_task(
                TASK, args=(message.decode(),), queue=queue, producer=producer, retry=False, mandatory=True,
                confirm_timeout=_CONFIRM_S, timeout=_CONFIRM_S, ignore_result=True,
            )

    def report_again(self, sender: str, message: bytes) -> None:
        with self._publisher.producer() as producer:
            producer.publish(
                message, exchange=topology.out_exchange(sender), routing_key="", content_type="application/json",
                content_encoding="utf-8", delivery_mode=2, mandatory=True, retry=False, timeout=_CONFIRM_S, confirm_timeout=_CONFIRM_S,
            )

    def admit(self, child: str, password: str = "") -> Account:
        password = password or ids.secret()
        try:
            connection = self._connect()
            with contextlib.closing(connection):
                channel = connection.channel()
                self._declare(channel)
                self._declare(channel, only=child)
        except _DOWN as e:
            raise Unavailable("broker_down", "The broker does not answer", f"{type(e).__name__}: {e}") from e
        self._api("PUT", f"users/{child}", {"password": password, "tags": ""})
        own = child.replace("-", "\\-")
        self._api("PUT", f"permissions/{quote(self._conf.vhost, safe='')}/{child}", {
            "configure": "^$", "write": rf"^out\.{own}\.v1$", "read": rf"^(cmd|ctl)\.{own}\.v1$",
        })
        if not self._conf.address:
            return Account(self._address(child, password, f"{self._conf.host}:{self._conf.port}"))
        return Account(self._address(child, password, self._conf.address, "amqps"), self._conf.name or self._me)

    def remove(self, child: str) -> None:
        self._api("DELETE", f"users/{child}", missing_ok=True)
        vhost = quote(self._conf.vhost, safe="")
        for control in (False, True):
            self._api("DELETE", f"queues/{vhost}/{topology.command_queue(child, control=control)}", missing_ok=True)
        self._api("DELETE", f"exchanges/{vhost}/{topology.out_exchange(child)}", missing_ok=True)

    def _api(self, method: str, path: str, body: dict[str, Any] | None = None, *, missing_ok: bool = False) -> None:
        url = f"http://{self._conf.host}:{self._conf.admin_port}/api/{path}"
        try:
            answer = httpx.request(method, url, json=body, auth=self._auth, timeout=10)
        except httpx.HTTPError as e:
            raise Unavailable("broker_down", "The broker's management does not answer", str(e)) from e
        if answer.status_code == 404 and missing_ok:
            return
        if answer.is_error:
            raise Failed("program", "The broker refused", f"{method} {path.split('/', maxsplit=1)[0]}: {answer.status_code}")

    def is_connected(self) -> bool:
        return self._connected.is_set()

    def listening_since(self) -> float | None:
        return self._since if self._connected.is_set() else None

    def stop(self) -> None:
        self._stopping.set()
        if self._consuming:
            self._consuming.stop()
        self._publisher.close()
