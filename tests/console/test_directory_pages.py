"""The pages of directories, as an administrator uses them: added, tested, mapped, looked through, removed."""

from __future__ import annotations

import html

import pytest
from django.test import Client

from clc.services import refusals, sign_in
from clc.services.directory_lines import lines
from clc.web.pages import PAGES
from luhyadb.models import Account, Directory, DirectoryMapping
from tests.support import fake_directory

RIVER = "quiet river"
POSTS = [p for p in PAGES.values() if p.slug.startswith("director") and "POST" in p.methods]


@pytest.fixture
def bed(monkeypatch):
    one = fake_directory.Bed()
    fake_directory.registered(monkeypatch, one)
    monkeypatch.setattr(lines, "_silent", {})
    monkeypatch.setattr(refusals, "bound", refusals.Bound())
    return one


def browser(account, **more):
    client = Client(**more)
    client.force_login(account)
    return client


def page(answer, client):
    """What is seen after a POST."""
    answer = client.get(answer["Location"]) if answer.status_code == 302 else answer
    return html.unescape(answer.content.decode())


@pytest.fixture
def school(world, admin, bed):
    world.group("edu.school", admin)
    client = browser(admin)
    made = client.post("/directories/add/", {"name": "school", "preset": "openldap", "address": bed.uri, "base": fake_directory.BASE,
                                             "who": f"cn=reader,{fake_directory.BASE}", "bind_password": bed.secret})
    assert made["Location"] == "/directories/school/", client.get("/directories/").content.decode()
    assert "turned off" in client.get("/directories/school/").content.decode(), "nobody signs in by it before it was tested"
    client.post("/directories/school/switch/", {"enabled": "1"})
    return client


@pytest.mark.parametrize("one", POSTS, ids=lambda p: p.slug)
def test_every_change_is_an_administrators_with_the_csrf_token(world, admin, user, one):
    path = "/" + one.url.replace("<str:ident>", "school").replace("<str:mapping>", "dmp-00000000")
    assert Client().post(path)["Location"].startswith("/login/")
    assert browser(user).post(path).status_code == 404
    assert browser(admin, enforce_csrf_checks=True).post(path).status_code == 403


def test_from_nothing_to_a_teacher_who_signs_in(school, bed):
    bed.person("tina", RIVER, display="Tina")
    dn = bed.group("teachers", "tina")
    tested = page(school.post("/directories/school/test/", {"user": "tina"}), school)
    assert "tina belongs nowhere" in tested
    assert dn in tested
    school.post("/directories/school/map/", {"attribute": "memberOf", "value": dn, "map_group": "edu.school", "map_role": "powerAdm"})
    assert f"tina belongs to edu.school as powerAdm, by memberOf {dn}" in page(school.post("/directories/school/test/", {"user": "tina"}), school)
    client = Client()
    answer = client.post("/login/", {"username": "tina", "password": RIVER})
    assert answer.status_code == 302, answer.content.decode()
    shown = page(client.get("/account/"), client)
    assert "Account of school" in shown
    assert "/account/password/" not in shown
    assert client.get("/account/password/").status_code == 409
    person = page(school.get("/people/of/tina/"), school)
    assert "/directories/school/" in person
    assert "/people/of/tina/password/" not in person


def test_the_secret_is_never_shown_and_stays_with_an_empty_field(school, bed):
    row = Directory.objects.get()
    settings = {"uri": bed.uri, "base": fake_directory.BASE, "filter": "(uid={name})", "id_attribute": "entryUUID", "name_attribute": "uid",
                "display_attribute": "cn", "mail_attribute": "mail", "groups_attribute": "memberOf", "group_filter": "",
                "bind_dn": f"cn=reader,{fake_directory.BASE}", "ca": ""}
    assert "The settings are changed" in page(school.post("/directories/school/change/", settings | {"timeout_s": "2", "bind_password": ""}), school)
    assert Directory.objects.get().secret == row.secret
    refused = page(school.post("/directories/school/change/", settings | {"filter": "(uid=x)", "timeout_s": "2", "bind_password": "a secret typed"}), school)
    assert "the filter says nowhere (ATTRIBUTE={name})" in refused
    assert "a secret typed" not in refused
    assert "it is a number" in page(school.post("/directories/school/change/", settings | {"timeout_s": "soon"}), school)
    for text in (bed.secret, row.secret):
        assert text not in school.get("/directories/school/").content.decode()


def test_everybody_is_looked_at_before(school, bed, user):
    bed.person("ann", RIVER)
    bed.person("ada", RIVER)
    school.post("/directories/school/belong/", {"group": "edu.school", "role": "user", "units": ""})
    seen = page(school.post("/directories/school/import/"), school)
    assert "another account is called ada already" in seen
    assert not Account.objects.filter(username="ann").exists()
    page(school.post("/directories/school/import/", {"yes": "1"}), school)
    assert Account.objects.get(username="ann").group.path == "edu.school"


def test_who_is_missing_waits_for_a_word(school, bed):
    school.post("/directories/school/belong/", {"group": "edu.school", "role": "user"})
    for n in range(4):
        bed.person(f"p{n}", RIVER)
        sign_in.by_password(f"p{n}", RIVER)
    bed.people.clear()
    school.post("/directories/school/check/")
    shown = page(school.get("/directories/school/"), school)
    assert "4 people are not found any more" in shown
    assert "people missing" in page(school.get("/directories/"), school)
    school.post("/directories/school/check/", {"deactivate": "1"})
    assert not Account.objects.filter(username__startswith="p", is_active=True).exists()


def test_off_unmapped_and_removed(school, bed):
    school.post("/directories/school/map/", {"attribute": "cn", "value": "x", "map_group": "edu", "map_role": "user"})
    assert "There is such a mapping already" in page(
        school.post("/directories/school/map/", {"attribute": "cn", "value": "x", "map_group": "edu", "map_role": "user"}), school)
    ident = DirectoryMapping.objects.get().pk
    school.post(f"/directories/school/mappings/{ident}/remove/")
    assert not DirectoryMapping.objects.exists()
    school.post("/directories/school/switch/", {"enabled": "0"})
    assert "turned off" in page(school.get("/directories/"), school)
    assert school.post("/directories/school/remove/")["Location"] == "/directories/"
    assert not Directory.objects.exists()


def test_a_silent_directory_is_an_error_page_with_its_name(school, bed, user):
    bed.stop()
    answer = Client().post("/login/", {"username": "ann", "password": RIVER})
    assert answer.status_code == 503
    assert "The directory school does not answer" in html.unescape(answer.content.decode())
    assert Client().post("/login/", {"username": "ada", "password": "correct horse battery"}).status_code == 302
