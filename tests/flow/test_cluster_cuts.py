"""A cluster is cut from its power at each point of a word about networks and what reaches its instances; at rest it has what is wanted."""

from __future__ import annotations

import pytest

from cc.services import edge, segments
from clc.services import access, elastic, forwards, networks
from luhyadb import memory
from luhyadb.models import (
    Access,
    AccessOrder,
    ElasticAddress,
    ElasticLink,
    Forward,
    ForwardLease,
    Network,
    Segment,
)
from tests.support.flow_crashes import Fuse, fused, settle
from tests.support.flow_world import NODES
from tests.support.walks import sampled

pytestmark = pytest.mark.walk
SSH = {"protocol": "tcp", "ports": "22", "source": "10.0.0.0/8"}


class Wishes:
    """What a user and an administrator want of a cluster with two networks, three instances and some public addresses."""

    def __init__(self, cloud):
        self.cloud, self.made = cloud, 0
        network = cloud.role("cc").agent.settings.network
        cloud.set("cc", network=network.model_copy(update={"address": "192.0.2.1"}))
        networks.create(cloud.admin, networks.Ask(cluster="", name="node", subnet="10.41.0.0/24", mode="node"))
        elastic.add(cloud.admin, "", ["198.51.100.10-198.51.100.29"])
        cloud.p.settle()
        self.one, self.other = cloud.do(), cloud.do()
        self.behind = cloud.do(networks=["node"])
        self.address = elastic.allocate(cloud.user).address
        elastic.associate(cloud.user, self.address, self.one)
        cloud.p.settle()

    def network(self):
        self.made += 1
        ask = networks.Ask(cluster="", name=f"class-{self.made}", subnet=f"10.50.{self.made}.0/24", mode="closed")
        networks.create(self.cloud.admin, ask)

    def forward(self):
        self._forward(self.one)

    def forward_of_a_node(self):
        self._forward(self.behind)

    def _forward(self, instance):
        """Another one, and the one before no more."""
        before = Forward.objects.filter(instance=instance).first()
        self.made += 1
        forwards.add(self.cloud.user, instance, forwards.Ask(self.made))
        if before:
            forwards.delete(self.cloud.user, instance, before.pk)

    def rules(self):
        self.made += 1
        access.set_rules(self.cloud.user, self.one, [SSH | {"ports": str(self.made)}])

    def elastic_moved(self):
        led = ElasticAddress.objects.get(address=self.address).instance_id
        elastic.associate(self.cloud.user, self.address, self.other if led == self.one else self.one)

    def instance_gone(self):
        self.cloud.ask("delete", self.doomed)

    def ready(self):
        """One more to delete, which is reached in every way."""
        self.doomed = self.cloud.do()
        forwards.add(self.cloud.user, self.doomed, forwards.Ask(22))
        access.set_rules(self.cloud.user, self.doomed, [SSH])
        elastic.associate(self.cloud.admin, elastic.allocate(self.cloud.admin).address, self.doomed)
        self.cloud.p.settle()


WISHES = ("network", "forward", "forward_of_a_node", "rules", "elastic_moved", "instance_gone")


def agrees(cloud):
    """What is wanted by the CLC, what the cluster remembers, what its host has, and what its nodes know."""
    office = cloud.role("cc")
    with memory.of("cc"):
        wanted = edge.wanted(office)
        remembered = {pk: spec["name"] for pk, spec in Segment.objects.values_list("pk", "spec")}
        numbers = dict(AccessOrder.objects.values_list("pk", "number"))
        lent = dict(ForwardLease.objects.exclude(instance="").values_list("forward", "port"))
        led = dict(ElasticLink.objects.values_list("address", "instance"))
        judged = segments._judged("")
    assert office.edge.found() == wanted
    assert remembered == dict(Network.objects.filter(retired_at=0).values_list("pk", "name"))
    assert numbers == dict(Access.objects.filter(number__gt=0).values_list("instance_id", "number"))
    assert lent == dict(Forward.objects.values_list("pk", "port"))
    assert led == dict(ElasticAddress.objects.exclude(instance=None).values_list("address", "instance_id"))
    for name in NODES:
        services = cloud.role(name)
        word, mine = services.domains.guards.word, judged.get(services.agent.me)
        assert (list(word.forwards) if word else []) == (mine.forwards if mine else []), name


@pytest.mark.parametrize("wish", WISHES)
def test_each_point_of_a_word_about_networks_and_access(cloud, wish):
    wishes = Wishes(cloud)
    agrees(cloud)
    if wish == "instance_gone":
        wishes.ready()
    fuse = Fuse()
    with fused(cloud, "cc", fuse):
        getattr(wishes, wish)()
        settle(cloud, "cc")
    points = [n for n, point in enumerate(fuse.points) if point != "post progress"]
    assert len(points) > 3
    deaths = 0
    for at in sampled(points, WISHES.index(wish)):
        if wish == "instance_gone":
            wishes.ready()
        with fused(cloud, "cc", Fuse(at)):
            getattr(wishes, wish)()
            deaths += settle(cloud, "cc")
        cloud.until_rest()
        cloud.p.pass_time(60)
        cloud.rest()
        agrees(cloud)
    assert deaths
