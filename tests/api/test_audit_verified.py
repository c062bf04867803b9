"""`educloud audit` against the real API: listed, exported to a file, verified there and from the cloud, and found out."""

import json

import httpx
import pytest

from clc.services import audit, tokens
from deploy.cli.main import main
from deploy.cli.session import Session
from luhyadb.models import Event

URL = "http://localhost"


@pytest.fixture
def cli(world, admin, tmp_path, capsys):
    """``cli(...)``: exit code, output and notes of one call by an administrator."""
    environ = {"EDUCLOUD_URL": URL, "EDUCLOUD_TOKEN": tokens.signed_in(admin)[1]}

    def answer(asked):
        got = world.api(None).generic(asked.method, asked.url.raw_path.decode(), asked.read(), headers=dict(asked.headers))
        content = b"".join(got.streaming_content) if got.streaming else got.content
        return httpx.Response(got.status_code, content=content, headers=dict(got.items()))

    def call(*args, **more):
        capsys.readouterr()
        session = Session(environ=environ | more, config=tmp_path / "config.toml", transport=httpx.MockTransport(answer), terminal=lambda: False)
        code = main(args, session)
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


@pytest.fixture
def done(world, admin, user):
    """Something happened, and is sealed."""
    world.cluster()
    world.instance(user, world.image(admin), "one")
    audit.tend()


def test_the_record_is_listed(cli, done, user):
    code, told, _ = cli("audit", "list", "--person", "ada")
    assert code == 0
    assert "instance defined" in told
    listed = json.loads(cli("--json", "audit", "list", "--limit", "2")[1])
    assert len(listed) == 2
    assert cli("audit", "list", "--since", "2999-01-01")[1].count("\n") == 1
    assert cli("audit", "list", "--via", "mail")[0] == 2


def test_the_record_of_a_cloud_is_verified(cli, done):
    head = audit.head()
    code, told, _ = cli("audit", "verify")
    assert (code, "nothing was changed, removed or put in" in told, f"head {head}" in told) == (0, True, True)
    found = json.loads(cli("--json", "audit", "verify", "--head", str(head))[1])
    assert (found["faults"], found["last"], found["whole"], found["unsealed"]) == ([], str(head), True, 1), "that it was exported is not sealed yet"
    assert cli("audit", "verify", "--head", "nonsense")[0] == 2
    Event.objects.filter(number=3).update(actor_name="somebody")
    code, told, error = cli("audit", "verify")
    assert (code, "line 3 was changed" in told, "code: digest" in error) == (1, True, True)
    Event.objects.filter(number=3).delete()
    assert "line 3 was removed" in cli("audit", "verify")[1]
    assert json.loads(cli("--json", "audit", "verify")[1])["faults"] == ["line 3 was removed"]


def test_a_file_is_verified_without_a_cloud(cli, done, tmp_path):
    file = tmp_path / "audit.jsonl"
    assert cli("audit", "export", "--out", str(file))[0] == 0
    assert cli("audit", "export", "--out", str(file))[0] == 2, "it is there already"
    nowhere = {"EDUCLOUD_URL": "http://192.0.2.1:9", "EDUCLOUD_TOKEN": "x"}
    code, told, _ = cli("audit", "verify", str(file), **nowhere)
    assert (code, "nothing was changed" in told) == (0, True)
    whole = file.read_text()
    noted = str(audit.head())
    lines = whole.splitlines(keepends=True)
    for worse, said in (
        (whole.replace('"ada"', '"bob"', 1), "was changed"), ("".join(lines[:2] + lines[3:]), "line 3 was removed"), ("".join(lines[:-1]), "no trailer"),
        ("".join([lines[1], lines[0], *lines[2:]]), "moved or put in"), ("".join([*lines[:3], lines[2], *lines[3:]]), "moved or put in"),
    ):
        file.write_text(worse)
        code, told, _ = cli("audit", "verify", str(file), **nowhere)
        assert (code, said in told) == (1, True), (said, told)
    cut = [*lines[:3], json.dumps(json.loads(lines[-1]) | {"head": f"3:{json.loads(lines[2])['digest']}"})]
    file.write_text("".join(cut))
    assert cli("audit", "verify", str(file), **nowhere)[0] == 0
    code, told, _ = cli("audit", "verify", str(file), "--head", noted, **nowhere)
    assert (code, "its tail was cut off" in told) == (1, True)
    assert cli("audit", "verify", str(tmp_path / "nothing"), **nowhere)[0] == 2


def test_a_filtered_export_and_a_csv(cli, done, tmp_path):
    file, sheet = tmp_path / "some.jsonl", tmp_path / "audit.csv"
    assert cli("audit", "export", "--person", "ada", "--out", str(file))[0] == 0
    code, told, _ = cli("audit", "verify", str(file))
    assert (code, "nobody can tell whether lines lack" in told) == (0, True)
    assert cli("audit", "export", "--csv", "--out", str(sheet))[0] == 0
    assert sheet.read_text("utf-8-sig").startswith("number,at,actor")
    code, _, error = cli("audit", "verify", str(sheet))
    assert (code, "Export it without --csv" in error) == (2, True)
