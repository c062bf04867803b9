"""What roles were granted when they joined, written as the roles write it."""

import dataclasses
import sys
from pathlib import Path

from deploy.host.plan import Choices, Plan, Ports
from deploy.host.profiles import ROOTLESS
from luhyaapi.wire import identity
from luhyaapi.wire.identity import Membership

ROOT = Path(__file__).resolve().parents[2]
IDS = {"walrus": "walrus-00000003", "cc": "cc-0000000c", "nc": "nc-00000001", "sc": "sc-00000002"}


def a_plan(home: Path) -> Plan:
    """A cloud whose programs are all the caller's."""
    return Plan(home, Ports(8600), "10.231.0.0/24", ROOT, Path(sys.executable), profile=ROOTLESS)


def member(plan, authority, role: str, **more) -> Membership:
    """A role that joined on loopback."""
    folder = plan.certificate(role).parent
    boss = authority.id if role in ("walrus", "cc") else IDS["cc"]
    vhost = "clc" if role in ("walrus", "cc") else "cc"
    key = identity.own_key(folder)
    certificate = identity.certify(authority.authority_key, authority.authority, identity.request(key, "x"), IDS[role])
    held = Membership(
        IDS[role], certificate, authority.authority, boss, authority.membership.certificate, f"amqp://{IDS[role]}:p%2Fw@127.0.0.1:8610/{vhost}",
        f"127.0.0.1:{plan.ports['clc_stream' if vhost == 'clc' else 'cc_stream']}", **more,
    )
    held.save(folder)
    return held


def held(plan, role: str) -> Membership:
    """What it holds now."""
    found = Membership.load(plan.certificate(role).parent)
    assert found is not None
    return found


def elsewhere(plan, door: str, **more) -> Plan:
    """A node alone on its host, with a boss at ``door``."""
    return dataclasses.replace(plan, choices=Choices("10.0.0.2", "10.0.0.2", bosses={"nc": door}, **more))
