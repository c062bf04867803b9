"""Placement: never where a filter refuses, the same whatever the order, and a reason for every other node."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc.services import placement
from cc.services.placement import NodeView, Wanted, choose
from luhyaapi.contracts.specs import Capacity
from luhyaapi.contracts.vocabulary import HostState
from luhyaapi.errors import Unavailable

BLOBS = [f"{number:064x}" for number in range(3)]
some_blobs = st.frozensets(st.sampled_from(BLOBS))


def capacities(cpus: int, memory_mib: int, disk_mib: int) -> st.SearchStrategy[Capacity]:
    return st.builds(Capacity, cpus=st.integers(0, cpus), memory_mib=st.integers(0, memory_mib), disk_mib=st.integers(0, disk_mib))


wanteds = st.builds(
    Wanted, cpus=st.integers(1, 8), memory_mib=st.integers(64, 4096), images=some_blobs, disk_mib=st.integers(0, 1000),
)
views = st.builds(
    NodeView, host=st.integers(0, 2**32 - 1).map(lambda number: f"nc-{number:08x}"),
    state=st.sampled_from([HostState.UP] * 5 + list(HostState)), draining=st.sampled_from([False] * 5 + [True]),
    capacity=capacities(64, 16384, 10000), used=capacities(8, 4096, 1000), cached=some_blobs, guests=st.integers(0, 40),
    speaks=st.sampled_from([frozenset({"domain/start"})] * 5 + [frozenset()]),
    hypervisor_trouble=st.sampled_from([""] * 5 + ["no answer"]),
)
clusters = st.lists(views, max_size=12, unique_by=lambda node: node.host)


def node(number: int = 1, **over: object) -> NodeView:
    fields = {"host": f"nc-{number:08x}", "capacity": Capacity(cpus=8, memory_mib=4096, disk_mib=10000)}
    return NodeView(**{**fields, **over})  # type: ignore[arg-type]


def outcome(wanted: Wanted, nodes: list[NodeView]) -> tuple[str, dict[str, str]]:
    try:
        choice = choose(wanted, nodes)
    except Unavailable as e:
        return "", e.params["nodes"]
    return choice.node.host, choice.why


@settings(max_examples=60, deadline=None)
@given(wanteds, clusters)
def test_no_filter_refuses_the_chosen_and_every_other_has_its_reason(wanted: Wanted, nodes: list[NodeView]) -> None:
    chosen, why = outcome(wanted, nodes)
    assert {chosen, *why} - {""} == {each.host for each in nodes}
    assert chosen not in why
    assert all(why.values())
    fitting = {each.host for each in nodes if not any(refuses(wanted, each) for refuses in placement.FILTERS)}
    assert chosen in fitting if fitting else not chosen
    for each in nodes:
        if each.host in why:
            assert why[each.host].startswith("fits, but ") == (each.host in fitting)


@settings(max_examples=60, deadline=None)
@given(wanteds, clusters, st.randoms(use_true_random=False))
def test_order_means_nothing(wanted: Wanted, nodes: list[NodeView], random: object) -> None:
    shuffled = list(nodes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert outcome(wanted, nodes) == outcome(wanted, shuffled)


@settings(max_examples=60, deadline=None)
@given(wanteds, views)
def test_what_was_placed_never_exceeds_what_was_offered(wanted: Wanted, view: NodeView) -> None:
    for _ in range(80):
        if outcome(wanted, [view])[0] == "":
            return
        used = Capacity(
            cpus=view.used.cpus + wanted.cpus, memory_mib=view.used.memory_mib + wanted.memory_mib,
            disk_mib=view.used.disk_mib + wanted.disk_mib,
        )
        assert used.memory_mib <= view.capacity.memory_mib
        assert used.cpus <= view.capacity.cpus
        # a node may be over what it offers now; who wants no more of that still fits
        assert used.disk_mib <= view.capacity.disk_mib or not wanted.disk_mib
        view = dataclasses.replace(view, used=used, guests=view.guests + 1)
    pytest.fail("a node that never fills")


@pytest.mark.parametrize(("view", "sentence"), [
    (node(state=HostState.SILENT, last_heard_age_s=37.4), "is silent, last heard 37 s ago"),
    (node(state=HostState.NEW), "is new, last heard 0 s ago"),
    (node(draining=True), "is being drained"),
    (node(state=HostState.DRAINING), "is being drained"),
    (node(speaks=frozenset({"domain/stop"})), "does not understand domain/start"),
    (node(hypervisor_trouble="no answer in 5 s"), "its hypervisor does not answer: no answer in 5 s"),
    (node(used=Capacity(memory_mib=3900)), "not enough memory: 512 MiB wanted, 196 of 4096 free"),
    (node(used=Capacity(memory_mib=9999)), "not enough memory: 512 MiB wanted, 0 of 4096 free"),
    (node(used=Capacity(cpus=7)), "not enough processors: 2 CPUs wanted, 1 of 8 free"),
    (node(used=Capacity(disk_mib=9990)), "not enough disk: 100 MiB wanted, 10 of 10000 free"),
])
def test_each_refusal_says_its_numbers(view: NodeView, sentence: str) -> None:
    with pytest.raises(Unavailable) as caught:
        choose(Wanted(cpus=2, memory_mib=512, disk_mib=100), [view])
    assert caught.value.code == "no_capacity"
    assert caught.value.why == f"{view.host} {sentence}"
    assert caught.value.what == "No node can take 2 CPUs and 512 MiB of memory now"


def test_an_empty_cluster_says_so() -> None:
    with pytest.raises(Unavailable, match="no node has joined"):
        choose(Wanted(cpus=1, memory_mib=64), [])


def test_of_equals_the_lowest_id() -> None:
    choice = choose(Wanted(cpus=1, memory_mib=64), [node(3), node(1), node(2)])
    assert choice.node.host == "nc-00000001"
    assert choice.why["nc-00000002"].startswith("fits, but nc-00000001 weighed the same and has the lower id")


def test_the_image_decides_between_equals_but_does_not_fill_one_node() -> None:
    wanted = Wanted(cpus=1, memory_mib=256, images=frozenset(BLOBS))
    warm, cold = node(2, cached=frozenset(BLOBS)), node(1)
    assert choose(wanted, [cold, warm]).node is warm
    assert "weighed more (" in choose(wanted, [cold, warm]).why[cold.host]
    crowded = dataclasses.replace(warm, used=Capacity(cpus=4, memory_mib=2500), guests=4)
    assert choose(wanted, [cold, crowded]).node is cold


def test_a_large_cluster_names_fifty_and_keeps_all() -> None:
    with pytest.raises(Unavailable, match="and 450 more") as caught:
        choose(Wanted(cpus=1, memory_mib=8192), [node(number) for number in range(500)])
    assert len(caught.value.params["nodes"]) == 500


def test_five_guests_of_a_cached_image_do_not_land_on_one_node() -> None:
    wanted = Wanted(cpus=1, memory_mib=512, images=frozenset(BLOBS))
    nodes = [node(number, capacity=Capacity(cpus=64, memory_mib=65536), cached=frozenset(BLOBS if number == 3 else ())) for number in range(1, 6)]
    taken = []
    for _ in range(5):
        chosen = choose(wanted, nodes).node
        taken.append(chosen.host)
        used = Capacity(cpus=chosen.used.cpus + 1, memory_mib=chosen.used.memory_mib + 512)
        nodes[nodes.index(chosen)] = dataclasses.replace(chosen, used=used, guests=chosen.guests + 1)
    assert taken[0] == "nc-00000003", "of equals the one that has it"
    assert len(set(taken)) == 5


def test_a_cached_image_weighs_less_than_room() -> None:
    wanted = Wanted(cpus=1, memory_mib=256, images=frozenset(BLOBS))
    warm, cold = node(2, cached=frozenset(BLOBS), guests=1), node(1, guests=1)
    assert choose(wanted, [cold, dataclasses.replace(warm, used=Capacity(memory_mib=90))]).node.host == warm.host
    assert choose(wanted, [cold, dataclasses.replace(warm, used=Capacity(memory_mib=120))]).node.host == cold.host
