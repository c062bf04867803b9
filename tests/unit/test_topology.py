"""Routes and names: orders go down one step at a time; names of queues are versioned and reversible."""

from __future__ import annotations

import itertools

import pytest

from luhyaapi import ids
from luhyaapi.contracts.commands import COMMANDS, DomainStart, HostRefresh, ImagePublish, InstanceRun, TaskCancel
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Bug
from luhyaapi.wire import topology

HOST = {role: f"{role}-00000001" for role in Role}


@pytest.mark.parametrize(("sender", "to", "command"), [
    (Role.CLC, Role.CC, InstanceRun), (Role.CC, Role.NC, DomainStart), (Role.CLC, Role.WALRUS, ImagePublish),
    (Role.CC, Role.SC, TaskCancel), (Role.CC, Role.NC, HostRefresh),
])
def test_orders_go_one_step_down(sender: Role, to: Role, command: type) -> None:
    topology.check_route(HOST[sender], HOST[to], command)


@pytest.mark.parametrize(("sender", "to"), [p for p in itertools.product(Role, Role) if p not in topology.ROUTES and p[0] is not p[1]])
def test_no_other_way_exists(sender: Role, to: Role) -> None:
    for command in COMMANDS.values():
        with pytest.raises(Bug):
            topology.check_route(HOST[sender], HOST[to], command)


def test_nobody_commands_a_brother_of_its_own_role() -> None:
    with pytest.raises(Bug):
        topology.check_route("nc-00000001", "nc-00000002", DomainStart)


def test_a_role_may_order_itself_what_is_for_its_role() -> None:
    topology.check_route("cc-00000001", "cc-00000001", InstanceRun)
    with pytest.raises(Bug):
        topology.check_route("cc-00000001", "cc-00000001", DomainStart)


@pytest.mark.parametrize("name", ["", "king-00000001", "../nc-00000001"])
def test_what_is_no_host_has_no_route(name: str) -> None:
    with pytest.raises(Bug):
        topology.check_route("cc-00000001", name, DomainStart)


def test_every_command_names_receivers_somebody_commands() -> None:
    children = {child for _, child in topology.ROUTES}
    for command in COMMANDS.values():
        assert set(command.to if isinstance(command.to, tuple) else (command.to,)) <= children, command.kind


def test_names_are_versioned_apart_and_reversible() -> None:
    host = ids.new("nc")
    names = [
        topology.command_queue(host), topology.command_queue(host, control=True), topology.out_exchange(host),
        topology.report_queue(host), topology.dead_queue(host), topology.seat(host),
    ]
    assert len(set(names)) == 6
    assert all(n.endswith(f".{topology.VERSION}") and host in n for n in names)
    assert topology.host_of_exchange(topology.out_exchange(host)) == host


def test_what_overtakes_is_what_must_reach_a_busy_host() -> None:
    assert topology.is_control("task/cancel")
    assert not topology.is_control("domain/start")
