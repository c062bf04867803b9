"""A body that is too large is refused before anything keeps it."""

import asyncio
import json

import pytest

from deploy.asgi import BODY_AT_MOST, application


def answer(headers):
    said = []

    async def ask():
        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            said.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/v1/uploads/", "headers": headers, "query_string": b"",
                 "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"}
        await application(scope, receive, send)

    asyncio.run(ask())
    return said


@pytest.mark.parametrize("headers", [
    [(b"content-length", str(BODY_AT_MOST + 1).encode())],
    [(b"content-length", b"-1")],
    [(b"content-length", b"10"), (b"transfer-encoding", b"chunked")],
])
def test_too_large_or_unannounced_is_refused(headers):
    start, body = answer(headers)
    assert start["status"] == 413
    assert json.loads(body["body"])["code"] == "invalid"
