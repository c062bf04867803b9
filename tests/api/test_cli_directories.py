"""`educloud directory` against the real API: added, tested, mapped, brought in, checked, changed, removed."""

from __future__ import annotations

import json

import httpx
import pytest

from clc.services import directories, tokens
from clc.services.directory_lines import lines
from deploy.cli.main import main
from deploy.cli.session import Session
from luhyadb.models import Account, Directory
from tests.support import fake_directory


@pytest.fixture
def bed(monkeypatch):
    one = fake_directory.Bed()
    fake_directory.registered(monkeypatch, one)
    monkeypatch.setattr(lines, "_silent", {})
    return one


@pytest.fixture
def cli(world, admin, tmp_path, capsys):
    """``cli(...)``: exit code, the JSON document where ``--json`` was asked for, and all that was printed."""
    environ = {"EDUCLOUD_URL": "http://localhost", "EDUCLOUD_TOKEN": tokens.signed_in(admin)[1]}

    def answer(asked):
        kind = asked.headers.get("Content-Type", "application/octet-stream")
        got = world.api(None).generic(asked.method, asked.url.raw_path.decode(), asked.read(), content_type=kind, headers=dict(asked.headers))
        return httpx.Response(got.status_code, content=got.content, headers=dict(got.items()))

    def call(*args):
        capsys.readouterr()
        code = main(args, Session(environ=environ, config=tmp_path / "config.toml", transport=httpx.MockTransport(answer), terminal=lambda: False))
        seen = capsys.readouterr()
        return code, json.loads(seen.out) if "--json" in args and seen.out else None, seen.out + seen.err

    return call


def test_the_whole_way(cli, bed, world, admin, tmp_path):
    world.group("edu.school", admin)
    secret = tmp_path / "secret"
    secret.write_text(bed.secret + "\n")
    args = [f"--set={name}={value}" for name, value in bed.settings().items()]
    code, made, told = cli("directory", "add", "school", *args, "--secret-file", str(secret), "--group", "edu", "--role", "user", "--json")
    assert code == 0, told
    assert (made["has_secret"], made["group"], made["kind"], made["enabled"]) == (True, "edu", "ldap", False)
    assert cli("directory", "change", "school", "--on", "--json")[1]["enabled"]
    assert bed.secret not in told
    assert directories.secret_of(Directory.objects.get()) == bed.secret
    bed.person("ann", "quiet river")
    dn = bed.group("teachers", "ann")
    code, mapping, _ = cli("directory", "map", "school", dn, "edu.school", "--role", "powerAdm", "--json")
    assert (code, mapping["role"]) == (0, "powerAdm")
    code, _, told = cli("directory", "test", "school", "--user", "ann")
    assert code == 0
    assert "ann belongs to edu.school as powerAdm" in told
    code, _, told = cli("directory", "test", "school", "--user", "nobody")
    assert code == 1
    assert "WRONG nobody is called nobody" in told
    code, _, told = cli("directory", "import", "school", "--preview")
    assert (code, "nothing is changed yet" in told) == (0, True)
    assert not Account.objects.filter(username="ann").exists()
    assert cli("directory", "import", "school")[0] == 0
    assert Account.objects.get(username="ann").access_role_id == "powerAdm"
    assert cli("directory", "check", "school", "--json")[1] == {"accounts": 1, "deactivated": [], "held": []}
    assert "school" in cli("directory", "list")[2]
    assert dn in cli("directory", "show", "school")[2]
    assert cli("directory", "unmap", "school", mapping["id"])[0] == 0
    code, changed, _ = cli("directory", "change", "school", "--set", "timeout_s=2.5", "--group", "none", "--off", "--json")
    assert (changed["settings"]["timeout_s"], changed["group"], changed["enabled"]) == (2.5, None, False)
    assert cli("directory", "remove", "school", "--yes")[0] == 5
    assert cli("directory", "remove", "school", "--yes", "--with-accounts")[0] == 0
    assert not Directory.objects.exists()


@pytest.mark.parametrize(("args", "code", "why"), [
    (("add", "school", "--set", "uri"), 2, "give SETTING=VALUE"), (("add", "school", "--set", "uri=http://x", "--set", "base=x"), 2, "uri"),
    (("add", "School"), 2, "name of the directory"), (("change", "nobody", "--off"), 3, "no directory"), (("test", "nobody"), 3, "no directory"),
    (("add", "x", "--preset", "oidc", "--set", "issuer=https://id.test", "--set", "client_id=a", "--set", "timeout_s=soon"), 2, "it is a number"),
])
def test_what_cannot_be_is_said(cli, args, code, why):
    got, _, told = cli("directory", *args)
    assert (got, why in told) == (code, True), told


def test_a_silent_directory_is_said(cli, bed, world, admin):
    directories.add(admin, "school", "openldap", bed.settings(), secret=bed.secret, enabled=True)
    bed.stop()
    assert cli("directory", "test", "school")[0] == 1
    code, _, told = cli("directory", "check", "school")
    assert code == 1
    assert "The directory school does not answer" in told
