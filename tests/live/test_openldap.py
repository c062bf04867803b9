"""A real OpenLDAP keeps the laws of a directory of people; and what only a real one shows: TLS, StartTLS, hanging, referrals, objectGUID."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import ldap
import pytest
from django.test import Client

from clc.services import directories, directory_checks
from clc.services.directory_lines import lines
from luhyaapi.errors import Unavailable
from luhyadb.models import Account
from tests.support import private_slapd
from tests.support.clc_world import PASSWORD
from tests.support.directory_laws import Laws
from tests.support.private_slapd import BASE

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def slapd():
    with private_slapd.server() as bed:
        yield bed


@pytest.fixture
def bed(slapd):
    yield slapd
    slapd.clear()


class TestOpenLdap(Laws):
    """The real one."""


def refused(driver, password="quiet river"):
    began = time.monotonic()
    with pytest.raises(Unavailable) as error:
        driver.signed_in("ann", password)
    assert error.value.code == "directory_down"
    return error.value, time.monotonic() - began


def test_starttls_comes_before_anything_is_said(bed):
    bed.person("ann", "quiet river")
    assert bed.driver(uri=bed.open_uri).signed_in("ann", "quiet river").name == "ann"
    assert list(bed.driver(uri=bed.open_uri).steps())[1].endswith("with a certificate that is trusted")


def test_without_tls_only_where_it_is_said(bed):
    bed.person("ann", "quiet river")
    assert bed.driver(uri=bed.open_uri, plain=True, ca="").signed_in("ann", "quiet river").name == "ann"


def test_a_certificate_of_another_authority_ends_it(bed, tmp_path):
    bed.person("ann", "quiet river")
    private_slapd._certificates(tmp_path)
    other = (tmp_path / "ca.pem").read_text()
    for uri in (bed.uri, bed.open_uri):
        for ca in (other, ""):
            error, _ = refused(bed.driver(uri=uri, ca=ca))
            assert "authority" in error.hint, error


def test_a_certificate_for_another_host_ends_it(bed):
    driver = bed.driver(uri=f"ldaps://localhost:{bed.tls_port}")
    error, _ = refused(driver)
    assert "names the host" in error.hint
    with pytest.raises(Unavailable, match="Hostname mismatch"):
        list(driver.steps())


def test_an_address_without_the_tls_of_its_port_ends_it(bed):
    error, took = refused(bed.driver(uri=f"ldap://127.0.0.1:{bed.tls_port}", timeout_s=1))
    assert error.hint
    assert took < 15


@contextlib.contextmanager
def silent(first_answer=b""):
    """A server that takes connections and says nothing, or nothing after its first answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def take():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])
                    if first_answer:
                        taken[-1].recv(1000)
                        taken[-1].sendall(first_answer)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for each in taken:
            each.close()


@pytest.mark.parametrize(("scheme", "plain"), [("ldap", True), ("ldap", False), ("ldaps", False)])
def test_one_that_hangs_ends_in_time(bed, scheme, plain):
    with silent() as port:
        error, took = refused(bed.driver(uri=f"{scheme}://127.0.0.1:{port}", plain=plain, timeout_s=1))
    assert took < 15, error


def test_one_that_hangs_in_the_handshake_it_agreed_to_ends_in_time(bed):
    with silent(bytes.fromhex("300c02010178070a010004000400")) as port:
        error, took = refused(bed.driver(uri=f"ldap://127.0.0.1:{port}", timeout_s=1))
    assert took < 15, error


def test_other_threads_go_on_while_one_hangs(bed):
    """The library lets go of the interpreter while it waits."""
    with silent() as port:
        driver = bed.driver(uri=f"ldaps://127.0.0.1:{port}", timeout_s=1)

        def ask():
            with contextlib.suppress(Unavailable):
                driver.named("ann")

        waiting = threading.Thread(target=ask)
        waiting.start()
        ticks, until = 0, time.monotonic() + 0.8
        while time.monotonic() < until:
            time.sleep(0.005)
            ticks += 1
        waiting.join(5)
    assert ticks > 20, "not a thread, the whole process waited"


def test_referrals_lead_nowhere(bed):
    bed.person("ann", "quiet river")
    with silent() as port, bed.line() as line:
        line.set_option(ldap.OPT_REFERRALS, 0)
        line.add_ext_s(f"ou=elsewhere,{BASE}", [("objectClass", [b"referral", b"extensibleObject"]), ("ou", [b"elsewhere"]),
                                                ("ref", [f"ldap://localhost:{port}/ou=elsewhere,{BASE}".encode()])],
                       serverctrls=[ldap.controls.simple.ManageDSAITControl()])
        try:
            began = time.monotonic()
            assert bed.driver().signed_in("ann", "quiet river").name == "ann"
            assert len(bed.driver().everybody(10)) == 1
            assert time.monotonic() - began < 3, "to wait for the other would take that long"
        finally:
            line.delete_ext_s(f"ou=elsewhere,{BASE}", serverctrls=[ldap.controls.simple.ManageDSAITControl()])


AD = directories.PRESETS["active-directory"]


def test_only_what_is_asked_for_is_read(bed):
    """Entries hold pictures and worse; what a mapping compares is asked for by name."""
    bed.person("ann", "quiet river")
    assert "sn" not in bed.driver().named("ann").values
    person = bed.driver(further=("sn", "userPassword")).named("ann")
    assert person.values["sn"] == ("ann",)
    assert "userpassword" not in person.values, "nobody may read it"


def test_like_active_directory(bed):
    one, two = (f"00000000-1111-2222-3333-44444444444{n}" for n in (1, 2))
    for name, ident, flags in (("Ann.Lee", one, 512), ("Bob", two, 514)):
        bed.person(name.lower(), "quiet river", sAMAccountName=name, objectGUID=private_slapd.guid(ident), userAccountControl=flags, objectCategory="person")
    driver = bed.driver(**AD)
    person = driver.signed_in("ann.lee", "quiet river")
    assert (person.name, person.subject) == ("Ann.Lee", f"hex:{private_slapd.guid(one).hex()}")
    assert set(driver.known([person.subject, f"hex:{private_slapd.guid(two).hex()}"])) == {person.subject}
    assert driver.signed_in("bob", "quiet river") is None, "he is disabled there"
    assert [each.name for each in driver.everybody(10)] == ["Ann.Lee"]


def test_groups_that_only_they_know(bed):
    """A directory without memberOf: groups are searched for by whom they have."""
    dn = bed.person("ann", "quiet river")
    group = bed.group("teachers", "ann")
    driver = bed.driver(groups_attribute="ou", group_filter="(&(objectClass=groupOfNames)(member={dn}))")
    assert driver.signed_in("ann", "quiet river").values["ou"] == (group,)
    assert driver.named("ann").place == dn


def test_all_of_many_come_in_pages(bed):
    for n in range(520):
        bed.person(f"p{n:03}", "x")
    assert len(bed.driver().everybody(1000)) == 520


def test_from_the_login_page_to_the_account_and_out_again(bed, world, admin, monkeypatch):
    monkeypatch.setattr(lines, "_silent", {})
    world.group("edu.school", admin)
    row = directories.add(admin, "school", "openldap", bed.settings(), secret=bed.secret, units="edu", group="edu", enabled=True)
    bed.person("ann", "quiet river", units=("school",), display="Ann Lee")
    bed.person("tina", "quiet river")
    directories.map_to(admin, "school", "memberOf", bed.group("teachers", "tina"), "edu.school", "powerAdm")
    assert all(each.ok for each in directory_checks.look_into(admin, "school", "ann"))
    client = Client()
    assert client.post("/login/", {"username": "ann", "password": "quiet river"})["Location"] == "/portal/"
    ann = Account.objects.get(username="ann")
    assert (ann.group.path, ann.display_name, ann.access_role_id) == ("edu.school", "Ann Lee", "user")
    login = world.api(None).post("/api/v1/login/", {"username": "tina", "password": "quiet river"}, format="json")
    assert login.status_code == 200
    assert Account.objects.get(username="tina").access_role_id == "powerAdm"
    bed.rename("ann", "anna")
    bed.remove("tina")
    assert directory_checks.check(row).deactivated == ["tina"]
    ann.refresh_from_db()
    assert ann.username == "anna"
    assert client.get("/portal/").status_code == 200
    bed.stop()
    try:
        assert Client().post("/login/", {"username": "anna", "password": "quiet river"}).status_code == 503
        assert Client().post("/login/", {"username": "root", "password": PASSWORD}).status_code == 302
    finally:
        bed.start()


def test_a_name_nobody_has_takes_as_long(bed):
    bed.person("ann", "quiet river")
    driver = bed.driver()

    def asked(name):
        def sign_in():
            assert driver.signed_in(name, "wrong") is None

        return bed.asked_by(sign_in)

    known = asked("ann")
    assert known.count("RESULT tag=97 err=49") == 1
    assert asked("nobody") == known, "the directory is asked for as much and says the same"
