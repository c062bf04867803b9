"""Dead letters by API: for administrators, ours dealt with here, a cluster's by an order to it."""

import json

import pytest

from clc.services.own import own
from luhyaapi.wire.link import Dead
from luhyadb import letters
from luhyadb.models import Letter, Outbox


@pytest.fixture
def letter(world):
    """A readable one of a cluster."""
    cc = next(h for h in world.cluster() if h.role == "cc")
    story = letters.keep(cc.pk, Dead(b"{}", "q", "failed at it", 5)).model_copy(update={"message": "instance/stop"})
    Letter.objects.all().delete()
    letters.heard(story)
    return Letter.objects.get()


def test_only_administrators_see_them(api, user, admin, letter):
    assert api(user).get("/api/v1/letters/").status_code == 403
    (shown,) = api(admin).get("/api/v1/letters/").json()["results"]
    assert (shown["id"], shown["kind"], shown["reason"], shown["sent_again_at"]) == (letter.pk, "instance/stop", "failed at it", None)
    assert "text" not in shown
    assert api(user).get(f"/api/v1/letters/{letter.pk}/").status_code == 403
    assert api(admin).get("/api/v1/letters/ltr-00000000/").status_code == 404


def test_a_clusters_letter_is_sent_again_by_an_order_to_it(api, admin, letter):
    assert api(admin).post(f"/api/v1/letters/{letter.pk}/resend/", {}, format="json").status_code == 200
    order = json.loads(Outbox.objects.get().order)
    assert (order["kind"], order["to"]) == ("letter/resend", letter.host)
    assert api(admin).delete(f"/api/v1/letters/{letter.pk}/").status_code == 204
    assert json.loads(json.loads(Outbox.objects.order_by("-id").first().order)["body"])["drop"] is True
    assert Letter.objects.exists(), "its cluster says when it is gone"


def test_our_own_is_dropped_here_and_an_unreadable_one_is_not_sent(api, admin):
    mine = letters.keep(own().id, Dead(b"nonsense", "q", "r", 1)).letter
    refused = api(admin).post(f"/api/v1/letters/{mine}/resend/", {}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "state")
    assert api(admin).delete(f"/api/v1/letters/{mine}/").status_code == 204
    assert not Letter.objects.exists()


def test_the_status_says_that_some_are_there(api, admin, letter):
    parts = {p["name"]: p for p in api(admin).get("/api/v1/status/").json()["parts"]}
    assert parts["dead letters"]["health"] == "warn"
    assert "1 message could not be handled" in parts["dead letters"]["line"]
