"""A CLC's memory for tests: accounts, hosts, images, and a client of its API."""

import functools
import hashlib
from typing import Any

from rest_framework.test import APIClient, ForceAuthClientHandler

from clc.services import groups, hosts, instances, own, people, pictures, shares, tokens
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Verb
from luhyadb import paths
from luhyadb.models import Account, Group, Host, Image, ImageVersion, Instance
from luhyadb.models.groups import EVERYBODY
from luhyadb.ready_made import key_of

PASSWORD = "correct horse battery"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _handler() -> ForceAuthClientHandler:
    """Every client asks the same stack: loading it takes longer than most tests."""
    return ForceAuthClientHandler(enforce_csrf_checks=False)


class World:
    """Rows made through the services where they exist, directly where only a role could make them."""

    def __init__(self) -> None:
        pictures.board().clear()
        hosts.ensure_own("clc")

    def account(self, name: str, role: str = "user", group: str = "") -> Account:
        """An account with the password ``PASSWORD``, which it chose itself."""
        row = people.add(None, name, PASSWORD, role)
        if group:
            row.group = self.group(group)
            row.save()
        return row

    def robot(self, name: str, group: Group) -> Account:
        """The account of a program."""
        row = people.add_service(Account.objects.filter(is_staff=True).first(), name)
        row.group = group
        row.save()
        return row

    def group(self, path: str, by: Account | None = None) -> Group:
        """The group of that path, with those above it; made where there is none."""
        found = Group.objects.filter(key=key_of(path)).first()
        if found or not path:
            return found or Group.objects.get(pk=EVERYBODY)
        self.group(paths.parent(path), by)
        return groups.create(by or Account.objects.filter(is_staff=True).first(), path)

    def api(self, account: Account | None) -> APIClient:
        """A client with that account's token."""
        client = APIClient(raise_request_exception=False)
        client.handler = _handler()
        if account is not None:
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens.signed_in(account)[1]}")
        return client

    def host(self, role: str, name: str = "", state: str = "up", boss: str = "", **more: Any) -> Host:
        """A host that joined and said hello."""
        now = clock.now()
        return Host.objects.create(**{
            "id": ids.new(role), "role": role, "name": name or role, "state": state, "boss": boss or own.own().id,
            "address": "http://127.0.0.1:1", "certificate": "x", "boot": "b", "cpus": 8, "memory_mib": 4096, "disk_mib": 10_000,
            "last_heard": now, "created_at": now, **more,
        })

    def cluster(self) -> tuple[Host, Host, Host]:
        """An image store, a cluster and a node: what an instance needs."""
        walrus, cc = self.host("walrus"), self.host("cc")
        return walrus, cc, self.host("nc", boss=cc.id, accelerator="kvm")

    def image(self, owner: Account, name: str = "tiny", versions: int = 1) -> Image:
        """A published image of a kernel and a ram disk."""
        row = Image.objects.create(id=ids.new("img"), name=name, live_name=name, owner=owner, created_at=clock.now())
        shares.open_to(row, row.group, (Verb.EXECUTE,))
        for n in range(1, versions + 1):
            blobs = [
                {"part": p, "sha256": sha256(f"{name}{n}{p}"), "index": sha256(p), "size": 100 * n, "format": "raw", "virtual_size": 0}
                for p in ("kernel", "initrd")
            ]
            ImageVersion.objects.create(image=row, version=n, state="published", blobs=blobs, created_at=clock.now())
        return row

    def instance(self, owner: Account, image: Image, name: str = "one", **changes: Any) -> Instance:
        """An instance that was started; ``changes`` are written over its row."""
        (row,) = instances.run(owner, instances.Ask(image=image.name, name=name))
        if changes:
            Instance.objects.filter(pk=row.pk).update(**changes)
            row.refresh_from_db()
        return row

    def facts(self, host: Host, **facts: Any) -> None:
        """A heartbeat on the board."""
        pictures.board().write(f"host:{host.pk}", {"host": host.pk, "at": clock.now(), **facts})
