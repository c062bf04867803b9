"""Rights on pages: people with their groups and roles, the tree of groups, access roles, sharing, and why somebody may; what one may not see is not there."""

import html
import re

import pytest
from django.test import Client

from clc.services import people
from luhyadb.models import Account, Grant
from tests.support.clc_world import PASSWORD


@pytest.fixture
def school(world, admin):
    """A school with two classes and another school whose name begins alike; a teacher over class 1, a pupil in each."""
    for path in ("edu.a.class1", "edu.a.class2", "edu.ab"):
        world.group(path)
    return {
        name: people.add(admin, name, PASSWORD, role, group) for name, role, group in (
            ("head", "powerAdm", "edu.a"), ("tina", "powerAdm", "edu.a.class1"), ("paul", "user", "edu.a.class1"), ("pia", "user", "edu.a.class2"),
            ("bob", "powerAdm", "edu.ab"))
    }


@pytest.fixture
def pauls(world, admin, school):
    """An instance of paul's."""
    world.cluster()
    return world.instance(school["paul"], world.image(admin), "pauls")


def page_of(account, language="en", **more):
    """``show(address, form)``: status and text, after the way back."""
    client = Client(**more)
    client.force_login(account)
    client.cookies["django_language"] = language

    def show(where, form=None):
        answer = client.get(where) if form is None else client.post(where, form, follow=True)
        return answer.status_code, html.unescape(answer.content.decode())

    show.client = client
    return show


def named(text):
    """The people a list links to."""
    return re.findall(r'href="/people/of/([^"/]+)/"', text)


def test_who_manages_people_sees_theirs_with_group_and_role(school, admin):
    everybody = page_of(admin)("/people/")[1]
    assert named(everybody) == ["bob", "head", "paul", "pia", "root", "tina"]
    assert all(said in everybody for said in ("edu.a.class2", "powerAdm", "superAdm"))
    assert named(page_of(school["tina"])("/people/")[1]) == ["paul", "tina"]
    assert named(page_of(school["bob"])("/people/")[1]) == ["bob"]
    show = page_of(school["head"])
    assert named(show("/people/?group=edu.a.class1")[1]) == ["paul", "tina"]
    assert named(show("/people/?group=edu.a")[1]) == ["head", "paul", "pia", "tina"]
    assert named(show("/people/?role=user&q=PA")[1]) == ["paul"]
    for nothing in ("group=edu.ab", "group=edu.a..", "group=%00", "role=nobody"):
        assert named(show(f"/people/?{nothing}")[1]) == [], nothing
    for who in ("bob", "root"):
        assert show(f"/people/of/{who}/")[0] == 404
    assert page_of(school["paul"])("/people/")[0] == 404
    assert page_of(school["paul"])("/people/of/paul/")[0] == 404


def test_one_is_offered_what_one_may_give_and_no_more(school, admin):
    roles = re.compile(r'<option value="(\w+)"')

    def offered(text, name):
        return roles.findall(re.search(rf'<select[^>]*id="f-{name}".*?</select>', text, re.DOTALL)[0])

    _, text = page_of(school["tina"])("/people/")
    assert offered(text, "role") == ["anonymous", "powerAdm", "powerUser", "user"]
    assert re.findall(r"<datalist.*?</datalist>", text, re.DOTALL)[0].count("<option") == 1
    assert "superAdm" in offered(page_of(admin)("/people/")[1], "role")
    _, text = page_of(admin)("/people/of/paul/")
    assert ("superAdm" in offered(text, "role"), "superAdm" in offered(text, "given_role")) == (True, False)


def test_a_person_is_added_to_a_group(school):
    show = page_of(school["tina"])
    assert "eve can sign in now" in show("/people/add/", {"username": "eve", "group": "edu.a.class1", "role": "powerUser"})[1]
    eve = Account.objects.get(username="eve")
    assert (eve.group.path, eve.access_role_id) == ("edu.a.class1", "powerUser")
    for wrong, said in (({"group": "edu.a.class2"}, "There is no group 'edu.a.class2'"), ({"group": "edu..a"}, "a segment is empty"),
                        ({"role": "king"}, "The role is not possible"), ({"username": "paul"}, "There is a user 'paul' already")):
        _, text = show("/people/add/", {"username": "sam", "group": "edu.a.class1", "role": "user"} | wrong)
        assert 'class="wrong" role="alert"' in text, wrong
        assert said in text, wrong
        assert f'value="{wrong.get("username", "sam")}"' in text, wrong
    _, text = show("/people/add/", {"username": "sam", "group": "edu.a", "role": "user"})
    assert "You may not make accounts and groups in edu.a" in text
    assert not Account.objects.filter(username="sam").exists()


def test_a_person_is_moved_and_changes_roles(school, admin):
    show = page_of(school["head"])
    assert "paul is powerUser in edu.a.class2 now" in show("/people/of/paul/place/", {"group": "edu.a.class2", "role": "powerUser"})[1]
    assert "paul is powerUser in edu.a.class1 now" in show("/people/of/paul/place/", {"group": "edu.a.class1", "role": ""})[1]
    for wrong, said in (({"group": "edu.ab"}, "There is no group 'edu.ab'"), ({"group": ""}, "The path of a group is not possible"),
                        ({"group": "edu.a.class1", "role": "king"}, "The role is not possible")):
        code, text = show("/people/of/paul/place/", wrong)
        assert (code, said in text, 'class="wrong"' in text) == (200, True, True), wrong
    assert "superAdm is of the whole cloud" in show("/people/of/paul/place/", {"group": "edu.a", "role": "superAdm"})[1]
    assert "The last administrator stays one" in page_of(admin)("/people/of/root/place/", {"group": "everybody", "role": "user"})[1]
    assert show("/people/of/bob/place/", {"group": "edu.a", "role": "user"})[0] == 404


def test_roles_are_given_and_taken_back(school, admin, pauls):
    head, tina = page_of(school["head"]), page_of(school["tina"])
    assert "pia has one role more: powerUser" in head("/people/of/pia/grants/add/", {"given_role": "powerUser", "at": "edu.a.class1"})[1]
    row = Grant.objects.get()
    assert f"/grants/{row.pk}/take/" in head("/people/of/pia/")[1]
    assert tina("/people/of/pia/")[0] == 404
    assert tina(f"/people/of/pia/grants/{row.pk}/take/", {})[0] == 404
    for wrong, said in (({"given_role": "user", "at": "edu.ab"}, "There is no group 'edu.ab'"),
                        ({"given_role": "king", "at": "edu.a"}, "There is no access role"),
                        ({"given_role": "user", "at": ""}, "The path of a group is not possible"), ({"given_role": "user", "at": "everybody"}, "You may not")):
        code, text = head("/people/of/pia/grants/add/", wrong)
        assert (code, said in text) == (200, True), wrong
        assert f'value="{wrong["at"]}"' in text, wrong
    assert Grant.objects.count() == 1
    assert "pia has one role less: powerUser" in head(f"/people/of/pia/grants/{row.pk}/take/", {})[1]
    code, text = head(f"/people/of/pia/grants/{row.pk}/take/", {})
    assert (code, "There is no grant" in text) == (200, True), "taken in another tab"


def test_why_somebody_may_is_told_on_their_page(school, pauls):
    show = page_of(school["tina"])
    text = show(f"/people/of/paul/?kind=instance&subject={pauls.name}&verb=delete")[1]
    assert "paul may: Delete pauls" in text
    assert "it is theirs" in text
    text = page_of(school["head"])(f"/people/of/pia/?kind=instance&subject={pauls.pk}&verb=read")[1]
    assert "pia may not: See pauls" in text
    assert "nothing gives you read of it" in text
    for wrong, said in (("kind=instance&subject=nosuch&verb=read", "There is no instance 'nosuch'"),
                        ("kind=ship&subject=x&verb=read", "A kind is not possible"), ("kind=image&subject=x&verb=fly", "A verb is not possible")):
        code, text = show(f"/people/of/paul/?{wrong}")
        assert (code, said in text) == (200, True), wrong
    text = page_of(school["head"], "zh-hans")(f"/people/of/paul/?kind=instance&subject={pauls.pk}&verb=delete")[1]
    assert "归其所有" in text


def test_every_form_needs_its_token_and_a_post(school, admin):
    show = page_of(admin, enforce_csrf_checks=True)
    for where in ("/people/of/paul/place/", "/people/of/paul/grants/add/", "/people/of/paul/grants/gra-00000001/take/"):
        assert show.client.post(where).status_code == 403, where
        assert show.client.get(where).status_code == 405, where
