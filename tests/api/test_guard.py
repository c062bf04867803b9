"""Around every request: ids, headers, and errors in the form their reader understands."""

import pytest
from django.http import Http404, HttpRequest, HttpResponse
from django.test import RequestFactory

from clc.web import guard
from clc.web.rest import translate
from luhyaapi.errors import CODES, Failed, Refused, Unavailable


def answered(error, path="/x", **headers):
    request = RequestFactory().get(path, headers=headers)
    problems = guard.Problems(lambda _request: HttpResponse())
    return guard.Guard(lambda r: problems.process_exception(r, error))(request)


@pytest.fixture(autouse=True)
def _world(world):
    pass


@pytest.mark.parametrize(("error", "status", "code"), [
    (Refused("state", "No", "it is so"), 409, "state"), (Unavailable("busy", "No"), 503, "busy"), (Failed("timeout", "No"), 504, "timeout"),
    (Http404(), 404, "not_found"), (ZeroDivisionError("secret detail"), 500, "bug"), (PermissionError("secret detail"), 500, "bug"),
])
def test_an_error_is_a_document_for_programs(error, status, code):
    answer = answered(error, "/api/v1/x/", **{"X-Request-Id": "request-12345"})
    import json

    told = json.loads(answer.content)
    assert (answer.status_code, told["code"], told["request"]) == (status, code, "request-12345")
    assert answer["Content-Type"] == "application/problem+json"
    assert b"secret detail" not in answer.content


@pytest.mark.parametrize("error", [Refused("state", "It <b>cannot</b>", "so"), ZeroDivisionError("secret detail")])
def test_an_error_is_a_page_for_people(error):
    answer = answered(error)
    assert answer["Content-Type"].startswith("text/html")
    assert b"<b>cannot" not in answer.content
    assert b"secret detail" not in answer.content
    assert answer["X-Request-Id"].encode() in answer.content


def test_an_error_is_a_note_in_a_fragment():
    answer = answered(Refused("state", "It cannot", "so"), **{"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Reswap"]) == (409, "none")
    assert b"toast-error" in answer.content
    assert b"<html" not in answer.content


def test_an_error_page_that_fails_is_still_an_answer(monkeypatch):
    def broken(*_):
        raise RuntimeError

    monkeypatch.setattr(guard, "render_to_string", broken)
    answer = answered(Refused("state", "It <b>cannot</b>"))
    assert answer.status_code == 409
    assert b"It &lt;b&gt;cannot" in answer.content


def test_a_crash_below_every_layer_has_its_number(client, monkeypatch):
    from clc.services import pictures

    client.raise_request_exception = False
    monkeypatch.setattr(pictures, "services", lambda: 1 / 0)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (500, "bug")


@pytest.mark.parametrize("sent", ["", "short", "x" * 65, "a b c d e f", "<script>alert(1)</script>", "é" * 10])
def test_a_request_id_that_is_not_sane_is_replaced(client, sent):
    got = client.get("/healthz", headers={"X-Request-Id": sent.encode("latin-1", "replace").decode("latin-1")})["X-Request-Id"]
    assert got != sent
    assert 8 <= len(got) <= 64


def test_every_answer_has_strict_headers(client):
    answer = client.get("/healthz", headers={"X-Request-Id": "request-12345"})
    assert answer["X-Request-Id"] == "request-12345"
    assert answer["Cache-Control"] == "no-store"
    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "ws://testserver" in policy
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"


def test_what_django_refuses_itself_is_said_in_our_words(client):
    nothing = client.get("/there/is/nothing")
    assert nothing.status_code == 404
    assert nothing["X-Request-Id"].encode() in nothing.content
    foreign = client.get("/healthz", headers={"Host": "evil.example"})
    assert foreign.status_code in (200, 400)
    assert client.get("/api/v1/nothing/").json()["code"] == "not_found"


def test_every_exception_has_a_status_and_a_code():
    for error in (ValueError("x"), KeyError("x"), OSError(28, "full"), RecursionError()):
        trouble, status = translate(error)
        assert (trouble.code in CODES, 400 <= status < 600) == (True, True)
    assert isinstance(HttpRequest(), HttpRequest)
