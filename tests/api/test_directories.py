"""Accounts of a directory: signing in by its password, where it puts people, who is gone, and who may change any of it. By the directory in memory."""

from __future__ import annotations

import json
import threading

import pytest
from django.db.models import Max

from clc.services import (
    directories,
    directory_checks,
    directory_links,
    lock_out,
    people,
    refusals,
    sign_in,
    tokens,
)
from clc.services.directory_lines import REST_S, lines
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Account, Directory, DirectoryAccount, Event, Group, Guess
from tests.support import fake_directory
from tests.support.clc_world import PASSWORD

SECRET = "let me search"
RIVER = "quiet river"


@pytest.fixture(autouse=True)
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def beds(monkeypatch):
    every = [fake_directory.Bed(), fake_directory.Bed("staff")]
    fake_directory.registered(monkeypatch, *every)
    monkeypatch.setattr(lines, "_silent", {})
    monkeypatch.setattr(refusals, "bound", refusals.Bound())
    return every


@pytest.fixture
def bed(beds):
    return beds[0]


@pytest.fixture
def school(world, admin, bed):
    """A directory whose people belong to ``edu.school`` unless a group of theirs is mapped."""
    world.group("edu.school.class1", admin)
    row = directories.add(admin, "school", "openldap", bed.settings(), secret=SECRET, group="edu.school", enabled=True)
    directories.map_to(admin, "school", "memberOf", f"CN=Teachers, ou=groups,{fake_directory.BASE}", "edu.school.class1", "powerAdm")
    return row


def refused(call, *args, code="unauthenticated", **given):
    with pytest.raises((Refused, Unavailable)) as error:
        call(*args, **given)
    assert error.value.code == code, error.value
    return error.value


def events(what):
    return list(Event.objects.filter(what=what))


def test_the_first_sign_in_makes_the_account(school, bed):
    bed.person("ann", RIVER, display="Ann Lee", mail="ann@school.test")
    bed.group("teachers", "ann")
    account = sign_in.by_password("ann", RIVER)
    assert (account.username, account.group.path, account.access_role_id, account.display_name, account.email) == (
        "ann", "edu.school.class1", "powerAdm", "Ann Lee", "ann@school.test")
    assert not account.has_usable_password()
    assert not account.must_change_password
    (added,) = [e for e in events("user added") if e.owner_id == account.pk]
    assert (added.via, added.origin, added.actor_name) == ("directory", "school", "")
    assert sign_in.by_password("ANN", RIVER).pk == account.pk
    assert len(events("user brought up to date")) == 0
    assert refused(people.set_profile, account, display_name="Somebody", code="state").hint == "Change it there."
    people.set_profile(account, display_name="Ann Lee", language="zh-hans")
    assert account.language == "zh-hans"


def test_wrong_names_and_passwords_are_one_error_and_counted(school, bed):
    bed.person("ann", RIVER)
    for name, password in (("ann", "wrong"), ("ann", ""), ("nobody", RIVER), ("ann*", RIVER), (" ann", RIVER)):
        assert refused(sign_in.by_password, name, password).what == "Name or password is wrong"
    assert Guess.objects.get(name=lock_out.digest("ann"), address="-").count == 2


def test_the_password_of_a_local_account_leaves_for_no_directory(school, bed, user, admin):
    bed.person("ada", RIVER)
    assert sign_in.by_password("ada", PASSWORD).pk == user.pk
    refused(sign_in.by_password, "ada", RIVER)
    assert bed.asked == ["name ada"], "looked up like any other name, so that the answer and its time are theirs"
    told = directory_checks.look_into(admin, "school", "ada")
    assert told[-1].why == "another account here has that name"


def test_a_name_of_another_account_is_never_taken_over(school, bed, user):
    """Signed in by mail, somebody is called as a local account is."""
    bed.person("ada", RIVER, mail="other.ada@school.test")
    error = refused(sign_in.by_password, "other.ada@school.test", RIVER, code="forbidden")
    assert "another account is called ada" in error.why
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert not DirectoryAccount.objects.exists()
    assert Guess.objects.get(name=lock_out.digest("other.ada@school.test"), address="-").count == 0


def test_who_belongs_nowhere_is_refused_with_the_reason(school, bed, admin):
    directories.change(admin, "school", group=None)
    bed.person("ann", RIVER)
    error = refused(sign_in.by_password, "ann", RIVER, code="forbidden")
    assert "no mapping" in error.why
    assert not Account.objects.filter(username="ann").exists()
    assert events("sign-in refused")[-1].fields["directory"] == "school"


def test_units_are_a_path(school, bed, admin, world):
    directories.change(admin, "school", group=None, units="edu")
    bed.person("ann", RIVER, units=("School", "Class1"))
    bed.person("bob", RIVER, units=("school", "class 2"))
    assert sign_in.by_password("ann", RIVER).group.path == "edu.school.class1"
    assert "there is no group edu.school.class-2" in refused(sign_in.by_password, "bob", RIVER, code="forbidden").why
    world.group("edu.school.class-2", admin)
    assert sign_in.by_password("bob", RIVER).group.path == "edu.school.class-2"


def test_each_sign_in_brings_group_role_and_name_up_to_date(school, bed, admin):
    bed.person("ann", RIVER, display="Ann Lee")
    account = sign_in.by_password("ann", RIVER)
    assert account.access_role_id == "user"
    bed.group("teachers", "ann")
    bed.rename("ann", "anna")
    same = sign_in.by_password("anna", RIVER)
    assert (same.pk, same.username, same.group.path, same.access_role_id) == (account.pk, "anna", "edu.school.class1", "powerAdm")
    (event,) = events("user brought up to date")
    assert event.before == {"name": "ann", "role": "user", "group": "edu.school"}
    assert event.after == {"name": "anna", "role": "powerAdm", "group": "edu.school.class1"}
    assert (event.via, event.origin) == ("directory", "school")
    refused(sign_in.by_password, "ann", RIVER)


def test_a_name_that_went_to_somebody_else_is_somebody_else(school, bed):
    bed.person("ann", RIVER)
    first = sign_in.by_password("ann", RIVER)
    bed.rename("ann", "anna")
    bed.person("ann", "another river")
    refused(sign_in.by_password, "ann", "another river", code="forbidden")
    assert directory_checks.check(Directory.objects.get()).deactivated == []
    first.refresh_from_db()
    assert first.username == "anna"
    assert sign_in.by_password("ann", "another river").pk != first.pk


def test_nobody_becomes_or_stops_being_the_last_administrator_by_a_directory(school, bed, admin):
    directories.map_to(admin, "school", "cn", "Boss", "everybody", "superAdm")
    bed.person("head", RIVER, display="Boss")
    head = sign_in.by_password("head", RIVER)
    assert head.is_admin
    people.deactivate(head, "root")
    person, password = bed.people["head"]
    bed.people["head"] = type(person)(**person.__dict__ | {"values": {"cn": ("Pensioner",)}}), password
    assert sign_in.by_password("head", RIVER).is_admin
    bed.remove("head")
    assert directory_checks.check(Directory.objects.get(), by=head).deactivated == ["head"]
    head.refresh_from_db()
    assert head.is_active, "nobody else could manage this cloud"


def test_a_silent_directory_locks_nobody_out_and_is_not_asked_again_at_once(school, bed, user, time):
    bed.person("ann", RIVER)
    sign_in.by_password("ann", RIVER)
    bed.stop()
    asked = len(bed.asked)
    for _ in range(30):
        error = refused(sign_in.by_password, "ann", RIVER, code="directory_down")
    assert error.what == "The directory school does not answer"
    assert len(bed.asked) == asked + 1
    assert sign_in.by_password("ada", PASSWORD).pk == user.pk
    bed.start()
    refused(sign_in.by_password, "ann", RIVER, code="directory_down")
    time.sleep(REST_S + 1)
    assert sign_in.by_password("ann", RIVER).username == "ann"


def test_of_several_the_one_that_answers_and_knows_decides(school, beds, admin):
    directories.add(admin, "staff", "openldap", beds[1].settings(), secret=SECRET, group="edu", enabled=True)
    beds[1].person("tina", RIVER)
    beds[0].stop()
    tina = sign_in.by_password("tina", RIVER)
    assert tina.of_directory.directory.name == "staff"
    refused(sign_in.by_password, "nobody", RIVER, code="directory_down")
    beds[0].start()
    lines.wake(school)
    beds[0].person("tina", "another river")
    assert sign_in.by_password("tina", RIVER).pk == tina.pk
    refused(sign_in.by_password, "tina", "another river"), "she is of the other directory"


def test_who_is_turned_off_or_deactivated_stays_out(school, bed, admin):
    bed.person("ann", RIVER)
    account = sign_in.by_password("ann", RIVER)
    people.deactivate(admin, "ann")
    refused(sign_in.by_password, "ann", RIVER, code="forbidden")
    assert directory_checks.check(school).deactivated == []
    people.reactivate(admin, "ann")
    assert sign_in.by_password("ann", RIVER).pk == account.pk
    directories.change(admin, "school", enabled=False)
    refused(sign_in.by_password, "ann", RIVER)


def test_what_an_administrator_said_of_an_account_holds(school, bed, admin):
    """Gone, reactivated by hand, back, deactivated by hand: that was the last word."""
    bed.person("ann", RIVER)
    sign_in.by_password("ann", RIVER)
    kept = bed.people.pop("ann")
    assert directory_checks.check(school).deactivated == ["ann"]
    people.reactivate(admin, "ann")
    bed.people["ann"] = kept
    people.deactivate(admin, "ann")
    refused(sign_in.by_password, "ann", RIVER, code="forbidden")


def test_a_deleted_account_begins_anew(school, bed, admin):
    bed.person("ann", RIVER)
    first = sign_in.by_password("ann", RIVER)
    people.delete(admin, "ann")
    assert sign_in.by_password("ann", RIVER).pk != first.pk


def test_password_and_place_are_the_directorys(school, bed, admin, world):
    bed.person("ann", RIVER)
    ann = sign_in.by_password("ann", RIVER)
    for call in (lambda: people.set_password(ann, "another horse battery"), lambda: people.set_password(ann, "another horse battery", by=admin),
                 lambda: people.place(admin, "ann", "powerUser")):
        refused(call, code="state")
    sign_in.again(ann, RIVER)
    refused(sign_in.again, ann, "wrong", code="invalid")
    world.instance(ann, (world.cluster(), world.image(admin))[1])


class TestWhoIsGone:
    @pytest.fixture
    def pupils(self, school, bed):
        for n in range(20):
            bed.person(f"pupil-{n:02}", RIVER)
            sign_in.by_password(f"pupil-{n:02}", RIVER)

    def test_is_deactivated_and_signed_out(self, pupils, bed, time):
        bed.remove("pupil-03")
        gone = Account.objects.get(username="pupil-03")
        _, text = tokens.signed_in(gone)
        directory_checks.tend()
        gone.refresh_from_db()
        assert not gone.is_active
        assert tokens.known(text) is None
        (event,) = events("user deactivated")
        assert (event.via, event.origin, event.owner_id) == ("directory", "school", gone.pk)
        refused(sign_in.by_password, "pupil-03", RIVER)

    def test_comes_back(self, pupils, bed):
        kept = bed.people.pop("pupil-03")
        directory_checks.tend()
        bed.people["pupil-03"] = kept
        back = sign_in.by_password("pupil-03", RIVER)
        assert back.is_active
        assert events("user reactivated")[-1].via == "directory"

    def test_never_more_than_a_tenth_without_a_word(self, pupils, bed, admin, time):
        for n in range(2):
            bed.remove(f"pupil-{n:02}")
        assert len(directory_checks.check(Directory.objects.get()).deactivated) == 2
        bed.remove("pupil-02")
        held = directory_checks.check(Directory.objects.get())
        assert held.held == ["pupil-02"], "two of twenty were today"
        assert Directory.objects.get().checked["missing"] == 1
        time.sleep(directory_checks.DAY_S + 1)
        assert directory_checks.check(Directory.objects.get()).deactivated == ["pupil-02"]
        bed.people.clear()
        assert len(directory_checks.check(Directory.objects.get()).held) == 17
        assert len(directory_checks.check(Directory.objects.get()).held) == 17
        assert len(events("people missing")) == 2, "told once"
        assert Account.objects.filter(username__startswith="pupil", is_active=True).count() == 17
        assert len(directory_checks.check(Directory.objects.get(), by=admin).deactivated) == 17

    def test_a_silent_directory_has_lost_nobody(self, pupils, bed, time):
        bed.stop()
        directory_checks.tend()
        row = Directory.objects.get()
        assert "does not answer" in row.checked["trouble"]
        assert not Account.objects.filter(is_active=False).exists()
        asked = len(bed.asked)
        directory_checks.tend()
        assert len(bed.asked) == asked, "not due"

    def test_who_is_the_same_costs_no_write(self, pupils, bed, django_assert_max_num_queries):
        row = Directory.objects.get()
        with django_assert_max_num_queries(6):
            directory_checks.check(row)


class TestBringingIn:
    def test_a_preview_says_what_would_become_of_each(self, school, bed, admin, user):
        bed.person("ann", RIVER)
        bed.person("ada", RIVER)
        bed.person("no name", RIVER)
        sign_in.by_password("ann", RIVER)
        bed.person("tina", RIVER)
        bed.group("teachers", "ann", "tina")
        found = directory_checks.bring_in(admin, "school", preview=True)
        assert {each.username: str(each.action) for each in found.looked} == {"ann": "move", "ada": "wrong", "no name": "wrong", "tina": "add"}
        assert not Account.objects.filter(username="tina").exists()
        directory_checks.bring_in(admin, "school", preview=False)
        assert Account.objects.get(username="tina").access_role_id == "powerAdm"
        assert directory_checks.bring_in(admin, "school", preview=True).counts() == {"add": 0, "same": 2, "move": 0, "wrong": 2}

    def test_groups_that_units_name_are_made(self, school, bed, admin):
        directories.change(admin, "school", units="edu")
        bed.person("ann", RIVER, units=("school", "class7"))
        assert directory_checks.bring_in(admin, "school", preview=True).new_groups == ["edu.school.class7"]
        assert not Group.objects.filter(path="edu.school.class7").exists()
        directory_checks.bring_in(admin, "school", preview=False)
        assert Account.objects.get(username="ann").group.path == "edu.school.class7"


class TestSettings:
    def test_the_secret_is_sealed_and_told_nowhere(self, school, admin, api):
        row = Directory.objects.get()
        assert SECRET not in row.secret
        assert directories.secret_of(row) == SECRET
        told = json.dumps(api(admin).get("/api/v1/directories/school/").json())
        kept = json.dumps([[e.fields, e.before, e.after] for e in Event.objects.all()], default=str)
        for text in (told, kept):
            assert SECRET not in text
            assert row.secret not in text
        assert api(admin).get("/api/v1/directories/school/").json()["has_secret"] is True

    def test_nobody_is_an_administrator_because_nothing_is_known_of_them(self, school, admin):
        for given in ({"group": ""}, {"group": None}, {"units": ""}):
            assert refused(directories.change, admin, "school", **given, role="superAdm", code="invalid").params["field"] == "role"

    def test_another_address_does_not_get_the_secret(self, school, admin):
        directories.change(admin, "school", {"uri": "fake://staff"})
        assert not Directory.objects.get().secret
        directories.change(admin, "school", {"uri": "fake://school"}, secret=SECRET)
        directories.change(admin, "school", {"timeout_s": 3})
        assert directories.secret_of(Directory.objects.get()) == SECRET

    def test_a_secret_that_cannot_be_read_is_the_directorys_trouble(self, school, admin, bed, settings):
        bed.person("ann", RIVER)
        settings.SECRET_KEY = "another one"
        assert not refused(sign_in.by_password, "ann", RIVER, code="directory_down").why, "a stranger learns nothing of it"
        row = Directory.objects.get()
        assert "console's secret" in refused(lines.ask, row, lambda driver: driver.named("ann"), code="directory_down").why

    @pytest.mark.parametrize(("changed", "field"), [
        ({"uri": "http://x"}, "uri"), ({"uri": "ldap://"}, "uri"), ({"uri": "ldap://u:p@x"}, "uri"), ({"uri": "ldap://x/dc=y??sub"}, "uri"),
        ({"uri": "ldapi://x"}, "uri"), ({"uri": "ldap://x y"}, "uri"), ({"filter": "(uid=ann)"}, "filter"), ({"filter": "uid={name}"}, "filter"),
        ({"filter": "(uid={name}))("}, "filter"), ({"group_filter": "(member=x)"}, "filter"), ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 600}, "timeout_s"), ({"ca": "no certificate"}, "ca"), ({"id_attribute": "a)(b"}, "id_attribute"), ({"is_staff": True}, "is_staff"),
        ({"uri": "ldaps://x", "plain": True}, "filter"),
    ])
    def test_settings_that_cannot_be_are_refused_by_name(self, school, admin, changed, field):
        assert refused(directories.change, admin, "school", changed, code="invalid").params["field"] == field

    def test_groups_and_roles_that_a_directory_gives_stay(self, school, admin, world, api):
        client = api(admin)
        assert client.delete("/api/v1/groups/edu.school.class1/").status_code == 409
        client.post("/api/v1/access-roles/", {"name": "watcher", "permissions": {"image": ["read"]}}, format="json")
        directories.map_to(admin, "school", "cn", "x", "edu", "watcher")
        assert client.delete("/api/v1/access-roles/watcher/").status_code == 409

    def test_a_directory_with_accounts_goes_only_with_them(self, school, admin, bed):
        bed.person("ann", RIVER)
        ann = sign_in.by_password("ann", RIVER)
        refused(directories.remove, admin, "school", code="state")
        directories.remove(admin, "school", with_accounts=True)
        ann.refresh_from_db()
        assert not ann.is_active
        people.reactivate(admin, "ann")
        people.set_password(Account.objects.get(pk=ann.pk), PASSWORD, by=admin)
        assert sign_in.by_password("ann", PASSWORD).pk == ann.pk


class TestTheDoors:
    PATHS = (("get", ""), ("post", ""), ("get", "school/"), ("patch", "school/"), ("post", "school/remove/"), ("post", "school/test/"),
             ("post", "school/check/"), ("post", "school/import/"), ("post", "school/mappings/"), ("delete", "school/mappings/dmp-00000000/"))

    @pytest.mark.parametrize(("method", "path"), PATHS)
    def test_are_for_administrators(self, school, world, api, method, path):
        head = world.account("head", role="powerAdm")
        for who, status in ((None, 401), (head, 403)):
            form = {"name": "x", "settings": {}, "value": "x", "group": "edu"} if path in ("", "school/mappings/") else {}
            answer = getattr(api(who), method)(f"/api/v1/directories/{path}", form, format="json")
            assert answer.status_code in (status, 422) if who else answer.status_code == status, answer.content
            if answer.status_code == 422:
                form = {"name": "x", "settings": {}} if not path else {"value": "x", "group": "edu"}
                assert getattr(api(who), method)(f"/api/v1/directories/{path}", form, format="json").status_code == status
        assert Directory.objects.count() == 1

    def test_whole_by_the_api(self, world, admin, api, bed):
        client = api(admin)
        world.group("edu", admin)
        made = client.post("/api/v1/directories/", {"name": "school", "settings": bed.settings(), "secret": SECRET}, format="json")
        assert (made.status_code, made.json()["enabled"]) == (201, False), made.content
        bed.person("ann", RIVER)
        assert api(None).post("/api/v1/login/", {"username": "ann", "password": RIVER}, format="json").status_code == 401
        dn = bed.group("teachers", "ann")
        mapping = client.post("/api/v1/directories/school/mappings/", {"value": dn, "group": "edu", "role": "powerUser"}, format="json").json()
        tested = client.post("/api/v1/directories/school/test/", {"user": "ann"}, format="json").json()
        assert tested["ok"]
        assert client.patch("/api/v1/directories/school/", {"enabled": True}, format="json").json()["enabled"]
        assert tested["steps"][-1]["text"] == f"ann belongs to edu as powerUser, by memberOf {dn}"
        preview = client.post("/api/v1/directories/school/import/", {"preview": True}, format="json").json()
        assert (preview["done"], preview["counts"]["add"]) == (False, 1)
        login = client.post("/api/v1/login/", {"username": "ann", "password": RIVER}, format="json")
        assert login.status_code == 200
        assert client.post("/api/v1/directories/school/check/", {}, format="json").json() == {"accounts": 1, "deactivated": [], "held": []}
        assert client.delete(f"/api/v1/directories/school/mappings/{mapping['id']}/").status_code == 204
        assert client.get("/api/v1/directories/").json()["results"][0]["people"] == 1
        assert client.patch("/api/v1/directories/school/", {"enabled": False}, format="json").json()["enabled"] is False
        assert client.post("/api/v1/directories/school/remove/", {}, format="json").status_code == 409
        assert client.post("/api/v1/directories/school/remove/", {"with_accounts": True}, format="json").status_code == 204

    def test_a_silent_one_answers_503(self, school, bed, api):
        bed.stop()
        answer = api(None).post("/api/v1/login/", {"username": "ann", "password": RIVER}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (503, "directory_down")

    def test_a_silent_one_tells_nobody_who_is_here(self, school, bed, user, api):
        """Every name gets the same answer, and every one that is not the directory's own counts."""
        bed.person("ann", RIVER)
        sign_in.by_password("ann", RIVER)
        bed.stop()
        def login(name, password="wrong horse battery"):
            answer = api(None).post("/api/v1/login/", {"username": name, "password": password}, format="json")
            return answer.status_code, {k: v for k, v in answer.json().items() if k != "request"}

        answers = [login(name) for name in ("ada", "nobody", "ann")]
        assert answers[0] == answers[1] == answers[2]
        assert (answers[0][0], answers[0][1]["why"]) == (503, "")
        assert login("ada", PASSWORD)[0] == 200, "who is of this cloud comes in"
        counts = {name: Guess.objects.filter(name=lock_out.digest(name)).aggregate(n=Max("count"))["n"] or 0 for name in ("nobody", "ann")}
        assert counts == {"nobody": 1, "ann": 0}
        for _ in range(12):
            last = login("ada")
        assert last[1]["code"] == "locked_out", "nobody guesses while it is down"

    def test_no_more_than_four_at_once(self, school, bed):
        lines._slots[school.pk] = taken = threading.BoundedSemaphore(4)
        for _ in range(4):
            assert taken.acquire(blocking=False)
        try:
            assert "too many wait" in refused(lines.ask, school, lambda driver: driver.named("ann"), code="directory_down").why
        finally:
            taken.release(4)
        bed.person("ann", RIVER)
        assert sign_in.by_password("ann", RIVER)


def test_what_a_directory_says_cannot_pretend(school, bed):
    bed.person("ann", RIVER, display="Ann\u202egnp.exe\nroot", mail="a b@x")
    account = sign_in.by_password("ann", RIVER)
    assert account.display_name == "Anngnp.exeroot"
    assert account.email == ""
    assert directory_links.link_of(account).subject == bed.people["ann"][0].subject
