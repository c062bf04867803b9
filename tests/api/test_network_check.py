"""The check of an instance's network by API, by the client and by its page: what both hosts found, in order, and who may ask."""

import html

import httpx
import pytest
from django.test import Client

from cc.role import ROLE
from clc.services import pictures, probes, tokens
from deploy.cli.main import main
from deploy.cli.session import Session
from luhyaapi import ids
from luhyaapi.contracts.reports import ProbeFacts
from luhyaapi.edge import links
from luhyaapi.errors import Failed
from luhyadb.models import Host, Outbox

PROBE = "prb-11111111"
SILENT = (
    links.ok("guest", "The guest runs"), links.broken("answer", "The guest does not answer", "nobody answers for 10.9.0.10 at 02:00:0a:09:00:0a on b", "Look"),
)
HEARD = (links.ok("guest", "The guest runs"), links.ok("answer", "The guest answers"))

UNSEEN = links.unseen("guards", Failed("network", "The rules could not be read"))


@pytest.fixture
def row(world, user):
    _, cluster, node = world.cluster()
    Host.objects.filter(pk=cluster.pk).update(speaks=ROLE.speaks)
    return world.instance(user, world.image(user), state="running", cluster=cluster.pk, node=node.pk)


@pytest.fixture
def say(row):
    """``say(links)``: the node finds these, and its cluster nothing wrong; the next question is that one."""
    before = ids.use(lambda size: b"\x11" * size)

    def say(found):
        for host, its in ((row.node, found), (row.cluster, (links.ok("place", "The cluster has lent it its addresses"),))):
            probes.found(pictures.board(), ProbeFacts(instance=row.pk, probe=PROBE, host=host, links=its))

    yield say
    ids.use(before)


def check(api, account, row):
    return api(account).post(f"/api/v1/instances/{row.pk}/network-check/", {}, format="json")


def test_the_first_broken_link_stands_before_all_links(api, user, row, say):
    say(SILENT)
    found = check(api, user, row).json()
    assert (found["broken"]["link"], found["broken"]["host"], found["broken"]["host_name"]) == ("answer", row.node, "nc")
    assert [(each["role"], each["link"]) for each in found["links"]] == [("cc", "place"), ("nc", "guest"), ("nc", "answer")]
    assert "network/probe" in Outbox.objects.get(command__endswith="probe.0").order


def test_nothing_broken_is_said_so(api, user, row, say):
    say(HEARD)
    assert check(api, user, row).json()["broken"] is None


def test_a_cluster_that_does_not_answer_is_the_broken_link(api, user, row, monkeypatch):
    monkeypatch.setattr(probes, "PATIENCE_S", 0.2)
    assert check(api, user, row).json()["broken"]["link"] == "cluster"


def test_who_may_not_see_it_may_not_ask_and_without_a_node_there_is_nothing_to_ask(api, user, row, world):
    assert check(api, world.account("bob"), row).status_code == 404
    row.node = ""
    row.save()
    assert check(api, user, row).status_code == 409


def test_an_older_cluster_is_not_asked(api, user, row):
    Host.objects.filter(pk=row.cluster).update(speaks={"instance/run": 1})
    assert check(api, user, row).json()["code"] == "unsupported"


@pytest.mark.parametrize(("found", "code", "told"), [(SILENT, 1, "broken: The guest does not answer (nc)"), (HEARD, 0, "The network of one is in order."),
                                                     ((*HEARD, UNSEEN), 0, "Nothing broken was found, but not")])
def test_the_client_says_it(world, row, say, tmp_path, capsys, found, code, told):
    def answer(asked):
        got = world.api(None).generic(asked.method, asked.url.raw_path.decode(), asked.read(), content_type="application/json", headers=dict(asked.headers))
        return httpx.Response(got.status_code, content=got.content, headers=dict(got.items()))

    environ = {"EDUCLOUD_URL": "http://localhost", "EDUCLOUD_TOKEN": tokens.signed_in(row.owner)[1]}
    say(found)
    session = Session(environ=environ, config=tmp_path / "config.toml", transport=httpx.MockTransport(answer), terminal=lambda: False)
    assert main(("network", "doctor", row.pk), session) == code
    said = capsys.readouterr().out
    assert said.startswith(told)
    assert "The guest runs" in said


@pytest.mark.parametrize(("language", "told"), [("en", "The guest does not answer"), ("zh-hans", "虚拟机没有应答")])
def test_the_page_says_it(user, row, say, language, told):
    client = Client(headers={"accept-language": language})
    client.force_login(user)
    button = f'action="/instances/{row.pk}/check/network/"'
    assert button in client.get(f"/instances/{row.pk}/").content.decode()
    before = client.get(f"/instances/{row.pk}/check/network/")
    assert before.status_code == 200
    assert told not in before.content.decode()
    say(SILENT)
    assert told in html.unescape(client.post(f"/instances/{row.pk}/check/network/").content.decode())
