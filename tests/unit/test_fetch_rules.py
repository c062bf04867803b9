"""Where a fetch may go at all: addresses, ports, URLs, redirects; and what names strangers may give."""

import ipaddress

import pytest

from luhyaapi.errors import Refused
from luhyaapi.transfer.fetch import places
from luhyaapi.transfer.fetch.names import suggested
from luhyaapi.transfer.fetch.rules import Rules, address_refused, port_refused

RULES = Rules(1000)


def nets(*texts):
    return tuple(map(ipaddress.ip_network, texts))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "223.5.5.5", "2606:4700::1111", "2001:da8:20::1", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_public_addresses_may_be_reached(address):
    assert address_refused(address, RULES) == ""


@pytest.mark.parametrize("address", [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::101:101", "100::1", "2001::1", "2001:0:7f00:1::",
    "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::1", "2002:101:101::1", "3fff::1", "4000::1",
    "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "localhost", "",
])
def test_all_others_may_not(address):
    assert address_refused(address, RULES) != ""


def test_what_is_allowed_may_be_reached_and_nothing_beside_it():
    rules = Rules(1000, allowed=nets("10.1.0.0/16", "fd00:1::/64", "127.0.0.3/32"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5", "127.0.0.3"):
        assert address_refused(address, rules) == ""
    for address in ("10.2.0.1", "fd00:2::1", "127.0.0.1", "64:ff9b::10.1.2.3", "2002:a01:203::1"):
        assert address_refused(address, rules) != ""


def test_nothing_allows_what_is_not_one_hosts_address():
    rules = Rules(1000, allowed=nets("0.0.0.0/0", "::/0"))
    assert address_refused("169.254.169.254", rules) == ""
    for address in ("0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255"):
        assert address_refused(address, rules) == "it is not one host's address"


def test_public_addresses_may_be_denied_and_one_of_them_allowed():
    rules = Rules(1000, denied=nets("202.112.0.0/16"), allowed=nets("202.112.7.7/32"))
    assert address_refused("202.112.1.1", rules) == "the administrator denies that network"
    assert address_refused("202.112.7.7", rules) == ""


@pytest.mark.parametrize(("port", "scheme", "good"), [
    (80, "http", True), (443, "https", True), (21, "ftp", True), (8080, "http", True), (50000, "ftp", True),
    (22, "http", False), (25, "http", False), (21, "http", False), (443, "http", False), (80, "ftp", False), (6379, "http", False),
    (11211, "https", False), (5672, "http", False), (3306, "ftp", False), (0, "http", False), (70000, "http", False),
])
def test_ports_of_other_services_are_no_ports(port, scheme, good):
    assert (port_refused(port, scheme) == "") is good


@pytest.mark.parametrize(("url", "asked"), [
    ("HTTP://Example.COM", "http://example.com/"),
    ("https://example.com:443/a b/ü?q=ä b#part", "https://example.com/a%20b/%C3%BC?q=%C3%A4%20b"),
    ("http://example.com.:8080/x%2Fy", "http://example.com:8080/x%2Fy"),
    ("http://例子.中国/x", "http://xn--fsqu00a.xn--fiqs8s/x"),
    ("http://[2606:4700:0::1111]/", "http://[2606:4700::1111]/"),
    ("http://1.1.1.1:8080/", "http://1.1.1.1:8080/"),
    ("ftp://mirror.example/a;type=a", "ftp://mirror.example/a%3Btype=a"),
    ("http://example.com/\\..\\x", "http://example.com/%5C..%5Cx"),
    ('http://example.com/a"<>`{}|^', "http://example.com/a%22%3C%3E%60%7B%7D%7C%5E"),
])
def test_a_url_is_put_together_anew(url, asked):
    assert places.parse(url, RULES).url == asked


@pytest.mark.parametrize(("url", "why"), [
    ("file:///etc/passwd", "only http, https, ftp"), ("gopher://example.com/", "only"), ("example.com/x", "only"), ("", "only"),
    ("dict://example.com:80/", "only"), ("unix:///run/x", "only"), ("//example.com/x", "only"),
    ("http://example.com/\r\nX: y", "control"), ("http://exam\tple.com/", "control"), ("http://example.com/\x00", "control"),
    ("http://exa\x85mple.com/", "control"), ("http:///x", "no name"), ("http://", "no name"), ("http://a..b/", "no name"),
    ("http://exa mple.com/", "no name"), ("http://-x.example/", "no name"), ("http://ex%61mple.com/", "no name"),
    ("http://example.com\\@127.0.0.1/", "written as %XX"), ("http://a@b@example.com/", "written as %XX"),
    ("http://example.com:x/", "cannot be read"), ("http://[::1/", "cannot be read"), ("http://example.com:99999/", "cannot be read"),
    ("http://[fe80::1%25eth0]/", "no address"), ("http://[v1.x]/", "cannot be read"), ("http://x[::1]/", "cannot be read"),
    ("http://[::1]x/", "cannot be read"), ("http://℀.example/", "cannot be read"),
    ("http://" + "a" * 64 + "ü.example/", "no name"),
    ("http://example.com:22/", "port 22"), ("http://example.com:6379/", "port 6379"), ("http://example.com:0/", "port 0"),
    ("ftp://example.com/folder/", "folder"), ("ftp://example.com/", "folder"), ("ftp://example.com/a%0d%0aDELE%20b", "control"),
    ("ftp://u%0d%0aDELE:p@example.com/a", "control"), ("http://u:p%00@example.com/a", "control"),
    ("http://example.com/" + "a" * 9000, "longer than"),
])
def test_a_url_that_breaks_a_rule_is_refused_by_its_name(url, why):
    with pytest.raises(Refused, match=why) as e:
        places.parse(url, RULES)
    assert e.value.code == "invalid"


@pytest.mark.parametrize("host", [
    "127.0.0.1", "127.1", "127.0.1", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "2130706433", "127.0.0.1.", "0", "0.0.0.0",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]",
    "①②⑦.⓪.⓪.①", "\uff11\uff12\uff17.0.0.1", "127。0。0。1", "169.254.169.254", "0xa9fea9fe", "2852039166", "[fd00:ec2::254]",
])
def test_an_address_that_is_not_public_is_forbidden_however_it_is_written(host):
    with pytest.raises(Refused) as e:
        places.parse(f"http://{host}/", RULES)
    assert e.value.code == "forbidden"


def test_credentials_are_kept_apart_and_never_shown():
    place = places.parse("http://ada:s%40cret@example.com/x?sig=hidden", RULES)
    assert (place.user, place.password) == ("ada", "s@cret")
    for text in (place.url, place.shown, repr(place), place.digest):
        assert "cret" not in text
        assert "ada" not in text
    assert place.shown == "http://example.com/x"
    assert "hidden" not in repr(place)


def test_credentials_stay_with_their_origin():
    place = places.parse("http://ada:pw@example.com/x", RULES)
    assert places.redirected(place, "/y", RULES).password == "pw"
    for other in ("https://example.com/y", "http://example.com:8080/y", "//www.example.com/y", "http://example.org/"):
        there = places.redirected(place, other, RULES)
        assert (there.user, there.password) == ("", "")


@pytest.mark.parametrize(("location", "url"), [
    ("y", "http://example.com/a/y"), ("../y?z", "http://example.com/y?z"), ("https://example.org", "https://example.org/"),
    ("/ü".encode().decode("latin-1"), "http://example.com/%C3%BC"), ("/\xfc", "http://example.com/%C3%BC"),
])
def test_redirects_are_understood(location, url):
    assert places.redirected(places.parse("http://example.com/a/x", RULES), location, RULES).url == url


@pytest.mark.parametrize(("start", "location", "why"), [
    ("https://example.com/", "http://example.com/", "from https to http"), ("http://example.com/", "ftp://example.com/x", "from http to ftp"),
    ("http://example.com/", "file:///etc/passwd", "only http"), ("http://example.com/", "http://a:b@example.com/", "credentials"),
    ("http://example.com/", "http://example.com:25/", "port 25"), ("http://example.com/", "http://[::1", "no URL"),
    ("http://example.com/", "http://10.0.0.1/", "not a public"), ("http://example.com/", "//2130706433/", "not a public"),
])
def test_redirects_are_checked_anew(start, location, why):
    with pytest.raises(Refused, match=why):
        places.redirected(places.parse(start, RULES), location, RULES)


@pytest.mark.parametrize(("disposition", "path", "name"), [
    ("", "/pub/debian-12.iso", "debian-12.iso"), ("", "/", ""), ("", "/a%2F..%2Fpasswd", "passwd"), ("", "/..", ""), ("", "/.bashrc", "bashrc"),
    ('attachment; filename="a b.img"', "/x", "a_b.img"), ("attachment; filename=a.img", "/x", "a.img"),
    ("attachment; filename*=UTF-8''%e8%ae%b2-1.iso; filename=old.iso", "/x", "1.iso"),
    ('attachment; filename="../../etc/cron.d/x"', "/y", "x"), ('attachment; filename="..\\\\..\\\\boot.ini"', "/y", "boot.ini"),
    ('attachment; filename="-rf"', "/y", "rf"), ('attachment; filename="a\x00b;c$(d)`e`"', "/y", "a_b_c_d_e"),
    ('attachment; filename="..."', "/fallback.bin", "fallback.bin"), ("attachment; filename=" + "a" * 9000 + ".iso", "/y", "a" * 100),
    ('attachment; filename="' + "\\" * 5000, "/y", "y"),
])
def test_a_name_is_harmless(disposition, path, name):
    assert suggested(disposition, path) == name
