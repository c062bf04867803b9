"""Who may do what, at the doors of the API: groups, access roles, grants, shares, and what does not exist for whom."""

from __future__ import annotations

import pytest

from clc.services import people
from luhyadb import scope
from luhyadb.models import Event, Group, GroupAbove, Image, Instance, Share
from tests.support.clc_world import PASSWORD

API = "/api/v1/"


@pytest.fixture
def school(world, admin):
    """A school with two classes and another school whose name begins alike; a teacher over class 1, a pupil in each."""
    for path in ("edu.a.class1", "edu.a.class2", "edu.ab"):
        world.group(path)
    return {
        name: world.account(name, role, group) for name, role, group in (
            ("head", "powerAdm", "edu.a"), ("tina", "powerAdm", "edu.a.class1"), ("paul", "user", "edu.a.class1"), ("pia", "user", "edu.a.class2"),
            ("bob", "powerAdm", "edu.ab"))
    }


@pytest.fixture
def pauls(world, admin, school):
    """An instance of paul's."""
    world.cluster()
    return world.instance(school["paul"], world.image(admin), "pauls")


def _run(client, image="tiny"):
    return client.post(f"{API}instances/", {"image": image}, format="json")


def _share(client, kind, subject, verbs, **whom):
    return client.post(f"{API}shares/", {"kind": kind, "subject": subject, "verbs": verbs, **whom}, format="json")


def _seen(client, noun="instances"):
    return [each.get("name") or each["path"] for each in client.get(f"{API}{noun}/").json()["results"]]


def test_who_is_above_sees_and_who_is_beside_or_below_does_not(api, school, pauls):
    assert [_seen(api(school[name])) for name in ("paul", "tina", "head")] == [[pauls.name]] * 3
    for name in ("pia", "bob"):
        client = api(school[name])
        assert _seen(client) == []
        assert client.get(f"{API}instances/{pauls.pk}/").status_code == 404
        assert client.post(f"{API}instances/{pauls.pk}/stop/", {}, format="json").status_code == 404
    assert api(school["tina"]).delete(f"{API}instances/{pauls.pk}/").status_code == 202


def test_what_is_seen_and_may_not_be_done_is_forbidden_with_the_reason(world, api, admin, school, pauls):
    share = _share(api(school["paul"]), "instance", pauls.pk, ["read"], group="edu.a.class1")
    assert share.status_code == 201, share.content
    sam = world.account("sam", "user", "edu.a.class1")
    assert _seen(api(sam)) == [pauls.name]
    assert _seen(api(school["pia"])) == []
    refused = api(sam).delete(f"{API}instances/{pauls.pk}/")
    assert (refused.status_code, refused.json()["why"]) == (403, "you have read of it, and not delete")
    told = api(sam).get(f"{API}permissions/why/", {"kind": "instance", "subject": pauls.pk, "verb": "delete"}).json()
    assert (told["allowed"], told["reasons"], told["why_not"]) == (False, [], "you have read of it, and not delete")
    told = api(sam).get(f"{API}permissions/why/", {"kind": "instance", "subject": pauls.pk, "verb": "read"}).json()
    assert told["reasons"] == [{"by": "share", "role": "", "at": "edu.a.class1", "verb": "read"}]
    ends = api(sam).delete(f"{API}shares/{share.json()['results'][0]['id']}/")
    assert ends.status_code == 403
    assert api(school["pia"]).delete(f"{API}shares/{share.json()['results'][0]['id']}/").status_code == 404
    assert api(school["paul"]).delete(f"{API}shares/{share.json()['results'][0]['id']}/").status_code == 204
    assert _seen(api(sam)) == []


def test_an_image_belongs_to_a_group_and_is_shared_with_one_class(world, api, admin, school):
    world.cluster()
    image = world.image(admin, "atlas")
    Share.objects.all().delete()
    image.group = world.group("edu.a")
    image.save()
    assert _seen(api(school["paul"]), "images") == [], "a class does not reach what belongs to its school"
    assert _run(api(school["paul"]), "atlas").status_code == 404
    assert _share(api(school["tina"]), "image", "atlas", ["execute"], group="edu.a.class1").status_code == 404
    assert _share(api(school["head"]), "image", "atlas", ["execute"], group="edu.a.class1").status_code == 201
    assert (_seen(api(school["paul"]), "images"), _seen(api(school["pia"]), "images")) == (["atlas"], [])
    assert _run(api(school["paul"]), "atlas").status_code == 202
    who = api(school["head"]).get(f"{API}permissions/who/", {"kind": "image", "subject": "atlas", "verb": "execute"}).json()["results"]
    assert [each["user"] for each in who] == ["head", "paul", "root", "tina"]
    assert who[1]["reasons"] == [{"by": "share", "role": "", "at": "edu.a.class1", "verb": "execute"}]
    assert api(school["paul"]).get(f"{API}permissions/who/", {"kind": "image", "subject": "atlas", "verb": "read"}).status_code == 403
    assert _share(api(school["head"]), "image", "atlas", ["read"], user="pia").status_code == 201
    refused = _run(api(school["pia"]), "atlas")
    assert (refused.status_code, refused.json()["why"]) == (403, "you have read of it, and not execute")


def test_what_everybody_may_use_from_the_start_can_be_shared_no_more(world, api, admin, school):
    from clc.services import images

    images.next_version(admin, images.Ask("open"))
    assert _seen(api(school["pia"]), "images") == ["open"]
    shared = api(admin).get(f"{API}shares/", {"kind": "image", "subject": "open"}).json()["results"]
    assert sorted((each["verb"], each["group"]) for each in shared) == [("execute", "")]
    for each in shared:
        assert api(admin).delete(f"{API}shares/{each['id']}/").status_code == 204
    assert _seen(api(school["pia"]), "images") == []


def test_of_people_those_are_counted_whom_one_sees(api, admin, school):
    def counts(name, noun):
        key = "path" if noun == "groups" else "name"
        return {each[key]: each["people"] for each in api(school.get(name, admin)).get(f"{API}{noun}/").json()["results"]}

    assert counts("tina", "groups") == {"": 0, "edu": 0, "edu.a": 0, "edu.a.class1": 2}, "of those above nobody"
    assert counts("head", "groups")["edu.a.class2"] == 1
    assert [counts(name, "access-roles")["powerAdm"] for name in ("paul", "tina", "head", "admin")] == [0, 1, 2, 3]


def test_nobody_gives_more_than_they_have(api, admin, school):
    tina = api(school["tina"])
    for user, role, group, status in (
        ("paul", "powerUser", "edu.a.class1", 201), ("paul", "powerAdm", "edu.a.class1", 201), ("paul", "superAdm", "edu.a.class1", 403),
        ("paul", "user", "edu.a", 403), ("paul", "user", "", 403), ("paul", "user", "edu.ab", 404), ("pia", "user", "edu.a.class1", 404),
        ("head", "user", "edu.a.class1", 404), ("paul", "king", "edu.a.class1", 404),
    ):
        answer = tina.post(f"{API}grants/", {"user": user, "role": role, "group": group}, format="json")
        assert answer.status_code == status, (user, role, group, answer.content)
    assert tina.put(f"{API}users/paul/place/", {"role": "superAdm"}, format="json").status_code in (403, 422)
    assert tina.put(f"{API}users/paul/place/", {"group": "edu.a"}, format="json").status_code == 403
    assert tina.post(f"{API}users/", {"username": "eve", "password": PASSWORD, "role": "superAdm"}, format="json").status_code in (403, 422)
    assert tina.post(f"{API}users/", {"username": "eve", "password": PASSWORD, "group": "edu.a.class2"}, format="json").status_code == 404
    made = tina.post(f"{API}users/", {"username": "eve", "password": PASSWORD}, format="json")
    assert (made.status_code, made.json()["group"], made.json()["role"]) == (201, "edu.a.class1", "user")
    api(admin).post(f"{API}grants/", {"user": "eve", "role": "powerAdm", "group": "edu.a"}, format="json")
    everything = {"user": "eve", "role": "superAdm", "group": "edu.a"}
    assert api(admin).post(f"{API}grants/", everything, format="json").status_code == 422, "it is everywhere or nowhere"
    assert tina.post(f"{API}users/eve/password/", {"password": "another horse battery"}, format="json").status_code == 403, "who may do more than tina"
    assert tina.delete(f"{API}users/eve/").status_code == 403


def test_who_has_all_rights_over_everybody_is_no_administrator_and_makes_none(world, api, admin, school):
    api(admin).post(f"{API}access-roles/", {"name": "all-of-it", "permissions": {kind: ["full"] for kind in scope.Kind}}, format="json")
    boss = api(world.account("boss", "all-of-it"))
    assert boss.post(f"{API}users/", {"username": "eve", "password": PASSWORD, "role": "powerAdm", "group": "everybody"}, format="json").status_code == 201
    for method, where, sent in (
        ("post", "users/", {"username": "mallory", "password": PASSWORD, "role": "superAdm", "group": "everybody"}),
        ("put", "users/boss/place/", {"role": "superAdm", "group": "everybody"}), ("put", "users/root/place/", {"role": "user", "group": "everybody"}),
        ("post", "grants/", {"user": "paul", "role": "superAdm", "group": "edu.a"}), ("post", "users/root/password/", {"password": "another horse battery"}),
        ("delete", "users/root/", {}), ("post", "users/root/deactivate/", {}), ("post", "users/root/reactivate/", {}),
    ):
        answer = getattr(boss, method)(f"{API}{where}", sent, format="json")
        assert answer.status_code == 403, (where, answer.content)
    admin.refresh_from_db()
    assert admin.check_password(PASSWORD)


def test_a_role_taken_back_is_gone_at_once(api, admin, school, pauls):
    pia = api(school["pia"])
    given = api(admin).post(f"{API}grants/", {"user": "pia", "role": "powerAdm", "group": "edu.a"}, format="json").json()
    assert _seen(pia) == [pauls.name]
    assert [each["role"] for each in pia.get(f"{API}grants/").json()["results"]] == ["powerAdm"]
    assert api(admin).delete(f"{API}grants/{given['id']}/").status_code == 204
    assert _seen(pia) == []


def test_groups_are_made_moved_and_given_up_by_who_manages_them(world, api, admin, school, pauls):
    head, paul = api(school["head"]), api(school["paul"])
    assert _seen(head, "groups") == ["", "edu", "edu.a", "edu.a.class1", "edu.a.class2"]
    assert _seen(paul, "groups") == ["", "edu", "edu.a", "edu.a.class1"], "where one is, and what that is in"
    assert paul.post(f"{API}groups/", {"path": "edu.a.class1.mine"}, format="json").status_code == 403
    assert head.post(f"{API}groups/", {"path": "edu.ab.mine"}, format="json").status_code == 404
    assert head.post(f"{API}groups/", {"path": "edu.a.Club"}, format="json").json()["path"] == "edu.a.club"
    assert head.post(f"{API}groups/", {"path": "edu.a.club"}, format="json").status_code == 409
    assert head.patch(f"{API}groups/edu.a.class1/", {"path": "edu.a.club.class1"}, format="json").json()["path"] == "edu.a.club.class1"
    assert head.patch(f"{API}groups/edu.a.club/", {"path": "edu.a.club.class1.club"}, format="json").status_code == 422
    assert _seen(api(school["tina"])) == [pauls.name], "rights stand at groups, not at their paths"
    assert head.patch(f"{API}groups/edu.a.club/", {"path": "edu.a.science"}, format="json").json()["path"] == "edu.a.science"
    assert Group.objects.get(pk=school["paul"].group_id).path == "edu.a.science.class1"
    assert head.patch(f"{API}groups/edu.a/", {"path": "edu.b"}, format="json").status_code == 403, "where it would lie is not theirs"
    refused = head.delete(f"{API}groups/edu.a.science.class1/")
    assert (refused.status_code, "people: " in refused.json()["why"]) == (409, True)
    assert head.post(f"{API}groups/", {"path": "edu.a.empty"}, format="json").status_code == 201
    assert head.delete(f"{API}groups/edu.a.empty/").status_code == 204
    assert GroupAbove.objects.filter(group__path="edu.a.science.class1").count() == 5


def test_a_moved_group_takes_the_rights_of_where_it_is(world, api, admin, school, pauls):
    assert _seen(api(school["bob"])) == []
    api(admin).patch(f"{API}groups/edu.a.class1/", {"path": "edu.ab.class1"}, format="json")
    assert _seen(api(school["bob"])) == [pauls.name]
    assert _seen(api(school["head"])) == []
    assert _seen(api(school["tina"])) == [pauls.name]


def test_a_role_of_ones_own(api, admin, school, pauls):
    made = {"name": "watcher", "permissions": {"instance": ["read"]}, "description": "looks on"}
    assert api(school["head"]).post(f"{API}access-roles/", made, format="json").status_code == 403
    assert api(admin).post(f"{API}access-roles/", made, format="json").json()["permissions"] == {"instance": ["read"]}
    api(admin).post(f"{API}grants/", {"user": "pia", "role": "watcher", "group": "edu.a"}, format="json")
    pia = api(school["pia"])
    assert _seen(pia) == [pauls.name]
    assert pia.post(f"{API}instances/{pauls.pk}/stop/", {}, format="json").status_code == 403
    assert api(admin).put(f"{API}access-roles/watcher/", {"permissions": {"image": ["read"]}}, format="json").status_code == 200
    assert _seen(pia) == [], "at once"
    assert api(admin).delete(f"{API}access-roles/watcher/").status_code == 409
    for wrong in ({"instance": ["fly"]}, {"ship": ["read"]}):
        assert api(admin).put(f"{API}access-roles/watcher/", {"permissions": wrong}, format="json").status_code == 422
    assert api(admin).put(f"{API}access-roles/user/", {"permissions": {"image": ["read"]}}, format="json").status_code == 409
    assert {each["name"] for each in pia.get(f"{API}access-roles/").json()["results"]} >= {"user", "powerUser", "powerAdm", "superAdm", "anonymous"}


def test_who_is_in_a_class_makes_what_belongs_to_it(world, api, admin, school):
    world.image(admin)
    world.cluster()
    assert _run(api(school["tina"])).status_code == 202
    assert Instance.objects.get().group.path == "edu.a.class1"


def test_a_closed_account_may_nothing(school, pauls):
    school["head"].is_active = False
    assert not scope.visible_to(school["head"], Instance).exists()
    assert scope.reasons(school["head"], pauls, scope.Verb.READ) == []


def test_who_only_looks_runs_nothing(world, api, admin, school):
    world.cluster()
    world.image(admin)
    eve = world.account("eve", "anonymous", "edu.a.class1")
    assert _seen(api(eve), "images") == ["tiny"]
    refused = _run(api(eve))
    assert (refused.status_code, refused.json()["why"]) == (403, "no access role of yours gives create of instance there")


def test_a_host_belongs_to_a_group_and_is_seen_by_who_has_a_right_over_hosts_there(world, api, admin, school):
    _, cluster, node = world.cluster()
    assert api(school["paul"]).get(f"{API}hosts/").status_code == 403
    assert _seen(api(school["head"]), "hosts") == []
    assert api(school["head"]).get(f"{API}hosts/{node.name}/").status_code == 404
    for wrong, field in (("edu.nowhere", "group"), ("edu..a", "group")):
        answer = api(admin).patch(f"{API}hosts/{node.pk}/", {"group": wrong}, format="json")
        assert (answer.status_code in (404, 422), answer.json()["field"]) == (True, field)
    assert api(admin).patch(f"{API}hosts/{node.pk}/", {"group": "edu.a"}, format="json").json()["group"] == "edu.a"
    event = Event.objects.get(what="host placed in a group")
    assert (event.before, event.after) == ({"group": ""}, {"group": "edu.a"})
    assert _seen(api(school["head"]), "hosts") == [node.name]
    assert api(school["head"]).get(f"{API}hosts/{node.name}/").json()["id"] == node.pk
    assert [_seen(api(school[name]), "hosts") for name in ("tina", "bob")] == [[], []], "a class is below it, and another school beside"
    assert api(school["head"]).post(f"{API}hosts/{node.pk}/drain/", {}, format="json").status_code == 403
    assert api(school["head"]).patch(f"{API}hosts/{node.pk}/", {"group": "everybody"}, format="json").status_code == 403
    assert api(school["head"]).get(f"{API}hosts/{cluster.pk}/").status_code == 404


def test_a_group_whose_machines_people_and_images_are_gone_is_given_up(api, world, admin):
    world.cluster()
    image = world.image(admin)
    group = world.group("edu.gone")
    paul, _ = (world.account(name, "user", "edu.gone") for name in ("paul", "pia"))
    world.instance(paul, image, state="deleted")
    Image.objects.create(id="img-000000ff", name="old", owner=admin, group=group, retired=True, created_at=0)
    people.deactivate(admin, "pia")
    people.delete(admin, "paul")
    refused = api(admin).delete("/api/v1/groups/edu.gone/")
    assert (refused.status_code, refused.json()["why"]) == (409, "people: pia"), "who is deactivated comes back to where she was"
    people.delete(admin, "pia")
    assert api(admin).delete("/api/v1/groups/edu.gone/").status_code == 204
    assert {row.group.path for row in (Instance.objects.get(), Image.objects.get(pk="img-000000ff"))} == {"edu"}


@pytest.mark.parametrize(("asked", "found"), [
    ("edu.a", ["pauls", "pias"]), ("EDU.A.class1", ["pauls"]), ("edu.a.class1,edu.a.class2", ["pauls", "pias"]), ("edu.ab", []),
    ("everybody", ["pauls", "pias"]), ("edu.nowhere", []), ("edu.%", []),
])
def test_machines_of_a_group_and_all_below_it(world, api, school, pauls, asked, found):
    world.instance(school["pia"], Image.objects.get(), "pias")
    listed = api(school["head"]).get(f"{API}instances/?owner_group={asked}").json()["results"]
    assert sorted(each["name"] for each in listed) == found
    assert {each["owner_group"] for each in listed} <= {"edu.a.class1", "edu.a.class2"}
