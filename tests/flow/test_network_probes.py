"""A question about an instance's network goes down to both its hosts, and their answers up; who is silent, and who says what is not his."""

from __future__ import annotations

import pytest

from clc.services import mandates, people, probes
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.reports import ProbeFacts
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import AddressLease, Placement


def asked(cloud, instance):
    return probes.ask(cloud.user, instance)


def answer(cloud, question):
    return probes.answer(cloud.role("clc").board, question)


def broken(picture):
    found = picture["broken"]
    return (found["role"], found["link"]) if found else None


def test_both_hosts_say_what_they_found(cloud):
    one = cloud.do()
    cloud.p.beat()
    question = asked(cloud, one)
    assert answer(cloud, question) is None
    cloud.p.settle()
    picture = answer(cloud, question)
    assert broken(picture) is None, picture
    assert [(each["role"], each["link"]) for each in picture["links"]][:4] == [("cc", "place"), ("nc", "guest"), ("nc", "tap"), ("nc", "guards")]


def test_a_stopped_guest_is_the_first_broken_link(cloud):
    one = cloud.do()
    cloud.do("stop", one)
    question = asked(cloud, one)
    cloud.p.settle()
    assert broken(answer(cloud, question)) == ("nc", "guest")


def test_a_lease_that_is_gone_is_found_by_the_cluster(cloud):
    one = cloud.do()
    with memory.of("cc"):
        AddressLease.objects.filter(instance=one).update(instance="", released_at=1)
    question = asked(cloud, one)
    cloud.p.settle()
    assert broken(answer(cloud, question)) == ("cc", "place")


def test_without_a_place_its_node_is_not_waited_for(cloud):
    one = cloud.do()
    with memory.of("cc"):
        Placement.objects.filter(pk=one).delete()
    question = asked(cloud, one)
    cloud.p.settle()
    assert broken(answer(cloud, question)) == ("cc", "place")


@pytest.mark.parametrize(("role", "link"), [("nc", "node"), ("cc", "cluster")])
def test_who_does_not_answer_is_a_broken_link(cloud, role, link):
    one = cloud.do()
    cloud.p.stop(cloud.node(one) if role == "nc" else "cc")
    question = asked(cloud, one)
    cloud.p.settle()
    assert answer(cloud, question) is None
    cloud.clock.sleep(probes.PATIENCE_S)
    picture = answer(cloud, question)
    assert broken(picture) == (role, link)
    assert "15 s" in picture["broken"]["why"]


def test_of_an_instance_of_others_nothing_is_told(cloud):
    one = cloud.do()
    with pytest.raises(Refused, match="no instance"):
        probes.ask(people.add(None, "bob", "correct horse battery", "user"), one)


def test_a_host_answers_for_itself_alone(cloud):
    one = cloud.do()
    node, cluster = (cloud.role(name).agent.me for name in (cloud.node(one), "cc"))

    def said(host, sender):
        report = ProbeFacts(instance=one, probe="prb-00000001", host=host)
        mandates.judge(Envelope(id="1", kind=report.kind, sender=sender, to="clc", issued_at=0, expires_at=0, deadline=0, body="{}"), report)

    said(node, node)
    said(cluster, cluster)
    for host, sender in ((node, cluster), (cluster, node)):
        with pytest.raises(Refused, match="another host"):
            said(host, sender)
