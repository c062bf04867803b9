"""A machine's whole life leaves a record: the person, then the hosts that carried it out; sealed by the beat, and whole."""

from __future__ import annotations

from clc.services import audit, audit_export
from clc.services.audit_export import Asked
from luhyaapi.chain import Check
from luhyadb.models import Account, Event, Instance


def test_the_record_of_a_life(cloud):
    one = cloud.do()
    node = cloud.domains()[one][0][0]
    cloud.do("stop", one)
    cloud.do("delete", one)
    cloud.p.beat()
    owner = Instance.objects.get(pk=one).owner
    lines = list(audit_export.found(Account.objects.filter(is_staff=True).first(), Asked(subject=one)).order_by("id"))
    told = {row.after["state"]: row for row in lines if row.noun == "instance" and "state" in row.after}
    assert {"starting", "running", "stopping", "stopped", "deleted"} <= set(told)
    assert (told["running"].before, str(told["running"].via)) == ({"state": "starting"}, "host")
    said_by = {row.origin for row in lines if row.via == "host"}
    assert said_by, node
    assert {each.split("-")[0] for each in said_by} <= {"nc", "cc", "walrus", "clc"}
    assert {row.owner_id for row in lines} == {owner.pk}
    assert not Event.objects.filter(number=None).exists() or audit.seal() > 0
    check = Check([audit.head()])
    for piece in audit_export.export(Account.objects.filter(is_staff=True).first(), Asked()):
        for line in piece.splitlines():
            check.read(line)
    found = check.end()
    assert (found.faults, found.lines) == ([], Event.objects.count())
    cloud.rest()
