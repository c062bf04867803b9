"""An address that may not be reached is never even knocked at, whoever leads there: a canary listens."""

import contextlib
import ipaddress

import pytest

from luhyaapi.errors import Failed, Unavailable
from tests.support.fetching import SHA256, decent, refused, to
from tests.support.small_http import HOME, Canary

pytestmark = pytest.mark.live
LITERALS = ("127.0.0.1", "127.1", "127.0.1", "0x7f000001", "0177.0.0.1", "2130706433", "0", "0.0.0.0", "127.0.0.1.", "[::ffff:127.0.0.1]",
            "[::]", "[::1]", "\uff11\uff12\uff17.0.0.1", "localhost", "LOCALHOST.", "a.localhost")


def test_the_canary_hears_what_is_allowed(get):
    with contextlib.closing(Canary()) as canary:
        refused("timeout", get, f"http://127.1:{canary.port}/", Failed, allowed=(ipaddress.ip_network("127.0.0.1/32"),), total_s=0.3)
        assert not canary.silent()


@pytest.mark.parametrize("host", LITERALS)
@pytest.mark.parametrize("scheme", ["http", "https", "ftp"])
def test_a_forbidden_address_is_not_reached_directly(get, canary, scheme, host):
    with contextlib.closing(Canary("::1", canary.port)) as six:
        refused("forbidden", get, f"{scheme}://{host}:{canary.port}/f")
        assert six.silent()


@pytest.mark.parametrize("host", [*LITERALS, "named.example"])
def test_a_forbidden_address_is_not_reached_by_a_redirect(serve, get, canary, host):
    server = serve(to(f"http://{host}:{canary.port}/f"))
    refused("forbidden", get, server.url(), resolve=lambda _h, _p: ["127.0.0.1"])
    assert len(server.asked) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::", "::1", "169.254.169.254", "64:ff9b::7f00:1"])
@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_forbidden_address_is_not_reached_by_a_name(get, canary, scheme, address):
    said = refused("forbidden", get, f"{scheme}://mirror.example:{canary.port}/f", resolve=lambda _h, _p: [address])
    assert "mirror.example leads to" in said


def test_an_address_beside_a_forbidden_one_is_used(serve, get, canary):
    server = serve(decent, port=canary.port)
    assert get(server.url(host="mirror.example"), lambda _h, _p: ["127.0.0.1", HOME]).sha256 == SHA256


@pytest.mark.parametrize("moved", [False, True])
def test_a_name_that_changes_its_mind_reaches_nothing(serve, get, canary, moved):
    """The first answer is good, the second is not: after a cut, and after a redirect to the same name."""
    server = serve(to("/again") if moved else lambda asked: asked.head(content_length=5), port=canary.port)
    answers = iter([[HOME], ["127.0.0.1"]])
    refused("forbidden", get, server.url(host="mirror.example"), resolve=lambda _h, _p: next(answers))
    assert len(server.asked) == 1


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://{}/f", "gopher://{}/f", "dict://{}/", "http://u:p@{}/"])
def test_a_redirect_leads_to_no_other_protocol(serve, get, location):
    """Not even at an address that is allowed."""
    with contextlib.closing(Canary(HOME)) as canary:
        server = serve(to(location.format(f"{HOME}:{canary.port}")))
        refused("invalid", get, server.url())
        assert canary.silent()


def test_an_ftp_server_cannot_point_elsewhere(get, ftp, canary):
    port = canary.port
    ftp.replies = {"EPSV": f"229 entering (|1|127.0.0.1|{port}|)", "PASV": f"227 entering (127,0,0,1,{port // 256},{port % 256})"}
    refused("transfer", get, ftp.url("/pub/disk.img"), Unavailable)
    ftp.replies["EPSV"] = "502 no"
    refused("transfer", get, ftp.url("/pub/disk.img"), Unavailable)
    ftp.replies = {"EPSV": "229 entering (|||6379|)", "PASV": "227 entering (127,0,0,3,0,22)"}
    assert "port 22" in refused("forbidden", get, ftp.url("/pub/disk.img"))


def test_nothing_of_the_environment_is_used(serve, get, canary, monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text(f"machine {HOME} login ada password secret\n")
    (home / ".curlrc").write_text(f"proxy = 127.0.0.1:{canary.port}\n")
    monkeypatch.setenv("HOME", str(home))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY", "ftp_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    server = serve(decent)
    get(server.url())
    assert "authorization" not in server.asked[0].headers


def test_cookies_are_not_kept(serve, get):
    server = serve(lambda a: a.give(b"x") if a.path == "/2" else a.head(302, location="/2", set_cookie="a=b; path=/", content_length=0))
    get(server.url("/1"))
    assert "cookie" not in server.asked[1].headers
