"""Passkeys by a device in software: what signs in, and everything that must not."""

import json
import threading

import pytest
from django.conf import settings as django_settings
from django.db import connections

from clc.services import lock_out, passkeys, people
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused
from luhyadb.models import Event, Guess, Passkey, SpentChallenge
from tests.api.test_cli_contract import cli  # noqa: F401 - a fixture
from tests.support.clc_world import PASSWORD
from tests.support.soft_authenticator import SoftAuthenticator, b64

AT = "https://cloud.test"
API = "/api/v1/users/me/passkeys/"


def public(settings, url):
    one = django_settings.EDUCLOUD
    settings.EDUCLOUD = one.model_copy(update={"console": one.console.model_copy(update={"public_url": url})})


@pytest.fixture
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def device(settings, world, time):
    public(settings, f"{AT}/")
    return SoftAuthenticator(AT)


def added(account, device, name="phone", **more):
    begun = passkeys.begin_registration(account)
    return passkeys.register(account, name, begun.sealed, device.create(begun.options, **more))


def sign_in(device, account=None, address="192.0.2.1", **more):
    begun = passkeys.begin_sign_in(account)
    return passkeys.signed_in_by(begun.sealed, device.get(begun.options, **more), address, account)


def test_a_passkey_is_the_whole_sign_in(user, device):
    row = added(user, device)
    assert sign_in(device) == user
    row.refresh_from_db()
    assert (row.count, row.name, row.used_at > 0) == (1, "phone", True)
    assert sign_in(device) == user
    begun = passkeys.begin_registration(user)
    assert begun.options["authenticatorSelection"] == {"residentKey": "required", "requireResidentKey": True, "userVerification": "required"}
    assert begun.options["attestation"] == "none"
    assert begun.options["rp"]["id"] == "cloud.test"
    assert [each["id"] for each in begun.options["excludeCredentials"]] == [b64(next(iter(device.keys)))]
    assert "ada" not in begun.options["user"]["id"]
    assert passkeys.begin_sign_in().options["userVerification"] == "required"
    assert not passkeys.begin_sign_in().options.get("allowCredentials"), "nobody is told who has one"
    assert [e.what for e in Event.objects.filter(noun="user", subject=str(user.pk))] == ["user added", "passkey added"]


def test_as_the_second_step_only_ones_own_is_taken(user, other, device):
    added(user, device)
    theirs = SoftAuthenticator(AT)
    added(other, theirs)
    assert sign_in(device, user) == user
    begun = passkeys.begin_sign_in(user)
    assert len(begun.options["allowCredentials"]) == 1
    with pytest.raises(Refused) as refused:
        passkeys.signed_in_by(begun.sealed, theirs.get({**begun.options, "allowCredentials": []}), "", user)
    assert refused.value.code == "unauthenticated"
    begun = passkeys.begin_sign_in(user)
    for whose in (None, other):
        with pytest.raises(Refused) as refused:
            passkeys.signed_in_by(begun.sealed, device.get(begun.options), "", whose)
        assert refused.value.code == "state"


@pytest.mark.parametrize(("url", "why"), [
    ("", "does not know the address"), ("http://cloud.test", "https addresses only"), ("https://192.0.2.1:8600", "is a number"),
    ("https://[2001:db8::1]", "is a number"), ("ftp://cloud.test", "https addresses only"), ("cloud.test", "does not know the address"),
])
def test_without_a_good_address_they_are_refused_with_the_reason(settings, user, url, why):
    public(settings, url)
    assert passkeys.origin() == ""
    for begin in (lambda: passkeys.begin_registration(user), passkeys.begin_sign_in):
        with pytest.raises(Refused, match=why) as refused:
            begin()
        assert "console.public_url" in refused.value.hint


def test_localhost_is_good_without_tls_and_the_port_counts(settings, user, device):
    public(settings, "http://localhost:8600/")
    here = SoftAuthenticator("http://localhost:8600")
    added(user, here)
    assert sign_in(here) == user
    here.origin = "http://localhost:8601"
    with pytest.raises(Refused, match="another address"):
        sign_in(here)


@pytest.mark.parametrize(("how", "why"), [
    ({"spoil": True}, "signature is wrong"), ({"rp": "evil.test"}, "another address"), ({"kind": "webauthn.create"}, "cannot be read"),
    ({"challenge": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, "answers something else"), ({"handle": b"account-1"}, "cannot be read"),
])
def test_a_wrong_answer_signs_nobody_in_and_counts(user, other, device, how, why):
    added(other, device)
    with pytest.raises(Refused, match=why) as refused:
        sign_in(device, **how)
    assert refused.value.code == "unauthenticated"
    assert Guess.objects.get(name=lock_out.digest("bob"), address="192.0.2.1").count == 1


@pytest.mark.parametrize("origin", ["https://evil.test", "https://cloud.test.evil.test", "http://cloud.test", "https://cloud.test:444", "https://sub.cloud.test",
                                    "null", ""])
def test_another_origin_is_refused_at_both_ends(user, device, origin):
    evil = SoftAuthenticator(origin)
    with pytest.raises(Refused, match="another address"):
        added(user, evil)
    added(user, device)
    device.origin = origin
    with pytest.raises(Refused, match="another address"):
        sign_in(device)


def test_who_was_not_verified_by_the_device_is_refused(user, device):
    device.verifies = False
    with pytest.raises(Refused, match="did not ask who it is"):
        added(user, device)
    device.verifies = True
    device.keys.clear()
    added(user, device)
    device.verifies = False
    with pytest.raises(Refused, match="did not ask who it is"):
        sign_in(device)


def test_a_challenge_is_answered_once_in_time_and_where_it_began(user, other, device, time):
    added(user, device)
    begun = passkeys.begin_sign_in()
    answer = device.get(begun.options)
    assert passkeys.signed_in_by(begun.sealed, answer, "") == user
    for again in (answer, device.get(begun.options)):
        with pytest.raises(Refused, match="used already"):
            passkeys.signed_in_by(begun.sealed, again, "")
    late = passkeys.begin_sign_in()
    answer = device.get(late.options)
    time.sleep(passkeys.LIFE_S + 1)
    for sealed in (late.sealed, "", "x", late.sealed + "x", passkeys.begin_registration(user).sealed):
        with pytest.raises(Refused, match="took too long") as refused:
            passkeys.signed_in_by(sealed, answer, "")
        assert refused.value.code == "state"
    begun = passkeys.begin_registration(user)
    made = device.create(begun.options | {"excludeCredentials": []})
    with pytest.raises(Refused, match="began elsewhere"):
        passkeys.register(other, "stolen", begun.sealed, made)
    passkeys.register(user, "second", begun.sealed, made)
    with pytest.raises(Refused):
        passkeys.register(user, "third", begun.sealed, made)
    assert SpentChallenge.objects.exists()
    time.sleep(passkeys.LIFE_S + 1)
    passkeys.tidy()
    assert not SpentChallenge.objects.exists()


def test_two_answers_at_once_sign_in_once(user, device, transactional_db):
    added(user, device)
    begun = passkeys.begin_sign_in()
    answers, came = [device.get(begun.options) for _ in range(4)], []

    def send(answer):
        try:
            came.append(passkeys.signed_in_by(begun.sealed, answer, ""))
        except Refused as error:
            came.append(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=(answer,)) for answer in answers]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(map(str, came)) == ["ada", "unauthenticated", "unauthenticated", "unauthenticated"]


def test_a_counter_that_goes_back_is_refused_and_told(user, device):
    added(user, device)
    sign_in(device)
    sign_in(device)
    device.count = 0
    with pytest.raises(Refused, match="went back"):
        sign_in(device)
    told = Event.objects.get(what="passkey counted back")
    assert (told.owner_id, str(told.result), told.fields["name"]) == (user.pk, "refused", "phone")
    device.count = 9
    assert sign_in(device) == user


def test_a_device_that_does_not_count_is_good(user, device):
    device.counts = False
    added(user, device)
    assert sign_in(device) == sign_in(device) == user


def test_guessing_waits_as_with_passwords(user, device, time):
    added(user, device)
    limits = django_settings.EDUCLOUD.accounts
    codes = []
    for _ in range(limits.attempts + 1):
        with pytest.raises(Refused) as refused:
            sign_in(device, spoil=True)
        codes.append(refused.value.code)
    assert codes == ["unauthenticated"] * limits.attempts + ["locked_out"]
    with pytest.raises(Refused, match="Too many wrong"):
        sign_in(device)
    assert lock_out.until(user) > clock.now()
    time.sleep(limits.longest_wait_s + 1)
    assert sign_in(device) == user


def test_what_nobody_has_signs_nobody_in(user, device):
    added(user, device)
    Passkey.objects.all().delete()
    with pytest.raises(Refused, match="nobody here has it"):
        sign_in(device)


def test_a_deactivated_or_deleted_account_is_not_entered(admin, user, device):
    added(user, device)
    people.deactivate(admin, "ada")
    with pytest.raises(Refused, match="nobody here has it"):
        sign_in(device)
    people.reactivate(admin, "ada")
    assert sign_in(device) == user
    people.delete(admin, "ada")
    assert not Passkey.objects.exists()


@pytest.mark.parametrize("answer", ["", "{", "[]", "null", "7", '"x"', "{}", "[" * 50_000, "x" * 50_000, '{"rawId": 7}', '{"id": "AAAA", "rawId": "AAAA"}',
                                    '{"rawId": "\\ud800"}', '{"rawId": "AAAA", "response": {"clientDataJSON": "AAAA", "signature": ""}}'])
def test_answers_that_are_none_are_refused(user, device, answer):
    added(user, device)
    for call in (lambda: passkeys.signed_in_by(passkeys.begin_sign_in().sealed, answer, ""),
                 lambda: passkeys.register(user, "x", passkeys.begin_registration(user).sealed, answer)):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.code in ("invalid", "unauthenticated")


@pytest.mark.parametrize("part", ["clientDataJSON", "authenticatorData", "signature", "userHandle"])
@pytest.mark.parametrize("value", ["", "AAAA", None, 7, [], "é", "A" * 5000])
def test_broken_parts_of_an_answer_of_somebody_known_are_refused(user, device, part, value):
    added(user, device)
    begun = passkeys.begin_sign_in()
    answer = json.loads(device.get(begun.options))
    answer["response"][part] = value
    if part == "userHandle" and not value and value != 0:
        assert passkeys.signed_in_by(begun.sealed, json.dumps(answer), "") == user, "a device may leave it out"
        return
    with pytest.raises(Refused) as refused:
        passkeys.signed_in_by(begun.sealed, json.dumps(answer), "")
    assert refused.value.code in ("unauthenticated", "invalid")


def test_a_credential_is_one_accounts_and_there_are_so_many(user, other, device, monkeypatch):
    added(user, device, credential=b"c" * 32)
    with pytest.raises(Refused, match="known already"):
        added(other, SoftAuthenticator(AT), credential=b"c" * 32)
    monkeypatch.setattr(passkeys, "AT_MOST", 1)
    with pytest.raises(Refused, match="too many passkeys"):
        added(user, device)
    for name in ("", " ", "x" * 64, "a\u202eb", "a\nb"):
        with pytest.raises(Refused) as refused:
            added(other, SoftAuthenticator(AT), name)
        assert refused.value.params["field"] == "name"


def test_they_are_listed_named_and_removed_by_their_owner_alone(user, other, admin, device, api, cli):  # noqa: F811
    row = added(user, device)
    (shown,) = api(user).get(API).json()["results"]
    assert (shown["name"], set(shown)) == ("phone", {"id", "name", "created_at", "used_at"})
    assert api(None).get(API).status_code == 401
    assert api(other).get(API).json()["results"] == []
    assert api(user).patch(f"{API}{row.pk}/", {"name": "my phone", "count": 0, "account": other.pk}, format="json").status_code in (200, 422)
    assert api(user).patch(f"{API}{row.pk}/", {"name": "my phone"}, format="json").json()["name"] == "my phone"
    assert api(other).patch(f"{API}{row.pk}/", {"name": "mine"}, format="json").status_code == 404
    assert api(other).post(f"{API}{row.pk}/remove/", {"current_password": PASSWORD}, format="json").status_code == 404
    assert api(user).post(f"{API}{row.pk}/remove/", {"current_password": "wrong"}, format="json").json()["field"] == "current_password"
    assert api(user).post(f"{API}{row.pk}/remove/", {"current_password": PASSWORD}, format="json").status_code == 204
    added(user, device)
    added(user, SoftAuthenticator(AT), "key")
    assert api(admin).get("/api/v1/users/ada/").json()["passkeys"] == 2
    for who in (user, other):
        assert api(who).delete("/api/v1/users/ada/passkeys/").status_code == 403
    assert api(admin).delete("/api/v1/users/root/passkeys/").status_code == 403
    assert cli("user", "remove-passkeys", "ada", "--yes")[1] == {"username": "ada", "passkeys": 0}
    assert api(admin).delete("/api/v1/users/ada/passkeys/").status_code == 409
    assert [e.what for e in Event.objects.filter(noun="user", what__startswith="passkey").order_by("id")] == [
        "passkey added", "passkey renamed", "passkey removed", "passkey added", "passkey added", "passkey removed", "passkey removed"]
    assert Event.objects.filter(what="passkey removed").latest("id").actor_name == "root"
