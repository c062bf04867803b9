"""What every endpoint shares: who asks, what may be sent, pages, and errors as problem documents.

Must not import ``rest_framework.views``: that module reads the settings, which name this one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import IntegrityError, OperationalError
from django.db.models import Q, QuerySet
from django.http import Http404
from pydantic_core import to_json
from rest_framework import exceptions, serializers
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import refusals, tokens
from luhyaapi import log
from luhyaapi.errors import CODES, Refused, Trouble, Unavailable, of
from luhyadb.models import Account, ApiToken

_log = log.get(__name__)
PROBLEM = "application/problem+json"
JSON_AT_MOST = 1024 * 1024
PAGE, PAGE_AT_MOST = 50, 1000
API = "/api/v1"


# who asks


class BearerToken(BaseAuthentication):
    """An API token, in ``Authorization: Bearer``."""

    def authenticate(self, request: Request) -> tuple[Account, ApiToken] | None:
        """The account and its token; None where no token came. Raises AuthenticationFailed."""
        scheme, *rest = get_authorization_header(request).split() or [b""]
        if scheme.lower() != b"bearer":
            return None
        row = tokens.known(rest[0].decode("latin-1"), str(request.META.get("REMOTE_ADDR", ""))) if len(rest) == 1 else None
        if row is None:
            raise exceptions.AuthenticationFailed("Invalid token.")
        return row.account, row

    def authenticate_header(self, _request: Request) -> str:
        """How one signs in here."""
        return "Bearer"


def admit(account: Account, token: ApiToken | None, *, reads: bool, signs_in: bool = False, new_password: bool = False) -> None:
    """Whether a sign-in is good for this: ``reads``; or changes how the account ``signs_in``; or is the way to a ``new_password``.

    Raises Refused(password_change | forbidden).
    """
    if account.must_change_password and not new_password:
        raise Refused("password_change", "The password has to be changed first", "somebody else chose it, and knows it")
    if token is None or reads:
        return
    if token.scope == tokens.READ:
        raise Refused("forbidden", "This token may only read", f"it is {token.name}", hint="Make one with the scope all, or sign in.")
    if signs_in and not token.renewed_until:
        raise Refused("forbidden", "This token may not change how the account signs in", f"it is {token.name}",
                      hint="Sign in: at the console, or by `educloud login`.")


# errors


def form_of(trouble: Trouble, status: int, request_id: str = "") -> dict[str, Any]:
    """An error as a problem document. What went wrong in a bug stands in the log, under the request's id."""
    form = {"type": "about:blank", "title": CODES[trouble.code].title, "status": status, **trouble.wire()}
    if trouble.family == "bug":
        form["why"] = f"the log tells more under request {request_id}" if request_id else "the log tells more"
    form["detail"] = f"{form['what']}{': ' + str(form['why']) if form['why'] else ''}"
    extra = {k: v for k, v in trouble.params.items() if k in ("field", "task", "received_bytes")}
    return form | extra | ({"request": request_id} if request_id else {})


def _first(detail: Any, path: str = "") -> tuple[str, str]:
    """The first field of a form's errors and what is said of it."""
    if isinstance(detail, Mapping) and detail:
        name, value = next((n, v) for n, v in detail.items() if v)
        return _first(value, path if name == "non_field_errors" else f"{path}.{name}".strip("."))
    if isinstance(detail, Sequence) and not isinstance(detail, str) and detail:
        at = next(n for n, v in enumerate(detail) if v)
        return _first(detail[at], path if isinstance(detail[at], str) else f"{path}.{at}".strip("."))
    return path, str(detail).rstrip(".")


def translate(error: BaseException) -> tuple[Trouble, int]:
    """Any exception as an error with a code, and the HTTP status it answers with."""
    trouble, status = _known(error) or (of(error), 0)
    return trouble, status or CODES[trouble.code].http


def _wrong_form(error: Any) -> Refused:
    field, said = _first(error.detail)
    return Refused("invalid", f"{field or 'The request'} is not possible", said, **({"field": field} if field else {}))


def _why(error: BaseException) -> str:
    return str(getattr(error, "detail", "") or error)[:300]


_DOCS = "/api/docs/ lists what each address does."
_FOREIGN: tuple[tuple[tuple[type[Exception], ...], int, Callable[[Any], Trouble]], ...] = (
    ((exceptions.ValidationError,), 0, _wrong_form),
    ((exceptions.NotAuthenticated,), 401, lambda _: Refused("unauthenticated", "Nobody is signed in")),
    ((exceptions.AuthenticationFailed,), 401, lambda _: Refused("unauthenticated", "The token is not valid")),
    ((Http404, exceptions.NotFound), 404, lambda _: Refused("not_found", "There is nothing at this address")),
    ((PermissionDenied, exceptions.PermissionDenied), 403, lambda e: Refused("forbidden", "Not permitted", _why(e))),
    ((exceptions.MethodNotAllowed,), 405, lambda e: Refused("unsupported", "This address does not do that", _why(e), hint=_DOCS)),
    ((exceptions.UnsupportedMediaType,), 415,
     lambda e: Refused("invalid", "The body cannot be read", _why(e), hint="Send Content-Type: application/json.")),
    ((exceptions.Throttled,), 429, lambda e: Unavailable("busy", "Too many requests", _why(e))),
    ((exceptions.ParseError,), 400, lambda e: Refused("invalid", "The body is not JSON", _why(e))),
    ((SuspiciousOperation,), 400, lambda e: Refused("invalid", "The request is not valid", _why(e))),
    ((IntegrityError,), 409,
     lambda _: Refused("conflict", "Somebody changed it at the same moment", hint="Look again, then try again.")),
    ((OperationalError,), 503, lambda _: Unavailable("busy", "The database does not take it now")),
)
"""Exceptions of others: the status they answer with (0: that of the code), and what they are in our words."""


def _known(error: BaseException) -> tuple[Trouble, int] | None:
    for kinds, status, said in _FOREIGN:
        if isinstance(error, kinds):
            return said(error), status
    if isinstance(error, exceptions.APIException):
        return Refused("invalid", "The request is not valid", _why(error)), error.status_code
    return None


def problem(error: Exception, context: Mapping[str, Any]) -> Response:
    """The exception handler of the API: everything becomes a problem document."""
    trouble, status = translate(error)
    request = context.get("request")
    request_id = str(getattr(getattr(request, "_request", request), "request_id", ""))
    if status >= 500:
        note(error, trouble)
    if trouble.code == "forbidden":
        refusals.forbidden(str(getattr(request, "path", "")), trouble)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = str(getattr(error, "auth_header", "") or "Bearer")
    if status in (429, 503):
        headers["Retry-After"] = str(int(getattr(error, "wait", None) or trouble.params.get("wait_s") or 2))
    return Response(form_of(trouble, status, request_id), status, headers=headers, content_type=PROBLEM)


def note(error: BaseException, trouble: Trouble) -> None:
    """Log what is our fault with its trace, what is nobody's fault in one line."""
    if trouble.family == "bug":
        _log.error("request failed", why=str(error), exc_info=(type(error), error, error.__traceback__))
    else:
        _log.warning("request not served", code=trouble.code, why=str(trouble))


# what may be sent


class SmallJson(JSONParser):
    """JSON of at most 1 MiB."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The value. Raises ParseError, TooLarge."""
        del media_type, parser_context
        raw = stream.read(JSON_AT_MOST + 1)
        if len(raw) > JSON_AT_MOST:
            raise TooLarge
        try:
            return json.loads(raw, parse_constant=_no_constant)
        except (ValueError, RecursionError) as e:
            raise exceptions.ParseError(str(e)[:200] or "nested too deep") from e


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


class TooLarge(exceptions.APIException):
    """More bytes than are read here."""

    status_code = 413
    default_detail = f"at most {JSON_AT_MOST} bytes are read"


class Text(serializers.CharField):
    """A text; no number passes for one, and no control characters (``lines``: line ends and tabs may)."""

    def __init__(self, *, lines: bool = False, **kwargs: Any) -> None:
        self.lines = lines
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """The text as it came."""
        if not isinstance(data, str):
            raise serializers.ValidationError("a text is expected")
        if not (data.translate({10: None, 13: None, 9: None}) if self.lines else data).isprintable():
            raise serializers.ValidationError("it holds control characters")
        return data


class Given(serializers.CharField):
    """A text for somebody else: every sign of it stays, and whoever takes it says what is wrong with it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)
        self.validators.clear()

    def to_internal_value(self, data: Any) -> str:
        """The text as it came."""
        if not isinstance(data, str):
            raise serializers.ValidationError("a text is expected")
        return data


class Whole(serializers.IntegerField):
    """A whole number; no text, no fraction and no truth passes for one."""

    def to_internal_value(self, data: Any) -> int:
        """The number as it came."""
        if not isinstance(data, int) or isinstance(data, bool):
            raise serializers.ValidationError("a whole number is expected")
        return data


class Form(serializers.Serializer):
    """What a request may say; a field it does not know is refused by name."""

    def to_internal_value(self, data: Any) -> Any:
        """The checked values."""
        if isinstance(data, Mapping):
            for name in data:
                if name not in self.fields:
                    known = ", ".join(self.fields) or "none"
                    raise serializers.ValidationError({str(name)[:40]: f"there is no such field; known are {known}"})
        return super().to_internal_value(data)


class Nothing(Form):
    """A request without a body."""


class JsonAlways(BaseContentNegotiation):
    """Answers as the endpoint does, whatever was asked for: an error must never hide behind 406."""

    def select_parser(self, request: Request, parsers: Sequence[Any]) -> Any:
        """The parser of the content's type, None when there is none."""
        kind = str(request.content_type or "").partition(";")[0].strip().lower()
        return next((p for p in parsers if p.media_type in (kind, "*/*")), None)

    def select_renderer(
        self, _request: Request, renderers: Sequence[BaseRenderer], _format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The first."""
        return renderers[0], str(renderers[0].media_type)


# answers


class Json(BaseRenderer):
    """JSON, written by pydantic's Rust: the texts, numbers, lists and dictionaries of our pictures."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, _accepted: str | None = None, _context: Any = None) -> bytes:
        """The bytes; nothing for no data."""
        return b"" if data is None else to_json(data, fallback=str)


def accepted(task: str, body: Mapping[str, Any]) -> Response:
    """A long action has begun: 202, and where its task is."""
    return Response(body, 202, headers={"Location": f"{API}/tasks/{task}/"} if task else None)


Filters = Mapping[str, Callable[[Any, str], Any]]


def exactly(lookup: str, words: Iterable[str] = ()) -> Callable[[Any, str], Any]:
    """A filter by one column; several values are separated by commas. ``words``: what may be asked for."""
    allowed = {str(w) for w in words}

    def narrow(rows: Any, asked: str) -> Any:
        values = [v for v in asked.split(",") if v]
        wrong = [v for v in values if allowed and v not in allowed]
        if wrong:
            raise Refused("invalid", f"{wrong[0][:40]!r} cannot be asked for", f"there are {', '.join(sorted(allowed))}")
        return rows.filter(**{f"{lookup}__in": values})

    return narrow


def narrowed(request: Request, rows: QuerySet[Any], filters: Filters) -> QuerySet[Any]:
    """The rows that were asked for. Raises Refused(invalid) for a filter that is not there."""
    for name in request.query_params:
        if name in ("cursor", "limit"):
            continue
        if name not in filters:
            raise Refused("invalid", f"One cannot filter by {name[:40]!r}", f"filters: {', '.join(filters) or 'none'}", field=name[:40])
        rows = filters[name](rows, request.query_params[name][:200])
    return rows


def page(
    request: Request, rows: QuerySet[Any], show: Callable[[list[Any]], list[dict[str, Any]]], *,
    by: str = "created_at", newest: bool = True, is_text: bool = False, columns: Sequence[str] = (),
) -> Response:
    """One page, ``{results, next}``: ``next`` is the address of the following page or None. ``?limit=`` 1 to 1000, ``?cursor=``.

    ``is_text``: ``by`` is a column of texts. ``columns``: rows are read and shown as dictionaries of these, ``pk`` and ``by`` among them.
    """
    limit = asked_limit(request)
    compare, sign = ("lt", "-") if newest else ("gt", "")
    cursor = request.query_params.get("cursor", "")
    if cursor:
        value, pk = _at(cursor, is_text=is_text)
        # The first condition says nothing new; it is the one by which an index finds the place at once.
        rows = rows.filter(**{f"{by}__{compare}e": value}).filter(Q(**{f"{by}__{compare}": value}) | Q(**{by: value, f"pk__{compare}": pk}))
    ordered = rows.order_by(f"{sign}{by}", f"{sign}pk")
    found = list((ordered.values(*columns) if columns else ordered)[: limit + 1])
    following = None
    if len(found) > limit:
        last = found[limit - 1]
        query = request.query_params.copy()
        place = [last[by], last["pk"]] if columns else [getattr(last, by), last.pk]
        query["cursor"] = base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")
        following = request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
    return Response({"results": show(found[:limit]), "next": following})


def asked_limit(request: Request, usual: int = PAGE) -> int:
    """How many entries a page shall have. Raises Refused(invalid)."""
    text = request.query_params.get("limit", str(usual))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= PAGE_AT_MOST):
        raise Refused("invalid", "limit is not possible", f"give 1 to {PAGE_AT_MOST}", field="limit")
    return int(text)


def _at(cursor: str, *, is_text: bool) -> tuple[float | str, str | int]:
    """Where a list goes on: behind a number, or behind a text."""
    try:
        value, pk = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e15
        if not (isinstance(value, str) if is_text else is_number) or not isinstance(pk, str | int):
            raise ValueError(cursor)
    except (ValueError, TypeError, binascii.Error, RecursionError) as e:
        raise Refused("invalid", "The cursor is not one of ours", "take it from the page before", field="cursor") from e
    return value, pk


