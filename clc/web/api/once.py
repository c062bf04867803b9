"""A POST with an Idempotency-Key is done once; said again it gets the first answer again."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.db import IntegrityError
from rest_framework.response import Response

from luhyaapi import clock
from luhyaapi.errors import Refused, Unavailable
from luhyadb import memory
from luhyadb.models import Account, IdempotencyKey

KEPT_S = 7 * 24 * 3600.0
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
Handler = Callable[..., Response]


def once(handler: Handler) -> Handler:
    """Let a handler of POST honour the header ``Idempotency-Key``; its change and its answer are kept in one transaction.

    The same key with another request is refused (conflict). An error is not kept: the request may be tried again.
    """

    @functools.wraps(handler)
    def handle(view: Any, request: Any, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            return handler(view, request, *args, **kwargs)
        if not _KEY.fullmatch(key):
            raise Refused("invalid", "The Idempotency-Key is not possible", "1 to 200 printable ASCII signs without blanks")
        answers = _Answers(request.user, key, _spoken(request))
        with memory.atomic():
            told = answers.earlier() or answers.claim()
            if told is not None:
                return told
            answer = handler(view, request, *args, **kwargs)
            answers.keep(answer)
        return answer

    return handle


def _spoken(request: Any) -> str:
    return json.dumps([request.method, request.get_full_path(), request.data], sort_keys=True, default=str)


class _Answers:
    """What is kept of one key: neither the key nor an answer can be read from the table, for answers may hold secrets."""

    def __init__(self, account: Account, key: str, spoken: str) -> None:
        digest = functools.partial(hmac.new, f"{account.pk}:{key}".encode(), digestmod=hashlib.sha256)
        self._account = account
        self._name = digest(b"name").hexdigest()
        self._request = digest(b"request:" + spoken.encode("utf-8", "surrogatepass")).hexdigest()
        self._box = Fernet(base64.urlsafe_b64encode(digest(b"box").digest()))

    def earlier(self) -> Response | None:
        """The first answer, None before it. Raises Refused(conflict), Unavailable(busy)."""
        row = IdempotencyKey.objects.filter(account=self._account, key=self._name).first()
        if row is None:
            return None
        if row.at < clock.now() - KEPT_S:
            row.delete()
            return None
        if not hmac.compare_digest(row.request, self._request):
            raise Refused("conflict", "This Idempotency-Key was used for another request", hint="Use a new Idempotency-Key for a different request.")
        if not row.status:
            raise Unavailable("busy", "The first request with this Idempotency-Key is still at work")
        try:
            body = json.loads(self._box.decrypt(row.answer.encode()))
        except InvalidToken as e:
            raise Refused("conflict", "The first answer cannot be read any more") from e
        headers = {"Idempotency-Replayed": "true"} | ({"Location": row.location} if row.location else {})
        return Response(body, row.status, headers=headers)

    def claim(self) -> Response | None:
        """Be the first; None then, else the answer of whoever was."""
        IdempotencyKey.objects.filter(account=self._account, at__lt=clock.now() - KEPT_S).delete()
        try:
            with memory.atomic():
                IdempotencyKey.objects.create(account=self._account, key=self._name, request=self._request, at=clock.now())
        except IntegrityError:
            told = self.earlier()
            if told is None:
                raise Unavailable("busy", "The first request with this Idempotency-Key is still at work") from None
            return told
        return None

    def keep(self, answer: Response) -> None:
        """Keep the answer with the change."""
        text = self._box.encrypt(json.dumps(answer.data).encode()).decode()
        IdempotencyKey.objects.filter(account=self._account, key=self._name).update(
            status=answer.status_code, answer=text, location=str(answer.headers.get("Location", "")),
        )
