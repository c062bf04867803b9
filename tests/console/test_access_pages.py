"""What reaches a machine, on pages: ports opened and closed, rules and groups, public addresses; what is refused keeps what was typed."""

import html

import pytest
from django.test import Client

from cc.role import ROLE
from luhyaapi import clock
from luhyaapi.contracts.commands import AccessSet
from luhyadb.models import Access, ElasticAddress, Forward, Host, Instance, Network, SecurityGroup


@pytest.fixture
def cluster(world):
    found = next(h for h in world.cluster() if h.role == "cc")
    Host.objects.filter(pk=found.pk).update(speaks=ROLE.speaks | {AccessSet.kind: 1}, subnet="10.231.0.0/24")
    return found


@pytest.fixture
def page(cluster):
    """``page(account)(address, form)``: status and text, after the way back."""

    def of(account, language="en"):
        client = Client()
        client.force_login(account)
        client.cookies["django_language"] = language

        def show(where, form=None):
            answer = client.get(where) if form is None else client.post(where, form, follow=True)
            return answer.status_code, html.unescape(answer.content.decode())

        return show

    return of


@pytest.fixture
def one(world, admin, user, cluster):
    return world.instance(user, world.image(admin), "pupil", node="nc-00000001", cluster=cluster.pk, state="running")


def test_a_port_is_opened_shown_and_closed(page, user, one):
    show = page(user)
    at = f"/instances/{one.pk}/"
    assert "No port of it is forwarded" in show(at)[1]
    _, text = show(f"{at}access/forward/", {"guest_port": "22", "protocol": "tcp", "sources": "10.0.0.0/8, 192.168.0.0/16", "for_s": "7200"})
    assert "Port 22 is being opened" in text
    row = Forward.objects.get()
    assert (row.sources, row.until > clock.now()) == (["10.0.0.0/8", "192.168.0.0/16"], True)
    for said in ("is being opened", "has not answered", "10.0.0.0/8"):
        assert said in text
    Forward.objects.update(address="192.0.2.1", port=40022)
    Access.objects.update(heard=1)
    text = show(at)[1]
    assert "192.0.2.1:40022" in text
    assert "has not answered" not in text
    assert "Port 22 is closed" in show(f"{at}access/close/", {"forward": row.pk})[1]
    assert not Forward.objects.exists()


@pytest.mark.parametrize(("form", "said"), [
    ({"guest_port": "0"}, "The port is not possible"), ({"guest_port": "many"}, "not a whole number"), ({"guest_port": ""}, "The port is not possible"),
    ({"guest_port": "22", "sources": "here"}, "A source cannot be read"), ({"guest_port": "22", "protocol": "icmp"}, "protocol is not possible"),
])
def test_what_is_refused_keeps_what_was_typed(page, user, one, form, said):
    _, text = page(user)(f"/instances/{one.pk}/access/forward/", {"protocol": "tcp", "sources": "10.9.0.0/16", "for_s": ""} | form)
    assert said in text
    assert f'value="{form.get("sources", "10.9.0.0/16")}"' in text
    assert not Forward.objects.exists()


def test_rules_and_groups_of_a_machine(page, user, one):
    show = page(user)
    assert "security group web is made" in show("/security-groups/add/", {"name": "web", "rules": "tcp:80-81\n\nicmp\n"})[1]
    group = SecurityGroup.objects.get()
    assert [r["protocol"] for r in group.rules] == ["tcp", "icmp"]
    _, text = show(f"/instances/{one.pk}/access/rules/", {"rules": "tcp:22:10.0.0.0/8\nany:2001:db8::/32", "groups": [group.pk]})
    for said in ("What may reach pupil is changed", "tcp:22:10.0.0.0/8\nany:2001:db8::/32", "tcp:80-81:0.0.0.0/0 icmp:0.0.0.0/0"):
        assert said in text
    assert "pupil" in show(f"/security-groups/{group.pk}/")[1]
    assert "are changed" in show(f"/security-groups/{group.pk}/rules/", {"rules": "udp:53"})[1]
    assert "The ports of a rule" in show(f"/security-groups/{group.pk}/rules/", {"rules": "udp:dns"})[1]
    assert "cannot be deleted" in show(f"/security-groups/{group.pk}/delete/", {})[1]
    _, text = show(f"/instances/{one.pk}/access/rules/", {"rules": "tcp:x:y"})
    assert "tcp:x:y</textarea>" in text
    assert "The ports of a rule are not possible" in text
    assert one.groups.count() == 1, "all or nothing"
    show(f"/instances/{one.pk}/access/rules/", {"rules": ""})
    assert "security group web is deleted" in show(f"/security-groups/{group.pk}/delete/", {})[1]
    _, text = show("/security-groups/add/", {"name": "a b", "rules": "icmp"})
    assert "The name is not possible" in text
    assert 'value="a b"' in text
    assert "icmp</textarea>" in text


def test_a_machine_starts_in_a_group(page, user, one):
    show = page(user)
    assert 'name="group"' not in show("/instances/run/")[1]
    show("/security-groups/add/", {"name": "web", "rules": "tcp:80"})
    assert 'name="group"' in show("/instances/run/")[1]
    show("/instances/run/", {"image": "tiny", "name": "two", "count": "1", "cpus": "1", "group": SecurityGroup.objects.get().pk})
    assert Instance.objects.get(name="two").groups.count() == 1


def test_an_administrator_s_group_shows_where_it_is_and_stays(page, user, admin, one):
    page(admin)("/security-groups/add/", {"name": "school", "rules": "tcp:22"})
    group = SecurityGroup.objects.get()
    page(admin)(f"/instances/{one.pk}/access/rules/", {"rules": "", "groups": [group.pk]})
    text = page(user)(f"/instances/{one.pk}/")[1]
    assert f'value="{group.pk}" checked' in text
    page(user)(f"/instances/{one.pk}/access/rules/", {"rules": "icmp", "groups": [group.pk]})
    assert one.groups.count() == 1
    assert page(user)(f"/security-groups/{group.pk}/")[0] == 404


def test_public_addresses_are_brought_in_lent_led_and_given_back(page, user, admin, cluster, one):
    rows, mine = page(admin), page(user)
    assert "2 public addresses are added" in rows("/addresses/add/", {"cluster": cluster.pk, "ranges": "192.0.2.10-192.0.2.11\n"})[1]
    _, text = rows("/addresses/add/", {"cluster": cluster.pk, "ranges": "192.0.2.10"})
    assert "192.0.2.10 is a public address already" in text
    assert "192.0.2.10</textarea>" in text
    assert "192.0.2.10" not in mine("/addresses/")[1]
    assert "Add a range" not in mine("/addresses/")[1]
    assert "192.0.2.10 is yours" in mine("/addresses/allocate/", {})[1]
    first = ElasticAddress.objects.get(address="192.0.2.10")
    assert "192.0.2.10 leads to pupil" in mine(f"/addresses/{first.pk}/lead/", {"instance": "pupil"})[1]
    assert "192.0.2.10" in mine(f"/instances/{one.pk}/")[1]
    assert "192.0.2.10 leads nowhere now" in mine(f"/instances/{one.pk}/access/address/", {"address": "192.0.2.10", "away": "1"})[1]
    assert "192.0.2.11 leads to pupil" in mine(f"/instances/{one.pk}/access/address/", {"address": ""})[1], "a new one"
    assert "192.0.2.10 is given back" in mine(f"/addresses/{first.pk}/release/", {})[1]
    assert "192.0.2.10 is taken away" in rows(f"/addresses/{first.pk}/retire/", {})[1]
    assert "is lent" in rows(f"/addresses/{ElasticAddress.objects.get(address='192.0.2.11').pk}/retire/", {})[1]
    assert mine("/addresses/add/", {"ranges": "192.0.2.20"})[0] == 404
    assert mine("/addresses/192.0.2.11/explode/", {})[0] == 404
    assert rows("/addresses/192.0.2.99/release/", {})[0] == 404


def test_an_address_is_moved_in_one_step(page, user, admin, world, cluster, one):
    other = world.instance(user, world.image(admin, name="other"), "second", node="nc-00000001", cluster=cluster.pk, state="running")
    page(admin)("/addresses/add/", {"cluster": cluster.pk, "ranges": "192.0.2.10"})
    show = page(user)
    show(f"/instances/{one.pk}/access/address/", {"address": ""})
    row = ElasticAddress.objects.get()
    _, text = show("/addresses/")
    assert f'action="/addresses/{row.pk}/lead/"' in text
    assert "Move" in text
    _, text = show(f"/addresses/{row.pk}/lead/", {"instance": "nosuch"})
    assert "There is no instance 'nosuch'" in text
    assert "192.0.2.10" in text, "told where it was asked for"
    assert "192.0.2.10 leads to second" in show(f"/addresses/{row.pk}/lead/", {"instance": "second"})[1]
    assert ElasticAddress.objects.get().instance_id == other.pk


def test_what_another_tab_closed_is_told_on_the_page(page, user, one):
    show = page(user)
    show(f"/instances/{one.pk}/access/forward/", {"guest_port": "22", "protocol": "tcp"})
    gone = {"forward": Forward.objects.get().pk}
    show(f"/instances/{one.pk}/access/close/", gone)
    code, text = show(f"/instances/{one.pk}/access/close/", gone)
    assert (code, "There is no forward" in text, "Reached from outside" in text) == (200, True, True)


def test_it_is_all_in_chinese(page, user, one):
    show = page(user, "zh-hans")
    text = show(f"/instances/{one.pk}/access/forward/", {"guest_port": "22", "protocol": "tcp", "sources": "", "for_s": ""})[1]
    assert "从外部访问" in text
    refused = show("/security-groups/add/", {"name": "web", "rules": "tcp:x"})[1]
    assert "The ports" not in refused


def test_nobody_changes_what_reaches_others(page, other, one):
    show = page(other)
    for verb, form in (("forward", {"guest_port": "22", "protocol": "tcp"}), ("rules", {"rules": "icmp"}), ("close", {"forward": "fwd-00000001"}),
                       ("address", {"address": ""})):
        assert show(f"/instances/{one.pk}/access/{verb}/", form)[0] == 404
    assert not Access.objects.exists()


def test_a_network_shows_how_it_is_and_how_much_is_lent(page, admin, world, cluster):
    show = page(admin)
    form = {"cluster": cluster.pk, "name": "class-7", "subnet": "10.40.0.0/29", "ranges": "", "mode": "closed"}
    show("/networks/add/", form | {"no_way_out": "1", "isolated": "1"})
    row = Network.objects.get()
    assert (row.way_out, row.isolated) == (False, True)
    world.image(admin)
    show("/instances/run/", {"image": "tiny", "name": "pupil", "count": "1", "cpus": "1", "network": row.pk})
    for where in ("/networks/", f"/networks/{row.pk}/"):
        text = show(where)[1]
        assert "1 of 5" in text
        assert 'value="20" aria-label="Lent"' in text


def test_the_file_of_a_remote_desktop_is_offered_once_something_leads_there(page, user, other, one):
    show, at = page(user), f"/instances/{one.pk}/access/remote-desktop/"
    assert at not in show(f"/instances/{one.pk}/")[1]
    assert "Nothing leads to the remote desktop" in show(at)[1]
    show(f"/instances/{one.pk}/access/forward/", {"guest_port": "3389", "protocol": "tcp", "sources": "", "for_s": ""})
    Forward.objects.update(address="203.0.113.1", port=20007)
    assert at in show(f"/instances/{one.pk}/")[1]
    assert "full address:s:203.0.113.1:20007\r\n" in show(at)[1]
    assert page(other)(at)[0] == 404
