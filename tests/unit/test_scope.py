"""Who sees what: an administrator all, others their own; what may not be seen is not there."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import (
    Account,
    ElasticAddress,
    Event,
    Forward,
    Host,
    IdempotencyKey,
    Image,
    ImageVersion,
    Instance,
    JoinToken,
    ScreenTicket,
    SecurityGroup,
    Task,
    TaskStep,
    Upload,
)
from luhyadb.models.base import Table

OWNED = (Instance, Task, Event, SecurityGroup, Forward, ElasticAddress)
CLOSED = (Host, ImageVersion, JoinToken, ScreenTicket, TaskStep, IdempotencyKey)


@pytest.fixture
def rows(world: Any, admin: Account, user: Account, other: Account) -> dict[Account, dict[type, Any]]:
    """One row of each owned table for each of three accounts, and a host."""
    made: dict[Account, dict[type, Any]] = {}
    Event.objects.all().delete()
    cluster = world.host("cc")
    for n, account in enumerate((admin, user, other)):
        image = Image.objects.create(id=f"img-0000000{n}", name=f"image{n}", owner=account, created_at=1)
        version = ImageVersion.objects.create(image=image, version=1, created_at=1)
        instance = Instance.objects.create(
            id=f"ins-0000000{n}", name="vm", live_name="vm", owner=account, image=version, cpus=1, memory_mib=64, created_at=1, changed_at=1)
        task = Task.objects.create(id=f"tsk-0000000{n}", kind="instance/run", owner=account, deadline=1, created_at=1)
        event = Event.objects.create(at=1, noun="instance", subject=instance.id, owner=account, what="x")
        group = SecurityGroup.objects.create(id=f"sgr-0000000{n}", owner=account, name="web", created_at=1, changed_at=1)
        forward = Forward.objects.create(id=f"fwd-0000000{n}", instance=instance, guest_port=22, created_at=1)
        address = ElasticAddress.objects.create(id=f"eip-0000000{n}", cluster=cluster, address="x", number=n, owner=account, created_at=1)
        upload = Upload.objects.create(id=f"u{n}", version=version, account=account, created_at=1)
        made[account] = {Instance: instance, Task: task, Event: event, Upload: upload, Image: image} | {
            SecurityGroup: group, Forward: forward, ElasticAddress: address}
    return made


@pytest.mark.parametrize("table", [*OWNED, Upload], ids=lambda t: t.__name__)
def test_an_account_sees_its_own(rows: Any, admin: Account, user: Account, other: Account, table: type[Table]) -> None:
    assert list(scope.visible_to(user, table)) == [rows[user][table]]
    assert list(scope.visible_to(other, table)) == [rows[other][table]]
    assert scope.visible_to(admin, table).count() == 3


@pytest.mark.parametrize("table", [Instance, Task, Upload], ids=lambda t: t.__name__)
def test_what_is_not_ours_is_not_there(rows: Any, user: Account, other: Account, table: type[Table]) -> None:
    assert scope.one(user, table, pk=rows[user][table].pk) == rows[user][table]
    missing: list[str] = []
    for pk in (rows[other][table].pk, "nothing-like-it"):
        with pytest.raises(Refused) as e:
            scope.one(user, table, pk=pk)
        assert e.value.code == "not_found"
        missing.append(e.value.what.replace(str(pk), "?"))
    assert missing[0] == missing[1], "nobody can tell foreign from absent"


@pytest.mark.parametrize("table", CLOSED, ids=lambda t: t.__name__)
def test_tables_without_an_owner_are_the_administrators(rows: Any, world: Any, user: Account, table: type[Table]) -> None:
    world.host("nc")
    assert scope.visible_to(user, table).count() == 0


def test_images_are_for_everybody_until_retired(rows: Any, user: Account, admin: Account) -> None:
    assert scope.visible_to(user, Image).count() == 3
    Image.objects.filter(name="image0").update(retired=True)
    assert {i.name for i in scope.visible_to(user, Image)} == {"image1", "image2"}
    assert scope.visible_to(admin, Image).count() == 3


@pytest.mark.parametrize("table", [*OWNED, Upload, Image, *CLOSED, Account], ids=lambda t: t.__name__)
def test_nobody_and_locked_accounts_see_nothing(rows: Any, user: Account, admin: Account, table: type[Table]) -> None:
    user.is_active = admin.is_active = False
    for account in (AnonymousUser(), user, admin):
        assert scope.visible_to(account, table).count() == 0  # type: ignore[arg-type]


def test_only_an_administrator_passes(user: Account, admin: Account) -> None:
    scope.require_admin(admin)
    with pytest.raises(Refused) as e:
        scope.require_admin(user)
    assert e.value.code == "forbidden"


def test_a_long_or_odd_name_is_shown_short_and_quoted(user: Account) -> None:
    with pytest.raises(Refused) as e:
        scope.one(user, Instance, pk="x\n" * 500)
    assert len(e.value.what) < 200
    assert "\n" not in e.value.what
