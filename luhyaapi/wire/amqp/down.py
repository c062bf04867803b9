"""A boss's end of a link over RabbitMQ."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import httpx
import pika
from pika.adapters.blocking_connection import BlockingChannel

from luhyaapi import clock, ids, log
from luhyaapi.conf import Broker, read_secret
from luhyaapi.errors import Failed, Unavailable, of
from luhyaapi.process import Loop
from luhyaapi.wire import topology
from luhyaapi.wire.amqp.broker import CONFIRM_S, DOWN, QUORUM, TASK, Publisher, celery_app, queue_of
from luhyaapi.wire.delivered import GATHER_S, MORE_S, PREFETCH, Delivered, Waiting, dead_letter
from luhyaapi.wire.link import Account, OnDead, OnReports

_log = log.get(__name__)
_DELIVERY_LIMIT = 5
_HELD_S = 1.0
_AFTER_FAILURE_S = 0.5


class AmqpDownLink:
    """A boss's end: a pika consumer of its report queue, a Celery publisher of commands, the broker's accounts."""

    def __init__(self, broker: Broker, me: str, children: Callable[[], Iterable[str]]) -> None:
        self._conf = broker
        self._me = me
        self._children = children
        password = read_secret(broker.password_file)
        self._auth = (broker.user, password)
        self._url = self._address(broker.user, password, f"{broker.host}:{broker.port}")
        self._publisher = Publisher(self._url)
        self._app = celery_app(self._url)
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
        except DOWN as e:
            self._connected.clear()
            raise Unavailable("broker_down", "The broker does not answer", f"{type(e).__name__}: {e}") from e
        try:
            # Two channels: reports are acknowledged many at once, and dead letters must not be among them.
            channel, letters = connection.channel(), connection.channel()
            self._declare(channel)
            self._permit_all()
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
                if not (channel.consumer_tags and letters.consumer_tags):
                    raise Unavailable("broker_down", "The broker took a queue away")  # it says so without closing anything
                if waiting:
                    self._gather(connection, waiting)
                    self._deliver(connection, on_reports, channel, waiting.taken())
        except DOWN as e:
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
        limits = {**QUORUM, "x-delivery-limit": _DELIVERY_LIMIT, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        if only is None:
            channel.queue_declare(dead, durable=True, arguments=dict(QUORUM))
            channel.queue_declare(topology.report_queue(self._me), durable=True, arguments=limits)
        for child in [only] if only else self._children():
            exchange = topology.out_exchange(child)
            channel.exchange_declare(exchange, "topic", durable=True)
            channel.queue_bind(topology.report_queue(self._me), exchange, "#")
            channel.queue_declare(topology.seat(child), durable=True)  # a quorum queue would let in a second reader
            for control in (False, True):
                channel.queue_declare(topology.command_queue(child, control=control), durable=True, arguments=limits)

    def command(self, to: str, message: bytes, *, control: bool) -> None:
        queue = queue_of(topology.command_queue(to, control=control))
        with self._publisher.producer() as producer:
            self._app.send_task(
                TASK, args=(message.decode(),), queue=queue, producer=producer, retry=False, mandatory=True,
                confirm_timeout=CONFIRM_S, timeout=CONFIRM_S, ignore_result=True,
            )

    def report_again(self, sender: str, message: bytes) -> None:
        with self._publisher.producer() as producer:
            producer.publish(
                message, exchange=topology.out_exchange(sender), routing_key="", content_type="application/json",
                content_encoding="utf-8", delivery_mode=2, mandatory=True, retry=False, timeout=CONFIRM_S, confirm_timeout=CONFIRM_S,
            )

    def admit(self, child: str, password: str = "") -> Account:
        password = password or ids.secret()
        try:
            connection = self._connect()
            with contextlib.closing(connection):
                channel = connection.channel()
                self._declare(channel)
                self._declare(channel, only=child)
        except DOWN as e:
            raise Unavailable("broker_down", "The broker does not answer", f"{type(e).__name__}: {e}") from e
        self._api("PUT", f"users/{child}", {"password": password, "tags": ""})
        self._permit(child)
        if not self._conf.address:
            return Account(self._address(child, password, f"{self._conf.host}:{self._conf.port}"))
        return Account(self._address(child, password, self._conf.address, "amqps"), self._conf.name or self._me)

    def _permit(self, child: str) -> None:
        self._api("PUT", f"permissions/{quote(self._conf.vhost, safe='')}/{child}", _rights(child))

    def _permit_all(self) -> None:
        """Who was admitted by an earlier version may read what there was not then."""
        try:
            for account in self._api("GET", f"vhosts/{quote(self._conf.vhost, safe='')}/permissions").json():
                child = str(account["user"])
                if account["read"].startswith("^(cmd|ctl") and account["read"] != _rights(child)["read"]:
                    self._permit(child)
        except (Failed, Unavailable) as e:
            _log.warning("accounts of the broker are as they were", why=str(e))

    def remove(self, child: str) -> None:
        self._api("DELETE", f"users/{child}", missing_ok=True)
        vhost = quote(self._conf.vhost, safe="")
        for control in (False, True):
            self._api("DELETE", f"queues/{vhost}/{topology.command_queue(child, control=control)}", missing_ok=True)
        self._api("DELETE", f"queues/{vhost}/{topology.seat(child)}", missing_ok=True)
        self._api("DELETE", f"exchanges/{vhost}/{topology.out_exchange(child)}", missing_ok=True)

    def _api(self, method: str, path: str, body: dict[str, Any] | None = None, *, missing_ok: bool = False) -> httpx.Response:
        url = f"http://{self._conf.host}:{self._conf.admin_port}/api/{path}"
        try:
            answer = httpx.request(method, url, json=body, auth=self._auth, timeout=10)
        except httpx.HTTPError as e:
            raise Unavailable("broker_down", "The broker's management does not answer", str(e)) from e
        if answer.status_code == 404 and missing_ok:
            return answer
        if answer.is_error:
            raise Failed("program", "The broker refused", f"{method} {path.split('/', maxsplit=1)[0]}: {answer.status_code}")
        return answer

    def is_connected(self) -> bool:
        return self._connected.is_set()

    def listening_since(self) -> float | None:
        return self._since if self._connected.is_set() else None

    def stop(self) -> None:
        self._stopping.set()
        if self._consuming:
            self._consuming.stop()
        self._publisher.close()


def _rights(child: str) -> dict[str, str]:
    """What a child's account may, as the broker's own patterns."""
    own = child.replace("-", "\\-")
    return {"configure": "^$", "write": rf"^out\.{own}\.v1$", "read": rf"^(cmd|ctl|seat)\.{own}\.v1$"}
