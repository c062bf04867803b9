"""A child's end of a link over RabbitMQ."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from celery.exceptions import Reject

from luhyaapi import clock, log
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.process import Loop
from luhyaapi.transfer.base import Trust
from luhyaapi.wire import topology
from luhyaapi.wire.amqp.broker import CONFIRM_S, TASK, Publisher, celery_app, forget_loop, queue_of, seat_of
from luhyaapi.wire.link import OnCommand

_log = log.get(__name__)
_AGAIN_S, _AT_ONCE_S = 1.0, 0.1
_LOOKS = 5
"""How often a seat that was taken is found free before it is."""
_ASKED = 3
_EARS_EVERY_S = 20.0
_STOP_S = 1.0
_TWICE = "another connection has this host's identity: an older one of ours that the broker has not missed yet, or a machine with a copy of it"


class AmqpUpLink:
    """A child's end: a Celery worker on its two queues, a publisher to its own exchange.

    Before those two it reads its seat, which the broker lets one alone read: whoever does is the host of that identity. A second
    machine with a copy of it says nothing, waits, and takes the place when it was free for a while.
    """

    def __init__(self, url: str, me: str, trusted: Trust | None = None) -> None:
        self._me = me
        self._seat = topology.seat(me)
        self._queues = [topology.command_queue(me, control=c) for c in (True, False)]
        self._publisher = Publisher(url, trusted)
        self._app = celery_app(url, trusted)
        self._worker: Any = None
        self._thread: threading.Thread | None = None
        self._connected = threading.Event()
        self._seated = threading.Event()
        self._was_taken = 0
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
        queues = [seat_of(self._seat), *map(queue_of, self._queues)]  # in this order: who gets no seat reads no order
        app.conf.task_queues = queues
        app.conf.task_default_queue = queues[-1].name
        self._greeter = Loop("greeter", lambda: self._greet(on_connect), 1.0).start()
        self._ears = Loop("ears", self._look_for_ears, _EARS_EVERY_S).start()
        self._thread = threading.Thread(target=self._work, name="celery", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._is_free():
                    forget_loop()
                    self._worker = self._app.WorkController(
                        app=self._app, pool_cls="threads", concurrency=1, loglevel="ERROR", hostname=f"educloud@{self._me}",
                        without_heartbeat=True, without_gossip=True, without_mingle=True, ready_callback=self._sit,
                    )
                    self._worker.start()
            except (Refused, Unavailable) as e:
                self._tell(e.why or e.what)
            except Exception as e:
                _log.warning("command consumer ended, starts again", why=f"{type(e).__name__}: {e}")
            if self._seated.is_set() and not self._stopping.is_set():
                self._seated.clear()  # and at once again, before anybody who waits for the seat
                clock.wait(self._stopping, _AT_ONCE_S)
            else:
                clock.wait(self._stopping, _AGAIN_S)

    def _is_free(self) -> bool:
        """Whether the seat may be taken. Who found it taken leaves it free for a while: whoever sat there may only be connecting anew."""
        if self._readers([self._seat]) != [0]:
            self._was_taken = _LOOKS
            self._tell(_TWICE)
            return False
        self._was_taken = max(self._was_taken - 1, 0)
        return not self._was_taken

    def _readers(self, queues: list[str]) -> list[int]:
        """How many read each queue. Raises Refused(not_found) before the boss made them, Unavailable(broker_down)."""
        with self._publisher.producer() as producer:
            return [producer.channel.queue_declare(queue, passive=True).consumer_count for queue in queues]

    def _sit(self, _consumer: object) -> None:
        """The broker let us read, and nobody else."""
        self._trouble = ""
        self._connected.clear()
        self._seated.set()
        self._greeter.wake()

    def _tell(self, trouble: str) -> None:
        """The same trouble again and again is one line."""
        if trouble != self._trouble:
            _log.warning("orders are not read yet", why=trouble)
        self._trouble = trouble

    def _greet(self, on_connect: Callable[[], None]) -> None:
        """Says hello once per connection: the publisher's connection stands for the broker's life."""
        if not self._seated.is_set():
            return
        connection = self._publisher._connection  # noqa: SLF001 - same package
        if connection is not None and connection.connected and self._connected.is_set():
            return
        with self._publisher.producer():
            pass
        self._connected.set()
        _log.info("connected to the boss's broker")
        try:
            on_connect()
        except BaseException:
            self._connected.clear()  # it was not said, and is said again
            raise

    def _look_for_ears(self) -> None:
        """Where the broker says twice that nobody consumes, who believes to is cut off, and connects anew: else it would be deaf for ever."""
        try:
            # a busy broker that does not know says that nobody does: only what it says several times is believed
            is_deaf = all(not all(self._readers(self._queues)) for _ in range(_ASKED))
        except (Refused, Unavailable):
            return  # no queue, or no broker: who connects finds that out
        if is_deaf and self._was_deaf:
            _log.warning("orders are not consumed, the connection begins anew")
            self._cut()
        self._was_deaf = is_deaf and not self._was_deaf

    def _cut(self) -> None:
        consumer = getattr(self._worker, "consumer", None)
        sock = getattr(getattr(getattr(consumer, "connection", None), "_connection", None), "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def report(self, message: bytes, *, durable: bool) -> None:
        if not self._seated.is_set():
            raise Unavailable("broker_down", "The boss's broker does not let us read our orders yet", self._trouble)
        try:
            with self._publisher.producer() as producer:
                producer.publish(
                    message, exchange=topology.out_exchange(self._me), routing_key="", content_type="application/json",
                    content_encoding="utf-8", delivery_mode=2 if durable else 1, mandatory=True, retry=False,
                    timeout=CONFIRM_S, confirm_timeout=CONFIRM_S,
                )
        except Refused as e:
            raise Unavailable("broker_down", "The boss has no queue for us yet", e.why) from e
        except Unavailable:
            self._connected.clear()
            raise

    def is_connected(self) -> bool:
        return self._connected.is_set() and self._seated.is_set()

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
