"""Signing in at an OpenID provider through the pages: the whole way, and every answer that must not be believed."""

from __future__ import annotations

import base64
import datetime as dt
import html
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from clc.services import directories, refusals, second_step
from clc.services.directory_lines import REST_S, lines
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyadb.models import Account, ApiToken, BrowserSession, Event, SecondStep
from tests.support import fake_provider
from tests.support.clc_world import PASSWORD


@pytest.fixture(autouse=True)
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def beds(monkeypatch):
    every = [fake_provider.Bed(), fake_provider.Bed("https://id.elsewhere.test")]
    fake_provider.registered(monkeypatch, *every)
    monkeypatch.setattr(lines, "_silent", {})
    monkeypatch.setattr(refusals, "bound", refusals.Bound())
    return every


@pytest.fixture
def bed(world, admin, beds):
    world.group("edu.school", admin)
    directories.add(admin, "school", "oidc", beds[0].settings(), secret=beds[0].secret, group="edu.school", enabled=True)
    beds[0].person("ann", groups=["pupils"])
    return beds[0]


def there(client, bed, name="ann", where="/login/with/school/"):
    """To the provider and back; what the browser brings along."""
    answer = client.get(where)
    assert answer.status_code == 302, html.unescape(answer.content.decode())
    return bed.sign_in(answer["Location"], name)


def back(client, brought, name="school"):
    return client.get(f"/login/with/{name}/return/", brought)


def said(answer):
    return html.unescape(answer.content.decode())


def refused(answer, why, status=401):
    assert answer.status_code == status, answer
    assert why in said(answer), said(answer)[:3000]
    assert "Traceback" not in said(answer)


def signed_in(client):
    return client.get("/account/").status_code == 200


def test_the_button_leads_there_and_back_to_the_page_that_was_asked_for(bed):
    client = Client()
    assert 'href="/login/with/school/?next=%2Faccount%2F"' in client.get("/login/?next=/account/").content.decode()
    brought = there(client, bed, where="/login/with/school/?next=/account/")
    assert back(client, brought)["Location"] == "/account/"
    assert signed_in(client)
    account = Account.objects.get(username="ann")
    assert (account.group.path, account.display_name, account.email, account.has_usable_password()) == ("edu.school", "Ann", "ann@school.test", False)
    (added,) = Event.objects.filter(what="user added", owner=account)
    assert (added.via, added.origin) == ("directory", "school")


def test_who_only_asks_leaves_nothing_for_long(bed, time, settings):
    client = Client()
    client.get("/login/with/school/")
    (row,) = BrowserSession.objects.all()
    assert row.expire_date.timestamp() < dt.datetime.now(dt.UTC).timestamp() + 700
    back(client, there(client, bed))
    assert client.session.get_expiry_age() == settings.SESSION_COOKIE_AGE


def test_claims_are_mapped_like_attributes(bed, admin):
    directories.map_to(admin, "school", "groups", "Teachers", "edu", "powerAdm")
    bed.person("tina", groups=["staff", "teachers"])
    client = Client()
    back(client, there(client, bed, "tina"))
    tina = Account.objects.get(username="tina")
    assert (tina.group.path, tina.access_role_id) == ("edu", "powerAdm")
    bed.people["tina"]["groups"] = []
    back(client, there(client, bed, "tina"))
    tina.refresh_from_db()
    assert (tina.group.path, tina.access_role_id) == ("edu.school", "user")


def test_claims_within_claims_have_both_names(bed, admin):
    directories.map_to(admin, "school", "realm_access.roles", "teacher", "edu", "powerAdm")
    bed.person("tina", realm_access={"roles": ["teacher", "offline"]})
    back(client := Client(), there(client, bed, "tina"))
    assert Account.objects.get(username="tina").access_role_id == "powerAdm"


def test_the_subject_is_who_it_is(bed):
    client = Client()
    back(client, there(client, bed))
    first = Account.objects.get(username="ann")
    bed.people["anna"] = bed.people.pop("ann") | {"preferred_username": "anna"}
    back(Client(), there(client := Client(), bed, "anna"))
    back(client, there(client, bed, "anna"))
    first.refresh_from_db()
    assert first.username == "anna"
    bed.person("ann")
    back(client := Client(), there(client, bed))
    assert signed_in(client)
    assert Account.objects.get(username="ann").pk != first.pk


def test_no_account_is_taken_over_by_its_name(bed, user):
    bed.person("ada")
    client = Client()
    refused(back(client, there(client, bed, "ada")), "another account is called ada already", 403)
    assert not signed_in(client)


def test_who_belongs_nowhere_is_told(bed, admin):
    directories.change(admin, "school", group=None)
    client = Client()
    refused(back(client, there(client, bed)), "no mapping of it says where they belong", 403)


def test_the_name_may_be_told_when_asked_only(bed):
    name = bed.people["ann"]["preferred_username"]
    bed.spoil = {"preferred_username": None}
    client = Client()
    back(client, there(client, bed))
    assert Account.objects.filter(username=name).exists()


@pytest.mark.parametrize(("spoil", "why"), [
    ({"nonce": "another"}, "it is the answer to something else"), ({"nonce": None}, "it is the answer to something else"),
    ({"aud": "somebody else"}, "it is for somebody else"), ({"aud": ["educloud", "other"]}, "it is for somebody else"),
    ({"aud": None}, "it is for somebody else"),
    ({"azp": "other"}, "it is for somebody else"), ({"iss": "https://id.elsewhere.test"}, "it is of another issuer"), ({"exp": 1}, "it has expired"),
    ({"exp": None}, "it has expired"), ({"exp": "9999999999"}, "it has expired"), ({"exp": True}, "it has expired"),
    ({"iat": 9_999_999_999}, "it is from the future"),
    ({"sub": ""}, "it says nobody"), ({"sub": 5}, "it says nobody"), ({"sub": "x" * 300}, "it says nobody"),
])
def test_a_token_that_does_not_fit_is_not_believed(bed, spoil, why):
    bed.spoil = spoil
    client = Client()
    refused(back(client, there(client, bed)), why)
    assert not signed_in(client)
    assert not Account.objects.filter(username="ann").exists()


@pytest.mark.parametrize("forger", [
    fake_provider.unsigned, fake_provider.with_public_key, fake_provider.by_another_key, fake_provider.key_in_the_header, lambda _: "a.b.c", lambda _: "",
    lambda _: "x" * 70_000 + "..",
])
def test_a_token_of_nobodys_is_not_believed(bed, forger):
    bed.forger = forger
    client = Client()
    refused(back(client, there(client, bed)), "The provider's answer is not believed")
    assert Event.objects.get(what="sign-in refused").fields["directory"] == "school"
    assert not signed_in(client)
    assert not Account.objects.filter(username="ann").exists()


def test_keys_rotate(bed, time):
    client = Client()
    back(client, there(client, bed))
    bed.key, bed.published = 1, [0, 1]
    time.sleep(10)
    back(client := Client(), there(client, bed))
    assert signed_in(client)
    bed.key, bed.published = 0, [1]
    time.sleep(10)
    oidc_asked = len([each for each in bed.asked if each.endswith("/keys")])
    time.sleep(700)
    refused(back(client := Client(), there(client, bed)), "by no key of the provider")
    assert len([each for each in bed.asked if each.endswith("/keys")]) > oidc_asked


@pytest.mark.parametrize("spoiled", [{"state": "another"}, {"state": ""}, {"state": "\u20ac"}, {"iss": "https://id.elsewhere.test"}, {"iss": ""}, {"code": ""}])
def test_another_answer_than_was_asked_for_is_not_believed(bed, spoiled):
    client = Client()
    answer = back(client, there(client, bed) | spoiled)
    assert answer.status_code == 401
    assert not signed_in(client)


def test_a_way_back_is_gone_once(bed):
    client = Client()
    brought = there(client, bed)
    back(client, brought)
    client.post("/logout/")
    refused(back(client, brought), "used already")


def test_a_code_is_redeemed_once_and_only_by_who_asked(bed):
    stolen = there(Client(), bed)
    refused(back(Client(), stolen), "This sign-in did not begin here")
    thief = Client()
    mine = there(thief, bed)
    refused(back(thief, mine | {"code": stolen["code"]}), "no good one")
    assert stolen["code"] not in bed.codes


def test_it_must_come_back_in_time(bed, time):
    client = Client()
    brought = there(client, bed)
    time.sleep(601)
    refused(back(client, brought), "did not begin here")


def test_an_answer_of_one_provider_is_none_of_another(bed, beds, admin):
    """The mix-up: who runs one provider has somebody bring another's answer to it."""
    directories.add(admin, "elsewhere", "oidc", beds[1].settings(), secret=beds[1].secret, group="edu", enabled=True)
    beds[1].person("ann")
    client = Client()
    brought = there(client, bed)
    refused(back(client, brought, "elsewhere"), "did not begin here")
    other = there(client, beds[1], where="/login/with/elsewhere/")
    refused(back(client, other | {"code": brought["code"], "iss": brought["iss"]}, "elsewhere"), "another provider")
    assert not signed_in(client)
    assert len(beds[1].asked) == 1, "no code was handed to the other"


def test_one_that_calls_itself_otherwise_is_not_believed(bed):
    bed.document = {"issuer": "https://id.elsewhere.test"}
    refused(Client().get("/login/with/school/"), "it calls itself", 503)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_no_address_without_tls_is_used(bed, name):
    bed.document = {name: "http://id.school.test/x"}
    client = Client()
    answer = client.get("/login/with/school/")
    if answer.status_code == 302:
        answer = back(client, bed.sign_in(answer["Location"], "ann"))
    refused(answer, "has no TLS", 503)


def test_what_the_provider_refuses_is_a_page(bed):
    client = Client()
    brought = there(client, bed)
    refused(back(client, {"error": "<script>access_denied", "state": brought["state"], "iss": brought["iss"]}), "The provider did not let you in")
    assert b"<script>access_denied" not in back(client, {"error": "<script>access_denied", "state": brought["state"]}).content


def test_a_silent_provider_is_an_error_and_local_people_sign_in(bed, user, time):
    bed.stop()
    for _ in range(3):
        refused(Client().get("/login/with/school/"), "The directory school does not answer", 503)
    assert len(bed.asked) == 1
    client = Client()
    client.post("/login/", {"username": "ada", "password": PASSWORD})
    assert signed_in(client)
    bed.start()
    time.sleep(REST_S + 1)
    assert Client().get("/login/with/school/").status_code == 302


@pytest.mark.parametrize("target", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "http:evil"])
def test_nobody_is_sent_elsewhere(bed, target):
    client = Client()
    brought = there(client, bed, where=f"/login/with/school/?next={target}")
    assert back(client, brought)["Location"] == "/portal/"


def test_an_unknown_provider_and_one_that_is_off_are_not_there(bed, admin):
    assert Client().get("/login/with/nobody/").status_code == 404
    directories.change(admin, "school", enabled=False)
    assert Client().get("/login/with/school/").status_code == 404
    assert b"/login/with/" not in Client().get("/login/").content


def test_the_password_form_is_not_for_them(bed):
    back(client := Client(), there(client, bed))
    for password in ("", "x", PASSWORD):
        refused(Client().post("/login/", {"username": "ann", "password": password}), "Name or password is wrong")


def test_a_second_step_is_asked_for_here_too(bed, time):
    back(client := Client(), there(client, bed))
    account = Account.objects.get(username="ann")
    secret = base64.b32decode(second_step.enrol(account).secret)
    second_step.confirm(account, second_step.code_at(secret, int(clock.now() // 30)))
    time.sleep(90)
    client = Client()
    assert back(client, there(client, bed))["Location"] == "/login/code/"
    assert not signed_in(client)
    client.post("/login/code/", {"code": second_step.code_at(secret, int(clock.now() // 30))})
    assert signed_in(client)


def test_the_proof_that_it_is_still_them_is_a_fresh_sign_in_there(bed, time):
    client = Client()
    back(client, there(client, bed))
    asked = client.get("/account/").content.decode()
    assert "/account/again/" in asked
    assert 'name="current_password"' not in asked
    client.post("/account/second-step/enrol/")
    assert not SecondStep.objects.exists()
    stale = there(client, bed, where="/account/again/")
    bed.spoil = {"auth_time": int(clock.now()) - 3600}
    refused(back(client, stale), "signed in just now")
    bed.spoil = {}
    url = client.get("/account/again/")["Location"]
    assert parse_qs(urlsplit(url).query)["prompt"] == ["login"]
    assert back(client, bed.sign_in(url, "ann"))["Location"] == "/account/"
    assert "You signed in there just now" in client.get("/account/").content.decode()
    assert client.post("/account/second-step/enrol/")["Location"] == "/account/second-step/"
    assert SecondStep.objects.exists()
    SecondStep.objects.all().delete()
    time.sleep(301)
    client.post("/account/second-step/enrol/")
    assert not SecondStep.objects.exists()


def test_nobody_elses_sign_in_is_a_proof(bed):
    bed.person("bob")
    client = Client()
    back(client, there(client, bed))
    refused(back(client, there(client, bed, "bob", where="/account/again/")), "That is somebody else", 403)
    client.post("/account/second-step/enrol/")
    assert not SecondStep.objects.exists()


def test_their_command_line_uses_a_token(bed, api):
    client = Client()
    back(client, there(client, bed))
    assert client.post("/account/tokens/add/", {"name": "laptop", "scope": "all", "days": "30"}).status_code == 200
    token = ApiToken.objects.get()
    assert (token.account.username, token.name) == ("ann", "laptop")
    cli = api(token.account)
    answer = cli.post("/api/v1/users/me/second-step/", {"current_password": "x"}, format="json")
    assert (answer.status_code, answer.json()["what"]) == (422, "Sign in at school once more")


def test_signing_out_here_says_that_they_are_signed_in_there(bed):
    client = Client()
    back(client, there(client, bed))
    where = client.post("/logout/")["Location"]
    assert where == "/login/?out=school"
    assert "/login/with/school/out/" in client.get(where).content.decode()
    out = client.get("/login/with/school/out/")["Location"]
    assert out.startswith(f"{bed.issuer}/out?")
    assert parse_qs(urlsplit(out).query)["post_logout_redirect_uri"] == ["http://testserver/login/"]


def test_a_test_says_what_works_and_what_does_not(bed, api, admin):
    tested = api(admin).post("/api/v1/directories/school/test/", {}, format="json").json()
    assert tested["ok"]
    assert "/login/with/school/return/" in tested["steps"][-1]["text"]
    bed.published = []
    tested = api(admin).post("/api/v1/directories/school/test/", {}, format="json").json()
    assert tested["steps"][-1]["why"] == "it has no key that tokens can be checked by"
    assert api(admin).post("/api/v1/directories/school/import/", {}, format="json").json()["code"] == "unsupported"


@pytest.mark.parametrize("issuer", ["http://id.school.test", "https://", "https://a?b", "https://u:p@x", "ftp://x", "https://x y"])
def test_issuers_that_cannot_be(world, admin, issuer, api):
    answer = api(admin).post("/api/v1/directories/", {"name": "x", "preset": "oidc", "settings": {"issuer": issuer, "client_id": "a"}}, format="json")
    assert (answer.status_code, answer.json()["field"]) == (422, "issuer")
