"""A school with one of everything for each of its people, and another school of which nobody here may learn anything."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cc.role import ROLE
from clc.services import rules
from clc.web.api import store
from luhyaapi import clock, ids
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.specs import UploadPart
from luhyaapi.contracts.vocabulary import Kind, Part, Verb
from luhyadb.models import (
    Account,
    AccountRequest,
    ApiToken,
    BrowserSession,
    Directory,
    DirectoryMapping,
    ElasticAddress,
    Forward,
    Grant,
    Host,
    Image,
    ImageVersion,
    Network,
    Passkey,
    Reservation,
    SecurityGroup,
    Share,
    Task,
    Turn,
    Upload,
    Workspace,
)
from tests.support import fake_directory, store_door
from tests.support.clc_world import World, sha256
from tests.support.fake_directory import BASE

HERE, ELSEWHERE = "edu.here.class1", "zanzibar.class9"
MARK = "zanzibar"
"""Stands in every name, path and address of the other school."""
RULE = {"protocol": "tcp", "ports": "22", "source": "10.0.0.0/8"}
PART = UploadPart(part=Part.KERNEL, size=1, sha256="").model_dump()
PEOPLE = {"pupil": "user", "maker": "powerUser", "teacher": "powerAdm", "mate": "user"}
_OCTETS = itertools.count(1)


@dataclass
class Things:
    """What one person has, by the words that stand in the addresses of doors."""

    of: Account
    words: dict[str, str] = field(default_factory=dict)


class School:
    """The people of a class by what they are, ``root``, and ``far``: one of the other school."""

    def __init__(self, world: World, root: Account) -> None:
        self.world, self.root = world, root
        _, self.cluster, self.node = world.cluster()
        self.common = world.image(root)
        self.people = {name: world.account(name, role, HERE) for name, role in PEOPLE.items()}
        self.people |= {"root": root, "far": world.account(f"{MARK}-ann", "user", ELSEWHERE)}
        Host.objects.filter(pk=self.cluster.pk).update(speaks=ROLE.speaks, subnet="10.231.0.0/24")
        self.network = Network.objects.create(
            id=ids.new("net"), name="lan", live_name="lan", number=1, live_number=1, cluster=self.cluster, subnet="10.40.0.0/24", created_at=clock.now())
        self.things = {name: self._things(account, MARK if name == "far" else name) for name, account in self.people.items()}
        Turn.objects.all().delete()

    def _things(self, of: Account, name: str) -> Things:
        now, octet = clock.now(), next(_OCTETS) % 200 + 2
        machine = self.world.instance(of, self.common, f"{name}-box", state="running", node=self.node.pk, cluster=self.cluster.pk)
        image = self._image(of, f"{name}-image")
        version = image.versions.get(version=1)
        coming = ImageVersion.objects.create(image=image, version=3, state="uploading", created_at=now)
        edited = self.world.instance(of, self.common, f"{name}-edit", state="stopped", node=self.node.pk, cluster=self.cluster.pk)
        group = SecurityGroup.objects.create(
            id=ids.new("sgr"), owner=of, name=f"{name}-rules", rules=rules.read([RULE]), created_at=now, changed_at=now)
        task = Task.objects.get(subject=machine.pk)
        forward = Forward.objects.create(id=ids.new("fwd"), instance=machine, guest_port=22, created_at=now)
        return Things(of, {
            "instance": machine.pk, "image": image.pk, "version": "1", "part": "disk", "user": of.username, "group_path": of.group.path or HERE,
            "task": task.pk, "forward": forward.pk, "security_group": group.pk,
            "upload": Upload.objects.create(id=ids.new("upl"), version=coming, account=of, parts=[PART], created_at=now).pk,
            "workspace": Workspace.objects.create(
                id=ids.new("wks"), name=f"{name}-new", base=version, owner=of, instance=edited, state="editing", created_at=now, changed_at=now).pk,
            "address": ElasticAddress.objects.create(
                id=ids.new("eip"), cluster=self.cluster, address=f"192.0.2.{octet}", live_address=f"192.0.2.{octet}", number=octet, owner=of,
                allocated_at=now, created_at=now).pk,
            "token": ApiToken.objects.create(
                id=ids.new("tok"), account=of, name=f"{name}-script", scope="all", digest=sha256(name), created_at=now, expires_at=now + 9e6).pk,
            "session": self._session(of),
            "share": Share.objects.create(id=ids.new("shr"), kind=Kind.INSTANCE, subject=machine.pk, verb=Verb.READ, account=self.root, created_at=now).pk,
            "asked": AccountRequest.objects.create(
                id=ids.new("req"), username=f"{name}-friend", group=of.group, password="!", proof=sha256(name), place="192.0.2.1", created_at=now).pk,
            "robot": self.world.robot(f"{name}-robot", of.group).username,
            "passkey": Passkey.objects.create(id=ids.new("psk"), account=of, name="phone", digest=sha256(name), credential="", created_at=now).pk,
            "grant": Grant.objects.create(id=ids.new("grt"), account=of, role_id="anonymous", group=of.group, created_at=now).pk,
        })

    def _image(self, of: Account, name: str) -> Image:
        row = Image.objects.create(id=ids.new("img"), name=name, live_name=name, owner=of, group=of.group, created_at=clock.now())
        for number in (1, 2):
            blob = {"part": "disk", "sha256": sha256(f"{name}{number}"), "index": sha256(name), "size": 1, "format": "raw", "virtual_size": 1}
            ImageVersion.objects.create(image=row, version=number, state="published", blobs=[blob], created_at=clock.now())
        return row

    def _session(self, of: Account) -> str:
        row = BrowserSession.objects.create(
            session_key=ids.secret(), ident=ids.new("ses"), account=of, created_at=clock.now(), used_at=clock.now(), session_data="",
            expire_date="2100-01-01T00:00:00Z")
        return str(row.ident)

    def cloud(self) -> dict[str, str]:
        """What is nobody's: the words of doors for administrators."""
        letter = self._letter()
        waiting = self.world.host("nc", "newcomer", state="new", boss=self.cluster.pk)
        kept = Reservation.objects.create(
            cluster=self.cluster, network=self.network, address="10.40.0.9", number=170393609, created_at=clock.now())
        directory = Directory.objects.create(
            id=ids.new("dir"), name="books", kind="ldap", settings={"uri": "fake://school", "base": BASE}, created_at=clock.now())
        mapping = DirectoryMapping.objects.create(
            id=ids.new("dmp"), directory=directory, place=1, attribute="cn", value="x", group=self.people["teacher"].group, role_id="user")
        people = {"directory": directory.name, "mapping": mapping.pk}
        return people | {"host": self.node.pk, "newcomer": waiting.pk, "letter": letter, "network": self.network.pk, "reserved": kept.address}

    def _letter(self) -> str:
        from luhyaapi.wire.link import Dead
        from luhyadb import letters

        return letters.keep(self.cluster.pk, Dead(b"{}", "q", "failed at it", 5)).letter


@contextlib.contextmanager
def behind_doors(world: World, root: Account, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[School]:
    """The school, with an image store behind the API, a directory that answers, and a clock that moves when told."""
    way, _ = store_door.behind_api(folder)
    monkeypatch.setattr(store, "transport", [lambda: way])
    bed = fake_directory.Bed(bind_secret="")
    bed.person("reader", "quiet river")
    fake_directory.registered(monkeypatch, bed)
    before = clock.use(ManualClock(clock.now()))
    try:
        yield School(world, root)
    finally:
        clock.use(before)
