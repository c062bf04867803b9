"""Signing in by the command line client against the real API: what it asks for, says and stores."""

import base64
import getpass
import json

import httpx
import pytest

from clc.services import lock_out, people, second_step, sign_in, tokens
from deploy.cli import contexts
from deploy.cli.main import main
from deploy.cli.session import Session
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Refused
from luhyadb.models import SecondStep
from tests.api.test_cli_contract import URL, answer
from tests.support.clc_world import PASSWORD

NEW = "another horse battery"


@pytest.fixture
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def cli(world, tmp_path, capsys, monkeypatch):
    """``cli(*words, typed=...)``: exit code, output and complaints of one call; ``typed``: what somebody at a terminal types, in order, or tells it."""

    def call(*words, typed=(), **environ):
        left = list(typed)
        monkeypatch.setattr(getpass, "getpass", lambda _prompt: each() if callable(each := left.pop(0)) else each)
        capsys.readouterr()
        session = Session(environ=environ, config=tmp_path / "config.toml", transport=httpx.MockTransport(lambda asked: answer(world, asked)),
                          terminal=lambda: bool(typed))
        code = main(words, session)
        assert not left, "not all was asked for"
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


@pytest.fixture
def given(tmp_path):
    def write(text):
        file = tmp_path / f"file{len(list(tmp_path.iterdir()))}"
        file.write_text(text)
        return str(file)

    return write


def stored(tmp_path):
    return contexts.load(tmp_path / "config.toml")[1]["default"].token


def test_a_new_password_is_asked_for_where_somebody_is_there(cli, admin, tmp_path):
    newcomer = people.add(admin, "eve", PASSWORD)
    code, _, said = cli("login", URL, "--user", "eve", typed=(PASSWORD, NEW, NEW))
    assert (code, "Somebody else chose this password" in said) == (0, True), said
    assert PASSWORD not in said + (tmp_path / "config.toml").read_text()
    assert tokens.known(stored(tmp_path)).account == newcomer
    assert cli("instance", "list")[0] == 0


def test_a_script_is_told_what_to_do(cli, admin, given):
    people.add(admin, "eve", PASSWORD)
    code, _, said = cli("login", URL, "--user", "eve", "--password-file", given(PASSWORD))
    assert (code, "educloud admin password" in said) == (0, True)
    code, _, said = cli("instance", "list")
    assert (code, "code: password_change" in said, "educloud admin password" in said) == (4, True, True), said
    assert cli("admin", "password", "--password-file", given(NEW), "--current-password-file", given("wrong"))[0] == 2
    assert cli("admin", "password", "--password-file", given(NEW), "--current-password-file", given(PASSWORD))[0] == 0
    assert cli("instance", "list")[0] == 0


def test_the_code_is_asked_for(cli, user, time, given, tmp_path):
    secret = base64.b32decode(second_step.enrol(user).secret)
    recovery = second_step.confirm(user, second_step.code_at(secret, int(clock.now() // 30)))
    time.sleep(60)
    code, _, said = cli("login", URL, "--user", "ada", "--password-file", given(PASSWORD))
    assert (code, "code: second_step" in said) == (4, True), said
    shown = second_step.code_at(secret, int(clock.now() // 30))
    assert cli("login", URL, "--user", "ada", typed=(PASSWORD, shown))[0] == 0
    assert tokens.known(stored(tmp_path)).account == user
    assert cli("login", URL, "--user", "ada", typed=(PASSWORD, shown))[0] == 4, "once"
    assert cli("login", URL, "--user", "ada", "--password-file", given(PASSWORD), "--code", recovery[0])[0] == 0


def test_who_guesses_is_told_until_when(cli, user, given):
    wrong = given("guess")
    for _ in range(10):
        assert cli("login", URL, "--user", "ada", "--password-file", wrong)[0] == 4
    code, _, said = cli("login", URL, "--user", "ada", "--password-file", given(PASSWORD))
    assert (code, "the next one is possible at" in said, "code: locked_out" in said) == (6, True, True), said


def test_tokens(cli, user):
    environ = {"EDUCLOUD_URL": URL, "EDUCLOUD_TOKEN": tokens.signed_in(user)[1]}
    made = json.loads(cli("token", "create", "nightly", "--read-only", "--days", "7", "--json", **environ)[1])
    assert (made["name"], made["scope"], tokens.known(made["token"]).account) == ("nightly", "read", user)
    assert made["token"] not in cli("token", "list", **environ)[1]
    listed = json.loads(cli("token", "list", "--json", **environ)[1])
    assert [t["name"] for t in listed] == ["nightly", "command line"]
    assert cli("token", "create", "child", **(environ | {"EDUCLOUD_TOKEN": made["token"]}))[0] == 4
    assert cli("token", "create", "x", "--days", "366", **environ)[0] == 2
    assert cli("token", "revoke", made["id"], **environ)[0] == 0
    assert tokens.known(made["token"]) is None
    assert cli("token", "list", "--user", "ada", **environ)[0] == 4


def test_what_an_administrator_does_for_others(cli, admin, user):
    environ = {"EDUCLOUD_URL": URL, "EDUCLOUD_TOKEN": tokens.signed_in(admin)[1]}
    row, _ = tokens.make(user, "nightly")
    assert row.pk in cli("token", "list", "--user", "ada", **environ)[1]
    for _ in range(10):
        with pytest.raises(Refused), lock_out.attempt("ada", "192.0.2.1"):
            raise Refused("unauthenticated", "wrong")
    assert json.loads(cli("user", "show", "ada", "--json", **environ)[1])["locked_until"]
    assert json.loads(cli("user", "unlock", "ada", "--json", **environ)[1])["locked_until"] is None
    second_step.confirm(user, second_step.code_at(base64.b32decode(second_step.enrol(user).secret), int(clock.now() // 30)))
    assert cli("user", "remove-second-step", "ada", **environ)[0] == 2, "nobody was there to ask"
    assert cli("user", "remove-second-step", "ada", "--yes", **environ)[0] == 0
    assert sign_in.token("ada", PASSWORD)
    assert json.loads(cli("user", "deactivate", "ada", "--json", **environ)[1])["active"] is False
    assert cli("user", "deactivate", "ada", **environ)[0] == 5
    assert json.loads(cli("user", "reactivate", "ada", "--json", **environ)[1])["active"] is True
    assert cli("user", "password", "root", **environ)[0] == 4, "one's own needs the current one"


def test_the_second_step_by_the_command_line(cli, user, time, given):
    assert cli("login", URL, "--user", "ada", "--password-file", given(PASSWORD))[0] == 0
    code, told, _ = cli("second-step", "show")
    assert (code, "on" in told) == (0, True)
    assert cli("second-step", "on")[0] == 2, "nobody was there to ask for the password"
    assert cli("second-step", "on", "--password-file", given("wrong horse battery"))[0] == 2
    code, told, said = cli("second-step", "on", "--password-file", given(PASSWORD))
    assert (code, "otpauth://" in told, "<svg" in told, "second-step on --code" in said) == (0, True, False, True)
    secret = base64.b32decode(next(line.split()[-1] for line in told.splitlines() if line.startswith("secret")))
    now = int(clock.now() // 30)
    assert cli("second-step", "on", "--code", second_step.code_at(secret, now + 5))[0] == 2
    code, told, _ = cli("second-step", "on", "--code", second_step.code_at(secret, now))
    assert (code, len(told.split())) == (0, 10)
    assert second_step.is_on(user)
    time.sleep(60)
    code, told, _ = cli("--json", "second-step", "recovery-codes", "--password-file", given(PASSWORD))
    assert (code, len(json.loads(told)["recovery_codes"])) == (0, 10)
    assert cli("second-step", "off", "--password-file", given(PASSWORD))[0] == 0
    assert not second_step.is_on(user)



def test_the_second_step_is_turned_on_in_one_go_where_somebody_is_there(cli, user, time, given):
    def shown():
        row = SecondStep.objects.get(account=user)
        return second_step.code_at(second_step._secret(row), int(clock.now() // 30))

    assert cli("login", URL, "--user", "ada", "--password-file", given(PASSWORD))[0] == 0
    code, told, _ = cli("second-step", "on", typed=(PASSWORD, shown))
    assert (code, len(told.splitlines()[-10:])) == (0, 10)
    assert second_step.is_on(user)
