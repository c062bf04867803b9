"""The processes of a host: ``python -m deploy.processes clc-web|clc-relay|walrus|cc|nc|sc|cloud``; EDUCLOUD_CONFIG names the configuration."""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from luhyaapi import bell, clock, conf, log, points
from luhyaapi.conf import Settings
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Trouble, of
from luhyaapi.wire import identity

_log = log.get(__name__)
_REMEMBER = {"clc-web", "clc-relay", "cc", "cloud"}
DIE_AT = "EDUCLOUD_DIE_AT"
"""For tests, read once: a file that, once it is there, names the point at which this process kills itself; without it nothing happens."""
PROCESSES = ("clc-web", "clc-relay", "walrus", "cc", "nc", "sc", "cloud")


def main(name: str) -> int:
    """Run one process until it is told to stop; its exit code."""
    settings = conf.load()
    log.setup(settings.host.log_level, role=str(settings.host.role), process=name)
    may_die()
    try:
        if name in _REMEMBER:
            _open_database(name)
        if name == "cloud":
            return _cloud(settings)
        return _web(settings) if name == "clc-web" else _role(settings, name)
    except Trouble as e:
        _log.error("cannot run", code=e.code, what=e.what, why=e.why, hint=e.hint)
        return 1


def may_die() -> None:
    """Have this process killed at the point that a test names."""
    if file := os.environ.get(DIE_AT):
        points.use(partial(_die, Path(file)))


def _die(file: Path, point: str) -> None:
    """As ``kill -9``, at the point that the file names, once."""
    try:
        if file.read_text("utf-8").strip() != point:
            return
        file.unlink()
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _open_database(name: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")
    import django
    from django.conf import settings

    if name not in ("clc-web", "cloud"):
        # Our own threads are few and stay; the web process's come and go with its requests.
        settings.DATABASES["default"]["CONN_MAX_AGE"] = 600
    django.setup()


def _cloud(settings: Settings) -> int:
    from deploy.together import Together

    roles = Together(settings)
    roles.start()
    try:
        return _web(settings)
    finally:
        threading.Thread(target=_give_up, daemon=True).start()
        roles.stop()


def _web(settings: Settings) -> int:
    import uvicorn

    from luhyadb import outbox

    outbox.on_new(partial(bell.ring, settings.host.state / bell.NAME))
    log_config: dict[str, object] = {"version": 1, "disable_existing_loggers": False}
    uvicorn.run(
        "deploy.asgi:application", host=settings.host.listen, port=settings.console.port, log_config=log_config, **_certificate(settings),
        access_log=False, lifespan="on", ws="websockets-sansio", ws_per_message_deflate=False, timeout_graceful_shutdown=3,
        server_header=False, proxy_headers=False, h11_max_incomplete_event_size=32 * 1024,
    )
    return 0


def _certificate(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told of TLS: the installation's own certificate, else the one the cloud signed for itself."""
    own = settings.console
    if own.certificate and own.private_key:
        return {"ssl_certfile": own.certificate, "ssl_keyfile": own.private_key}
    if not settings.host.tls:
        return {}
    folder = settings.host.identity
    return {"ssl_certfile": folder / identity.TLS_FILE, "ssl_keyfile": folder / identity.TLS_KEY_FILE}


def _role(settings: Settings, name: str) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    house = _clc(settings) if name == "clc-relay" else _child(settings, stop)
    if house is None:
        return 0
    house.start()
    _log.info("role runs", host=house.agent.me)
    while not clock.wait(stop, 3600):
        pass
    _log.info("role stops")
    threading.Thread(target=_give_up, daemon=True).start()
    house.stop()
    return 0


def _give_up() -> None:
    """A handler that does not reach a checkpoint is resumed at the next start."""
    clock.sleep(8)
    os._exit(0)


def _clc(settings: Settings):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a House; imported late
    from clc.services import own
    from deploy.roles import Links, clc
    from luhyaapi.wire.amqp import AmqpDownLink
    from luhyadb import memory
    from luhyadb.models import Host

    me = own.load(settings.host.state)

    def children() -> list[str]:
        with memory.thread_of("clc"):
            return list(Host.objects.filter(boss=me.id).exclude(state__in=["retired", "new"]).values_list("pk", flat=True))

    return clc(settings, me.membership, me.key, Links(down=AmqpDownLink(settings.broker, me.id, children)))


def _child(settings: Settings, stop: threading.Event):  # type: ignore[no-untyped-def]  # noqa: ANN202
    from deploy.roles import ROLES, Links
    from luhyaapi import facts
    from luhyaapi.wire import joining, tls
    from luhyaapi.wire.amqp import AmqpDownLink, AmqpUpLink

    try:
        own = joining.membership(settings, stop.is_set, facts.marks())
    except Trouble as e:
        if e.code == "interrupted":
            return None
        raise
    key = identity.own_key(settings.host.identity)
    trusted = tls.trust(settings.host.identity, own.broker_name) if own.broker_name else None
    down = None
    if settings.host.role is Role.CC:
        from luhyadb import memory
        from luhyadb.models import Child

        def children() -> list[str]:
            with memory.thread_of("cc"):
                return list(Child.objects.values_list("pk", flat=True))

        down = AmqpDownLink(settings.broker, own.host, children)
    return ROLES[settings.host.role](settings, own, key, Links(AmqpUpLink(own.broker, own.host, trusted), down))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PROCESSES:
        sys.exit(f"usage: python -m deploy.processes {'|'.join(PROCESSES)}")
    try:
        sys.exit(main(sys.argv[1]))
    except Exception as error:
        _log.error("process ended by a fault", why=str(of(error)), exc_info=error)
        sys.exit(1)
