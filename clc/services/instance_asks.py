"""What a user asks of a new instance, read and checked before anything is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from clc.services import cards, images, security_groups, sizes
from luhyaapi.contracts import specs
from luhyaapi.contracts.vocabulary import Kind, Persistence, Usage, Verb
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, ImageVersion, Instance, Network, SecurityGroup

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SSH_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [^\x00-\x1f\x7f\x85\u2028\u2029]{0,200})?")


@dataclass(frozen=True)
class Ask:
    """What a user asks for. ``memory_bytes`` and ``cpus`` None: the image's default; ``data_disk_bytes`` None: no such disk.

    ``networks``: ids or names, a card in each; none: one in the network of the cluster's settings. ``groups``: ids or names of
    security groups it is in from its start. ``first_boot_offline``: no network until the guest says that its first boot is done.
    ``expires``: its end, as :mod:`clc.services.spans` reads it; empty: as its group says.
    ``user_data``: for the guest's cloud-init; it may hold secrets, and is shown to nobody again.
    """

    image: str
    name: str = ""
    cpus: int | None = None
    memory_bytes: int | None = None
    count: int = 1
    kind: str = ""
    ssh_keys: Sequence[str] = ()
    persistence: str = ""
    data_disk_bytes: int | None = None
    networks: Sequence[str] = ()
    user_data: str = field(default="", repr=False)
    groups: Sequence[str] = ()
    first_boot_offline: bool = False
    expires: str = ""


@dataclass(frozen=True)
class Wanted:
    """The same, as it will be kept."""

    version: ImageVersion
    count: int
    cpus: int
    memory_mib: int
    kind: str
    persistence: str
    data_disk_mib: int
    keys: list[str]
    cards: list[Network | None]
    groups: list[SecurityGroup]
    first_boot_offline: bool
    user_data: str = field(default="", repr=False)


def read(account: Account, ask: Ask) -> Wanted:
    """Raises Refused(invalid | not_found | conflict | state) naming the field, Refused(forbidden)."""
    scope.require(account, Kind.INSTANCE, Verb.CREATE, account.group_id)
    version = images.runnable(account, ask.image)
    kind = ask.kind or version.image.usage
    if kind not in list(Usage):
        raise Refused("invalid", "kind is not possible", f"give desktop or server, not {kind[:20]!r}", field="kind")
    persistence = ask.persistence or Persistence.PERSISTENT
    if persistence not in list(Persistence):
        raise Refused("invalid", "persistence is not possible", f"give persistent or transient, not {persistence[:20]!r}", field="persistence")
    keys = [k.strip() for k in ask.ssh_keys]
    if bad := [k for k in keys if not _SSH_KEY.fullmatch(k)]:
        raise Refused("invalid", "An ssh key cannot be read", f"{bad[0][:30]!r} is not a one-line public key", field="ssh_keys")
    return Wanted(
        version, sizes.number("count", ask.count, 1, sizes.MAX_COUNT), sizes.number("cpus", 1 if ask.cpus is None else ask.cpus, 1, sizes.MAX_CPUS),
        images.memory_mib(version.blobs) if ask.memory_bytes is None else sizes.memory_mib(ask.memory_bytes), kind, persistence,
        sizes.data_disk_mib(ask.data_disk_bytes), keys, cards.chosen(account, ask.networks),
        security_groups.chosen(account, ask.groups), ask.first_boot_offline, _user_data(ask.user_data),
    )


def _user_data(text: str) -> str:
    try:
        return specs.user_data(text)
    except ValueError as e:
        raise Refused("invalid", "The user-data is not possible", str(e), field="user_data") from e


def name(account: Account, asked: str, n: int | None, image: str, ident: str) -> str:
    """What an instance of somebody's is called. Raises Refused(invalid | exists)."""
    called = asked if n is None else f"{asked or image}-{n + 1}"
    if not called or (not asked and Instance.objects.filter(owner=account, live_name=called).exists()):
        called = f"{image[:54]}-{ident[-8:]}"
    if not _NAME.fullmatch(called):
        raise Refused("invalid", "The name is not possible", "letters, digits, dot, dash and underscore, at most 63, no other sign",
                      field="name")
    if Instance.objects.filter(owner=account, live_name=called).exists():
        raise Refused("exists", f"You have an instance {called!r} already", field="name")
    return called
