"""The REST API as the client sees it: signed requests, careful retries, errors with their codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from deploy.cli.contexts import Context
from luhyaapi import clock
from luhyaapi.errors import CODES, Failed, Refused, Trouble, Unavailable, from_wire

if TYPE_CHECKING:
    import ssl

    import httpx

PREFIX = "/api/v1"
PAUSES_S = (0.2, 0.8)
UNREACHABLE_EXIT = 8
_BY_STATUS = {400: "invalid", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "unsupported",
              409: "state", 413: "quota", 422: "invalid", 429: "busy", 503: "busy", 504: "timeout"}  # fmt: skip
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")


class Unreachable(Unavailable):
    """The server itself did not answer, or not as a cloud; its exit code is 8."""

    def __init__(self, url: str, why: str, hint: str = "") -> None:
        hint = hint or "Start the cloud (`make up`), or choose another one with --context or EDUCLOUD_URL."
        super().__init__("host_silent", f"The cloud at {url} cannot be reached", why, hint=hint)


def exit_of(error: Trouble) -> int:
    """The exit code that belongs to ``error``."""
    return UNREACHABLE_EXIT if isinstance(error, Unreachable) else CODES[error.code].exit


def loopback(url: str) -> bool:
    """Whether ``url`` is on this very machine."""
    return bool(_LOOPBACK.fullmatch(urlsplit(url).hostname or ""))


def segment(name: str, noun: str = "name") -> str:
    """``name`` as one piece of a path. Raises Refused(invalid) for what can be no name: empty, dots, control characters."""
    if not name.strip() or name in {".", ".."} or "/" in name or not name.isprintable() or len(name) > 200:
        raise Refused("invalid", f"{name[:60]!r} cannot be a {noun}", "it is empty, too long, a path, or holds control characters")
    return quote(name, safe="")


def path(*pieces: str) -> str:
    """``/api/v1/a/b/`` of the given pieces."""
    return "/".join((PREFIX, *(segment(p) for p in pieces), ""))


class Api:
    """One session with one cloud. Raises Trouble with the server's code, Unreachable when it does not answer.

    A request is said again after a cut, with the same Idempotency-Key, ``len(PAUSES_S)`` times.
    """

    def __init__(self, context: Context, transport: httpx.BaseTransport | None = None) -> None:
        import httpx

        self.context = context
        self._httpx = httpx
        headers = {"Accept": "application/json", "User-Agent": "educloud-cli"}
        if context.token:
            if not (context.token.isascii() and context.token.isprintable()):
                raise Refused("unauthenticated", "The token cannot be sent", "it holds characters no token has")
            headers["Authorization"] = f"Bearer {context.token}"
        self._http = httpx.Client(
            base_url=context.url, headers=headers, transport=transport, verify=self.trust() or False,
            timeout=httpx.Timeout(60, connect=5), trust_env=not loopback(context.url),
        )

    def trust(self) -> ssl.SSLContext | None:
        """Whom a line to this cloud believes; None where it speaks plain http. Raises Refused(invalid) for a useless certificate file."""
        if not self.context.url.startswith("https:"):
            return None  # reading the machine's certificates would cost time for nothing
        import ssl

        try:
            return ssl.create_default_context(cafile=self.context.ca_file or None)
        except OSError as e:
            raise Refused("invalid", f"The certificate file {self.context.ca_file} cannot be used", str(e)) from e

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def get(self, where: str, **query: Any) -> Any:
        """The JSON answer of a GET."""
        return self._json(self._send("GET", where, params=query or None))

    def post(self, where: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON answer of a POST; None when it has no body."""
        from luhyaapi import ids

        return self._json(self._send("POST", where, json=body or {}, headers={"Idempotency-Key": ids.secret()}))

    def delete(self, where: str) -> Any:
        """The JSON answer of a DELETE; None when it has no body, or when an earlier try already did it."""
        return self._json(self._send("DELETE", where))

    def put(self, where: str, data: bytes, **query: Any) -> Any:
        """The JSON answer of one PUT of raw bytes. Never said again here: the caller asks first what arrived."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._json(self._send("PUT", where, content=data, params=query, headers=headers, pauses=()))

    def put_json(self, where: str, body: dict[str, Any]) -> Any:
        """The JSON answer of one PUT that says how something is now. Never said again here: the next one says more."""
        return self._json(self._send("PUT", where, json=body, pauses=()))

    def patch(self, where: str, body: dict[str, Any]) -> Any:
        """The JSON answer of a PATCH; said again it is the same."""
        return self._json(self._send("PATCH", where, json=body))

    def text(self, where: str) -> str:
        """The text answer of a GET."""
        return str(self._send("GET", where, headers={"Accept": "text/plain, */*"}).text)

    def everything(self, where: str) -> list[dict[str, Any]]:
        """All entries of a list, page after page. A page never leads to another server."""
        found: list[dict[str, Any]] = []
        seen: set[str] = set()
        page: str | None = where
        while page and page not in seen:
            seen.add(page)
            answer = self.get(page)
            found += answer.get("results", [])
            page = self._next(where, answer.get("next"))
        return found

    @staticmethod
    def _next(where: str, following: Any) -> str | None:
        if not following:
            return None
        parts = urlsplit(str(following))
        if not parts.query and "/" not in str(following):
            return f"{where}?cursor={quote(str(following), safe='')}"
        return f"{where}?{parts.query}" if parts.query else None

    def stream(self, where: str, start: int) -> Iterator[tuple[int, int, bytes]]:
        """The bytes of a GET from ``start`` on, as (total size or 0, offset, piece). Not said again here."""
        headers = {"Accept": "application/octet-stream"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            with self._http.stream("GET", where, headers=headers) as answer:
                if answer.status_code >= 300:
                    answer.read()
                    self._refuse(answer)
                offset = start if answer.status_code == 206 else 0
                total = offset + int(answer.headers.get("Content-Length") or 0)
                for piece in answer.iter_bytes(1024 * 1024):
                    yield total if total > offset else 0, offset, piece
                    offset += len(piece)
        except self._httpx.TransportError as e:
            raise self._cut(e) from e

    def _send(self, method: str, where: str, *, pauses: tuple[float, ...] = PAUSES_S, **more: Any) -> httpx.Response:
        for again, pause in enumerate((*pauses, None)):
            try:
                answer = self._http.request(method, where, **more)
            except self._httpx.TransportError as e:
                if pause is None or "CERTIFICATE" in str(e):
                    raise self._cut(e) from e
                clock.sleep(pause)
                continue
            gone_by_us = method == "DELETE" and again > 0 and answer.status_code == 404
            if answer.status_code >= 300 and not gone_by_us:
                self._refuse(answer)
            return answer
        raise AssertionError

    def _cut(self, error: Exception) -> Unreachable:
        why = str(error) or type(error).__name__
        if "CERTIFICATE" in why:
            return Unreachable(self.context.url, f"its certificate is not trusted: {why}", "Name the cloud's certificate: `educloud login URL --ca-file FILE`.")
        return Unreachable(self.context.url, why)

    def _refuse(self, answer: httpx.Response) -> None:
        try:
            form = answer.json()
        except ValueError:
            form = None
        status = answer.status_code
        if not isinstance(form, dict) or status < 400:
            if status in _BY_STATUS and status not in {404, 503, 504}:
                raise from_wire({"code": _BY_STATUS[status], "what": "The server refused the request", "why": f"HTTP {status}"})
            raise Unreachable(self.context.url, f"it answered HTTP {status} and not as a cloud does")
        code = str(form.get("code", ""))
        if code not in CODES:
            code = _BY_STATUS.get(status, "bug")
        what = str(form.get("what") or form.get("title") or CODES[code].title)
        error = from_wire({"code": code, "what": what, "why": _why(form, what), "hint": str(form.get("hint") or "")})
        if form.get("task"):
            error.params["task"] = str(form["task"])
        raise error

    def _json(self, answer: httpx.Response) -> Any:
        if answer.status_code in {204, 404} or not answer.content:
            return None
        try:
            form = answer.json()
        except ValueError:
            form = None
        if not isinstance(form, dict):
            raise Unreachable(self.context.url, "it answered, and not as a cloud does", "Check the address: it must be the cloud's console and API.")
        return form


def _why(form: dict[str, Any], what: str) -> str:
    """The reason; a problem document without one may say more in its detail."""
    detail = str(form.get("detail") or "")
    return str(form.get("why") or ("" if detail == what else detail))


def sign_in(context: Context, user: str, password: str, transport: httpx.BaseTransport | None = None, code: str = "") -> dict[str, Any]:
    """``token`` and ``expires_at`` of a new session. A token of ``context`` is not sent: it may have ended."""
    cloud = Api(replace(context, token=""), transport)
    given = {"username": user, "password": password} | ({"code": code} if code else {})
    try:
        made: dict[str, Any] = cloud.post(path("login"), given)
    finally:
        cloud.close()
    return made


def task_error(task: dict[str, Any]) -> Trouble:
    """The error of a task that ended badly, with the task's id."""
    form = task.get("error") or {}
    default = "cancelled" if task.get("state") == "cancelled" else "bug"
    what = form.get("what") or f"The task {task.get('id')} was {task.get('state')}"
    wire = {"code": form.get("code") or default, "what": what, "why": form.get("why") or "", "hint": form.get("hint") or ""}
    error = from_wire(wire) if wire["code"] in CODES else Failed("program", what, wire["why"])
    error.params["task"] = task.get("id")
    return error


def readable(file: Path, what: str) -> int:
    """The size in bytes of a usable local file. Raises Refused(invalid) when missing, empty, no file, or unreadable."""
    why = ""
    try:
        if file.is_dir():
            why = "it is a folder"
        elif not file.exists():
            why = "it is not there"
        elif not file.is_file():
            why = "it is not a plain file"
        else:
            with file.open("rb") as source:
                why = "" if source.read(1) else "it is empty"
            if not why:
                return file.stat().st_size
    except (OSError, ValueError) as e:
        why = str(e)
    raise Refused("invalid", f"The {what} {str(file)!r} cannot be used", why, hint="Name a readable file that is not empty.")
