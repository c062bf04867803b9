"""Deleting an account with a choice for what it owns: given, deleted too, or refused; and what a deleted owner leaves."""

import json

import pytest

from cc.role import ROLE
from clc.services import (
    belongings,
    deletes,
    departures,
    elastic,
    instance_reports,
    instances,
    people,
    pictures,
    quotas,
    workspaces,
)
from luhyaapi import clock
from luhyaapi.contracts.reports import Outcome
from luhyaapi.errors import Refused
from luhyadb.models import (
    Access,
    Account,
    Departure,
    ElasticAddress,
    Event,
    Grant,
    GroupMember,
    Host,
    Image,
    Instance,
    Quota,
    Reservation,
    SecurityGroup,
    Share,
    Task,
    Turn,
    Workspace,
)
from tests.api.test_cli_contract import cli  # noqa: F401 - a fixture

API = "/api/v1/users/"


@pytest.fixture
def rich(world, admin, user, other):
    """Ada owns something of each kind, beside what is the administrator's."""
    _, cc, _ = world.cluster()
    Host.objects.filter(pk=cc.pk).update(speaks=ROLE.speaks)
    world.image(admin)
    world.image(user, "hers")
    world.instance(user, Image.objects.get(name="tiny"), "one", state="running", node="nc-00000001", cluster=cc.pk)
    world.instance(user, Image.objects.get(name="hers"), "two")
    world.instance(user, Image.objects.get(name="tiny"), "old", state="deleted", live_name=None)
    SecurityGroup.objects.create(id="sgr-00000001", owner=user, name="web", created_at=0, changed_at=0)
    ElasticAddress.objects.create(id="eip-00000001", cluster=cc, address="192.0.2.1", live_address="192.0.2.1", number=1, owner=user, created_at=0)
    Reservation.objects.create(cluster=cc, address="10.0.0.9", number=9, owner=user, created_at=0)
    Share.objects.create(id="shr-00000001", kind="image", subject=Image.objects.get(name="tiny").pk, verb="write", account=user, created_at=0)
    Grant.objects.create(id="gra-00000001", account=user, role_id="powerUser", group_id="grp-00000000", created_at=0)
    Quota.objects.create(id="qta-00000001", account=user, counted="cpus", limit=99, set_by="root", set_at=0)
    return cc


def ended(task, **error):
    """What the cluster says in the end to the order of a task."""
    from clc.services import tasks

    report = Outcome(task=task.pk, command=task.command, **error)
    found = tasks.ended(report)
    if found:
        instance_reports.ended(found, report)


def finish_deletes():
    for task in Task.objects.filter(kind="instance/delete", state="queued").exclude(command=""):
        ended(task)


def test_what_there_is_is_looked_at_first(rich, api, admin, user, other):
    found = api(admin).get(f"{API}ada/departure/").json()
    counts = {each["kind"]: each["count"] for each in found["owns"]}
    assert counts == {"instances": 2, "images": 1, "addresses": 1, "security_groups": 1, "reservations": 1, "grants": 1, "shares": 1}
    assert (found["needed_by_others"], found["under_way"]) == ([], None)
    assert api(user).get(f"{API}bob/departure/").status_code == 403
    assert api(None).get(f"{API}ada/departure/").status_code == 401
    refused = api(admin).delete(f"{API}ada/")
    assert (refused.status_code, refused.json()["code"]) == (409, "state")
    assert "instances: one (ins-" in refused.json()["why"]
    assert "images: hers (img-" in refused.json()["why"]


def test_everything_is_given_in_one_transaction(rich, api, admin, user, other):
    world_group = user.group_id
    SecurityGroup.objects.create(id="sgr-00000002", owner=other, name="web", created_at=0, changed_at=0)
    Instance.objects.filter(name="two").update(live_name="two")
    mine = instances.run(other, instances.Ask("tiny", name="one"))[0]
    answer = api(admin).post(f"{API}ada/departure/", {"give_to": "BOB"}, format="json")
    assert (answer.status_code, answer.json()) == (202, {"username": "ada", "deleted": True, "given_to": "bob"})
    assert Image.objects.get(name="hers").owner == other
    names = set(Instance.objects.filter(owner=other).values_list("live_name", flat=True))
    assert {"one", "two"} < names
    assert len(names) == 3, "one was called so already, and another is called otherwise"
    assert Instance.objects.get(pk=mine.pk).name == "one"
    assert set(Instance.objects.filter(owner=other).values_list("group", flat=True)) == {world_group}
    assert Instance.objects.get(state="deleted").owner == user, "what is gone stays with who had it"
    assert SecurityGroup.objects.filter(owner=other).count() == 2
    assert (ElasticAddress.objects.get().owner, Reservation.objects.get().owner) == (other, other)
    assert not Turn.objects.filter(owner=user).exists()
    assert not Grant.objects.exists()
    assert not Quota.objects.exists()
    assert not Share.objects.filter(account=user).exists()
    told = Event.objects.filter(what="instance given")
    assert told.count() == 2
    assert told[0].before["owner"] == "ada"
    gone = Event.objects.get(what="user deleted").fields
    assert (gone["given_to"], gone["given"]["instances"]) == ("bob", 2)
    assert not Account.objects.get(pk=user.pk).is_active
    assert api(other).delete(f"/api/v1/instances/{mine.pk}/").status_code == 202
    one = Instance.objects.filter(owner=other, name__startswith="one-").get()
    assert api(other).post(f"/api/v1/instances/{one.pk}/stop/").status_code == 202, "and can be used by who has it now"


@pytest.mark.parametrize(("to", "code"), [("ada", "invalid"), ("nobody", "not_found"), ("", "invalid"), ("gone", "invalid")])
def test_who_cannot_get_it(rich, world, api, admin, user, to, code):
    world.account("gone")
    people.deactivate(admin, "gone")
    answer = api(admin).post(f"{API}ada/departure/", {"give_to": to}, format="json")
    assert (answer.json()["code"], answer.json()["field"]) == (code, "give_to")
    assert Account.objects.get(pk=user.pk).is_active
    assert Instance.objects.filter(owner=user).count() == 3


@pytest.mark.parametrize(("counted", "limit"), [("instances", 1), ("cpus", 1), ("memory_mib", 200), ("images", 0), ("addresses", 0)])
def test_who_gets_it_keeps_their_limits_unless_an_administrator_says_so(rich, world, api, admin, user, counted, limit):
    head = world.account("head", "powerAdm")
    quotas.put(admin, counted, limit, user="bob")
    for by in (admin, head):
        refused = api(by).post(f"{API}ada/departure/", {"give_to": "bob"}, format="json")
        assert (refused.status_code, refused.json()["code"]) == (403, "quota")
        assert "root set it" in refused.json()["why"]
    refused = api(head).post(f"{API}ada/departure/", {"give_to": "bob", "override_limits": True}, format="json")
    assert refused.json()["code"] == "forbidden"
    assert Instance.objects.filter(owner=user).count() == 3
    assert api(admin).post(f"{API}ada/departure/", {"give_to": "bob", "override_limits": True}, format="json").status_code == 202


def test_a_limit_of_a_group_counts_what_stays_in_it_once(rich, world, api, admin, user, other):
    """What is given stays where it is, so only public addresses come into the group of who gets them."""
    group = world.group("edu.a")
    for account in (user, other):
        people.place(admin, account.username, group="edu.a")
    Instance.objects.filter(owner=user).update(group=group)
    for counted, limit in (("instances", 2), ("addresses", 1)):
        quotas.put(admin, counted, limit, group="edu.a")
    world.group("edu.b")
    quotas.put(admin, "addresses", 0, group="edu.b")
    people.place(admin, "bob", group="edu.b")
    assert api(admin).post(f"{API}ada/departure/", {"give_to": "bob"}, format="json").json()["code"] == "quota"
    people.place(admin, "bob", group="edu.a")
    assert api(admin).post(f"{API}ada/departure/", {"give_to": "bob"}, format="json").status_code == 202


def test_public_addresses_have_a_bound_of_their_own(rich, api, admin, user, other):
    for n in range(elastic.EACH):
        ElasticAddress.objects.create(id=f"eip-0000001{n}", cluster=rich, address=f"192.0.2.1{n}", live_address=f"192.0.2.1{n}", number=10 + n,
                                      owner=other, created_at=0)
    assert "too many public addresses" in api(admin).post(f"{API}ada/departure/", {"give_to": "bob"}, format="json").json()["what"]


def test_with_everything_it_goes_when_the_last_is_gone(rich, api, admin, user):
    client = api(user)
    answer = api(admin).post(f"{API}ada/departure/", {"with_everything": True}, format="json")
    assert (answer.status_code, answer.json()["deleted"]) == (202, False)
    assert client.get(f"{API}me/").status_code == 401
    assert set(Instance.objects.filter(owner=user).exclude(name="old").values_list("wanted", flat=True)) == {"deleted"}
    found = api(admin).get(f"{API}ada/departure/").json()
    assert found["under_way"]["by"] == "root"
    assert departures.tend() == 1
    assert Task.objects.filter(kind="instance/delete", subject=Instance.objects.get(name="one").pk).count() == 1, "asked for once"
    assert api(admin).post(f"{API}ada/reactivate/").json()["code"] == "state"
    assert api(admin).delete(f"{API}ada/").json()["code"] == "state"
    assert api(admin).post(f"{API}ada/departure/", {"with_everything": True}, format="json").status_code == 202, "asked twice is asked once"
    finish_deletes()
    assert departures.tend() == 0
    assert Image.objects.get(name="hers").retired
    assert not Departure.objects.exists()
    assert Account.objects.get(pk=user.pk).username.startswith("ada~")
    assert ElasticAddress.objects.get().owner is None
    assert people.add(admin, "ada", "another horse battery").pk != user.pk
    assert departures.tend() == 0


def test_it_can_be_cancelled_until_then(rich, api, admin, user, other):
    assert api(admin).delete(f"{API}ada/departure/").json()["code"] == "state"
    departures.begin(admin, "ada")
    assert api(other).delete(f"{API}ada/departure/").status_code == 403
    assert api(admin).delete(f"{API}ada/departure/").json()["active"] is True
    assert departures.tend() == 0
    assert Image.objects.get(name="hers").retired is False
    assert api(user).get(f"{API}me/").status_code == 200
    people.deactivate(admin, "ada")
    departures.begin(admin, "ada")
    assert departures.cancel(admin, "ada").is_active is False, "as it was before"


def test_what_is_left_can_be_given_after_all(rich, api, admin, user, other):
    departures.begin(admin, "ada")
    assert api(admin).post(f"{API}ada/departure/", {"give_to": "bob"}, format="json").json()["deleted"] is True
    assert not Departure.objects.exists()
    assert Image.objects.get(name="hers").owner == other


def test_a_host_that_cannot_be_told_holds_up_its_own_alone(rich, api, admin, user):
    Instance.objects.filter(name="one").update(cluster="cc-0000dead")
    departures.begin(admin, "ada")
    assert Instance.objects.get(name="two").wanted == "deleted"
    trouble = api(admin).get(f"{API}ada/departure/").json()["under_way"]["trouble"]
    assert trouble["code"] == "host_silent"
    Instance.objects.filter(name="one").update(cluster=rich.pk)
    assert departures.tend() == 1
    finish_deletes()
    assert departures.tend() == 0


def test_a_delete_that_failed_is_given_again_though_nobody_signs_in_any_more(rich, admin, user, monkeypatch):
    departures.begin(admin, "ada")
    task = Task.objects.get(kind="instance/delete", subject=Instance.objects.get(name="one").pk)
    ended(task, error={"code": "hypervisor", "what": "no", "why": "no", "hint": ""})
    assert Instance.objects.get(name="one").state == "failed"
    finish_deletes()
    Instance.objects.update(changed_at=clock.now() - 3600, node="")
    assert deletes.again() == 1
    finish_deletes()
    assert departures.tend() == 0


def test_images_others_use_can_only_be_given(rich, api, admin, user, other):
    instances.run(other, instances.Ask("hers", name="needs-it"))
    assert api(admin).get(f"{API}ada/departure/").json()["needed_by_others"] == ["hers"]
    refused = api(admin).post(f"{API}ada/departure/", {"with_everything": True}, format="json")
    assert (refused.status_code, refused.json()["why"]) == (409, "hers")
    assert Account.objects.get(pk=user.pk).is_active
    departures.give(admin, "ada", "bob")


def test_an_image_that_comes_into_use_meanwhile_is_told_and_waits(rich, api, admin, user, other):
    departures.begin(admin, "ada")
    row = instances.run(other, instances.Ask("hers", name="needs-it"))[0]
    finish_deletes()
    assert departures.tend() == 1
    assert "is in use" in api(admin).get(f"{API}ada/departure/").json()["under_way"]["trouble"]["what"]
    instances.delete(other, row.pk)
    finish_deletes()
    assert departures.tend() == 0


def test_a_workspace_is_abandoned_with_its_machine(rich, world, api, admin, user):
    from luhyadb.models import ImageVersion

    version = ImageVersion.objects.get(image__name="tiny")
    version.blobs = [{**version.blobs[0], "part": "disk"}]
    version.save()
    space = workspaces.begin(admin, workspaces.Ask("tiny", name="mine"))
    Workspace.objects.filter(pk=space.pk).update(owner=user)
    Instance.objects.filter(pk=space.instance_id).update(owner=user)
    departures.begin(admin, "ada")
    assert Workspace.objects.get().state == "abandoned"
    assert Instance.objects.get(pk=space.instance_id).wanted == "deleted"


def test_nobody_deletes_themselves_or_who_may_do_more_or_the_last_administrator(rich, world, api, admin, user):
    head = world.account("head", "powerAdm")
    for way in ({"with_everything": True}, {"give_to": "bob"}):
        assert api(head).post(f"{API}root/departure/", way, format="json").status_code == 403
        assert api(head).post(f"{API}head/departure/", way, format="json").status_code == 403
        assert api(admin).post(f"{API}root/departure/", way, format="json").status_code == 403
        assert api(user).post(f"{API}bob/departure/", way, format="json").status_code == 403


def test_a_teacher_gives_within_their_class_and_to_nobody_else(rich, world, api, admin, user):
    tina = world.account("tina", "powerAdm", "edu.a")
    people.place(admin, "ada", group="edu.a")
    assert api(tina).post(f"{API}ada/departure/", {"give_to": "tina"}, format="json").status_code == 403, "ada may do more than she, elsewhere"
    Grant.objects.all().delete()
    answer = api(tina).post(f"{API}ada/departure/", {"give_to": "bob"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), "bob is not there for her"
    assert api(tina).post(f"{API}bob/departure/", {"with_everything": True}, format="json").status_code == 404
    assert api(tina).post(f"{API}ada/departure/", {"give_to": "tina"}, format="json").status_code == 202
    assert Instance.objects.filter(owner=tina).count() == 2


@pytest.mark.parametrize("sent", [{}, {"give_to": "bob", "with_everything": True}, {"give_to": ["bob"]}, {"with_everything": "yes please"},
                                  {"give_to": "bo\u202eb"}, {"give_to": "x" * 10_000}, {"give_to": "bob", "owner": 1}])
def test_odd_choices_change_nothing(rich, api, admin, user, sent):
    assert api(admin).post(f"{API}ada/departure/", sent, format="json").status_code in (404, 422)
    assert Account.objects.get(pk=user.pk).is_active


def test_groups_that_others_machines_are_in_end_with_their_owner(rich, admin, user, other):
    Instance.objects.filter(name="one").update(owner=other)
    GroupMember.objects.create(group_id="sgr-00000001", instance=Instance.objects.get(name="one"))
    said = Access.objects.filter(instance__name="one").values_list("number", flat=True).first() or 0
    departures.begin(admin, "ada")
    finish_deletes()
    departures.tend()
    assert not SecurityGroup.objects.exists()
    assert Instance.objects.get(name="one").groups.count() == 0
    assert Access.objects.get(instance__name="one").number > said, "its cluster hears of it"


def test_the_client_previews_gives_and_deletes(rich, cli, admin, other):  # noqa: F811
    code, out = cli("user", "delete", "ada", "--preview", plain=True)
    assert code == 0
    assert "instances" in out
    assert cli("user", "delete", "ada", "--yes")[0] == 5
    assert cli("user", "delete", "ada", "--give-to", "bob", "--with-everything", "--yes")[0] == 2
    assert cli("user", "delete", "ada", "--with-everything", "--yes")[1]["deleted"] is False
    assert cli("user", "delete", "ada", "--cancel")[1]["active"] is True
    assert cli("user", "delete", "ada", "--give-to", "bob", "--yes")[1] == {"username": "ada", "deleted": True, "given_to": "bob"}


def orphaned(user):
    """As a copy of a database from before could have it: what is there belongs to somebody who is no more."""
    Account.objects.filter(pk=user.pk).update(username=f"ada~{user.pk}", is_active=False)


def test_a_deleted_owner_breaks_no_list_and_holds_nothing_up(rich, world, api, admin, user, other):
    row = Instance.objects.get(name="one")
    Share.objects.create(id="shr-0000000a", kind="instance", subject=row.pk, verb="execute", account=other, created_at=0)
    orphaned(user)
    head = world.account("head", "powerAdm")
    for by in (admin, head, other):
        for path in ("instances/", f"instances/{row.pk}/", "images/", "tasks/", "elastic-addresses/", "users/", "audit/", "security-groups/", "workspaces/"):
            assert api(by).get(f"/api/v1/{path}").status_code in (200, 403), path
    assert api(other).post(f"/api/v1/instances/{row.pk}/stop/").status_code == 202
    assert pictures.instance(row)["owner"].startswith("ada~")
    assert api(admin).get("/api/v1/instances/").status_code == 200
    assert api(admin).delete(f"/api/v1/instances/{Instance.objects.get(name='two').pk}/").status_code == 202
    assert api(admin).delete(f"/api/v1/instances/{row.pk}/").status_code == 202, "though a task of its owner's is under way"
    finish_deletes()
    assert api(admin).delete("/api/v1/images/hers/").status_code in (202, 204)
    workspaces.sweep()
    deletes.again()


def test_the_lists_of_belongings_ask_little(rich, user, django_assert_max_num_queries):
    with django_assert_max_num_queries(20):
        assert belongings.of(user)


def test_two_who_delete_at_once(rich, admin, user):
    departures.give(admin, "ada", "bob")
    with pytest.raises(Refused) as refused:
        departures.give(admin, "ada", "bob")
    assert refused.value.code == "not_found"
    assert json.dumps(Event.objects.filter(what="user deleted").count()) == "1"
