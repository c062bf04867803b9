"""A server that answers S3 requests as a test says, for what no server in order ever answers."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Answer:
    """``cut``: end the connection when the headers are out. A ``code`` makes the body S3's form of an error."""

    status: int = 200
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False

    def bytes(self) -> bytes:
        return self.body or (f"<Error><Code>{self.code}</Code><Message>as told</Message></Error>".encode() if self.code else b"")


class OddS3:
    """``answers``: method -> what it is answered from now on, 200 when nothing is said; ``asked``: how often."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []


@contextlib.contextmanager
def odd_s3(tls: ssl.SSLContext | None = None) -> Iterator[OddS3]:
    """One that listens until the end, with ``tls`` under https."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            odd.asked.append(self.command)
            said = odd.answers.get(self.command, Answer())
            body = said.bytes()
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.close_connection = said.cut

        do_HEAD = do_GET = do_PUT = do_DELETE = answer  # noqa: N815 - called by their methods' names

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        odd = OddS3(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield odd
        finally:
            server.shutdown()
            thread.join()
