"""Security rules as texts: read by the client and by the pages alike, kept, shown, and read again as the same."""

import pytest

from clc.services import rules
from deploy.cli import access
from luhyaapi.contracts.specs import Allow
from luhyaapi.edge.plan import Card, RulesPlan, Segment, check
from luhyaapi.errors import Refused

GOOD = {
    "tcp:22:": ("tcp", 22, 22, "0.0.0.0/0"),
    "tcp:22": ("tcp", 22, 22, "0.0.0.0/0"), "tcp:22:10.0.0.0/8": ("tcp", 22, 22, "10.0.0.0/8"),
    "udp:5000-5010:2001:db8::/32": ("udp", 5000, 5010, "2001:db8::/32"),
    "icmp": ("icmp", 0, 0, "0.0.0.0/0"), "icmp:fd00::/8": ("icmp", 0, 0, "fd00::/8"), "any:192.0.2.7": ("any", 0, 0, "192.0.2.7/32"),
    "any:2001:DB8::1": ("any", 0, 0, "2001:db8::1/128"), "tcp:1-65535:::/0": ("tcp", 1, 65535, "::/0"),
}


@pytest.mark.parametrize("text", GOOD)
def test_a_text_is_a_rule_and_a_rule_its_text(text):
    parts = rules.parse(text)
    assert parts == access.rule(text)
    (kept,) = rules.read([parts])
    assert tuple(kept.values()) == GOOD[text]
    shown = rules.show(kept)
    assert rules.line(shown) == access.line(shown)
    assert rules.read([rules.parse(rules.line(shown))]) == [kept]


@pytest.mark.parametrize("text", ["", "tcp", "tcp:", "tcp:ssh", "sctp:22", "icmp:8", "any:10.0.0.1/8", "tcp:22:10.0.0.0/33", "tcp:022222", "TCP:22",
                                  "tcp:22-", "tcp:-22", "tcp:٢٢", "any:fe80::1%eth0", "any:fe80::%1/64", "any:10.0.0.0/8%1"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(Refused) as e:
        rules.read([rules.parse(text)])
    assert (e.value.code, e.value.params["field"]) == ("invalid", "rules")


def test_what_is_kept_is_what_an_edge_takes():
    kept = rules.read([rules.parse(text) for text in GOOD])
    allow = rules.together([kept, kept])
    assert len(allow) == len(set(GOOD.values()))
    assert all(isinstance(each, Allow) for each in allow)
    segment = Segment(name="desk", bridge="br0", subnets=("10.77.0.0/24",), routers=("10.77.0.1",))
    card = Card(tap="tap0", mac="52:54:00:00:00:01", segment="desk", addresses=("10.77.0.5",), allow=allow)
    check(RulesPlan(name="a", segments=(segment,), cards=(card,)))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2h", 7200), ("7d", 604_800), (" 5 m ", 300)])
def test_a_span_of_time(text, seconds):
    assert access.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0h", "2", "h", "-2h", "2 weeks", "1.5h", "9999999d"])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(Refused):
        access.seconds(text)


@pytest.mark.parametrize("source", ["fe80::1%eth0", "fe80::1%eth0/64", "10.0.0.1/8", "everybody", "", "10.0.0.0/8 accept; flush"])
def test_a_source_that_is_none_is_no_word_of_a_cloud(source):
    with pytest.raises(ValueError, match="source"):
        Allow.model_validate({"protocol": "any", "source": source})
