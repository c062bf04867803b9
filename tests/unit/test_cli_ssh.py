"""The words of an ssh call, and what may not become one of them."""

import shlex
from pathlib import Path

import pytest

from deploy.cli import reaching
from luhyaapi.errors import Refused
from tests.support.cli_calls import cli_fixture

_client = cli_fixture
ID = "ins-0000000a"


def words(ident=ID, port=22, context="", *, user="", identity=None, command=()):
    return reaching.ssh_words(ident, port, context, user=user, identity=identity, command=list(command))


def proxy(argv):
    (found,) = [w.removeprefix("ProxyCommand=") for w in argv if w.startswith("ProxyCommand=")]
    return shlex.split(found.replace("%%", "%"))


def test_the_call_goes_through_our_own_tunnel_and_keeps_hosts_by_id():
    argv = words(user="debian", identity=Path("/k"), command=["uname", "-a"])
    assert argv[0] == "ssh"
    assert f"HostKeyAlias={ID}" in argv
    assert argv[-4:] == ["--", ID, "uname", "-a"]
    assert argv[-8:-4] == ["-l", "debian", "-i", "/k"]
    assert proxy(argv)[-4:] == ["instance", "tunnel", ID, "22"]
    assert proxy(words(port=2222, context="lab"))[-4:] == [ID, "2222", "--context", "lab"]


def test_nothing_leaves_its_quotes(monkeypatch, tmp_path):
    folder = tmp_path / "a b;$(touch x)'%h"
    folder.mkdir()
    (folder / "educloud").write_text("")
    monkeypatch.setattr(reaching.sys, "executable", str(folder / "python"))
    argv = words(context="a b';%p$(x)")
    assert proxy(argv)[0] == str(folder / "educloud")
    assert proxy(argv)[-1] == "a b';%p$(x)"
    (line,) = [w for w in argv if w.startswith("ProxyCommand=")]
    assert "%h" not in line.replace("%%", "")
    (folder / "educloud").unlink()
    assert proxy(words())[1:3] == ["-m", "deploy.cli.main"]


@pytest.mark.parametrize("ident", ["", "-oProxyCommand=x", "ins-0000000a x", "ins-0000000G", "web", "ins-0000000a\n"])
def test_what_is_no_id_is_refused(ident):
    with pytest.raises(Refused):
        words(ident)


@pytest.mark.parametrize("user", ["-oProxyCommand=x", "a b", "a;b", ".x", "a\nb", "$(x)", "ü"])
def test_what_is_no_user_is_refused(user):
    with pytest.raises(Refused):
        words(user=user)


def test_it_becomes_ssh(cli, monkeypatch):
    cli.cloud.add_image("tiny", kernel=b"k")
    made = cli("instance", "run", "--image", "tiny", "--name", "web", "--json").json
    called = []
    monkeypatch.setattr(reaching.os, "execvp", lambda program, argv: called.append((program, argv)))
    assert cli("instance", "ssh", "web", "--user", "debian", "--", "ls", "-l").code == 0
    ((program, argv),) = called
    assert program == "ssh"
    assert argv[-4:] == ["--", made["id"], "ls", "-l"]
    assert cli("instance", "ssh", "web", "--json").code == 2


def test_a_machine_without_ssh_says_so(cli, monkeypatch):
    cli.cloud.add_image("tiny", kernel=b"k")
    cli("instance", "run", "--image", "tiny", "--name", "web")

    def gone(_program, _argv):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(reaching.os, "execvp", gone)
    ended = cli("instance", "ssh", "web")
    assert ended.code
    assert "no ssh" in ended.err
