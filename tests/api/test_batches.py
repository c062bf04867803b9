"""Many accounts at once: looked at before, all or none, and the same again changes nothing."""

from __future__ import annotations

import pytest

from clc.services import batches, people
from luhyaapi import tables
from luhyaapi.errors import Refused
from luhyadb.models import Account, Event, Group

TABLE = """username,group,role
tina,edu.school.class1,powerAdm
paul,edu.school.class1,
pia,edu.school.class2,user
"""


@pytest.fixture
def school(world, admin):
    world.group("edu.school")
    return admin


def acts(batch):
    return [(each.line.username, str(each.action)) for each in batch.looked]


def test_a_table_is_looked_at_made_and_the_same_again_changes_nothing(school):
    lines = batches.table(TABLE)
    looked = batches.look(school, lines)
    assert acts(looked) == [("tina", "add"), ("paul", "add"), ("pia", "add")]
    assert looked.new_groups == ["edu.school.class1", "edu.school.class2"]
    assert not Account.objects.filter(username="tina").exists(), "looking changes nothing"
    _batch, made_up = batches.carry_out(school, lines)
    tina = Account.objects.get(username="tina")
    assert (tina.group.path, tina.access_role_id) == ("edu.school.class1", "powerAdm")
    assert set(made_up) == {"tina", "paul", "pia"}
    assert tina.check_password(made_up["tina"])
    assert tina.password.startswith("argon2") or tina.password.startswith("md5"), "kept as others from its first use on"
    again, none = batches.carry_out(school, lines)
    assert ({action for _name, action in acts(again)}, none) == ({"same"}, {})
    assert Event.objects.filter(what="user added", subject=str(tina.pk)).count() == 1


def test_another_group_moves_and_only_that(school):
    batches.carry_out(school, batches.table(TABLE))
    batch, made_up = batches.carry_out(school, batches.table(TABLE.replace("paul,edu.school.class1", "paul,edu.school.class2")))
    assert acts(batch) == [("tina", "same"), ("paul", "move"), ("pia", "same")]
    assert Account.objects.get(username="paul").group.path == "edu.school.class2"
    assert made_up == {}


def test_each_wrong_line_is_named_and_nothing_is_kept(school):
    rows = ["username,group,role", "ok,edu.school,", "b@d name,edu.school,", "me,edu.school,", "ok,edu.school,", "x,edu..a,", "y,edu.school,king",
            "z,edu.school,superAdm"]
    with pytest.raises(Refused) as refused:
        batches.carry_out(school, batches.table("\n".join(rows)))
    why = refused.value.why
    for number, part in ((3, "user name"), (4, "stands for"), (5, "line 2 has the same name"), (6, "a segment is empty"), (7, "king"), (8, "whole cloud")):
        assert f"line {number}: " in why
        assert part in why
    assert "line 2: " not in why.replace("line 2 has", "")
    assert not Account.objects.filter(username="ok").exists()
    assert not Group.objects.filter(path="edu.school.class1").exists()


@pytest.mark.parametrize("data", [
    b"", b"name,group\na,b\n", b"username,colour\na,b\n", b"username,username\na,b\n", b"\xff\xfe\x00u", b'username\n"a', b"username\n", b"\x89PNG\r\n",
    b"username\n" + b"a\n" * 10_001,
])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(Refused) as refused:
        batches.table(tables.decoded(data))
    assert refused.value.code == "invalid"


@pytest.mark.parametrize("data", [
    "\ufeffusername;group\r\npaul;edu.school\r\n".encode(), b"username\tgroup\npaul\tedu.school\n", b"Username, Group \n paul , edu.school\n\n",
    "username,group\npaul,edu.school.一班\n".encode("gb18030"),
])
def test_tables_of_other_programs_are_read(school, data):
    (line,) = batches.table(tables.decoded(data))
    assert (line.username, line.group.startswith("edu.school")) == ("paul", True)
    assert batches.look(school, [line]).looked[0].action is batches.Action.ADD


def test_the_last_administrator_stays_one_and_that_is_told_before(school):
    rows = [f"{school.username},edu.school,user", "tina,edu.school,powerAdm"]
    looked = batches.look(school, batches.table("\n".join(["username,group,role", *rows])))
    assert acts(looked) == [(school.username, "wrong"), ("tina", "add")]
    assert "The last administrator stays one" in looked.looked[0].why
    people.add(None, "vera", "quiet-river-9041", "superAdm")
    looked = batches.look(school, batches.table("\n".join(["username,group,role", *rows, "vera,edu.school,user"])))
    assert acts(looked) == [(school.username, "move"), ("tina", "add"), ("vera", "wrong")], "one of the two may"


def test_a_row_of_numbers(school):
    assert [line.username for line in batches.numbered("pupil-", 8, 11)] == ["pupil-08", "pupil-09", "pupil-10", "pupil-11"]
    batches.carry_out(school, batches.numbered("pupil-", 1, 3), "edu.school")
    assert Account.objects.filter(username__startswith="pupil-", group__path="edu.school").count() == 3
    for first, last in ((3, 2), (-1, 2), (1, 20_000)):
        with pytest.raises(Refused):
            batches.numbered("x", first, last)


def test_who_is_over_a_class_brings_in_that_class_alone(world, school):
    world.group("edu.school.class1")
    tina = world.account("tina", "powerAdm", "edu.school.class1")
    lines = batches.table("username,group,role\npaul,edu.school.class1,user\nsub,edu.school.class1.lab,user\neve,edu.school,user\n"
                          "boss,edu.school.class1,superAdm\n")
    looked = batches.look(tina, lines)
    assert [(name, action) for name, action in acts(looked)] == [("paul", "add"), ("sub", "add"), ("eve", "wrong"), ("boss", "wrong")]
    with pytest.raises(Refused):
        batches.carry_out(tina, lines)
    assert not Account.objects.filter(username="paul").exists()


def test_a_password_that_is_given_is_judged(school):
    wrong, right = batches.look(school, batches.table("username,password\npaul,short\npia,correct horse battery\n")).looked
    assert (wrong.action, right.action) == (batches.Action.WRONG, batches.Action.ADD)
    _batch, made_up = batches.carry_out(school, [right.line])
    assert made_up == {}
    assert Account.objects.get(username="pia").check_password("correct horse battery")


def test_a_name_of_a_deactivated_account_is_a_wrong_line(school):
    batches.carry_out(school, batches.table("username,group\npaul,edu.school\n"))
    people.deactivate(school, "paul")
    (line,) = batches.look(school, batches.table("username,group\nPaul,edu.school\n")).looked
    assert (line.action, line.why) == (batches.Action.WRONG, "paul is deactivated: an account keeps its name")
