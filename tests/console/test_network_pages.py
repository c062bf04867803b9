"""Networks on pages: made, refused with what was typed, shown with who is in them, given up, chosen for a machine."""

import html
from html.parser import HTMLParser

import pytest
from django.test import Client

from cc.role import ROLE
from luhyadb.models import Host, Instance, Network

CLASS = {"name": "class-7", "subnet": "10.40.0.0/24", "ranges": "10.40.0.100-10.40.0.199\n", "mode": "closed"}


@pytest.fixture
def cluster(world):
    found = next(h for h in world.cluster() if h.role == "cc")
    Host.objects.filter(pk=found.pk).update(speaks=ROLE.speaks, subnet="10.231.0.0/24")
    return found


@pytest.fixture
def page(cluster, admin):
    client = Client()
    client.force_login(admin)

    def show(where, form=None):
        answer = client.get(where) if form is None else client.post(where, form, follow=True)
        return answer.status_code, html.unescape(answer.content.decode())

    return show


@pytest.fixture
def made(page, cluster):
    assert page("/networks/add/", CLASS | {"cluster": cluster.pk})[0] == 200
    return Network.objects.get()


def test_it_is_made_listed_and_shown(page, cluster, made):
    _, text = page("/networks/")
    assert "class-7" in text
    assert "0 of 100" in text
    assert "10.231.0.0/24" in text, "the cluster's own"
    _, text = page(f"/networks/{made.pk}/")
    for shown in ("10.40.0.0/24", "10.40.0.1", "10.40.0.100-10.40.0.199", "Closed class", cluster.name, "--network class-7"):
        assert shown in text


def test_what_is_refused_keeps_what_was_typed(page, cluster, made):
    _, text = page("/networks/add/", CLASS | {"cluster": cluster.pk, "name": "class-8", "subnet": "10.40.0.128/25", "ranges": ""})
    assert "overlaps with another network" in text
    assert 'value="class-8"' in text
    assert Network.objects.count() == 1


class _Asked(HTMLParser):
    """What a browser sends of one form when nobody touches it, and which fields it insists on."""

    def __init__(self, action):
        super().__init__()
        self.action, self.inside, self.select = action, False, ""
        self.sent, self.required = {}, set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "form":
            self.inside = given.get("action") == self.action
        elif self.inside and tag == "select":
            self.select = given["name"]
        elif self.inside and tag == "option" and ("selected" in given or self.select not in self.sent):
            self.sent[self.select] = given["value"]
        elif self.inside and tag in ("input", "textarea") and given.get("type") != "checkbox":
            self.sent[given["name"]] = given.get("value", "")
            if "required" in given:
                self.required.add(given["name"])


def test_a_browser_asks_for_name_and_addresses_and_for_nothing_else(page, cluster):
    form = _Asked("/networks/add/")
    form.feed(page("/networks/")[1])
    assert form.required == {"name", "subnet"}
    assert "is made" in page("/networks/add/", form.sent | {"name": "lab", "subnet": "10.70.0.0/24"})[1]
    assert Network.objects.get().mode == "cluster", "as by client and API"


def test_its_ranges_stay_in_their_form_when_something_else_is_refused(page, world, admin, made):
    world.image(admin)
    page("/instances/run/", {"image": "tiny", "name": "pupil", "count": "1", "cpus": "1", "network": made.pk})
    _, text = page(f"/networks/{made.pk}/delete/", {})
    assert "cannot be given up" in text
    assert ">10.40.0.100-10.40.0.199</textarea>" in text
    _, text = page(f"/networks/{made.pk}/ranges/", {"ranges": "10.50.0.1"})
    assert ">10.50.0.1</textarea>" in text


def test_a_machine_is_put_into_it_and_it_is_given_up_after_it(page, admin, world, made):
    world.image(admin)
    _, text = page("/instances/run/")
    assert "class-7 · 10.40.0.0/24" in text
    page("/instances/run/", {"image": "tiny", "name": "pupil", "count": "1", "cpus": "1", "network": made.pk})
    row = Instance.objects.get()
    assert [card.network_id for card in row.cards.all()] == [made.pk]
    assert "pupil" in page(f"/networks/{made.pk}/")[1]
    _, text = page(f"/networks/{made.pk}/delete/", {})
    assert "cannot be given up" in text
    Instance.objects.update(state="deleted")
    _, text = page(f"/networks/{made.pk}/delete/", {})
    assert "class-7 is given up" in text
    assert Network.objects.get().retired_at


def test_without_one_the_form_does_not_ask(page, admin, world):
    world.image(admin)
    assert 'name="network"' not in page("/instances/run/")[1]


def test_only_administrators_see_the_page(user, made):
    client = Client()
    client.force_login(user)
    assert client.get("/networks/").status_code == 404
    assert "Networks" not in client.get("/instances/").content.decode()
