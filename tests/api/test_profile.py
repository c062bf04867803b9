"""What somebody says of themselves: display name, e-mail address, language."""

import pytest

from luhyadb.models import Account, Event
from tests.api.test_cli_contract import cli  # noqa: F401 - a fixture

WHERE = "/api/v1/users/me/profile/"


def test_it_is_changed_shown_and_told_with_before_and_after(api, admin, user):
    sent = {"display_name": "  Ada Lovelace ", "email": "ada@school.example", "language": "zh-hans"}
    shown = api(user).patch(WHERE, sent, format="json").json()
    assert (shown["display_name"], shown["email"], shown["language"]) == ("Ada Lovelace", "ada@school.example", "zh-hans")
    assert api(user).patch(WHERE, {"email": ""}, format="json").json()["display_name"] == "Ada Lovelace", "what is left out stays"
    first, last = Event.objects.filter(what="profile changed").order_by("id")
    assert (first.before["email"], first.after["email"], first.actor_name) == ("", "ada@school.example", "ada")
    assert (last.before, last.after) == ({"email": "ada@school.example"}, {"email": ""})
    assert api(admin).get("/api/v1/users/ada/").json()["display_name"] == "Ada Lovelace"
    api(user).patch(WHERE, {"email": ""}, format="json")
    assert Event.objects.filter(what="profile changed").count() == 2, "nothing changed, nothing is told"


@pytest.mark.parametrize(("field", "value"), [
    ("display_name", "x" * 101), ("display_name", "a\u202eb"), ("display_name", "a\u2066b"), ("display_name", "a\x00b"), ("display_name", "a\nb"),
    ("display_name", "a\u200bb"), ("display_name", "a" + "\u0301" * 4), ("display_name", 7), ("display_name", ["a"]), ("display_name", "\ud800"),
    ("email", "nobody"), ("email", "a@b@c.example"), ("email", "a\u202e@b.example"), ("email", "a" * 250 + "@b.example"), ("email", "\u0430@school.example"),
    ("email", "a@b.example\nBcc: x@y.example"), ("language", "tlh"), ("language", "../etc"),
])
def test_what_is_not_possible_is_refused_at_its_field(api, user, field, value):
    answer = api(user).patch(WHERE, {field: value}, format="json") if value != "\ud800" else api(user).generic(
        "PATCH", WHERE, b'{"display_name": "\\ud800"}', content_type="application/json")
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert not Event.objects.filter(what="profile changed").exists()


@pytest.mark.parametrize("name", ["李小龍", "Zoë O'Neill-Đặng", "नमस्ते", "👩 Ada"])
def test_names_of_the_world_are_possible(api, user, name):
    assert api(user).patch(WHERE, {"display_name": name}, format="json").json()["display_name"] == name


@pytest.mark.parametrize("more", ["role", "username", "group", "is_staff", "is_active", "password", "access_role", "must_change_password"])
def test_nothing_else_is_changed_by_it(api, user, more):
    before = Account.objects.filter(pk=user.pk).values().get()
    answer = api(user).patch(WHERE, {"display_name": "Ada", more: "superAdm"}, format="json")
    after = Account.objects.filter(pk=user.pk).values().get()
    assert {k for k in after if after[k] != before[k]} <= {"display_name"}
    assert answer.status_code in (200, 422)


def test_nobody_changes_somebody_elses(api, user, other):
    assert api(None).patch(WHERE, {"display_name": "x"}, format="json").status_code == 401
    assert api(user).patch("/api/v1/users/bob/profile/", {"display_name": "x"}, format="json").status_code == 404


def test_the_client_shows_and_changes_it(cli, admin):  # noqa: F811
    assert cli("user", "me")[1]["username"] == "root"
    assert cli("user", "me", "--display-name", "Root", "--email", "root@school.example")[1]["display_name"] == "Root"
    assert cli("user", "me", "--email", "")[1] | {"created_at": 0} == cli("user", "me")[1] | {"created_at": 0}
    assert cli("user", "me", "--language", "xx")[0] == 2
