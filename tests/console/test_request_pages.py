"""Pages of who asks for an account and of who decides."""

from __future__ import annotations

import html
import re

import pytest
from django.test import Client

from clc.services import account_requests, groups, people
from luhyadb.models import Account, AccountRequest

FORM = {"username": "pia", "password": "another horse battery", "password_again": "another horse battery", "group": "edu.a", "reason": "<b>physics</b>"}


def browser(account, **more):
    client = Client(**more)
    client.force_login(account)
    return client


def text(answer):
    return html.unescape(answer.content.decode())


@pytest.fixture
def school(world, admin):
    tina = world.account("tina", "powerAdm", "edu.a")
    groups.take_requests(admin, "edu.a", on=True)
    return tina


def test_there_is_no_such_page_before_a_group_takes_requests(world, admin, user):
    world.group("edu.a")
    assert Client().get("/request/").status_code == Client().post("/request/", FORM).status_code == 404
    assert "Ask for an account" not in text(Client().get("/login/"))
    group = groups.resolve(admin, "edu.a").pk
    assert browser(user).post(f"/groups/{group}/requests/", {"on": "1"}).status_code == 404
    assert browser(world.account("head", "powerAdm")).post(f"/groups/{group}/requests/", {"on": "1"}).status_code == 404
    assert browser(admin, enforce_csrf_checks=True).post(f"/groups/{group}/requests/", {"on": "1"}).status_code == 403
    assert browser(admin).post(f"/groups/{group}/requests/", {"on": "1"})["Location"] == f"/groups/{group}/"
    assert "Take no more" in text(browser(admin).get(f"/groups/{group}/"))
    assert "Ask for an account" in text(Client().get("/login/"))
    assert Client().get("/request/").status_code == 200


def test_somebody_asks_looks_and_signs_in(school, user):
    visitor = Client()
    made = text(visitor.post("/request/", FORM))
    code = re.search(r"<code>([\w-]{32})</code>", made)[1]
    assert not re.search(rf'(href|action)="[^"]*{code}', made), "it stands in no address"
    assert "Waiting" in text(visitor.post("/request/state/", {"code": code}))
    client = browser(school)
    menu = text(client.get("/requests/"))
    assert re.search(r'class="badge num">1<', menu)
    assert "&lt;b&gt;physics" in client.get("/requests/").content.decode()
    ident = AccountRequest.objects.get().pk
    assert client.post(f"/requests/{ident}/approve/", {"username": "pia", "group": "edu.a", "role": "user"})["Location"] == "/requests/"
    assert "pia has an account now" in text(client.get("/requests/"))
    assert "Approved" in text(client.get("/requests/?all=1"))
    assert not re.search(r'class="badge num">', text(client.get("/requests/")))
    assert "Sign in with this user name" in text(visitor.post("/request/state/", {"code": code}))
    assert visitor.post("/login/", {"username": "pia", "password": FORM["password"]})["Location"] == "/portal/"
    assert browser(user).get("/request/")["Location"] == "/portal/"


def test_what_is_wrong_stands_at_its_field_and_no_password_comes_back(school):
    for field, value, told in (("username", "a b", "The user name is not possible"), ("password_again", "other", "The two passwords differ"),
                               ("email", "nobody", "The e-mail address is not possible"), ("group", "edu", "No account can be asked for there")):
        answer = Client().post("/request/", FORM | {field: value})
        assert answer.status_code in (404, 422)
        assert told in text(answer), field
        assert "another horse" not in text(answer)
    assert not AccountRequest.objects.exists()
    assert Client(enforce_csrf_checks=True).post("/request/", FORM).status_code == 403
    assert "There is no request with this code" in text(Client().post("/request/state/", {"code": "x"}))


def test_it_is_refused_once_and_the_other_is_told(school, world, admin):
    Client().post("/request/", FORM)
    ident = AccountRequest.objects.get().pk
    client = browser(school)
    assert browser(world.account("mona", "powerAdm", "edu.b")).post(f"/requests/{ident}/refuse/", {"why": "no"}).status_code == 404
    assert browser(world.account("paul")).get("/requests/").status_code == 404
    assert browser(school, enforce_csrf_checks=True).post(f"/requests/{ident}/refuse/", {"why": "no"}).status_code == 403
    client.post(f"/requests/{ident}/refuse/", {"why": "Not of this class."})
    client.post(f"/requests/{ident}/approve/", {"role": "user"})
    assert "This request was decided already" in text(client.get("/requests/"))
    assert not Account.objects.filter(username="pia").exists()


def test_the_profile_is_changed_on_the_own_page_and_seen_by_who_manages(world, admin, user):
    client = browser(user)
    assert client.post("/account/profile/", {"display_name": "Ada L.", "email": "ada@school.example", "profile_language": "zh-hans"})["Location"] == "/account/"
    assert client.cookies["django_language"].value == "zh-hans"
    assert "ada@school.example" in text(browser(admin).get("/people/of/ada/"))
    assert "Ada L." in text(browser(admin).get("/people/?q=Ada+L"))
    client.post("/account/profile/", {"display_name": "x" * 101, "email": "", "profile_language": "en"})
    assert "it has 101 signs" in text(client.get("/account/")) or "101" in text(client.get("/account/"))
    assert Account.objects.get(pk=user.pk).display_name == "Ada L."
    people.set_profile(user, language="")
    assert client.post("/account/profile/", {"display_name": "", "email": "", "profile_language": ""}).cookies["django_language"].value == ""
    assert Client().post("/account/profile/", {})["Location"].startswith("/login/")
    assert browser(user, enforce_csrf_checks=True).post("/account/profile/", {}).status_code == 403


def test_waiting_ones_are_counted_with_one_question(school, django_assert_num_queries):
    with django_assert_num_queries(1):
        account_requests.waiting(school)
