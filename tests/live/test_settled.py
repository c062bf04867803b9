"""Whether a boss's database is as its version wants it is asked of the database, by the steps `make up` runs."""

import dataclasses

import pytest

from deploy.host import ground, up
from deploy.host.plan import Choices
from tests.support.granted import a_plan

pytestmark = pytest.mark.live


@pytest.fixture
def plan(tmp_path_factory):
    made = dataclasses.replace(a_plan(tmp_path_factory.mktemp("h", numbered=True)), choices=Choices(roles=("clc",)))
    ground.prepare(made)
    return made


def test_another_database_in_the_place_of_the_settled_one_is_noticed(plan):
    assert up.unsettled(plan, "clc"), "nothing is there"
    up.as_role(plan, "clc", "migrate")
    assert up.as_role(plan, "clc", "unsettled").split() == ["an", "administrator"]
    up.as_role(plan, "clc", "create-admin", "--password-file", str(plan.admin_password))
    assert not up.unsettled(plan, "clc")
    for file in (plan.home / "clc").glob("database.sqlite*"):
        file.unlink()
    assert up.unsettled(plan, "clc"), "as after another database.url"
    up.as_role(plan, "clc", "migrate")
    assert up.unsettled(plan, "clc"), "nobody could sign in"
