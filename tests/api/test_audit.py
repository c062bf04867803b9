"""Who did it: what an event says by each door, what is sealed, who may read it, and what becomes of it."""

import csv
import io
import json
import os
import time

import pytest
from django.test import Client

import deploy.admin
from clc.role import ROLE
from clc.services import audit, audit_export, events, people, refusals
from clc.services.audit_export import Asked
from luhyaapi import chain, clock
from luhyaapi.chain import Check
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.commands import COMMANDS
from luhyaapi.contracts.reports import JoinAsked
from luhyadb.models import Chain, Event, Host, Instance
from tests.support.clc_world import PASSWORD

SECRET = "plantedsecret7731"  # what nobody may find again


@pytest.fixture
def ready(world, admin):
    world.cluster()
    return world.image(admin)


@pytest.fixture(autouse=True)
def fresh_bound(monkeypatch):
    monkeypatch.setattr(refusals, "bound", refusals.Bound())


@pytest.fixture
def kept(settings):
    """``kept(days)``: what retention keeps."""
    def keep(days):
        one = settings.EDUCLOUD
        settings.EDUCLOUD = one.model_copy(update={"audit": one.audit.model_copy(update={"keep_days": days})})

    return keep


def last(**by):
    return Event.objects.filter(**by).order_by("id").last()


def found(account, heads=()):
    check = Check(heads)
    for piece in audit_export.export(account, Asked()):
        for line in piece.splitlines():
            check.read(line)
    return check.end()


def fill(account, count, **more):
    Event.objects.bulk_create(
        Event(at=clock.now(), noun="instance", subject=f"ins-{n:08x}", what="instance running", owner=account, actor=account, actor_name="ada",
              fields={"n": n}, before={"state": "starting"}, after={"state": "running"}, **more) for n in range(count))


# what an event says


def test_a_call_of_the_api_says_who_from_where_and_by_which_token(api, admin, user, ready):
    made = api(user).post("/api/v1/instances/", {"image": "tiny", "name": "one"}, format="json", headers={"X-Request-Id": "request-0001"})
    told = last(what="instance defined")
    assert (told.actor, told.actor_name, told.owner, str(told.via), told.origin, told.request) == (user, "ada", user, "api", "127.0.0.1", "request-0001")
    assert (len(told.token), str(told.result), made.status_code) == (12, "done", 201 if made.status_code == 201 else 202)
    row = Instance.objects.get()
    api(admin).delete(f"/api/v1/instances/{row.pk}/")
    told = last(what="task opened")
    assert (told.actor, told.owner) == (admin, user), "the one did it, on the other's behalf"


def test_a_page_says_so_too(admin, user, ready):
    client = Client(REMOTE_ADDR="192.0.2.9")
    client.force_login(user)
    client.post("/instances/run/", {"image": "tiny", "name": "one"})
    told = last(what="instance defined")
    assert (told.actor, str(told.via), told.origin, told.token) == (user, "page", "192.0.2.9", "")
    assert len(told.request) > 8


def test_a_host_that_reports_is_where_a_change_comes_from(world, user):
    (_, cluster, _) = world.cluster()
    report = JoinAsked(request="r" * 20, role="nc", name="node-9", csr="x", proof="0" * 64, address="192.0.2.3")
    envelope = Envelope(id="r", kind=JoinAsked.kind, sender=cluster.pk, to="clc", issued_at=1, expires_at=2, deadline=2, body="{}")
    ROLE.reducers[JoinAsked.kind](None, envelope, report)
    told = last(what="host asks to join")
    assert (told.actor, told.actor_name, str(told.via), told.origin) == (None, "", "host", cluster.pk)
    events.record("task", "tsk-00000001", "task lost")
    assert (str(last().via), last().origin) == ("cloud", ""), "what nobody asked for is the cloud's own"


def test_a_command_on_the_machine_says_so(world, capsys):
    assert deploy.admin.main(["join-token", "--role", "nc"]) == 0
    told = last(what="permission to join given")
    assert (told.actor, str(told.via), told.origin) == (None, "shell", os.uname().nodename)
    assert capsys.readouterr().out.strip() not in str(told.fields)


def test_only_what_changed_is_kept_before_and_after(api, admin, ready):
    api(admin).patch(f"/api/v1/images/{ready.pk}/", {"description": "for class 7", "owner_group": ""}, format="json")
    told = last(what="image changed")
    assert (told.before, told.after) == ({"description": ""}, {"description": "for class 7"})
    assert api(admin).put(f"/api/v1/images/{ready.pk}/versions/1/pin/", {}, format="json").status_code < 300
    assert (last(what="version pinned").before, last().after) == ({"pinned": False}, {"pinned": True})
    events.record("x", "1", "y", before={"a": 1, "b": 2, "gone": 3, "password": "p"}, after={"a": 1, "b": 4, "new": 5, "api_token": "t"})
    assert last().before == {"b": 2, "gone": 3, "password": "***"}
    assert last().after == {"b": 4, "new": 5, "api_token": "***"}


def test_each_changing_call_leaves_a_line_of_its_caller(world, api, admin, user, ready):
    row = world.instance(user, ready, "one")
    Instance.objects.filter(pk=row.pk).update(node="nc-00000001", state="running", cluster=Host.objects.get(role="cc").pk)
    Host.objects.filter(role="cc").update(speaks=dict.fromkeys(COMMANDS, 99))
    group = api(admin).post("/api/v1/security-groups/", {"name": "web"}, format="json").json()["id"]
    world.image(admin, "spare", versions=2)
    allow = [{"protocol": "tcp", "ports": "22", "source": "0.0.0.0/0"}]
    calls = [
        ("post", "users/", {"username": "eve", "password": "another horse battery"}), ("post", "users/eve/password/", {"password": "a horse battery too"}),
        ("post", "hosts/tokens/", {"role": "nc"}), ("post", f"hosts/{Host.objects.get(role='nc').pk}/drain/", {}),
        ("patch", "images/tiny/", {"description": "x"}), ("put", "images/spare/versions/1/pin/", {}), ("delete", "images/spare/versions/1/pin/", None),
        ("put", "images/spare/retention/", {"keep": 1}), ("post", f"instances/{row.pk}/screen/", {}), ("put", f"instances/{row.pk}/groups/", {"groups": []}),
        ("post", "networks/", {"name": "class-7", "subnet": "10.40.0.0/24"}), ("post", f"instances/{row.pk}/stop/", {}),
        ("put", f"security-groups/{group}/rules/", {"rules": allow}), ("delete", f"security-groups/{group}/", None),
        ("delete", "images/spare/", None), ("delete", f"instances/{row.pk}/", None),
        ("delete", "users/eve/", None),
    ]
    client, lacking = api(admin), []
    for n, (method, where, sent) in enumerate(calls):
        answer = getattr(client, method)(f"/api/v1/{where}", sent, format="json", headers={"X-Request-Id": f"the-call-{n:03}"})
        lines = Event.objects.filter(request=f"the-call-{n:03}")
        if answer.status_code >= 300 or not lines or set(lines.values_list("actor_name", "via")) != {("root", "api")}:
            lacking.append((method, where, answer.status_code, answer.content[:200], [line.what for line in lines]))
    assert lacking == []


def test_signing_in_and_out_and_what_was_refused(world, api, user):
    client = api(None)
    assert client.post("/api/v1/login/", {"username": "Ada", "password": "wrong"}, format="json").status_code == 401
    told = last()
    assert (told.what, told.owner, told.actor, told.fields, str(told.result)) == ("sign-in refused", user, None, {"name": "ada"}, "refused")
    client.post("/api/v1/login/", {"username": SECRET, "password": "wrong"}, format="json")
    assert last().fields == {}, "who knows what was typed into the wrong field"
    token = client.post("/api/v1/login/", {"username": "ada", "password": PASSWORD}, format="json").json()["token"]
    told = last()
    assert (told.what, told.actor, told.owner) == ("signed in", user, user)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    client.post("/api/v1/security-groups/", {"name": "web"}, format="json")
    assert last(what="security group made").token == told.fields["made"]
    assert told.fields["made"] not in token
    page = Client()
    page.post("/login/", {"username": "ada", "password": "wrong"})
    assert (last().what, str(last().via)) == ("sign-in refused", "page")
    page.post("/login/", {"username": "ada", "password": PASSWORD})
    page.post("/logout/")
    assert [e.what for e in Event.objects.filter(noun="session").order_by("-id")[:2]] == ["signed out", "signed in"]
    assert last().actor == user


def test_what_somebody_may_not_do_is_a_line(api, user, admin):
    assert api(user).get("/api/v1/hosts/").status_code == 403
    told = last()
    assert (told.what, told.actor, told.owner, told.fields["address"]) == ("not permitted", user, user, "/api/v1/hosts/")
    client = Client()
    client.force_login(user)
    assert client.get("/hosts/?x=1").status_code == 404
    assert (last().what, last().fields["address"], str(last().via)) == ("not permitted", "/hosts/", "page")
    before = Event.objects.count()
    assert api(None).get("/api/v1/hosts/").status_code == 401
    assert client.get("/instances/ins-00000009/").status_code == 404
    assert Event.objects.count() == before, "nobody's asking, and what is not there, are no lines"


def test_nobody_fills_the_table_by_asking(api, user, other, monkeypatch):
    moved = ManualClock()
    before = clock.use(moved)
    try:
        for _ in range(100):
            api(user).get("/api/v1/hosts/")
        lines = Event.objects.filter(what="not permitted")
        assert lines.count() == refusals.OF_ONE
        api(other).get("/api/v1/hosts/")
        assert last().fields["left_out"] == 100 - refusals.OF_ONE
        for n in range(100):
            origin_address = f"192.0.2.{n}"
            api(None).post("/api/v1/login/", {"username": f"x{n}", "password": "x"}, format="json", REMOTE_ADDR=origin_address)
        assert Event.objects.filter(result="refused").count() == refusals.OF_ALL
        moved.sleep(refusals.WITHIN_S + 1)
        api(user).get("/api/v1/hosts/")
        assert last().fields["left_out"] == 100 - (refusals.OF_ALL - refusals.OF_ONE - 1)
    finally:
        clock.use(before)


def test_no_secret_is_in_any_line(api, admin, user, ready, tmp_path):
    """Every kind of change that is given one, by the API and by the pages; and the tokens that were made on the way."""
    root, ada = api(admin), api(user)
    tokens = []
    root.post("/api/v1/users/", {"username": "eve", "password": f"{SECRET}-eve"}, format="json")
    root.post("/api/v1/users/eve/password/", {"password": f"{SECRET}-new"}, format="json")
    for password in (SECRET, f"{SECRET}-new"):
        answer = api(None).post("/api/v1/login/", {"username": "eve", "password": password}, format="json").json()
        tokens.append(answer.get("token", SECRET))
    api(None).post("/api/v1/login/", {"username": SECRET, "password": SECRET}, format="json")
    tokens.append(root.post("/api/v1/hosts/tokens/", {"role": "nc"}, format="json").json()["token"])
    ada.post("/api/v1/users/me/password/", {"password": f"{SECRET}-mine"}, format="json")
    made = root.post("/api/v1/instances/", {"image": "tiny", "name": "one", "user_data": f"#!/bin/sh\necho {SECRET}", "count": 1}, format="json")
    assert made.status_code in (201, 202), made.content
    row = Instance.objects.get()
    Instance.objects.filter(pk=row.pk).update(node="nc-00000001", state="running")
    tokens += [root.post(f"/api/v1/instances/{row.pk}/{door}/", {}, format="json").json()["ticket"] for door in ("screen", "serial")]
    tokens.append(root.post(f"/api/v1/instances/{row.pk}/tunnel/", {"port": 22}, format="json").json()["ticket"])
    root.post("/api/v1/images/import/", {"name": "far", "url": f"https://example.org/x.qcow2?token={SECRET}"}, format="json")
    root.post("/api/v1/images/import/", {"name": "far2", "url": f"https://ann:{SECRET}@example.org/x.qcow2"}, format="json")
    root.get(f"/api/v1/hosts/?token={SECRET}")
    ada.get(f"/api/v1/hosts/?token={SECRET}", headers={"X-Request-Id": "request-0002"})
    page = Client()
    page.post("/login/", {"username": "eve", "password": f"{SECRET}-new"})
    page.post("/logout/")
    page.force_login(admin)
    page.post("/people/add/", {"username": "kim", "password": f"{SECRET}-kim", "role": "user"})
    page.post("/people/of/kim/password/", {"password": f"{SECRET}-kim2"})
    page.post("/instances/run/", {"image": "tiny", "name": "two", "user_data": SECRET, "ssh_key": f"ssh-ed25519 {SECRET}"})
    assert Event.objects.count() > 20
    audit.seal()
    for form in audit_export.FORMS:
        told = "".join(audit_export.export(admin, Asked(), form))
        for secret in (SECRET, *tokens):
            assert secret not in told


# sealing


def test_events_are_sealed_in_order_and_the_chain_is_whole(admin, user):
    fill(user, 2500)
    count = Event.objects.count()
    assert audit_export.standing()["unsealed"] == count
    assert found(admin).lines == 0
    audit.tend()
    assert audit_export.standing()["unsealed"] == 0
    assert list(Event.objects.order_by("id").values_list("number", flat=True)) == list(range(1, count + 1))
    verdict = found(admin)
    assert (verdict.faults, verdict.lines, verdict.last, verdict.whole) == ([], count, audit.head(), True)
    before = audit.head()
    assert audit.seal() == 0
    assert audit.head() == before


def test_an_event_that_commits_late_is_sealed_later_and_once(admin, user):
    late = last().pk + 1
    fill(user, 1, id=late + 1)
    audit.seal()
    fill(user, 1, id=late)
    assert audit.seal() == 1
    assert audit.seal() == 0
    numbers = dict(Event.objects.values_list("id", "number"))
    assert numbers[late] == numbers[late + 1] + 1
    assert found(admin).faults == []


def test_a_number_is_given_once(admin, user):
    audit.seal()
    event = last()
    digest = event.digest
    event.number, event.digest = 99, "0" * 64
    events.number([event])
    event.refresh_from_db()
    assert (event.number, event.digest) != (99, "0" * 64)
    assert event.digest == digest


@pytest.mark.parametrize("change", [
    {"what": "nothing"}, {"actor_name": "bob"}, {"fields": {}}, {"after": {"state": "stopped"}}, {"at": 1.0}, {"owner_id": None}, {"origin": "192.0.2.1"},
    {"subject": "ins-00000009"}, {"result": "refused"}, {"via": "shell"}, {"token": "x"}, {"request": "x"}, {"task": "x"}, {"host": "x"}, {"noun": "x"},
    {"before": {}}, {"actor_id": None},
], ids=lambda c: next(iter(c)))
def test_what_is_changed_in_the_table_shows(admin, user, change):
    fill(user, 5)
    audit.seal()
    number = last().number - 2
    Event.objects.filter(number=number).update(**change)
    assert found(admin).faults == [f"line {number} was changed"]


def test_what_is_taken_from_or_put_into_the_table_shows(admin, user):
    fill(user, 9)
    audit.seal()
    head = audit.head()
    one, other = head.number - 2, head.number - 5
    rows = {n: Event.objects.get(number=n) for n in (one, other, head.number)}
    Event.objects.filter(number=one).delete()
    assert found(admin).faults == [f"line {one} was removed"]
    rows[one].save(force_insert=True)
    assert found(admin).faults == []
    Event.objects.filter(number=one).update(what="a", number=-1)
    Event.objects.filter(number=other).update(number=one)
    Event.objects.filter(number=-1).update(number=other)
    assert found(admin).faults
    for row in rows.values():
        Event.objects.filter(pk=row.pk).update(number=-row.pk)
    for row in rows.values():
        Event.objects.filter(pk=row.pk).update(number=row.number, what=row.what)
    assert found(admin).faults == []
    rows[head.number].delete()
    assert "its tail was cut off" in found(admin).faults[0], "the head knows better"
    Chain.objects.update(number=head.number - 1, digest=Event.objects.get(number=head.number - 1).digest)
    assert found(admin).faults == []
    assert "its tail was cut off" in found(admin, [head]).faults[0], "and where that was changed too, a head that was noted elsewhere"


def test_a_thousand_are_sealed_and_verified_quickly(admin, user):
    fill(user, 1000)
    began = time.process_time()
    audit.seal()
    assert time.process_time() - began < 0.3, "usually a tenth of it"
    began = time.process_time()
    assert found(admin).faults == []
    assert time.process_time() - began < 0.6, "usually a tenth of it"


# retention


def test_retention_removes_the_beginning_and_says_so(admin, user, kept):
    moved = ManualClock()
    before = clock.use(moved)
    try:
        Event.objects.all().delete()
        fill(user, 30)
        moved.sleep(40 * 24 * 3600)
        fill(user, 10)
        audit.tend()
        whole = audit.head()
        old = chain.Head(30, Event.objects.get(number=30).digest)
        assert audit.remove_old() == 0, "by default everything stays"
        kept(30)
        moved.sleep(25 * 3600)
        audit.tend()
        assert Event.objects.order_by("number").first().number == 31
        told = last()
        assert (told.noun, told.what, told.fields, str(told.via)) == (*chain.REMOVED, {"upto": 30, "digest": old.digest}, "cloud")
        verdict = found(admin, [whole, old])
        assert (verdict.faults, verdict.first, verdict.whole) == ([], 31, True)
        assert audit_export.standing()["removed"] == 30
        moved.sleep(60 * 24 * 3600)
        audit.tend()
        newest = found(admin)
        assert (newest.faults, newest.first, newest.lines) == ([], 41, 2), "the newest line stays, and what says that others went"
        fill(user, 9)
        audit.seal()
        anchor = Event.objects.get(number=43)
        Event.objects.filter(number__lte=43).delete()
        Chain.objects.update(anchor_number=43, anchor_digest=anchor.digest)
        assert "no line says" in found(admin).faults[0], "who removes a beginning himself has no line that says so"
    finally:
        clock.use(before)


# reading


def test_others_see_what_is_theirs_and_not_from_where_others_came(api, admin, user, other, ready):
    api(user).post("/api/v1/instances/", {"image": "tiny", "name": "one"}, format="json")
    row = Instance.objects.get()
    api(admin).delete(f"/api/v1/instances/{row.pk}/")
    mine = api(user).get("/api/v1/audit/").json()["results"]
    assert {line["owner"] for line in mine} == {"ada"}
    by = {line["actor"]: line for line in mine if line["actor"] and line["noun"] == "instance"}
    assert (by["root"]["origin"], by["root"]["token"], by["root"]["request"]) == ("", "", "")
    assert by["ada"]["origin"] == "127.0.0.1"
    theirs = api(other).get("/api/v1/audit/").json()["results"]
    assert row.pk not in json.dumps(theirs)
    assert api(other).get(f"/api/v1/audit/?subject={row.pk}").json()["results"] == []
    for path in ("head/", "export/", "export/?form=csv"):
        assert api(user).get(f"/api/v1/audit/{path}").status_code == 403, path
        assert api(None).get(f"/api/v1/audit/{path}").status_code == 401, path
    all_of_it = api(admin).get(f"/api/v1/audit/?subject={row.pk}").json()["results"]
    assert {"instance defined", "task opened"} <= {line["what"] for line in all_of_it}, "and the tasks about it"


def test_the_record_is_filtered_and_paged(api, admin, user, other, ready):
    people.delete(admin, "bob")
    api(admin).post("/api/v1/users/", {"username": "bob", "password": "another horse battery"}, format="json")
    client = api(admin)

    def ask(query):
        answer = client.get(f"/api/v1/audit/?{query}")
        assert answer.status_code == 200, answer.content
        return answer.json()["results"]

    assert {line["what"] for line in ask("person=bob")} >= {"user added", "user deleted"}
    assert {line["actor"] for line in ask("actor=root")} == {"root"}
    assert {line["via"] for line in ask("via=api")} == {"api"}
    assert {line["noun"] for line in ask("noun=user")} == {"user"}
    assert ask("result=refused") == []
    assert ask("person=nobody") == ask("until=2001-01-01") == ask("since=2999-01-01T00:00:00Z") == []
    assert len(ask("since=2001-01-01&limit=2")) == 2
    pages, where = [], "/api/v1/audit/?limit=3"
    while where:
        answer = client.get(where).json()
        pages += [line["id"] for line in answer["results"]]
        where = answer["next"]
    assert pages == sorted(Event.objects.values_list("id", flat=True), reverse=True)
    for query, field in (("since=yesterday", "since"), ("via=mail", "via"), ("nonsense=1", "nonsense"), ("until=2001-13-45", "until")):
        assert client.get(f"/api/v1/audit/?{query}").json()["field"] == field


def test_an_export_is_streamed_sealed_and_ends_with_its_head(api, admin, user):
    client = api(admin)
    fill(user, 1200)
    audit.tend()
    answer = client.get("/api/v1/audit/export/")
    assert answer.streaming
    pieces = list(answer.streaming_content)
    assert len(pieces) > 2
    *lines, trailer = map(json.loads, b"".join(pieces).splitlines())
    assert (trailer["head"], trailer["whole"], trailer["lines"], trailer["unsealed"]) == (str(audit.head()), True, len(lines), 0)
    assert client.get("/api/v1/audit/head/").json()["head"] == trailer["head"]
    assert (last().what, last().actor) == ("record exported", admin)
    check = Check([audit.head()])
    for line in b"".join(client.get("/api/v1/audit/export/?person=ada").streaming_content).decode().splitlines():
        check.read(line)
    verdict = check.end()
    assert verdict.whole is False
    assert [fault for fault in verdict.faults if "was changed" in fault] == []
    assert client.get("/api/v1/audit/export/?form=xml").json()["code"] == "invalid"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "=cmd|' /C calc'!A0"])
def test_no_cell_starts_a_formula(admin, name):
    events.record("network", "net-00000001", name, owner=admin, name=name)
    audit.seal()
    text = "".join(audit_export.export(admin, Asked(), "csv"))
    assert text.startswith("\N{BYTE ORDER MARK}number,at,")
    rows = list(csv.reader(io.StringIO(text[1:], newline="")))
    assert rows[-1] == ["head", str(audit.head())]
    assert any(f"'{name}" in row for row in rows)
    for cell in (cell for row in rows for cell in row if cell):
        assert cell[0] not in "=+-@\t\r"


def test_many_questions_are_not_asked_for_a_page(api, admin, user, django_assert_max_num_queries):
    fill(user, 200)
    client = api(admin)
    with django_assert_max_num_queries(6):
        assert len(client.get("/api/v1/audit/?limit=200").json()["results"]) == 200


def test_the_account_of_a_line_cannot_be_wiped(admin, user):
    events.record("x", "1", "y", owner=user)
    with pytest.raises(Exception, match="protected"):
        user.delete()
