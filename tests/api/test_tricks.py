"""What somebody may try at every door at once: fields that are not theirs to set, requests from other sites, reading that changes, a tree that moves."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.urls import get_resolver
from rest_framework.test import APIClient

from clc.services import access_roles, builds, grants, groups, people
from luhyadb.models import Account, Event, Group, Instance
from tests.support.doors import asked, doors, filled
from tests.support.school import HERE, School, behind_doors

NOT_THEIRS = {
    "owner": "root", "owner_id": 1, "account": "root", "is_admin": True, "is_staff": True, "access_role": "superAdm", "group_id": "grp-00000000",
    "id": "ins-00000001", "created_at": 0, "set_by": "root", "used": 0, "state": "published",
}
FIELDS = {"owner": ("elastic", "reservations"), "state": ()}


@pytest.fixture
def school(world, admin, tmp_path, monkeypatch):
    with behind_doors(world, admin, tmp_path, monkeypatch) as one:
        yield one


def _words(school: School) -> dict[str, str]:
    access_roles.create(school.root, "watchers", {"image": ["read"]})
    more = {"role": "watchers", "cluster": school.cluster.pk, "build": builds.begin(school.root, "being-built").pk}
    return school.cloud() | school.things["mate"].words | more


def test_no_door_takes_a_field_that_is_not_its_own(school, api):
    """By somebody to whom every door is open: what is refused is the field."""
    words, client, tried, taken = _words(school), api(school.root), 0, []
    for door in doors():
        if door.method not in ("POST", "PUT", "PATCH") or door.path == "uploads/{upload}/{part}/":
            continue
        for field, value in NOT_THEIRS.items():
            if any(part in door.path for part in FIELDS.get(field, ())):
                continue
            with transaction.atomic():
                answer = asked(client, door, words, **{field: value})
                transaction.set_rollback(True)
            if answer.status_code != 422 or answer.json()["what"] != f"{field} is not possible":
                taken.append((door.name, field, answer.status_code, answer.content[:100]))
            tried += 1
    assert not taken
    assert tried > 800


def test_no_door_changes_anything_for_another_site(school):
    """A browser that is signed in, and a page that has not its token."""
    words = _words(school)
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(school.root)
    before = Event.objects.order_by("-id").first().pk
    for door in doors():
        if door.method != "GET" and door.rule != "everybody":
            answer = asked(client, door, words)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), door.name
    assert not Event.objects.filter(pk__gt=before).exclude(result="refused").exists()


def test_reading_changes_nothing(school, api):
    words, client = _words(school), api(school.root)
    before = Event.objects.order_by("-id").first().pk
    for door in doors():
        if door.method == "GET":
            asked(client, door, words)
    assert [e.what for e in Event.objects.filter(pk__gt=before)] == ["record exported"]


def test_no_page_changes_anything_for_another_site(school, client):
    """Every address of the console, without its token; what only shows something is not asked by POST."""
    strict = type(client)(enforce_csrf_checks=True)
    strict.force_login(school.root)
    before = Event.objects.order_by("-id").first().pk
    tried = 0
    for pattern in get_resolver().url_patterns:
        if not getattr(pattern, "name", None):
            continue
        route = str(pattern.pattern).replace("<str:", "{").replace("<int:", "{").replace(">", "}")
        where = "/" + filled(route, {key: school.things["mate"].words.get(key, "1") for key in pattern.pattern.converters})
        answer = strict.post(where)
        assert answer.status_code in (403, 405), (where, answer.status_code)
        tried += 1
    assert tried > 60
    assert not Event.objects.filter(pk__gt=before).exclude(result="refused").exists()


def test_a_tree_that_moves_in_the_middle_loses_nobody(school, monkeypatch):
    """Between the question whether somebody may, and what is done: groups are known by their ids."""
    moved: list[str] = []

    def check(by, role, where, is_within=grants.check_within):
        is_within(by, role, where)
        if not moved:
            moved.append(groups.move(school.root, "edu.here", "edu.there").path)

    monkeypatch.setattr(grants, "check_within", check)
    teacher = school.people["teacher"]
    people.place(teacher, "mate", "powerUser", HERE)
    assert moved == ["edu.there"]
    mate = Account.objects.get(username="mate")
    assert (mate.group.path, mate.access_role_id) == ("edu.there.class1", "powerUser")
    assert set(Instance.objects.filter(owner=mate).values_list("group__path", flat=True)) == {"edu.there.class1"}
    assert not Group.objects.filter(path__startswith="edu.here").exists()
    assert people.find(teacher, "mate").pk == mate.pk
