"""Contexts of the client: the file, the environment, signing in."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.cli import contexts
from deploy.cli.contexts import Context
from luhyaapi.errors import Refused
from tests.support.cli_calls import Cli, cli_fixture
from tests.support.fake_clc_api import ADMIN_PASSWORD, TOKEN, URL

_client = cli_fixture


def test_what_is_saved_is_loaded_and_private(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "config.toml"
    first, second = Context("one", "http://a:1", 'tok"en\\', ""), Context("two", "https://b", "t", "/ca.pem", "ann")
    contexts.save(first, file)
    contexts.save(second, file)
    assert contexts.load(file) == ("two", {"one": first, "two": second})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not contexts.too_open(file)
    file.chmod(0o644)
    assert "chmod 600" in contexts.too_open(file)
    assert [p.name for p in file.parent.iterdir()] == ["config.toml"]
    assert "t" not in repr(second).split("token")[1:]


@pytest.mark.parametrize("url", ["", "cloud", "ftp://x", "http://", "http://a b", "http://a\x1b", "http://[x", "http://a:99999"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        contexts.checked_url(url)


@pytest.mark.parametrize("text", ["not toml [", "[contexts.a]\ntoken='x'\n", "contexts = 3\n", "[contexts.a]\nurl = 'nowhere'\n"])
def test_a_broken_file_is_refused_by_name(cli: Cli, text: str) -> None:
    cli.environ.clear()
    cli.config.write_text(text)
    cli.config.chmod(0o600)
    ended = cli("status")
    assert ended.code == 2
    assert not cli.line.tries


def test_the_order_of_choice(tmp_path: Path) -> None:
    file = tmp_path / "c"
    contexts.save(Context("a", "http://a", "ta"), file)
    contexts.save(Context("b", "http://b", "tb"), file)
    assert contexts.choose("", {}, file).name == "b"
    assert contexts.choose("a", {"EDUCLOUD_URL": "http://c"}, file).url == "http://a"
    assert contexts.choose("", {"EDUCLOUD_URL": "http://c", "EDUCLOUD_TOKEN": "tc"}, file).token == "tc"
    assert contexts.choose("", {"EDUCLOUD_URL": "http://a/"}, file).token == "ta"
    assert contexts.choose("", {"EDUCLOUD_URL": "http://c"}, file).token == ""
    assert contexts.choose("", {"EDUCLOUD_TOKEN": "mine"}, file) == Context("b", "http://b", "mine")
    with pytest.raises(Refused):
        contexts.choose("nobody", {}, file)


def test_login_writes_a_context_that_works(cli: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(ADMIN_PASSWORD + "\n")
    cli.environ.clear()
    ended = cli("login", URL + "/", "--password-file", str(secret), "--json")
    assert ended.code == 0
    assert ended.json["url"] == URL
    assert TOKEN not in ended.out
    assert cli("status", "--json").json["health"] == "ok"


def test_a_refused_login_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    assert cli("login", URL, "--password-file", str(secret)).code == 4
    secret.write_text("")
    assert cli("login", URL, "--password-file", str(secret)).code == 2
    assert cli("login", URL).code == 2
    assert not cli.config.exists()


def test_a_token_with_odd_characters_is_not_sent(cli: Cli) -> None:
    cli.environ["EDUCLOUD_TOKEN"] = "a\nb"
    assert cli("status").code == 4
    assert not cli.line.tries


def test_accounts(cli: Cli, tmp_path: Path) -> None:
    made = cli("user", "add", "alice", "--json")
    assert made.json["username"] == "alice"
    assert made.json["password"] == cli.cloud.users["alice"]["password"]
    secret = tmp_path / "password"
    secret.write_text("given-one\n")
    named = cli("user", "add", "bob", "--role", "superAdm", "--password-file", str(secret), "--json")
    assert "given-one" not in named.out
    assert cli.cloud.users["bob"] == {"username": "bob", "role": "superAdm", "group": "", "password": "given-one"}
    assert cli("user", "add", "bob").code == 5
    assert cli("admin", "password").code == 2


def test_a_new_password_ends_all_sessions_and_the_client_signs_in_again(cli: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("given-one\n")
    contexts.save(Context("mine", URL, TOKEN), cli.config)
    contexts.save(Context("other", "http://else", "t"), cli.config)
    cli.environ.clear()
    current = tmp_path / "current"
    current.write_text(ADMIN_PASSWORD)
    changed = cli("admin", "password", "--password-file", str(secret), "--current-password-file", str(current), "--context", "mine", "--json")
    assert changed.json["signed_in"]
    assert cli.cloud.users["me"] == {"password": "given-one"}
    assert TOKEN not in cli.cloud.tokens
    assert cli("status", "--context", "mine").code == 0
    assert contexts.load(cli.config)[0] == "other"


def test_a_new_password_with_a_token_from_elsewhere_says_to_sign_in(cli: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("given-one\n")
    current = tmp_path / "current"
    current.write_text(ADMIN_PASSWORD)
    ended = cli("admin", "password", "--password-file", str(secret), "--current-password-file", str(current))
    assert ended.code == 0
    assert f"educloud login {URL}" in ended.err
