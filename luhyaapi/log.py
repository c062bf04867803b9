"""One JSON line per event, with the task, role and host bound once; values are fields, secrets never enter."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from luhyaapi import clock

_SECRET = ("password", "token", "secret", "ticket", "private", "signature", "key", "user_data")


def _stamp(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["ts"] = clock.rfc3339()
    return event


def is_secret(name: str) -> bool:
    """Whether a field of that name may hold what nobody shall read."""
    return any(word in name for word in _SECRET)


def _mask(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    for name in event:
        if is_secret(name):
            event[name] = "***"
    return event


def setup(level: str = "INFO", **bound: str) -> None:
    """Send our lines and the libraries' to standard error as JSON; ``bound`` stands on every line."""
    shared: list[Any] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, _stamp, _mask]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, lambda _l, _m, e: {**bound, **e}],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("amqp", "kombu", "celery.redirected", "celery.app.trace", "urllib3", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # Our own loops say once that the broker is away; these say it at every try, with a trace.
    for repeating in ("pika", "celery.worker"):
        logging.getLogger(repeating).setLevel(logging.CRITICAL + 1)


def get(name: str) -> Any:
    """The logger of a module: ``log.info("verb phrase", field=value)``."""
    return structlog.stdlib.get_logger(name)


bind = structlog.contextvars.bind_contextvars
bound = structlog.contextvars.bound_contextvars
clear = structlog.contextvars.clear_contextvars

# Before setup() a program's lines go through logging too: warnings to standard error, never anything to standard output.
_early: list[Any] = [
    structlog.stdlib.filter_by_level, structlog.contextvars.merge_contextvars, _mask,
    structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer(key_order=["event"]),
]
structlog.configure(
    processors=_early,
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
