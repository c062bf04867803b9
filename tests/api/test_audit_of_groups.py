"""What was done in a group, for who may see its people: asked for by its path; nothing of others, and not from where."""

import pytest
from django.test import Client

API = "/api/v1/"


@pytest.fixture
def school(world, admin):
    world.cluster()
    image = world.image(admin)
    for path in ("edu.a.one", "edu.a.two", "edu.ab"):
        world.group(path)
    people = {
        name: world.account(name, role, group) for name, role, group in (
            ("head", "powerAdm", "edu.a"), ("tina", "powerAdm", "edu.a.one"), ("paul", "user", "edu.a.one"), ("pia", "user", "edu.a.two"),
            ("bob", "user", "edu.ab"))
    }
    for name in ("paul", "pia", "bob"):
        world.instance(people[name], image, f"of-{name}")
    return people


def defined(client, group):
    answer = client.get(f"{API}audit/?group={group}")
    assert answer.status_code == 200, answer.content
    return sorted(line["fields"]["name"] for line in answer.json()["results"] if line["what"] == "instance defined")


def test_a_group_is_read_by_who_sees_its_people(api, admin, school):
    assert defined(api(admin), "edu") == ["of-bob", "of-paul", "of-pia"]
    assert defined(api(admin), "edu.a") == ["of-paul", "of-pia"], "edu.ab is not below edu.a"
    assert defined(api(school["head"]), "edu.a") == ["of-paul", "of-pia"]
    assert defined(api(school["tina"]), "edu.a.one") == ["of-paul"]
    for who, group, status in (("tina", "edu.a", 403), ("tina", "edu.a.two", 404), ("paul", "edu.a.one", 403), ("bob", "edu.a", 404), ("tina", "..", 422)):
        assert api(school[who]).get(f"{API}audit/?group={group}").status_code == status, (who, group)
    assert api(school["head"]).get(f"{API}audit/export/?group=edu.a").status_code == 403
    assert not [line for line in api(school["head"]).get(f"{API}audit/?group=edu.a").json()["results"]
                if line["origin"] and line["actor"] != "head"], "from where others came is not told"


def test_the_page_filters_by_group(admin, school):
    client = Client()
    client.force_login(admin)
    assert "of-pia" not in client.get("/audit/?group=edu.a.one").content.decode()
    assert "of-paul" in client.get("/audit/?group=edu.a.one").content.decode()
    assert client.get("/audit/?group=no.such").status_code == 404
