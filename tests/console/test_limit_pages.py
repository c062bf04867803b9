"""Limits on the pages of groups and people and in the form that runs machines; many accounts from a table or a row of numbers."""

import csv
import html
import io
import re
from urllib.parse import unquote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from clc.services import quotas
from luhyadb.models import Account, Event, Group, Quota

TABLE = "username,group,role\npia,edu.a.one,user\npaul,edu.a.two,user\n"


@pytest.fixture
def school(world, admin):
    """A school with two classes; a head over all, a teacher over one class, a pupil in each."""
    for path in ("edu.a.one", "edu.a.two", "edu.b"):
        world.group(path)
    return {
        name: world.account(name, role, group) for name, role, group in (
            ("head", "powerAdm", "edu.a"), ("tina", "powerAdm", "edu.a.one"), ("paul", "user", "edu.a.one"), ("bob", "powerAdm", "edu.b"))
    }


def browser(account, **more):
    client = Client(**more)
    client.force_login(account)
    return client


def shown(client, where):
    answer = client.get(where)
    assert answer.status_code == 200, answer.content[:500]
    return html.unescape(answer.content.decode())


def group(path):
    return Group.objects.get(path=path).pk


def test_a_limit_is_set_seen_and_lifted_on_the_page_of_a_group(school, world, admin):
    world.cluster()
    world.instance(school["paul"], world.image(admin), cpus=3)
    at = f"/groups/{group('edu.a.one')}/"
    head = browser(school["head"])
    assert "Set the limit" in shown(head, at)
    head.post(f"{at}limit/", {"counted": "cpus", "limit": "4"})
    said = shown(head, at)
    assert "1 left, set by head" in said
    assert re.search(r'value="75"', said), "a bar"
    teacher = shown(browser(school["tina"]), at)
    assert "1 left, set by head" in teacher
    assert "Set the limit" not in teacher, "nobody sets their own"
    head.post(f"{at}limit/", {"counted": "cpus", "lift": "1"})
    assert not Quota.objects.exists()
    assert [e.what for e in Event.objects.filter(noun="group", what__startswith="limit").order_by("id")] == ["limit set", "limit lifted"]


def test_a_limit_of_a_person(school):
    teacher = browser(school["tina"])
    teacher.post("/people/of/paul/limit/", {"counted": "instances", "limit": "2"})
    assert "2 left, set by tina" in shown(teacher, "/people/of/paul/")
    own = teacher.post("/people/of/tina/limit/", {"counted": "instances", "limit": "2"})
    assert own.status_code == 302
    assert "Nobody sets their own limits" in shown(teacher, own["Location"])
    assert Quota.objects.count() == 1


@pytest.mark.parametrize("limit", ["-1", "1.5", "ten", "\uff19", "9" * 30, "1e3", "<script>"])
@pytest.mark.parametrize("counted", ["cpus", "hosts", "", "\0"])
def test_bad_limits_are_refused_at_their_field(school, limit, counted):
    head, at = browser(school["head"]), f"/groups/{group('edu.a.one')}/"
    answer = head.post(f"{at}limit/", {"counted": counted, "limit": limit})
    assert answer.status_code == 302
    page = shown(head, answer["Location"])
    assert "alert" in page
    assert "<script>ten" not in page
    assert not Quota.objects.exists()


def test_limits_of_others_are_not_there(school, admin):
    quotas.put(admin, "cpus", 4, group="edu.a.one")
    at = f"/groups/{group('edu.a.one')}/limit/"
    for stranger in (school["bob"], school["paul"]):
        assert browser(stranger).post(at, {"counted": "cpus", "limit": "9"}).status_code == 404
        assert browser(stranger).post("/people/of/paul/limit/", {"counted": "cpus", "limit": "9"}).status_code == 404
    client = browser(admin, enforce_csrf_checks=True)
    for where in (at, "/people/of/paul/limit/", "/people/import/"):
        assert client.post(where, {"counted": "cpus", "limit": "9"}).status_code == 403, where
    assert Quota.objects.get().limit == 4


def test_the_form_that_runs_machines_says_what_is_left(school, world, admin):
    world.cluster()
    world.image(admin)
    quotas.put(admin, "cpus", 3, group="edu.a")
    quotas.put(admin, "instances", 2, user="paul")
    client = browser(school["paul"])
    page = shown(client, "/instances/run/")
    assert 'data-left-cpus="3"' in page
    assert 'name="count" type="number" value="1" required min="1" max="2"' in page
    assert 'name="cpus" type="number" value="1" required min="1" max="3"' in page
    client.post("/instances/run/", {"image": "tiny", "count": "2", "cpus": "1"})
    page = shown(client, "/instances/run/")
    assert "nothing is left of Machines" in page
    assert re.search(r"<button[^>]*disabled>", page)
    page = shown(client, "/portal/")
    assert "nothing is left of Machines" in page
    assert re.search(r"<button[^>]* disabled[^>]*Run tiny", page)
    refused = client.post("/instances/run/", {"image": "tiny"})
    assert "The limit of paul is reached" in shown(client, refused["Location"])


def test_a_table_is_looked_at_made_and_told_once(school):
    head = browser(school["head"])
    looked = head.post("/people/import/", {"way": "table", "table": TABLE.replace("edu.a.two", "edu.a.three"), "group": "edu.a", "role": "user"})
    page = html.unescape(looked.content.decode())
    assert "1 to add, 1 to move, 0 as they are, 0 wrong" in page
    assert "edu.a.three" in page
    assert not Account.objects.filter(username="pia").exists()
    made = head.post("/people/import/", {"way": "table", "table": TABLE, "make": "1", "group": "edu.a", "role": "user"})
    page = html.unescape(made.content.decode())
    (password,) = re.findall(r"<code>([a-z]{4}-[a-z]{4}-[a-z]{4}-[a-z]{4})</code>", page)
    assert Account.objects.get(username="pia").check_password(password)
    file = unquote(re.search(r'href="data:text/csv;charset=utf-8,([^"]*)"', page)[1])
    assert list(csv.reader(io.StringIO(file))) == [["username", "password", "group"], ["pia", password, "edu.a.one"]]
    again = head.post("/people/import/", {"way": "table", "table": TABLE, "make": "1", "group": "edu.a", "role": "user"}).content.decode()
    assert password not in again
    assert password not in shown(head, "/people/import/")
    assert password not in str(dict(head.session))
    assert not [e for e in Event.objects.all() if password in str(vars(e))]


def test_a_file_of_a_spreadsheet_is_read(school):
    file = SimpleUploadedFile("class.csv", "\ufeffusername;group\r\n李雷;edu.a.one\r\nli;edu.a.one\r\n".encode("gb18030"))
    page = browser(school["head"]).post("/people/import/", {"way": "table", "file": file, "group": "edu.a", "role": "user"}).content.decode()
    assert "1 to add, 0 to move, 0 as they are, 1 wrong" in page
    assert "Make all of this" not in page


def test_numbered_accounts(school):
    form = {"way": "numbered", "prefix": "pupil-", "first": "1", "last": "12", "group": "edu.a.one", "role": "user"}
    teacher = browser(school["tina"])
    assert "12 to add" in teacher.post("/people/import/", form).content.decode()
    made = teacher.post("/people/import/", form | {"make": "1"}).content.decode()
    assert made.count("http://testserver/portal/") == 12, "each slip says where one signs in"
    assert Account.objects.filter(username__startswith="pupil-", group__path="edu.a.one", must_change_password=True).count() == 12


@pytest.mark.parametrize("form", [
    {"way": "table", "table": ""}, {"way": "table", "table": "name\nx"}, {"way": "table", "table": 'username\n"x'},
    {"way": "table", "table": "username\n" + "x" * 200_000},
    {"way": "numbered", "prefix": "p", "first": "9", "last": "1"}, {"way": "numbered", "prefix": "p", "first": "0", "last": "99999999"},
    {"way": "numbered", "prefix": "p", "first": "", "last": "x"}, {"way": "numbered"}, {}, {"way": "table", "table": "username,username\nx,y"},
    {"way": "table", "table": "username\nx", "group": "no.such.group"}, {"way": "table", "table": "username\nx", "role": "superAdm", "make": "1"},
    {"way": "table", "table": "username,group\nx,edu.b", "make": "1"}, {"way": "table", "table": "username\n=cmd|' /C calc'!A0", "make": "1"},
])
def test_bad_tables_are_refused_where_they_were_typed_and_change_nothing(school, form):
    before = Account.objects.count()
    client = browser(school["head"])
    answer = client.post("/people/import/", {"group": "edu.a", "role": "user"} | form)
    assert answer.status_code in (200, 403, 404, 422), answer.status_code
    assert Account.objects.count() == before
    assert "alert" in answer.content.decode()
    assert "table" not in str(dict(client.session)), "a table may hold passwords"


def test_who_adds_nobody_has_no_such_page(school):
    assert browser(school["paul"]).get("/people/import/").status_code == 404
    assert "/people/import/" in shown(browser(school["tina"]), "/people/")
