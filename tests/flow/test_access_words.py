"""What may reach an instance from outside, as words to its cluster and answers of it: lost, late, of an older memory, and in parallel."""

import json
import threading

import pytest
from django.db import connections
from django.db.models import F

from clc.services import access, elastic, forwards, networks, security_groups
from luhyaapi.contracts.commands import AccessSet, NetworksSet
from luhyaapi.contracts.reports import AccessFacts, HostFacts
from luhyaapi.contracts.specs import Fault, ForwardFacts
from luhyaapi.errors import Refused, Unavailable
from luhyadb import memory
from luhyadb.models import Access, ElasticAddress, Event, Forward, Host, Instance, Outbox
from tests.support.flow_world import opened

SSH = {"protocol": "tcp", "ports": "22", "source": "10.0.0.0/8"}
WEB = {"protocol": "tcp", "ports": "80-81", "source": ""}


class Cluster:
    """What a cluster hears of access, and what it answers: its own part is not asked."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.host = Host.objects.get(role="cc")
        self.words: list[AccessSet] = []
        self.is_deaf = False
        self.able()
        cloud.tap(self._tap)

    def able(self):
        Host.objects.filter(pk=self.host.pk).update(speaks={**self.host.speaks, AccessSet.kind: 1})

    def _tap(self, _direction, _host, message):
        envelope = opened(message)
        if envelope["kind"] != AccessSet.kind:
            return [message]
        if not self.is_deaf:
            self.words.append(AccessSet.model_validate_json(envelope["body"]))
        return []

    def last(self, instance):
        """The newest word about an instance, which is what it keeps."""
        return max((word for word in self.words if word.instance == instance), key=lambda word: word.number, default=None)

    def sum(self):
        """What it says in its heartbeat."""
        placed = Instance.objects.filter(cluster=self.host.pk).exclude(node="").values_list("pk", flat=True)
        return sum(word.number for one in placed if (word := self.last(one)))

    def compare(self, *, times=1):
        """So many comparisons with what it says now."""
        for _ in range(times):
            Access.objects.update(said_at=F("said_at") - 60)  # nothing is young
            self.cloud.clock.sleep(0.01)
            self.differ = access.repair({self.host.pk: {"access": self.sum()}}, getattr(self, "differ", set()))
            self.cloud.p.settle()

    def answer(self, word, *, port=40000, error=None, sender=""):
        """The report on a word."""
        found = () if error else tuple(ForwardFacts(id=f.id, address="192.0.2.1", port=port + n) for n, f in enumerate(word.forwards))
        report = AccessFacts(instance=word.instance, number=word.number, forwards=found, error=error)
        if sender:
            with memory.atomic():
                assert not access.heard(report, sender)
            return
        with memory.of("cc"):
            self.cloud.role("cc").agent.report(report)
        self.cloud.p.settle()


@pytest.fixture
def cluster(cloud):
    return Cluster(cloud)


def test_the_word_goes_with_the_place_and_again_with_each_change(cloud, cluster):
    security_groups.create(cloud.user, "web", [WEB])
    one = cloud.do(groups=["web"])
    assert [(w.instance, [(a.protocol, a.first_port, a.last_port) for a in w.allow]) for w in cluster.words] == [(one, [("tcp", 80, 81)])]
    access.set_rules(cloud.user, one, [SSH])
    made = forwards.add(cloud.user, one, forwards.Ask(22))
    cloud.p.settle()
    word = cluster.last(one)
    assert ([a.first_port for a in word.allow], [f.id for f in word.forwards]) == ([22, 80], [made.pk])
    numbers = [w.number for w in cluster.words]
    assert numbers == sorted(set(numbers))
    assert Access.objects.get().number == word.number
    cloud.do("stop", one)
    cloud.do("start", one)
    assert Forward.objects.get() == made


def test_who_asked_for_nothing_is_no_word(cloud, cluster):
    cloud.do()
    assert cluster.words == []
    assert not Access.objects.exists()
    cluster.compare(times=3)
    assert cluster.words == []


def test_what_the_cluster_lends_is_shown_and_what_it_could_not_too(cloud, cluster):
    one = cloud.do()
    forwards.add(cloud.user, one, forwards.Ask(22))
    cloud.p.settle()
    first = cluster.last(one)
    cluster.answer(first, sender="cc-00000009")
    assert Forward.objects.get().port == 0, "no cluster of its"
    cluster.answer(first)
    assert (Forward.objects.get().address, Forward.objects.get().port) == ("192.0.2.1", 40000)
    cloud.clock.sleep(1)
    later = forwards.add(cloud.user, one, forwards.Ask(80))
    cloud.p.settle()
    cluster.answer(first, port=41000)
    assert [f.port for f in Forward.objects.all()] == [41000, 0], "an answer to an older word says nothing of what is younger"
    full = Fault(code="quota", what="No port is free", why="all are lent")
    cluster.answer(cluster.last(one), error=full)
    assert Forward.objects.get(pk=later.pk).trouble["what"] == "No port is free"
    assert Access.objects.get().trouble["what"] == "No port is free"
    cluster.answer(first)
    assert Forward.objects.get(pk=later.pk).trouble["what"] == "No port is free", "an older answer is old"
    cluster.answer(cluster.last(one))
    assert [(f.port, f.trouble) for f in Forward.objects.all()] == [(40000, None), (40001, None)]
    assert Access.objects.get().trouble is None
    told = set(Event.objects.filter(subject=one).values_list("what", flat=True))
    assert {"forward asked for", "forward open", "forward not open", "less reaches it than was asked for"} <= told


def test_a_word_that_got_lost_is_said_again_after_two_comparisons(cloud, cluster):
    one = cloud.do()
    cluster.is_deaf = True
    access.set_rules(cloud.user, one, [SSH])
    cloud.p.settle()
    cluster.is_deaf = False
    cluster.compare()
    assert cluster.words == [], "it may have been under way"
    cluster.compare()
    assert [a.first_port for a in cluster.last(one).allow] == [22]
    assert cluster.sum() == Access.objects.get().number
    said = len(cluster.words)
    cluster.compare(times=3)
    assert len(cluster.words) == said


def test_nothing_is_said_again_while_something_waits(cloud, cluster):
    one = cloud.do()
    access.set_rules(cloud.user, one, [SSH])
    assert Outbox.objects.exists()
    assert access.repair({cluster.host.pk: {"access": 0}}, {cluster.host.pk}) == set()
    cloud.p.settle()
    assert len(cluster.words) == 1


def test_what_is_young_may_be_under_way(cloud, cluster):
    one, other = cloud.do(), cloud.do()
    for each in (one, other):
        access.set_rules(cloud.user, each, [SSH])
        cloud.p.settle()
        cluster.answer(cluster.last(each))
    access.set_rules(cloud.user, one, [])
    cloud.p.settle()

    def again(found):
        return access.repair({cluster.host.pk: {"access": found}}, set())

    assert [again(found) for found in (1, 2, 3, 4)] == [{cluster.host.pk}, set(), set(), {cluster.host.pk}]
    Access.objects.update(said_at=0)
    assert [again(found) for found in (2, 3)] == [{cluster.host.pk}, set()]


def test_one_difference_between_two_that_agree_is_nothing(cloud, cluster):
    one = cloud.do()
    access.set_rules(cloud.user, one, [SSH])
    cloud.p.settle()
    Access.objects.update(said_at=0)
    pictures = [{cluster.host.pk: {"access": number}} for number in (0, cluster.sum(), 0, cluster.sum())]
    differ = set()
    for picture in pictures:
        differ = access.repair(picture, differ)
    cloud.p.settle()
    assert len(cluster.words) == 1


def test_words_that_wait_are_said_as_one(cloud, cluster):
    one, other = cloud.do(), cloud.do()
    for port in range(1, 17):
        forwards.add(cloud.user, one, forwards.Ask(port))
    access.set_rules(cloud.user, other, [SSH])
    cloud.p.settle()
    assert [(word.instance, word.number, len(word.forwards)) for word in cluster.words] == [(one, 16, 16), (other, 1, 0)]


def test_all_of_many_are_said_again_some_at_a_time(cloud, cluster, monkeypatch):
    monkeypatch.setattr(access, "_AGAIN_AT_ONCE", 2)
    ones = [cloud.do() for _ in range(5)]
    cluster.is_deaf = True
    for one in ones:
        access.set_rules(cloud.user, one, [SSH])
    cloud.p.settle()
    cluster.is_deaf = False
    cluster.compare(times=2)
    assert len(cluster.words) == 2
    cluster.compare(times=8)
    assert {word.instance for word in cluster.words} == set(ones)
    assert cluster.sum() == sum(Access.objects.values_list("number", flat=True))


def test_a_memory_older_than_what_the_cluster_heard_counts_on_from_there(cloud, cluster):
    one, other = cloud.do(), cloud.do()
    for port in ("22", "23", "24"):
        access.set_rules(cloud.user, one, [SSH | {"ports": port}])
    access.set_rules(cloud.user, other, [SSH])
    cloud.p.settle()
    Access.objects.filter(instance=one).update(number=1, heard=1)
    cluster.compare(times=2)
    assert cluster.last(one).number > 3
    assert cluster.sum() == sum(Access.objects.values_list("number", flat=True))
    Access.objects.filter(instance=one).update(number=1, heard=1, rules=[])
    cluster.answer(cluster.last(one))
    cloud.p.settle()
    assert cluster.last(one).allow == (), "its answer alone is enough"


@pytest.mark.parametrize("number", [2**50, 2**49])
def test_a_number_nobody_could_count_from_breaks_nothing(cloud, cluster, number):
    one = cloud.do()
    access.set_rules(cloud.user, one, [SSH])
    cloud.p.settle()
    for _ in range(6):
        Access.objects.update(said_at=0)
        access.repair({cluster.host.pk: {"access": number}}, {cluster.host.pk})
        cloud.p.settle()
    assert Access.objects.get().number <= 2**50
    assert HostFacts(host=cluster.host.pk, at=1, access=Access.objects.get().number)


def test_a_forward_whose_time_is_over_is_closed(cloud, cluster):
    one = cloud.do()
    forwards.add(cloud.user, one, forwards.Ask(22, for_s=40))
    kept = forwards.add(cloud.user, one, forwards.Ask(80, for_s=360_000))
    cloud.p.settle()
    cloud.p.pass_time(60)
    assert list(Forward.objects.all()) == [kept]
    assert [f.id for f in cluster.last(one).forwards] == [kept.pk]
    assert Event.objects.filter(subject=one, what="forward ended").count() == 1


def test_nothing_of_it_is_left_when_it_is_deleted(cloud, cluster):
    security_groups.create(cloud.user, "web", [WEB])
    one = cloud.do(groups=["web"])
    access.set_rules(cloud.user, one, [SSH])
    forwards.add(cloud.user, one, forwards.Ask(22))
    elastic.add(cloud.admin, "", ["192.0.2.10"])
    mine = elastic.allocate(cloud.user)
    elastic.associate(cloud.user, mine.address, one)
    cloud.p.settle()
    with pytest.raises(Refused, match="cannot be deleted"):
        security_groups.delete(cloud.user, "web")
    cloud.do("delete", one)
    assert not Access.objects.exists()
    assert not Forward.objects.exists()
    row = ElasticAddress.objects.get()
    assert (row.owner, row.instance) == (cloud.user, None)
    security_groups.delete(cloud.user, "web")
    cluster.compare(times=3)
    with pytest.raises(Refused, match="Nothing can reach"):
        access.set_rules(cloud.user, one, [SSH])


def test_a_run_that_came_to_nothing_leaves_nothing(cloud, cluster, impatient):
    security_groups.create(cloud.user, "web", [WEB])
    for name in ("nc1", "nc2"):
        cloud.drain(name)
    one, task = cloud.ask(groups=["web"])
    cloud.until_rest()
    assert cloud.task(task)[0] == "failed"
    cloud.do("delete", one)
    assert not Access.objects.exists()
    security_groups.delete(cloud.user, "web")


def test_where_an_address_leads_goes_with_the_word_about_networks(cloud, cluster):
    heard = []

    def tap(direction, host, message):
        if opened(message)["kind"] == NetworksSet.kind:
            heard.append(json.loads(opened(message)["body"])["elastics"])
        return cluster._tap(direction, host, message)

    cloud.tap(tap)
    one, other = cloud.do(), cloud.do()
    elastic.add(cloud.admin, "", ["192.0.2.10-192.0.2.12"])
    mine = elastic.allocate(cloud.user)
    for led in (one, other):
        elastic.associate(cloud.user, mine.pk, led)
        cloud.p.settle()
    assert heard == [[{"address": "192.0.2.10", "instance": one}], [{"address": "192.0.2.10", "instance": other}]]
    networks.create(cloud.admin, networks.Ask(cluster="", name="class-7", subnet="10.40.0.0/24"))
    cloud.p.settle()
    assert heard[-1] == heard[-2], "who makes a network keeps what leads where"


def test_two_who_ask_at_once_never_get_one_address(cloud, cluster):
    elastic.add(cloud.admin, "", ["192.0.2.10-192.0.2.17"])
    got, troubles = [], []
    gate = threading.Barrier(6)

    def ask():
        gate.wait()
        try:
            got.extend(elastic.allocate(cloud.admin).address for _ in range(2))
        except Unavailable as e:
            troubles.append(e.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lent = list(ElasticAddress.objects.exclude(owner=None).values_list("address", flat=True))
    assert len(got) == len(set(got))
    assert set(got) <= set(lent)
    assert len(lent) == 8, "each is lent once, and none is left while somebody asks"
    assert set(troubles) == {"no_capacity"}


def test_one_s_quota_holds_also_at_once(cloud, cluster):
    elastic.add(cloud.admin, "", ["192.0.2.10-192.0.2.29"])
    refused = []
    gate = threading.Barrier(4)

    def ask():
        gate.wait()
        try:
            for _ in range(3):
                elastic.allocate(cloud.user)
        except Refused as e:
            refused.append(e.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ElasticAddress.objects.filter(owner=cloud.user).count() == elastic.EACH
    assert set(refused) == {"quota"}


def test_the_heartbeats_of_a_cluster_lead_to_the_repair(cloud, cluster):
    one = cloud.do()
    cluster.is_deaf = True
    access.set_rules(cloud.user, one, [SSH])
    cloud.p.settle()
    cluster.is_deaf = False
    for _ in range(20):
        cluster.able()
        cloud.p.pass_time(10)
        if cluster.words:
            break
    assert cluster.last(one) is not None
