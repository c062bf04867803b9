"""Asking for an account without having one: who may ask, who decides, and what nobody finds out by it."""

import pytest

from clc.services import account_requests, groups, people, sign_in
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused
from luhyadb.models import Account, AccountRequest, Event
from tests.api.test_cli_contract import cli  # noqa: F401 - a fixture

API = "/api/v1/account-requests/"
PASSWORD = "another horse battery"


@pytest.fixture
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def school(world, admin, time):
    """Two classes, of which one takes requests, each with a teacher."""
    made = {name: world.account(name, "powerAdm", group) for name, group in (("head", "edu"), ("tina", "edu.a"), ("mona", "edu.b"))}
    groups.take_requests(admin, "edu.a", on=True)
    return made


def ask(api, who=None, address="192.0.2.1", **more):
    form = {"username": "pia", "password": PASSWORD, "group": "edu.a", "display_name": "Pia", "email": "pia@school.example", "reason": "physics"} | more
    return api(who).post(f"{API}ask/", form, format="json", REMOTE_ADDR=address)


def state(api, code):
    return api(None).post(f"{API}state/", {"code": code}, format="json")


def test_nobody_can_ask_before_a_group_takes_requests(world, api, admin):
    world.group("edu.a")
    assert ask(api).json()["field"] == "group"
    for who in (world.account("head", "powerAdm"), world.account("paul")):
        assert api(who).put("/api/v1/groups/edu.a/requests/", {"on": True}, format="json").status_code == 403
    assert api(None).put("/api/v1/groups/edu.a/requests/", {"on": True}, format="json").status_code == 401
    assert api(admin).put("/api/v1/groups/edu.a/requests/", {"on": True}, format="json").json()["takes_requests"] is True
    assert ask(api).status_code == 201
    assert ask(api, group="everybody").json()["field"] == ask(api, group="edu").json()["field"] == "group", "only that one"
    assert api(admin).put("/api/v1/groups/edu.a/requests/", {"on": False}, format="json").json()["takes_requests"] is False
    assert ask(api).status_code == 404
    assert [e.what for e in Event.objects.filter(noun="group", what__contains="requests")] == ["group opened to requests", "group closed to requests"]


def test_who_may_add_people_there_decides_and_the_applicant_signs_in(school, api, time):
    code = ask(api).json()["code"]
    assert state(api, code).json()["state"] == "waiting"
    (seen,) = api(school["tina"]).get(API).json()["results"]
    assert (seen["username"], seen["group"], seen["reason"], seen["name_is_taken"]) == ("pia", "edu.a", "physics", False)
    assert PASSWORD not in str(seen)
    assert "argon2" not in str(seen).lower()
    with pytest.raises(Refused, match="wrong"):
        sign_in.by_password("pia", PASSWORD)
    made = api(school["tina"]).post(f"{API}{seen['id']}/approve/", {}, format="json")
    assert (made.status_code, made.json()["group"], made.json()["role"], made.json()["email"]) == (201, "edu.a", "user", "pia@school.example")
    assert made.json()["password_change"] is False, "nobody else knows it"
    assert sign_in.by_password("pia", PASSWORD).display_name == "Pia"
    assert state(api, code).json() | {"created_at": 0, "decided_at": 0} == {
        "state": "approved", "username": "pia", "group": "edu.a", "why": "", "created_at": 0, "decided_at": 0}
    row = AccountRequest.objects.get()
    assert (row.password, row.decided_by) == ("", "tina")
    assert {e.what for e in Event.objects.filter(noun="request")} == {"account asked for", "request approved"}
    assert Event.objects.get(what="request approved").actor_name == "tina"


def test_it_is_refused_with_a_reason(school, api):
    code = ask(api).json()["code"]
    ident = AccountRequest.objects.get().pk
    assert api(school["tina"]).post(f"{API}{ident}/refuse/", {"why": "   "}, format="json").json()["field"] == "why"
    assert api(school["tina"]).post(f"{API}{ident}/refuse/", {"why": "Not of this class."}, format="json").json()["state"] == "refused"
    assert state(api, code).json()["why"] == "Not of this class."
    assert not Account.objects.filter(username="pia").exists()
    assert AccountRequest.objects.get().password == ""


def test_of_two_who_decide_one_does_and_the_other_is_told(school, api):
    ask(api)
    ident = AccountRequest.objects.get().pk
    assert api(school["head"]).post(f"{API}{ident}/approve/", {}, format="json").status_code == 201
    for way, form in (("approve", {}), ("refuse", {"why": "no"})):
        late = api(school["tina"]).post(f"{API}{ident}/{way}/", form, format="json")
        assert (late.status_code, late.json()["code"], late.json()["why"]) == (409, "state", "head: approved")


def test_others_see_nothing_of_it(school, world, api):
    ask(api)
    ident = AccountRequest.objects.get().pk
    paul = world.account("paul", "user", "edu.a")
    for who in (school["mona"], paul):
        assert api(who).get(API).json()["results"] == []
        for way, form in (("approve", {}), ("refuse", {"why": "no"})):
            assert api(who).post(f"{API}{ident}/{way}/", form, format="json").status_code == 404
    for way in ("", f"{ident}/approve/", f"{ident}/refuse/"):
        assert getattr(api(None), "post" if way else "get")(f"{API}{way}").status_code == 401
    assert account_requests.waiting(school["head"]) == account_requests.waiting(school["tina"]) == 1
    assert account_requests.waiting(school["mona"]) == 0


def test_nobody_gives_what_they_have_not(school, api):
    ask(api)
    ident = AccountRequest.objects.get().pk
    for form in ({"role": "superAdm"}, {"group": "edu.b"}, {"group": "everybody"}, {"role": "nonsense"}):
        assert api(school["tina"]).post(f"{API}{ident}/approve/", form, format="json").status_code in (403, 404, 422), form
    assert api(school["head"]).post(f"{API}{ident}/approve/", {"group": "edu.b", "role": "powerUser"}, format="json").json()["group"] == "edu.b"


def test_asking_tells_nobody_who_is_here(school, world, api, time):
    """A name that is taken is answered like any other; who approves is told."""
    free, taken = ask(api), ask(api, username="TINA")
    assert (free.status_code, set(free.json())) == (taken.status_code, set(taken.json()))
    assert {r["username"]: r["name_is_taken"] for r in api(school["tina"]).get(API).json()["results"]} == {"pia": False, "TINA": True}
    ident = AccountRequest.objects.get(username="TINA").pk
    refused = api(school["tina"]).post(f"{API}{ident}/approve/", {}, format="json")
    assert (refused.json()["code"], refused.json()["field"]) == ("exists", "username")
    assert AccountRequest.objects.get(pk=ident).state == "waiting"
    assert api(school["tina"]).post(f"{API}{ident}/approve/", {"username": "tina2"}, format="json").status_code == 201
    assert sign_in.by_password("tina2", PASSWORD)


@pytest.mark.parametrize("sent", [
    {"username": "a b"}, {"username": "me"}, {"username": "x" * 64}, {"username": "\u0430da"}, {"password": "short"}, {"password": "pia"},
    {"email": "nobody"}, {"display_name": "a\u202eb"}, {"reason": "x" * 501}, {"reason": "a\u2066b"}, {"group": "x" * 2801}, {"group": "edu.a."},
    {"role": "superAdm"}, {"is_staff": True}, {"username": ["pia"]}, {"state": "approved"},
])
def test_what_is_not_possible_is_refused_and_nothing_kept(school, api, sent):
    answer = ask(api, **sent)
    if set(sent) & {"role", "is_staff", "state"}:
        row = AccountRequest.objects.first()
        assert answer.status_code == 422 or (row.state, row.account) == ("waiting", None)
        return
    assert answer.status_code in (404, 422), answer.json()
    assert not AccountRequest.objects.exists()


def test_nobody_fills_the_table(school, api, time, monkeypatch):
    monkeypatch.setattr(account_requests, "EACH_HOUR", 3)
    monkeypatch.setattr(account_requests, "EACH_PLACE", 4)
    monkeypatch.setattr(account_requests, "AT_MOST", 6)
    assert [ask(api, username=f"p{n}").status_code for n in range(4)] == [201, 201, 201, 403]
    assert ask(api, address="2001:db8::1").status_code == 201
    time.sleep(3601)
    assert [ask(api, username=f"q{n}").status_code for n in range(2)] == [201, 403], "four of one address wait"
    assert [ask(api, address="2001:db8::2").status_code for n in range(2)] == [201, 503], "and not more than so many in all"
    time.sleep(account_requests.KEPT_S + 1)
    account_requests.tidy()
    assert not AccountRequest.objects.exists()
    assert ask(api).status_code == 201


def test_old_ones_end_and_what_was_decided_is_told_a_while(school, api, time):
    code = ask(api).json()["code"]
    account_requests.refuse(school["tina"], AccountRequest.objects.get().pk, "no")
    time.sleep(account_requests.KEPT_S - 60)
    account_requests.tidy()
    assert state(api, code).status_code == 200
    time.sleep(120)
    account_requests.tidy()
    assert state(api, code).status_code == 404


def test_the_code_is_kept_nowhere_and_guessed_by_nobody(school, api):
    code = ask(api).json()["code"]
    row = AccountRequest.objects.get()
    assert code not in str(row.__dict__)
    assert code not in str(list(Event.objects.values()))
    for wrong in ("", "x", code[:-1], row.proof, row.pk, "\u0000", "x" * 200):
        assert state(api, wrong).status_code in (404, 422)
    assert api(None).get(f"{API}state/").status_code == 405


def test_a_group_that_is_given_up_takes_its_requests_along(school, world, api, admin):
    world.group("edu.c")
    groups.take_requests(admin, "edu.c", on=True)
    code = ask(api, group="edu.c").json()["code"]
    groups.delete(admin, "edu.c")
    assert state(api, code).status_code == 404
    assert not AccountRequest.objects.exists()


def test_who_lost_the_right_meanwhile_decides_nothing(school, api, admin):
    ask(api)
    client = api(school["tina"])
    people.place(admin, "tina", role="user")
    assert client.post(f"{API}{AccountRequest.objects.get().pk}/approve/", {}, format="json").status_code == 404


def test_the_client_lists_approves_and_refuses(school, cli, api):  # noqa: F811
    assert cli("group", "requests", "edu.b")[1]["takes_requests"] is True
    assert cli("group", "requests", "edu.b", "--close")[1]["takes_requests"] is False
    ask(api)
    ask(api, username="max")
    first, second = cli("user", "request", "list")[1]
    assert {first["username"], second["username"]} == {"pia", "max"}
    assert cli("user", "request", "approve", first["id"], "--role", "powerUser")[1]["role"] == "powerUser"
    assert cli("user", "request", "refuse", second["id"])[0] == 2
    assert cli("user", "request", "refuse", second["id"], "--why", "no")[1]["state"] == "refused"
    assert cli("user", "request", "list")[1] == []
    assert len(cli("user", "request", "list", "--all")[1]) == 2
