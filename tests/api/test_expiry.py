"""Ends of machines and budgets of hours, as they are asked for: who may, how far, what is told; nothing of what one may not see."""

import pytest
from django.test import Client

from clc.services import expiry_rules, spans
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused
from luhyadb.models import Budget, Event, Expiry, ExpiryRule, Group, Instance, Run

API = "/api/v1/"
DAY = 86400.0


@pytest.fixture
def hand():
    before = clock.use(ManualClock(1_800_000_000.0))
    yield
    clock.use(before)


@pytest.fixture
def school(world, admin):
    """A school with two classes, a head, a teacher and two pupils; an image for all."""
    world.cluster()
    world.image(admin)
    for path in ("edu.a.one", "edu.a.two"):
        world.group(path)
    return {
        name: world.account(name, role, group) for name, role, group in (
            ("head", "powerAdm", "edu.a"), ("tina", "powerAdm", "edu.a.one"), ("paul", "user", "edu.a.one"), ("pia", "user", "edu.a.two"))
    }


def run(client, **more):
    return client.post(f"{API}instances/", {"image": "tiny", **more}, format="json")


def put(client, where, **body):
    return client.put(f"{API}{where}/", body, format="json")


def left(seconds):
    return Expiry.objects.get().expires_at - clock.now() == pytest.approx(seconds)


def test_an_end_is_given_at_the_start_shown_and_moved(hand, api, school):
    made = run(api(school["paul"]), expires="7d").json()["results"][0]
    assert left(7 * DAY)
    assert made["expires_at"] == clock.rfc3339(clock.now() + 7 * DAY)
    ident = made["id"]
    shown = api(school["paul"]).get(f"{API}instances/").json()["results"][0]
    assert shown["expires_at"] == made["expires_at"]
    moved = put(api(school["paul"]), f"instances/{ident}/expiry", expires="2027-12-24")
    assert (moved.status_code, moved.json()["expires_at"][:10]) == (200, "2027-12-25"), "when that day is over"
    assert put(api(school["paul"]), f"instances/{ident}/expiry", expires="never").json()["expires_at"] is None
    assert not Expiry.objects.exists()
    assert [e.after.get("expires_at") for e in Event.objects.filter(subject=ident, what="end moved").order_by("id")] == [
        pytest.approx(spans.end_of_day("2027-12-24", "x")), None]
    assert run(api(school["pia"])).json()["results"][0]["expires_at"] is None


def test_a_group_says_what_is_usual_and_what_is_possible(hand, api, admin, school):
    assert put(api(admin), "groups/edu.a/expiry-rule", default="30d", longest="90d").status_code == 200
    rule = put(api(school["head"]), "groups/edu.a.one/expiry-rule", longest="60d", warn="2h").json()
    assert rule["own"] == {"default": None, "longest": "60d", "warn": "2h", "delete_after": None, "budget_grace": None}
    assert rule["binding"] == {"default": "30d", "longest": "60d", "warn": "2h", "delete_after": "0s", "budget_grace": "1d"}
    assert put(api(school["head"]), "groups/edu.a.one/expiry-rule", longest="900d").json()["binding"]["longest"] == "90d", "the least binds"
    paul = api(school["paul"])
    run(paul)
    assert left(30 * DAY)
    ident = Instance.objects.get().pk
    for far in ("91d", "never", "2099-01-01"):
        refused = put(paul, f"instances/{ident}/expiry", expires=far)
        assert (refused.status_code, refused.json()["code"]) == (403, "quota"), far
        assert "in edu.a at most 90d; root set it" in refused.json()["why"]
        assert run(paul, expires=far).json()["field"] == "expires"
    assert put(paul, f"instances/{ident}/expiry", expires="90d").status_code == 200
    assert put(api(school["tina"]), f"instances/{ident}/expiry", expires="900d").status_code == 200, "who may change all of the class may go further"
    assert left(900 * DAY)
    assert put(paul, f"instances/{ident}/expiry", expires="1d").status_code == 200, "shorter is always possible"
    assert put(api(school["head"]), "groups/edu.a.one/expiry-rule", longest="never").json()["own"]["longest"] is None


def test_nobody_changes_the_rule_that_binds_them(api, admin, school):
    for who in ("tina", "paul", "pia"):
        assert put(api(school[who]), "groups/edu.a.one/expiry-rule", longest="9d").status_code in (403, 404), who
    assert put(api(school["tina"]), "groups/edu.a.two/expiry-rule", longest="9d").status_code == 404
    assert api(school["pia"]).get(f"{API}groups/edu.a.one/expiry-rule/").status_code == 404
    assert api(school["paul"]).get(f"{API}groups/edu.a.one/expiry-rule/").status_code == 200
    assert not ExpiryRule.objects.exists()


def test_what_one_may_not_see_is_not_there_and_cannot_be_ended(api, school):
    ident = run(api(school["paul"])).json()["results"][0]["id"]
    assert put(api(school["pia"]), f"instances/{ident}/expiry", expires="1h").status_code == 404
    assert put(api(school["pia"]), "groups/edu.a.one/expiry", expires="1h").status_code == 404
    assert put(api(school["paul"]), "groups/edu.a.one/expiry", expires="1h").status_code == 403
    assert put(api(None), f"instances/{ident}/expiry", expires="1h").status_code == 401
    for where in ("expiry/held/",):
        assert api(school["head"]).get(f"{API}{where}").status_code == 403
    assert api(school["head"]).post(f"{API}expiry/let-go/", {}, format="json").status_code == 403
    assert not Expiry.objects.exists()


def test_a_class_is_given_one_end(hand, api, admin, school):
    for who in ("paul", "paul", "pia"):
        run(api(school[who]), expires="1d")
    done = put(api(school["tina"]), "groups/edu.a.one/expiry", expires="2d")
    assert done.json() == {"group": "edu.a.one", "machines": 2}
    ends = dict(Expiry.objects.values_list("instance__owner__username", "expires_at"))
    assert ends == {"paul": pytest.approx(clock.now() + 2 * DAY), "pia": pytest.approx(clock.now() + DAY)}
    assert Event.objects.filter(what="group's machines given an end").get().fields["machines"] == 2
    assert put(api(school["tina"]), "groups/edu.a/expiry", expires="2d").status_code == 403


BAD = ["", "0d", "-1d", "1.5d", "7", "7x", "9999999999d", "2020-01-01", "2026-13-01", "9999-12-31", "0001-01-01T00:00:00Z", "tomorrow",
       "7d\n", "\uff17d", "nan",
       "1e9s", "' OR 1=1", "2026-02-30", "999999999w"]


@pytest.mark.parametrize("text", BAD)
def test_bad_ends_are_refused_at_their_field(hand, api, school, text):
    ident = run(api(school["paul"])).json()["results"][0]["id"]
    for answer in (put(api(school["paul"]), f"instances/{ident}/expiry", expires=text), run(api(school["paul"]), expires=text or "0d"),
                   put(api(school["tina"]), "groups/edu.a.one/expiry", expires=text)):
        assert answer.status_code == 422, (text, answer.json())
        assert answer.json()["field"] == "expires"
    assert not Expiry.objects.exists()


@pytest.mark.parametrize("body", [
    {"default": "9d", "longest": "8d"}, {"longest": "0s"}, {"longest": ""}, {"owner": "9d"}, {"set_by": "x"}, {"warn": "-9d"},
    {"default": 9}, {"default": "9d" * 30},
])
def test_bad_rules_are_refused(api, admin, school, body):
    assert put(api(admin), "groups/edu.a/expiry-rule", **body).status_code == 422
    assert not ExpiryRule.objects.exists()


def test_spans_are_read_and_shown_alike():
    for text, length in (("90s", 90), ("90m", 5400), ("12h", 43200), ("7d", 7 * DAY), ("28d", 28 * DAY), ("4w", 28 * DAY)):
        assert spans.seconds(text, "x") == length
        assert spans.shown(length) == text.replace("4w", "28d")
    assert spans.seconds("Never", "x") is None
    with pytest.raises(Refused):
        expiry_rules.put(None, "x", {"nonsense": "7d"})


# ---- budgets


def budget(client, **more):
    return put(client, "budgets", **{"counted": "hours", "hours": 10, "until": "2027-07-31", "group": "edu.a", **more})


def ran(account, hours, cpus=1, ago=0.0):
    row = Instance.objects.filter(owner=account).first()
    end = clock.now() - ago * 3600
    Run.objects.create(instance=row, owner=account, group_id=row.group_id, cpus=cpus, memory_mib=128, began_at=end - hours * 3600, ended_at=end)


def test_a_budget_counts_what_ran_in_its_term_and_refuses_starts(hand, api, admin, school):
    run(api(school["paul"]))
    ran(school["paul"], 4, cpus=2)
    ran(school["paul"], 3, ago=100)
    assert budget(api(admin), since="2027-01-14").status_code == 200
    made = budget(api(admin), counted="cpu_hours", hours=9, since="2027-01-15T05:00:00Z").json()
    (hours, cpu) = sorted(api(school["head"]).get(f"{API}budgets/?group=edu.a").json()["results"], key=lambda b: b["hours"], reverse=True)
    assert (hours["used"], hours["left"], hours["set_by"]) == (4.0, 6.0, "root")
    assert (cpu["used"], cpu["left"]) == (made["used"], made["left"]) == (6.0, 3.0), "what began before the term counts from its first day"
    assert run(api(school["pia"])).status_code == 202
    ran(school["paul"], 2, cpus=2)
    refused = run(api(school["pia"]))
    assert (refused.status_code, refused.json()["code"], refused.json()["what"]) == (403, "quota", "The budget of edu.a is used up")
    assert "root set it" in refused.json()["why"]
    assert [b["counted"] for b in api(school["pia"]).get(f"{API}budgets/").json()["results"]] == ["cpu_hours", "hours"]
    assert budget(api(admin), counted="cpu_hours", hours=None).json()["hours"] is None
    assert run(api(school["pia"])).status_code == 202


def test_a_budget_of_a_person_is_that_persons_alone(hand, api, school):
    run(api(school["paul"]))
    ran(school["paul"], 4)
    assert budget(api(school["tina"]), group="", user="paul", hours=1, since="2027-01-14").status_code == 200
    assert run(api(school["paul"])).json()["what"] == "The budget of paul is used up"
    assert run(api(school["tina"])).status_code == 202


def test_a_term_that_is_over_or_to_come_binds_nobody(hand, api, admin, school):
    assert budget(api(admin), hours=0, since="2027-06-01").status_code == 200
    assert run(api(school["paul"])).status_code == 202
    Budget.objects.update(from_at=clock.now() - 9 * DAY, to_at=clock.now() - DAY)
    assert run(api(school["paul"])).status_code == 202
    Budget.objects.update(to_at=clock.now() + DAY)
    assert run(api(school["paul"])).status_code == 403


def test_nobody_sets_their_own_budget(api, admin, school):
    tina = api(school["tina"])
    assert budget(tina, group="edu.a.one").status_code == 403
    assert budget(tina, group="edu.a.two").status_code == 404
    assert budget(tina, group="", user="tina").status_code == 403
    assert budget(tina, group="", user="pia").status_code == 404
    assert budget(api(school["paul"]), group="", user="paul").status_code == 403
    assert api(school["pia"]).get(f"{API}budgets/?user=paul").status_code in (403, 404)
    assert not Budget.objects.exists()


@pytest.mark.parametrize("more", [
    {"counted": "days"}, {"hours": -1}, {"hours": 2**60}, {"hours": "9"}, {"hours": 1.5}, {"until": ""}, {"until": "never"}, {"until": "2001-01-01"},
    {"since": "2028-01-01"}, {"since": "x"}, {"group": "edu.a", "user": "paul"}, {"group": ""}, {"used": 0}, {"set_by": "paul"}, {"spent_at": 0},
])
def test_bad_budgets_are_refused(hand, api, admin, school, more):
    assert budget(api(admin), **more).status_code == 422
    assert not Budget.objects.exists()


# ---- pages


def browser(account, **more):
    client = Client(**more)
    client.force_login(account)
    return client


def test_pages_show_and_move_ends_and_budgets(api, admin, school):
    run(api(school["paul"]), expires="2h")
    ident = Instance.objects.get().pk
    paul, head = browser(school["paul"]), browser(school["head"])
    group = Group.objects.get(path="edu.a.one").pk
    assert "expires" in paul.get("/portal/").content.decode(), "within the time of telling"
    assert "This machine is stopped at" in paul.get(f"/instances/{ident}/").content.decode()
    paul.post(f"/instances/{ident}/expiry/set/", {"expires": "9d"})
    assert "expires" not in paul.get("/portal/").content.decode()
    back = paul.post(f"/instances/{ident}/expiry/set/", {"expires": "<b>"})
    assert "The end cannot be read" in paul.get(back["Location"]).content.decode()
    head.post(f"/groups/{group}/expiry-rule/", {"default": "5d", "longest": "20d", "warn": "", "delete_after": "0", "budget_grace": "2h"})
    assert ExpiryRule.objects.get().longest_s == 20 * DAY
    head.post(f"/groups/{group}/expiry/", {"expires": "8d"})
    assert Event.objects.filter(what="group's machines given an end").exists()
    head.post(f"/groups/{group}/budget/", {"budgeted": "hours", "hours": "0", "until": "2090-01-01"})
    shown = head.get(f"/groups/{group}/").content.decode()
    assert "It is used up: nothing starts." in shown
    assert "Lift the budget" in shown
    assert "Lift the budget" not in browser(school["tina"]).get(f"/groups/{group}/").content.decode()
    Budget.objects.update(spent_at=clock.now())
    assert "The hours of edu.a.one are used up." in paul.get(f"/instances/{ident}/").content.decode()
    head.post(f"/groups/{group}/budget/", {"budgeted": "hours", "lift": "1"})
    assert not Budget.objects.exists()
    browser(school["tina"]).post("/people/of/paul/budget/", {"budgeted": "cpu_hours", "hours": "7", "until": "2090-01-01"})
    assert Budget.objects.get().account == school["paul"]


def test_pages_of_others_are_not_there(api, admin, school):
    run(api(school["paul"]))
    ident, group = Instance.objects.get().pk, Group.objects.get(path="edu.a.one").pk
    pia = browser(school["pia"])
    for where in (f"/instances/{ident}/expiry/set/", f"/groups/{group}/expiry/", f"/groups/{group}/expiry-rule/", f"/groups/{group}/budget/",
                  "/people/of/paul/budget/", "/expiry/let-go/"):
        assert pia.post(where, {"expires": "1h", "longest": "1h", "budgeted": "hours", "hours": "1", "until": "2090-01-01"}).status_code == 404, where
        assert browser(admin, enforce_csrf_checks=True).post(where).status_code == 403, where
        assert browser(admin).get(where).status_code == 405, where
    assert not Expiry.objects.exists()
    assert not Budget.objects.exists()
