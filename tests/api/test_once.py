"""An Idempotency-Key: done once, however often and from how many sides it is said."""

import threading

import pytest
from django.db import connections

from luhyaapi import clock
from luhyadb.models import IdempotencyKey, Instance, JoinToken, Task
from tests.conftest import DATABASES

RUN = "/api/v1/instances/"


@pytest.fixture
def ready(world, admin):
    world.cluster()
    return world.image(admin)


def run(client, key, **body):
    return client.post(RUN, {"image": "tiny"} | body, format="json", HTTP_IDEMPOTENCY_KEY=key)


def test_the_same_key_gets_the_same_answer(ready, user, api):
    client = api(user)
    first, second = run(client, "k1"), run(client, "k1")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    assert first["Location"] == second["Location"]
    assert second["Idempotency-Replayed"] == "true"
    assert (Instance.objects.count(), Task.objects.count()) == (1, 1)


def test_the_same_key_for_another_request_is_a_conflict(ready, user, api):
    client = api(user)
    run(client, "k1")
    for answer in (run(client, "k1", name="other"), client.post("/api/v1/tasks/x/cancel/", {}, format="json", HTTP_IDEMPOTENCY_KEY="k1")):
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert Instance.objects.count() == 1


def test_keys_belong_to_their_account(ready, user, other, api):
    assert run(api(user), "k1").json() != run(api(other), "k1").json()
    assert Instance.objects.count() == 2


def test_an_error_is_not_kept(ready, user, api):
    client = api(user)
    assert run(client, "k1", cpus=0).status_code == 422
    assert IdempotencyKey.objects.count() == 0
    assert run(client, "k1").status_code == 202


def test_a_key_is_forgotten_after_a_week(ready, user, api):
    client = api(user)
    run(client, "k1")
    IdempotencyKey.objects.update(at=clock.now() - 8 * 24 * 3600)
    assert run(client, "k1", name="new").status_code == 202
    assert Instance.objects.count() == 2


@pytest.mark.parametrize("key", ["x" * 201, "a b", "é"])
def test_an_impossible_key_is_refused(ready, user, api, key):
    assert run(api(user), key).json()["code"] == "invalid"
    assert Instance.objects.count() == 0


def test_a_secret_is_answered_again_and_stands_nowhere(world, admin, api):
    client = api(admin)
    first, second = (client.post("/api/v1/hosts/tokens/", {"role": "nc"}, format="json", HTTP_IDEMPOTENCY_KEY="k1") for _ in range(2))
    assert first.json() == second.json()
    assert JoinToken.objects.count() == 1
    kept = IdempotencyKey.objects.get()
    assert first.json()["token"].split(".")[1] not in f"{kept.answer} {kept.key} {kept.request}"
    assert kept.key != "k1"


@pytest.mark.django_db(databases=DATABASES, transaction=True)
def test_two_at_the_same_moment_have_one_effect(ready, user, api):
    clients, answers = [api(user) for _ in range(4)], []
    start = threading.Barrier(len(clients))

    def ask(client):
        start.wait()
        answers.append(run(client, "k1"))
        connections.close_all()

    threads = [threading.Thread(target=ask, args=(c,)) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = [a for a in answers if a.status_code == 202]
    assert good
    assert {a.content for a in good} == {good[0].content}
    assert all(a.json()["code"] in ("busy", "conflict") for a in answers if a not in good)
    assert (Instance.objects.count(), Task.objects.count(), IdempotencyKey.objects.count()) == (1, 1, 1)
