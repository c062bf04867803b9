"""Events, screens and logs by direct calls of the application: who hears what, what is resumed, what is refused."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.test import Client

from clc.services import events, grants, groups, people, pictures, screens, sessions, shares, tokens
from clc.web import audience
from clc.web.live import Live, asgi, feed
from clc.web.live import screen as screen_module
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import InstanceState, TaskState, Verb
from luhyadb.models import Account, BrowserSession, Event, Grant, Image, ImageVersion, Instance, ScreenTicket, Task

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(feed, "POLL_S", 0.01)
    monkeypatch.setattr(feed, "PROGRESS_EVERY_POLLS", 1)
    monkeypatch.setattr(asgi, "HEARTBEAT_S", 0.15)
    pictures.board.cache_clear()
    yield
    pictures.board.cache_clear()


def person(name, admin=False):
    account = Account(username=name, is_staff=admin)
    account.set_unusable_password()
    account.save()
    return account


@pytest.fixture
def cast():
    return SimpleNamespace(root=person("root", admin=True), ann=person("ann"), bob=person("bob"))


@pytest.fixture
def machine(cast):
    image = Image.objects.create(id="img-00000001", name="tiny", owner=cast.root, created_at=1)
    version = ImageVersion.objects.create(image=image, version=1, state="published", created_at=1)
    return Instance.objects.create(
        id="ins-00000001", name="one", live_name="one", owner=cast.ann, image=version, cpus=1, memory_mib=64,
        state=InstanceState.RUNNING, cluster="cc-00000001", node="nc-00000001", created_at=1, changed_at=1,
    )


def cookie(account):
    client = Client()
    client.force_login(account)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


class Call:
    """One connection to the application, driven from the other side."""

    def __init__(self, app, path, kind="http", headers=None, query="", method="GET"):
        self.scope = {
            "type": kind, "path": path, "method": method, "query_string": query.encode(), "subprotocols": ["binary"],
            "headers": [(k.lower().encode(), v.encode()) for k, v in ({"Host": "cloud"} | (headers or {})).items()],
        }
        self.inbox: asyncio.Queue = asyncio.Queue()
        self.sent: list[dict] = []
        self.moved = asyncio.Event()
        self.task = asyncio.create_task(app(self.scope, self.inbox.get, self._send))

    async def _send(self, message):
        self.sent.append(message)
        self.moved.set()

    async def until(self, enough, within_s=5):
        async with asyncio.timeout(within_s):
            while not enough(self):
                if self.task.done():
                    self.task.result()
                    assert enough(self), self.sent
                    return
                self.moved.clear()
                waiting = asyncio.ensure_future(self.moved.wait())
                await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else 0

    @property
    def body(self):
        return b"".join(m.get("body", b"") for m in self.sent)

    @property
    def events(self):
        found = []
        for block in self.body.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
            if "data" in lines:
                found.append((int(lines["id"]) if "id" in lines else None, json.loads(lines["data"])))
        return found

    def heard(self):
        return [form["what"] for _, form in self.events if form["what"] != "beat"]

    async def leave(self, kind="http.disconnect"):
        self.inbox.put_nowait({"type": kind})
        await asyncio.wait_for(self.task, 5)


def run(scenario):
    async_to_sync(scenario)()


tell = sync_to_async(events.record)


def test_everybody_hears_only_what_may_be_seen(cast, world):
    image, hidden = (Image.objects.create(id=ids.new("img"), name=name, owner=cast.root, created_at=1, group=group)
                     for name, group in (("open", world.group("")), ("hidden", world.group("edu", by=cast.root))))
    shares.open_to(image, image.group, (Verb.EXECUTE,))
    Account.objects.filter(is_staff=False).update(group=world.group("other", by=cast.root))
    keys = {name: cookie(account) for name, account in vars(cast).items()}

    async def scenario():
        app = Live()
        calls = {name: Call(app, "/api/v1/events", headers={"Cookie": key}) for name, key in keys.items()}
        for call in calls.values():
            await call.until(lambda c: c.body)
        await tell("instance", "ins-1", "of ann", owner=cast.ann, task="tsk-1")
        await tell("host", "nc-1", "of the house")
        await tell("image", image.pk, "version 1 published", owner=cast.root, task="tsk-2", version=1, why="secret")
        await tell("image", hidden.pk, "version 1 published", owner=cast.root)
        await calls["root"].until(lambda c: len(c.heard()) == 4)
        await calls["ann"].until(lambda c: len(c.heard()) == 2)
        await calls["bob"].until(lambda c: len(c.heard()) == 1)
        await asyncio.sleep(0.05)
        assert calls["root"].heard() == ["of ann", "of the house", "version 1 published", "version 1 published"]
        assert calls["ann"].heard() == ["of ann", "version 1 published"]
        assert calls["bob"].heard() == ["version 1 published"]
        number, form = calls["bob"].events[-1]
        assert number
        assert (form["type"], form["id"], form["task"], form["fields"]) == ("image", image.pk, "", {"version": 1})
        for call in calls.values():
            await call.leave()
        assert app.feed._task is None

    run(scenario)


def test_a_stream_resumes_where_it_was_cut(cast):
    key = cookie(cast.ann)
    for n in range(5):
        events.record("instance", "ins-1", f"event {n}", owner=cast.ann)
        events.record("instance", "ins-2", f"not mine {n}", owner=cast.bob)
    first = Event.objects.order_by("id").first().id

    async def scenario():
        app = Live()
        by_header = Call(app, "/api/v1/events", headers={"Cookie": key, "Last-Event-ID": str(first + 4)})
        by_query = Call(app, "/api/v1/events/", headers={"Cookie": key}, query=f"after={first}")
        from_now = Call(app, "/api/v1/events", headers={"Cookie": key})
        strange = Call(app, "/api/v1/events", headers={"Cookie": key, "Last-Event-ID": "²-999999999999"})
        await by_header.until(lambda c: len(c.heard()) == 2)
        await by_query.until(lambda c: len(c.heard()) == 4)
        for call in (by_header, by_query, from_now, strange):
            await call.until(lambda c: c.body)
        await tell("instance", "ins-1", "new", owner=cast.ann)
        for call in (by_header, by_query, from_now, strange):
            await call.until(lambda c: "new" in c.heard())
        assert by_header.heard() == ["event 3", "event 4", "new"]
        assert by_query.heard() == ["event 1", "event 2", "event 3", "event 4", "new"]
        assert from_now.heard() == strange.heard() == ["new"]
        assert f"id: {first + 9}\n".encode() in from_now.body
        app.stop()
        for call in (by_header, by_query, from_now, strange):
            await asyncio.wait_for(call.task, 3)
            assert call.sent[-1] == {"type": "http.response.body", "body": b""}

    run(scenario)


def test_a_number_without_end_is_none(cast):
    key = cookie(cast.ann)

    async def scenario():
        app = Live()
        call = Call(app, "/api/v1/events", headers={"Cookie": key, "Last-Event-ID": "9" * 5000})
        await call.until(lambda c: c.body)
        await call.leave()
        assert app.feed._listeners == set()

    run(scenario)


def test_history_is_told_again_only_so_far(cast, monkeypatch):
    key = cookie(cast.ann)
    for n in range(5):
        events.record("instance", "ins-1", f"event {n}", owner=cast.ann)
    monkeypatch.setattr(feed, "RESUMED_AT_MOST", 2)

    async def scenario():
        call = Call(Live(), "/api/v1/events", headers={"Cookie": key}, query="after=0")
        await call.until(lambda c: len(c.heard()) == 2)
        assert call.heard() == ["event 3", "event 4"]
        await call.leave()

    run(scenario)


def test_an_event_that_becomes_visible_late_is_not_lost(cast):
    key = cookie(cast.root)

    async def scenario():
        call = Call(Live(), "/api/v1/events", headers={"Cookie": key})
        await call.until(lambda c: c.body)
        base = await sync_to_async(audience.newest)()
        create = sync_to_async(Event.objects.create)
        await create(id=base + 3, at=1, noun="host", subject="x", what="third")
        await call.until(lambda c: "third" in c.heard())
        await create(id=base + 2, at=1, noun="host", subject="x", what="second")
        await call.until(lambda c: "second" in c.heard())
        await asyncio.sleep(0.05)
        assert call.heard() == ["third", "second"]
        await call.leave()

    run(scenario)


def test_progress_is_told_to_owner_and_administrator(cast):
    Task.objects.create(id="tsk-00000001", kind="instance/run", owner=cast.ann, state=TaskState.RUNNING, deadline=clock.now() + 60, created_at=1)
    keys = {name: cookie(account) for name, account in vars(cast).items()}

    async def scenario():
        app = Live()
        calls = {name: Call(app, "/api/v1/events", headers={"Cookie": key}) for name, key in keys.items()}
        for call in calls.values():
            await call.until(lambda c: c.body)
        pictures.board().write("task:tsk-00000001", {"percent": 40, "phase": "fetch", "bytes_done": 4, "bytes_total": 10, "prompt": "x"})
        for name in ("root", "ann"):
            await calls[name].until(lambda c: c.heard() == ["progress"])
        number, form = calls["ann"].events[0]
        assert number is None
        assert form == {"type": "task", "id": "tsk-00000001", "what": "progress",
                        "fields": {"percent": 40, "phase": "fetch", "bytes_done": 4, "bytes_total": 10}}
        await asyncio.sleep(0.1)
        assert calls["ann"].heard() == ["progress"]
        assert calls["bob"].heard() == []
        for call in calls.values():
            await call.leave()

    run(scenario)


@pytest.mark.parametrize("end", ["disabled", "signed out"])
def test_a_stream_beats_and_ends_with_the_right_to_it(cast, end):
    key = cookie(cast.ann)

    async def scenario():
        call = Call(Live(), "/api/v1/events", headers={"Cookie": key})
        await call.until(lambda c: b": beat" in c.body)
        if end == "disabled":
            await sync_to_async(Account.objects.filter(pk=cast.ann.pk).update)(is_active=False)
        else:
            await sync_to_async(BrowserSession.objects.all().delete)()
        await asyncio.wait_for(call.task, 3)
        assert call.sent[-1] == {"type": "http.response.body", "body": b""}

    run(scenario)


def test_who_must_change_the_password_hears_nothing(cast):
    token = tokens.signed_in(cast.ann)[1]
    Account.objects.filter(pk=cast.ann.pk).update(must_change_password=True)

    async def scenario():
        for path in ("/api/v1/events", "/api/v1/instances/ins-00000001/log/"):
            call = Call(Live(), path, headers={"Authorization": f"Bearer {token}"})
            await asyncio.wait_for(call.task, 3)
            assert (call.status, json.loads(call.body)["code"]) == (403, "password_change")

    run(scenario)


def test_a_token_works_and_nobody_else_gets_in(cast):
    token = tokens.signed_in(cast.ann)[1]

    async def scenario():
        app = Live()
        good = Call(app, "/api/v1/events", headers={"Authorization": f"Bearer {token}"})
        await good.until(lambda c: c.body)
        headers = dict(good.sent[0]["headers"])
        assert good.status == 200
        assert (headers[b"content-type"], headers[b"x-accel-buffering"]) == (b"text/event-stream; charset=utf-8", b"no")
        await good.leave()
        for bad in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer \xff"}, {"Cookie": f"{settings.SESSION_COOKIE_NAME}=x"},
                    {"Cookie": "\x00=;;;=="}):
            call = Call(app, "/api/v1/events", headers=bad)
            await asyncio.wait_for(call.task, 3)
            assert (call.status, json.loads(call.body)["code"]) == (401, "unauthenticated")
        call = Call(app, "/api/v1/events", headers={"Authorization": f"Bearer {token}"}, method="POST")
        await asyncio.wait_for(call.task, 3)
        assert call.status == 405

    run(scenario)


def test_streams_per_account_are_bounded(cast, monkeypatch):
    monkeypatch.setattr(feed, "PER_ACCOUNT_AT_MOST", 2)
    key = cookie(cast.ann)

    async def scenario():
        app = Live()
        calls = [Call(app, "/api/v1/events", headers={"Cookie": key}) for _ in range(2)]
        for call in calls:
            await call.until(lambda c: c.body)
        third = Call(app, "/api/v1/events", headers={"Cookie": key})
        await asyncio.wait_for(third.task, 3)
        assert json.loads(third.body)["code"] == "quota"
        await calls[0].leave()
        fourth = Call(app, "/api/v1/events", headers={"Cookie": key})
        await fourth.until(lambda c: c.body)
        for call in (calls[1], fourth):
            await call.leave()

    run(scenario)


def test_a_listener_that_lags_is_let_go(cast, monkeypatch):
    monkeypatch.setattr(feed, "QUEUE_AT_MOST", 5)
    key = cookie(cast.ann)

    async def scenario():
        app = Live()
        call = Call(app, "/api/v1/events", headers={"Cookie": key})
        await call.until(lambda c: c.body)
        listener = next(iter(app.feed._listeners))
        for n in range(6):
            listener.put(f"{n}".encode())
        assert listener.ended.done()
        await asyncio.wait_for(call.task, 3)

    run(scenario)


# screens


def looked(account, machine):
    look = screens.open_look(account, machine.id)
    return look.ticket, look.stream


async def dial(app, secret):
    reader, writer = await asyncio.open_connection("127.0.0.1", app.door.port)
    writer.write(json.dumps({"stream": secret, "host": "cc-00000001", "v": 1}).encode() + b"\n")
    return reader, writer


def screen(app, ticket, key, origin="http://cloud"):
    call = Call(app, f"/live/screen/{ticket}", "websocket", {"Cookie": key, "Origin": origin})
    call.inbox.put_nowait({"type": "websocket.connect"})
    return call


def test_the_ticket_is_bound_to_account_and_used_once(cast, machine, monkeypatch):
    monkeypatch.setattr(screen_module, "DIAL_WITHIN_S", 0.05)
    ticket, _ = looked(cast.ann, machine)
    keys = {name: cookie(account) for name, account in vars(cast).items()}

    class Open:
        """A door that is open and where nobody knocks."""

    async def scenario():
        app = Live()
        app.door._server = Open()
        ends = {}
        for name, key in (("bob", keys["bob"]), ("root", keys["root"]), ("nobody", ""), ("ann", keys["ann"]), ("again", keys["ann"])):
            call = screen(app, ticket, key)
            await asyncio.wait_for(call.task, 3)
            assert call.sent[0] == {"type": "websocket.accept", "subprotocol": "binary"}
            ends[name] = call.sent[-1]["code"]
            assert call.sent[-1]["reason"]
        assert ends == {"bob": 4403, "root": 4403, "nobody": 4401, "ann": 4408, "again": 4403}

    run(scenario)
    assert ScreenTicket.objects.get().used


@pytest.mark.live
def test_one_machine_has_so_many_lines_and_the_reason_is_in_the_reader_s_language(cast, machine, monkeypatch):
    monkeypatch.setattr(screen_module, "OF_ONE_AT_MOST", 1)
    cast.ann.language = "zh-hans"
    cast.ann.save()
    first, second = looked(cast.ann, machine), looked(cast.ann, machine)
    key = cookie(cast.ann)

    async def scenario():
        app = Live()
        await app.door.start("127.0.0.1", 0)
        call = screen(app, first[0], key)
        _, line = await dial(app, first[1])
        await call.until(lambda c: c.sent)
        other = screen(app, second[0], key)
        await asyncio.wait_for(other.task, 3)
        assert (other.sent[-1]["code"], other.sent[-1]["reason"]) == (4403, "到这个实例的连接太多\n最多 1 个")
        line.close()
        await asyncio.wait_for(call.task, 3)
        assert app.screens._open == {}
        app.stop()

    run(scenario)


@pytest.mark.parametrize("end", ["role", "group", "share", "somebody else's role"])
@pytest.mark.live
def test_an_open_line_ends_at_once_with_the_right_to_it(cast, machine, world, monkeypatch, end):
    """A teacher looks at a pupil's machine by a role, by the group the machine is below, or by a share; then not any more."""
    monkeypatch.setattr(asgi, "HEARTBEAT_S", 60)
    monkeypatch.setattr(screen_module, "ENDED_EVERY_S", 0.05)
    group, elsewhere = world.group("edu.class1", by=cast.root), world.group("edu.class2", by=cast.root)
    Instance.objects.filter(pk=machine.pk).update(group=group)
    machine.refresh_from_db()
    if end == "share":
        (shared,) = shares.share(cast.root, machine, [Verb.EXECUTE], person="bob")
    else:
        grants.give(cast.root, cast.bob, "powerAdm", elsewhere.pk if end == "group" else group.pk)
        if end == "group":
            Instance.objects.filter(pk=machine.pk).update(group=elsewhere)
    mine = Grant.objects.filter(account=cast.bob).first()
    other = grants.give(cast.root, cast.ann, "anonymous", group.pk)
    act = {
        "role": lambda: grants.take(cast.root, mine.pk), "share": lambda: shares.end(cast.root, shared.pk),
        "group": lambda: (Instance.objects.filter(pk=machine.pk).update(group=group), groups.move(cast.root, elsewhere.path, "edu.class3")),
        "somebody else's role": lambda: grants.take(cast.root, other.pk),
    }[end]
    look, key = looked(cast.bob, machine), cookie(cast.bob)

    async def scenario():
        app = Live()
        await app.door.start("127.0.0.1", 0)
        call = Call(app, f"/live/screen/{look[0]}", "websocket", {"Cookie": key, "Origin": "http://cloud"})
        call.inbox.put_nowait({"type": "websocket.connect"})
        _, line = await dial(app, look[1])
        await call.until(lambda c: c.sent)
        await asyncio.sleep(0.3)
        await sync_to_async(act)()
        done, _ = await asyncio.wait({call.task}, timeout=1)
        if end == "somebody else's role":
            assert not done
        else:
            assert (call.sent[-1]["code"], call.sent[-1]["reason"]) == (4403, "You may not use this instance any more\na right to it was taken back")
        line.close()
        await asyncio.wait_for(call.task, 3)
        app.stop()

    run(scenario)


def test_a_teacher_hears_of_the_machines_and_tasks_of_a_class(cast, machine, world):
    grants.give(cast.root, cast.bob, "powerAdm", world.group("edu.class1", by=cast.root).pk)
    Instance.objects.filter(pk=machine.pk).update(group=world.group("edu.class1"))
    Task.objects.create(id="tsk-00000001", kind="instance/run", owner=cast.ann, subject=machine.pk, state=TaskState.RUNNING, deadline=clock.now() + 60,
                        created_at=1)
    keys = {name: cookie(account) for name, account in vars(cast).items()} | {"eve": cookie(person("eve"))}

    async def scenario():
        app = Live()
        calls = {name: Call(app, "/api/v1/events", headers={"Cookie": key}) for name, key in keys.items()}
        for call in calls.values():
            await call.until(lambda c: c.body)
        await tell("instance", machine.pk, "started", owner=cast.ann, task="tsk-00000001")
        await tell("task", "tsk-00000001", "task running", owner=cast.ann)
        pictures.board().write("task:tsk-00000001", {"percent": 40, "phase": "fetch"})
        for name in ("root", "ann", "bob"):
            await calls[name].until(lambda c: sorted(c.heard()) == ["progress", "started", "task running"])
        assert calls["eve"].heard() == []
        for call in calls.values():
            await call.leave()

    run(scenario)


@pytest.mark.live
@pytest.mark.parametrize("end", ["session", "token", "deactivated", "password", "one of somebody else"])
def test_an_open_line_ends_at_once_with_its_sign_in(cast, machine, monkeypatch, end):
    """Long before the next beat; a line of another account, and a change of another account, end nothing."""
    monkeypatch.setattr(asgi, "HEARTBEAT_S", 60)
    monkeypatch.setattr(screen_module, "ENDED_EVERY_S", 0.05)
    look = looked(cast.ann, machine)
    token = tokens.signed_in(cast.ann)
    key = cookie(cast.ann)
    ident = BrowserSession.objects.get().ident
    act = {
        "session": lambda: sessions.end(cast.ann, ident), "token": lambda: tokens.revoke(cast.root, token[0].pk),
        "deactivated": lambda: people.deactivate(cast.root, "ann"), "password": lambda: people.set_password(cast.ann, "another horse battery"),
        "one of somebody else": lambda: tokens.signed_in(cast.bob),
    }[end]

    async def scenario():
        app = Live()
        await app.door.start("127.0.0.1", 0)
        headers = {"Authorization": f"Bearer {token[1]}"} if end == "token" else {"Cookie": key, "Origin": "http://cloud"}
        call = Call(app, f"/live/screen/{look[0]}", "websocket", headers)
        call.inbox.put_nowait({"type": "websocket.connect"})
        _, line = await dial(app, look[1])
        await call.until(lambda c: c.sent)
        await asyncio.sleep(0.3)
        await sync_to_async(act)()
        done, _ = await asyncio.wait({call.task}, timeout=1)
        if end == "one of somebody else":
            assert not done
            line.close()
            await asyncio.wait_for(call.task, 3)
        else:
            assert (call.sent[-1]["code"], call.sent[-1]["reason"]) == (4401, "Signed out")
            line.close()
        assert app.screens._knocks == {}
        assert app.screens._task is None
        app.stop()

    run(scenario)


@pytest.mark.live
@pytest.mark.parametrize("said", ["Nothing listens at port 22 of the instance", None])
def test_what_the_node_says_why_not_comes_at_once_or_is_no_hello(cast, machine, said):
    ticket, secret = looked(cast.ann, machine)
    key = cookie(cast.ann)

    async def scenario():
        app = Live()
        await app.door.start("127.0.0.1", 0)
        call = screen(app, ticket, key)
        reader, writer = await asyncio.open_connection("127.0.0.1", app.door.port)
        error = {"code": "not_found", "what": said, "why": "", "hint": ""} if said else {"code": "made-up"}
        writer.write(json.dumps({"stream": secret, "host": "cc-00000001", "v": 1, "error": error}).encode() + b"\n")
        if said:
            assert await reader.read(10) == b""
            await asyncio.wait_for(call.task, 3)
            assert (call.sent[-1]["code"], call.sent[-1]["reason"]) == (4403, said)
        else:
            assert await reader.readexactly(3) == b"ok\n"
        writer.close()
        app.stop()
        await asyncio.wait_for(call.task, 3)

    run(scenario)


@pytest.mark.parametrize("origin", ["http://evil.example", "http://cloud.evil.example", "null", ""])
def test_pages_of_others_open_no_screen(cast, machine, origin):
    ticket, _ = looked(cast.ann, machine)
    key = cookie(cast.ann)

    async def scenario():
        call = screen(Live(), ticket, key, origin)
        await asyncio.wait_for(call.task, 3)
        assert call.sent == [{"type": "websocket.close", "code": 4403}]

    run(scenario)
    assert not ScreenTicket.objects.get().used


def test_old_tickets_are_worth_nothing(cast, machine):
    ticket, secret = looked(cast.ann, machine)
    ScreenTicket.objects.update(expires_at=clock.now() - 1)
    key = cookie(cast.ann)
    assert audience.expected_stream(secret) is None

    async def scenario():
        call = screen(Live(), ticket, key)
        await asyncio.wait_for(call.task, 3)
        assert call.sent[-1]["code"] == 4403

    run(scenario)


def test_the_log_says_why_not(cast, machine):
    keys = {name: cookie(account) for name, account in vars(cast).items()}
    waiting = Instance.objects.create(id="ins-00000002", name="two", live_name="two", owner=cast.ann, image=machine.image, cpus=1,
                                      memory_mib=64, created_at=1, changed_at=1)

    async def scenario():
        app = Live()
        for path, who, status, code in (
            (f"/api/v1/instances/{machine.id}/log/", "bob", 404, "not_found"), (f"/api/v1/instances/{waiting.id}/log/", "ann", 409, "state"),
            (f"/api/v1/instances/{machine.id}/log/", "ann", 503, "host_silent"), ("/api/v1/instances/one/log", "ann", 503, "host_silent"),
        ):
            call = Call(app, path, headers={"Cookie": keys[who]})
            await asyncio.wait_for(call.task, 3)
            assert (call.status, json.loads(call.body)["code"]) == (status, code)

    run(scenario)
    told = Event.objects.filter(what="log opened").last()
    assert (told.actor, str(told.via), told.owner) == (cast.ann, "live", cast.ann)


def test_the_log_of_what_can_be_no_instance_is_not_there(cast, client):
    client.force_login(cast.ann)
    answer = client.get(f"/api/v1/instances/{'x' * 64}/log/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_requests_are_sorted(cast):
    for path in ("/api/v1/events", "/api/v1/events/", "/api/v1/instances/ins-00000001/log/"):
        assert Live.serves({"type": "http", "path": path})
    for path in ("/", "/api/v1/instances/", "/api/v1/instances/a/b/log/", "/instances/ins-00000001/"):
        assert not Live.serves({"type": "http", "path": path})
