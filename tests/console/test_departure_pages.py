"""The page that deletes an account: what there is, the choice, how far it is."""

from __future__ import annotations

import html

import pytest
from django.test import Client

from clc.services import departures
from luhyadb.models import Account, Image, Instance

WHERE = "/people/of/ada/delete/"


def browser(account, **more):
    client = Client(**more)
    client.force_login(account)
    return client


def text(answer):
    return html.unescape(answer.content.decode())


@pytest.fixture
def rich(world, admin, user, other):
    world.cluster()
    world.image(admin)
    world.image(user, "hers")
    world.instance(user, Image.objects.get(name="tiny"), "one", state="running", node="nc-00000001")


def test_it_is_for_who_manages_people_and_asks_for_a_choice(rich, world, admin, user, other):
    assert browser(other).get(WHERE).status_code == 404
    assert Client().get(WHERE)["Location"].startswith("/login/")
    assert browser(admin, enforce_csrf_checks=True).post(WHERE, {"choice": "everything"}).status_code == 403
    far = world.account("far", "powerAdm", "edu.far")
    assert browser(far).get(WHERE).status_code == browser(far).post(WHERE, {"choice": "everything"}).status_code == 404
    shown = text(browser(admin).get(WHERE))
    assert "one (ins-" in shown
    assert "hers (img-" in shown
    assert "Delete everything" in shown
    client = browser(admin)
    assert client.post(WHERE, {"choice": "burn"})["Location"] == WHERE
    assert "What shall become" in text(client.get(WHERE))
    assert Account.objects.get(username="ada").is_active


def test_it_gives_and_says_at_the_field_who_cannot_get_it(rich, admin, user, other):
    client = browser(admin)
    assert client.post(WHERE, {"choice": "give", "give_to": "nobody"})["Location"] == WHERE
    assert "There is no user 'nobody'" in text(client.get(WHERE))
    assert client.post(WHERE, {"choice": "give", "give_to": "bob"})["Location"] == "/people/"
    assert "what they owned is bob's" in text(client.get("/people/"))
    assert Image.objects.get(name="hers").owner == other


def test_it_shows_how_far_it_is_and_can_be_cancelled(rich, admin, user, other):
    client = browser(admin)
    assert client.post(WHERE, {"choice": "everything"})["Location"] == "/people/of/ada/"
    shown = text(client.get("/people/of/ada/"))
    assert "It is being deleted with everything it owns." in shown
    assert "root asked for it" in shown
    assert browser(other).post("/people/of/ada/keep/").status_code == 404
    assert client.post("/people/of/ada/keep/")["Location"] == "/people/of/ada/"
    assert departures.tend() == 0
    assert Account.objects.get(username="ada").is_active
    assert Instance.objects.get(name="one").owner == user


def test_what_others_use_is_told_and_cannot_be_deleted(rich, world, admin, user, other):
    world.instance(other, Image.objects.get(name="hers"), "needs-it")
    client = browser(admin)
    shown = text(client.get(WHERE))
    assert "which can only be given: hers" in shown
    assert "Delete everything</button>" not in shown
    client.post(WHERE, {"choice": "everything"})
    assert "Others use images of ada" in text(client.get(WHERE))


def test_a_deleted_owner_breaks_no_page(rich, world, admin, user, other):
    row = Instance.objects.get(name="one")
    world.instance(other, Image.objects.get(name="hers"), "needs-it")
    Account.objects.filter(pk=user.pk).update(username=f"ada~{user.pk}", is_active=False)
    for who in (admin, other, world.account("head", "powerAdm")):
        client = browser(who)
        for where in ("/portal/", "/instances/", "/images/", "/tasks/", "/addresses/", "/people/", f"/instances/{row.pk}/", "/groups/grp-00000000/",
                      f"/images/{Image.objects.get(name='hers').pk}/", f"/history/{row.pk}/", "/audit/", "/"):
            assert client.get(where).status_code in (200, 302, 404), where
    client = browser(admin)
    for where in (f"/instances/{row.pk}/", f"/images/{Image.objects.get(name='hers').pk}/", f"/history/{row.pk}/", "/audit/", "/tasks/"):
        assert client.get(where).status_code == 200, where
    assert client.get(f"/people/of/ada~{user.pk}/").status_code == 404
