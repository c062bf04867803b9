"""A console with a certificate of the operator's own: by which name the client asks, and whom it believes."""

import dataclasses
import os

import pytest

from deploy.cli import contexts
from deploy.host import account, checks, console
from deploy.host.plan import Choices
from luhyaapi.errors import Refused
from tests.support.certificates import issue, pem
from tests.support.granted import a_plan

OPEN = Choices(listen="10.0.0.1", address="10.0.0.1")
NAME = "cloud.school.example"


@pytest.fixture
def plan(tmp_path):
    made = dataclasses.replace(a_plan(tmp_path / "home"), choices=OPEN)
    made.certified.mkdir(parents=True)
    (made.certified / "authority.pem").write_text("AUTHORITY")
    return made


def chosen(plan, folder, name=NAME, *more: str) -> None:
    lines = ["[console]", f'certificate = "{folder / name}.pem"', f'private_key = "{folder / name}.key"', *more]
    plan.own_settings("clc").write_text("\n".join(lines))


def test_without_one_the_cloud_is_believed_where_it_listens(plan):
    assert console.of(plan) == console.Console("https://10.0.0.1:8600", "AUTHORITY")
    assert console.of(dataclasses.replace(plan, choices=Choices())) == console.Console("http://127.0.0.1:8600")
    plan.own_settings("clc").write_text('[console]\npublic_url = "https://proxy.example"\n')
    assert console.of(plan).url == "https://10.0.0.1:8600", "somebody else's certificate stands before it"


def test_one_that_a_known_authority_signed_is_left_to_the_machine(plan, tmp_path):
    issue(tmp_path, NAME, by=issue(tmp_path, "root", authority=True))
    chosen(plan, tmp_path)
    assert console.of(plan) == console.Console(f"https://{NAME}:8600", "", own=True)
    assert f"https://{NAME}:8600" in console.hint(plan)
    chosen(plan, tmp_path, NAME, 'public_url = "https://cloud.school.example/"')
    assert console.of(plan).url == "https://cloud.school.example"


def test_a_chain_up_to_its_root_is_believed_and_no_key_in_it_goes_along(plan, tmp_path):
    root = issue(tmp_path, "root", authority=True)
    leaf, _ = issue(tmp_path, NAME, by=root)
    key = (tmp_path / f"{NAME}.key").read_bytes()
    (tmp_path / f"{NAME}.pem").write_bytes(pem(leaf) + key + pem(root[0]))
    chosen(plan, tmp_path)
    assert console.of(plan).authority.encode() == pem(root[0])


@pytest.mark.parametrize(("names", "more", "host"), [
    (("*.school.example", "desk.school.example"), (), "desk.school.example"), (("a.example", "localhost"), (), "localhost"),
    (("a.example", "b.example"), ('origins = ["b.example"]',), "b.example"), (("a.example", "10.0.0.1"), (), "10.0.0.1"), (("*.example",), (), "10.0.0.1"),
])
def test_it_is_asked_by_a_name_that_it_proves_and_answers_to(plan, tmp_path, names, more, host):
    issue(tmp_path, *names)
    chosen(plan, tmp_path, names[0], *more)
    assert console.of(plan).url == f"https://{host}:8600"


def test_one_that_cannot_be_read_is_named_and_keeps_no_reset_from_its_work(plan, tmp_path):
    chosen(plan, tmp_path)
    with pytest.raises(Refused, match=r"console\.certificate") as e:
        console.of(plan)
    assert "clc.local.toml" in e.value.hint
    with pytest.raises(Refused, match=r"console\.certificate"):
        checks.settings(plan)
    who = account.Caller(tmp_path / "user", os.getuid(), os.getgid())
    contexts.save(contexts.Context("default", plan.console.rstrip("/"), "t"), who.config)
    account.drop_entry(plan, who)
    assert not who.config.exists()


def test_the_users_entry_follows_the_certificate(plan, tmp_path):
    who = account.Caller(tmp_path / "user", os.getuid(), os.getgid())
    source = tmp_path / "made.toml"
    contexts.save(contexts.Context("local", "https://10.0.0.1:8600", "t"), source)
    account.put_entry(plan, who, source)
    assert account.has_entry(plan, who)
    root = issue(tmp_path, "10.0.0.1")
    chosen(plan, tmp_path, "10.0.0.1")
    assert not account.has_entry(plan, who), "the same address, and somebody else proves it"
    account.put_entry(plan, who, source)
    assert account.has_entry(plan, who)
    copy = who.config.with_name("default-authority.pem")
    assert copy.read_bytes() == pem(root[0])
    issue(tmp_path, "10.0.0.1", by=issue(tmp_path, "root", authority=True))
    assert not account.has_entry(plan, who)
    account.put_entry(plan, who, source)
    (entry,) = contexts.load(who.config)[1].values()
    assert (entry.ca_file, copy.exists(), account.has_entry(plan, who)) == ("", False, True)
    contexts.save(dataclasses.replace(entry, ca_file="/etc/my-own.pem"), who.config)
    assert account.has_entry(plan, who), "whom a user chose to believe is the user's"
    chosen(plan, tmp_path, "10.0.0.1", 'public_url = "https://new.example"')
    account.put_entry(plan, who, source)
    account.drop_entry(plan, who)
    assert not who.config.parent.exists()
