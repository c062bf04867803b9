"""Rights on pages: people with their groups and roles, the tree of groups, access roles, sharing, and why somebody may; what one may not see is not there."""

import html
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from clc.services import access_roles, grants, people, shares
from luhyadb.models import Account, Grant, Group, Image, Share
from tests.support.clc_world import PASSWORD


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


def page_of(account, language="en", **more):
    """``show(address, form)``: status and text, after the way back."""
    client = Client(**more)
    client.force_login(account)
    client.cookies["django_language"] = language

    def show(where, form=None):
        answer = client.get(where) if form is None else client.post(where, form, follow=True)
        return answer.status_code, html.unescape(answer.content.decode())

    show.client = client
    return show


def named(text):
    """The people a list links to."""
    return re.findall(r'href="/people/of/([^"/]+)/"', text)


def test_who_manages_people_sees_theirs_with_group_and_role(school, admin):
    everybody = page_of(admin)("/people/")[1]
    assert named(everybody) == ["bob", "head", "paul", "pia", "root", "tina"]
    assert all(said in everybody for said in ("edu.a.class2", "powerAdm", "superAdm"))
    assert named(page_of(school["tina"])("/people/")[1]) == ["paul", "tina"]
    assert named(page_of(school["bob"])("/people/")[1]) == ["bob"]
    show = page_of(school["head"])
    assert named(show("/people/?group=edu.a.class1")[1]) == ["paul", "tina"]
    assert named(show("/people/?group=edu.a")[1]) == ["head", "paul", "pia", "tina"]
    assert named(show("/people/?role=user&q=PA")[1]) == ["paul"]
    for nothing in ("group=edu.ab", "group=edu.a..", "group=%00", "role=nobody"):
        assert named(show(f"/people/?{nothing}")[1]) == [], nothing
    for who in ("bob", "root"):
        assert show(f"/people/of/{who}/")[0] == 404
    assert page_of(school["paul"])("/people/")[0] == 404
    assert page_of(school["paul"])("/people/of/paul/")[0] == 404


def test_one_is_offered_what_one_may_give_and_no_more(school, admin):
    roles = re.compile(r'<option value="(\w+)"')

    def offered(text, name):
        return roles.findall(re.search(rf'<select[^>]*id="f-{name}".*?</select>', text, re.DOTALL)[0])

    _, text = page_of(school["tina"])("/people/")
    assert offered(text, "role") == ["anonymous", "powerAdm", "powerUser", "user"]
    assert re.findall(r"<datalist.*?</datalist>", text, re.DOTALL)[0].count("<option") == 1
    assert "superAdm" in offered(page_of(admin)("/people/")[1], "role")
    _, text = page_of(admin)("/people/of/paul/")
    assert ("superAdm" in offered(text, "role"), "superAdm" in offered(text, "given_role")) == (True, False)


def test_a_person_is_added_to_a_group(school):
    show = page_of(school["tina"])
    assert "eve can sign in now" in show("/people/add/", {"username": "eve", "group": "edu.a.class1", "role": "powerUser"})[1]
    eve = Account.objects.get(username="eve")
    assert (eve.group.path, eve.access_role_id) == ("edu.a.class1", "powerUser")
    for wrong, said in (({"group": "edu.a.class2"}, "There is no group 'edu.a.class2'"), ({"group": "edu..a"}, "a segment is empty"),
                        ({"role": "king"}, "The role is not possible"), ({"username": "paul"}, "There is a user 'paul' already")):
        _, text = show("/people/add/", {"username": "sam", "group": "edu.a.class1", "role": "user"} | wrong)
        assert 'class="wrong" role="alert"' in text, wrong
        assert said in text, wrong
        assert f'value="{wrong.get("username", "sam")}"' in text, wrong
    _, text = show("/people/add/", {"username": "sam", "group": "edu.a", "role": "user"})
    assert "You may not make accounts and groups in edu.a" in text
    assert not Account.objects.filter(username="sam").exists()


def test_a_person_is_moved_and_changes_roles(school, admin):
    show = page_of(school["head"])
    assert "paul is powerUser in edu.a.class2 now" in show("/people/of/paul/place/", {"group": "edu.a.class2", "role": "powerUser"})[1]
    assert "paul is powerUser in edu.a.class1 now" in show("/people/of/paul/place/", {"group": "edu.a.class1", "role": ""})[1]
    for wrong, said in (({"group": "edu.ab"}, "There is no group 'edu.ab'"), ({"group": ""}, "The path of a group is not possible"),
                        ({"group": "edu.a.class1", "role": "king"}, "The role is not possible")):
        code, text = show("/people/of/paul/place/", wrong)
        assert (code, said in text, 'class="wrong"' in text) == (200, True, True), wrong
    assert "superAdm is of the whole cloud" in show("/people/of/paul/place/", {"group": "edu.a", "role": "superAdm"})[1]
    assert "The last administrator stays one" in page_of(admin)("/people/of/root/place/", {"group": "everybody", "role": "user"})[1]
    assert show("/people/of/bob/place/", {"group": "edu.a", "role": "user"})[0] == 404


def test_roles_are_given_and_taken_back(school, admin, pauls):
    head, tina = page_of(school["head"]), page_of(school["tina"])
    assert "pia has one role more: powerUser" in head("/people/of/pia/grants/add/", {"given_role": "powerUser", "at": "edu.a.class1"})[1]
    row = Grant.objects.get()
    assert f"/grants/{row.pk}/take/" in head("/people/of/pia/")[1]
    assert tina("/people/of/pia/")[0] == 404
    assert tina(f"/people/of/pia/grants/{row.pk}/take/", {})[0] == 404
    for wrong, said in (({"given_role": "user", "at": "edu.ab"}, "There is no group 'edu.ab'"),
                        ({"given_role": "king", "at": "edu.a"}, "There is no access role"),
                        ({"given_role": "user", "at": ""}, "The path of a group is not possible"), ({"given_role": "user", "at": "everybody"}, "You may not")):
        code, text = head("/people/of/pia/grants/add/", wrong)
        assert (code, said in text) == (200, True), wrong
        assert f'value="{wrong["at"]}"' in text, wrong
    assert Grant.objects.count() == 1
    assert "pia has one role less: powerUser" in head(f"/people/of/pia/grants/{row.pk}/take/", {})[1]
    code, text = head(f"/people/of/pia/grants/{row.pk}/take/", {})
    assert (code, "There is no grant" in text) == (200, True), "taken in another tab"


def test_why_somebody_may_is_told_on_their_page(school, pauls):
    show = page_of(school["tina"])
    text = show(f"/people/of/paul/?kind=instance&subject={pauls.name}&verb=delete")[1]
    assert "paul may: Delete pauls" in text
    assert "it is theirs" in text
    text = page_of(school["head"])(f"/people/of/pia/?kind=instance&subject={pauls.pk}&verb=read")[1]
    assert "pia may not: See pauls" in text
    assert "nothing gives pia read of it" in text
    for wrong, said in (("kind=instance&subject=nosuch&verb=read", "There is no instance 'nosuch'"),
                        ("kind=ship&subject=x&verb=read", "A kind is not possible"), ("kind=image&subject=x&verb=fly", "A verb is not possible")):
        code, text = show(f"/people/of/paul/?{wrong}")
        assert (code, said in text) == (200, True), wrong
    text = page_of(school["head"], "zh-hans")(f"/people/of/paul/?kind=instance&subject={pauls.pk}&verb=delete")[1]
    assert "归其所有" in text


def test_the_tree_of_groups_shows_what_one_sees(school, pauls, admin):
    def paths(text):
        return dict(re.findall(r'href="/groups/grp-[0-9a-f]{8}/"><b>([^<]*)</b></a></td>(.*?)</tr>', text))

    def counts(row):
        return [int(n) for n in re.findall(r">(\d+)</td>", row)]

    found = paths(page_of(admin)("/groups/")[1])
    assert list(found) == ["everybody", "edu", "edu.a", "edu.a.class1", "edu.a.class2", "edu.ab"]
    assert counts(found["edu.a.class1"]) == [2, 1, 0]
    assert counts(found["everybody"]) == [1, 0, 1]
    found = paths(page_of(school["tina"])("/groups/")[1])
    assert list(found) == ["everybody", "edu", "edu.a", "edu.a.class1"], "hers, and what that is in"
    assert counts(found["edu.a"]) == [0, 0, 0], "of those above she counts what she sees"
    assert list(paths(page_of(admin)("/groups/?q=class")[1])) == ["edu.a.class1", "edu.a.class2"]
    assert page_of(school["paul"])("/groups/")[0] == 404


def test_a_group_shows_who_and_what_belongs_to_it(world, school, admin, pauls):
    class1 = school["paul"].group_id
    people.add(admin, "mona", PASSWORD, "user", "edu.ab")
    show = page_of(school["head"])
    show("/people/of/pia/grants/add/", {"given_role": "powerUser", "at": "edu.a"})
    text = show(f"/groups/{class1}/")[1]
    for said in ("paul", "tina", "pia", "head", "powerUser", "given", "of their own group", pauls.pk):
        assert said in text, said
    assert "mona" not in text
    tinas = page_of(school["tina"])(f"/groups/{class1}/")[1]
    assert named(tinas) == ["paul", "tina", "tina", "paul"], "in it, and with a role over it; not who is above her"
    assert [f"/groups/{class1}/move/" in each for each in (text, tinas)] == [True, False], "she may make nothing beside it"
    assert page_of(school["tina"])(f"/groups/{school['pia'].group_id}/")[0] == 404
    assert page_of(school["bob"])(f"/groups/{class1}/")[0] == 404
    above = page_of(school["tina"])(f"/groups/{school['head'].group_id}/")[1]
    assert named(above) == []
    assert all(f"/{verb}/" not in above for verb in ("move", "delete"))


def test_groups_are_made_moved_and_given_up(school, pauls):
    show = page_of(school["head"])
    assert "The group edu.a.club is made" in show("/groups/add/", {"path": "edu.a.Club"})[1]
    club = Group.objects.get(path="edu.a.club").pk
    for path, said in (("edu.a.club", "There is a group 'edu.a.club' already"), ("edu.ab.x", "There is no group 'edu.ab'"),
                       ("edu.a..x", "a segment is empty")):
        code, text = show("/groups/add/", {"path": path})
        assert (code, said in text, f'value="{path}"' in text) == (200, True, True), path
        assert 'class="wrong"' in text, path
    assert "The group is edu.a.science now" in show(f"/groups/{club}/move/", {"path": "edu.a.science"})[1]
    for path, said in (("edu.a.science.x", "A group cannot lie below itself"), ("edu.a.class1", "There is a group"),
                       ("edu.zz.x", "There is no group 'edu.zz'")):
        code, text = show(f"/groups/{club}/move/", {"path": path})
        assert (code, said in text, f'value="{path}"' in text) == (200, True, True), path
    assert "You may not" in show(f"/groups/{club}/move/", {"path": "edu.science"})[1]
    code, text = show(f"/groups/{school['paul'].group_id}/delete/", {})
    assert (code, "cannot be given up" in text, "people: " in text, f"machines: {pauls.name}" in text) == (200, True, True, True)
    assert "The group edu.a.science is given up" in show(f"/groups/{club}/delete/", {})[1]
    assert show(f"/groups/{club}/")[0] == 404
    assert page_of(school["bob"])(f"/groups/{school['paul'].group_id}/move/", {"path": "edu.ab.class1"})[0] == 404


def test_access_roles_show_what_they_give_and_to_whom(school, admin):
    head = page_of(school["head"])
    head("/people/of/pia/grants/add/", {"given_role": "powerUser", "at": "edu.a.class1"})
    text = head("/access-roles/")[1]
    assert all(f"/access-roles/{name}/" in text for name in ("anonymous", "user", "powerUser", "powerAdm", "superAdm"))
    assert "Make an access role" not in text
    assert named(head("/access-roles/powerUser/")[1]) == ["pia"]
    assert named(head("/access-roles/superAdm/")[1]) == [], "root is not theirs to see"
    assert named(page_of(school["bob"])("/access-roles/powerUser/")[1]) == []
    assert named(page_of(admin)("/access-roles/superAdm/")[1]) == ["root"]
    assert head("/access-roles/king/")[0] == 404
    assert page_of(school["paul"])("/access-roles/")[0] == 404
    rows = re.findall(r"<tr><td class=\"lead\">([^<]*)</td>(.*?)</tr>", head("/access-roles/user/")[1])
    assert [(kind, cells.count(">yes<")) for kind, cells in rows] == [("Hosts", 0), ("Images", 2), ("Machines", 1), ("Accounts and groups", 0)]


def test_an_administrator_makes_changes_and_gives_up_a_role(school, admin):
    show = page_of(admin)
    _, text = show("/access-roles/add/", {"name": "Watch er", "description": "looks on", "instance:read": "1"})
    assert "The name is not possible" in text
    assert 'value="Watch er"' in text
    assert re.search('name="instance:read" value="1" checked', text)
    assert "The access role watcher is made" in show("/access-roles/add/", {"name": "watcher", "description": "looks on", "instance:read": "1"})[1]
    assert access_roles.permissions_of(access_roles.find("watcher")) == {"instance": ["read"]}
    show("/access-roles/watcher/change/", {"permissions": "1", "image:read": "1", "image:execute": "1", "ship:fly": "1"})
    assert access_roles.permissions_of(access_roles.find("watcher")) == {"image": ["execute", "read"]}
    show("/people/of/pia/grants/add/", {"given_role": "watcher", "at": "edu.a"})
    assert "The access role watcher is in use" in show("/access-roles/watcher/delete/", {})[1]
    show(f"/people/of/pia/grants/{Grant.objects.get().pk}/take/", {})
    assert "The access role watcher is given up" in show("/access-roles/watcher/delete/", {})[1]
    assert "The access role user is ready-made" in show("/access-roles/user/change/", {"permissions": "1"})[1]
    for verb in ("add", "user/change", "user/delete"):
        assert page_of(school["head"])(f"/access-roles/{verb}/", {"name": "x"})[0] == 404


def test_a_machine_is_shared_and_shared_no_more(school, pauls):
    paul, at = page_of(school["paul"]), f"/instances/{pauls.pk}/"
    assert "Shared with nobody." in paul(at)[1]
    assert page_of(school["pia"])(at)[0] == 404
    assert "pauls is shared with edu.a" in paul(f"{at}shares/add/", {"with_user": "", "with_group": "edu.a", "verbs": "read"})[1]
    assert "pauls is shared with tina" in paul(f"{at}shares/add/", {"with_user": "TINA", "with_group": "", "verbs": "read execute"})[1]
    assert sorted((each.verb, each.account.username if each.account else each.group.path) for each in shares.of(pauls)) == [
        ("execute", "tina"), ("read", "edu.a"), ("read", "tina")]
    seen = page_of(school["pia"])(at)[1]
    assert "Sharing" not in seen, "who only sees it shares it not, and reads not with whom it is shared"
    for wrong, said in (
        ({"with_user": "head"}, "There is no user 'head'"), ({"with_group": "edu.ab"}, "There is no group 'edu.ab'"),
        ({"with_group": "edu..a"}, "a segment is empty"), ({}, "With whom?"), ({"with_user": "tina", "with_group": "edu.a"}, "With whom?"),
        ({"with_user": "tina", "verbs": "fly"}, "That cannot be shared"),
    ):
        code, text = paul(f"{at}shares/add/", {"with_user": "", "with_group": "", "verbs": "read"} | wrong)
        assert (code, said in text, 'class="wrong"' in text) == (200, True, True), wrong
        for name in ("with_user", "with_group"):
            assert f'value="{wrong.get(name, "")}"' in text, wrong
    row = Share.objects.get(group__path="edu.a")
    assert "You may not change this instance" in page_of(school["pia"])(f"{at}shares/{row.pk}/end/", {})[1]
    assert page_of(school["bob"])(f"{at}shares/{row.pk}/end/", {})[0] == 404
    assert "pauls is shared with edu.a no more" in paul(f"{at}shares/{row.pk}/end/", {})[1]
    code, text = paul(f"{at}shares/{row.pk}/end/", {})
    assert (code, "There is no share" in text) == (200, True), "ended in another tab"
    assert page_of(school["pia"])(at)[0] == 404


def test_who_may_change_an_image_shares_it_and_sees_who_can(world, school, admin, pauls):
    image = Image.objects.get()
    image.group = world.group("edu.a")
    image.save()
    Share.objects.all().delete()
    head, at = page_of(school["head"]), f"/images/{image.pk}/"
    assert page_of(school["tina"])(at)[0] == 404
    head(f"{at}shares/add/", {"with_user": "", "with_group": "edu.a.class1", "verbs": "read execute"})
    assert f"image={image.name}" in page_of(school["tina"])(at)[1], "to run it"
    text = head(f"{at}shares/who/?verb=execute")[1]
    assert re.findall(r'<td class="lead">(?:<a[^>]*>)?(\w+)', text) == ["head", "paul", "root", "tina"]
    assert named(text) == ["head", "paul", "tina"], "root is not theirs to look at"
    for said in ("administrator of the whole cloud", "powerAdm over edu.a", "shared with edu.a.class1"):
        assert said in text, said
    assert re.findall(r'<td class="lead">(?:<a[^>]*>)?(\w+)', head(f"{at}shares/who/?verb=delete")[1]) == ["head", "root"]
    assert head(f"{at}shares/who/?verb=fly")[0] == 200
    code, text = page_of(school["tina"])(f"{at}shares/who/")
    assert (code, "You may not change this image" in text, "paul" in text) == (403, True, False)
    assert page_of(school["pia"])(f"{at}shares/who/")[0] == 404
    others = Share.objects.create(id="shr-00000077", kind="instance", subject=pauls.pk, verb="read", account=school["pia"], created_at=0)
    assert "There is no share" in head(f"{at}shares/{others.pk}/end/", {})[1], "that of another thing"
    assert Share.objects.filter(pk=others.pk).exists()


def test_lists_of_rights_ask_a_bounded_number_of_questions(world, school, admin, pauls):
    image = Image.objects.get()

    def asked():
        found = {}
        for account in (admin, school["head"]):
            client = page_of(account).client
            for where in ("/people/", "/groups/", "/access-roles/", "/access-roles/user/", f"/groups/{school['tina'].group_id}/", "/people/of/paul/",
                          f"/instances/{pauls.pk}/", f"/instances/{pauls.pk}/shares/who/", "/instances/", "/images/"):
                client.get(where)
                with CaptureQueriesContext(connection) as queries:
                    assert client.get(where).status_code == 200, where
                found[account.username, where] = len(queries)
        return found

    def grow(numbers):
        for n in numbers:
            world.group(f"edu.a.class1.team{n}")
            each = people.add(admin, f"pupil{n}", PASSWORD, "user", "edu.a.class1")
            access_roles.create(admin, f"own-{n}", {"image": ["read"]})
            grants.give(admin, each, f"own-{n}", "edu.a")
            grants.give(admin, school["paul"], "powerUser", f"edu.a.class1.team{n}")
            shares.share(school["paul"], pauls, ["read"], person=each.username)
            world.instance(each, image, f"machine{n}", state="running")

    grow([0])
    before = asked()
    grow(range(1, 5))
    more = {key: (before[key], many) for key, many in asked().items() if many > before[key]}
    assert not more
    assert max(before.values()) <= 60


def test_every_form_needs_its_token_and_a_post(school, admin):
    show = page_of(admin, enforce_csrf_checks=True)
    for where in ("/people/of/paul/place/", "/people/of/paul/grants/add/", "/people/of/paul/grants/gra-00000001/take/",
                  "/groups/add/", "/groups/grp-00000000/move/",
                  "/groups/grp-00000000/delete/", "/access-roles/add/", "/access-roles/user/change/", "/access-roles/user/delete/",
                  "/images/img-00000001/shares/add/", "/instances/ins-00000001/shares/shr-00000001/end/"):
        assert show.client.post(where).status_code == 403, where
        assert show.client.get(where).status_code == 405, where
