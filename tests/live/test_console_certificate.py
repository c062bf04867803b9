"""The client, as `make up` sets it up, at a console that shows the operator's own certificate."""

import dataclasses
import os
import ssl

import pytest

from deploy.cli import contexts
from deploy.cli.api import Api
from deploy.host import account
from deploy.host.plan import Choices, Ports
from luhyaapi.wire.http import Door
from tests.support.certificates import issue, pem
from tests.support.granted import a_plan

pytestmark = pytest.mark.live


@pytest.mark.parametrize("signed", ["by itself", "by a root in its chain"])
def test_the_client_of_make_up_believes_it(tmp_path, signed):
    root = None if signed == "by itself" else issue(tmp_path, "root", authority=True)
    leaf, _ = issue(tmp_path, "localhost", by=root)
    (tmp_path / "localhost.pem").write_bytes(pem(leaf, *([root[0]] if root else [])))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "localhost.pem", tmp_path / "localhost.key")
    door = Door("clc", "127.0.0.1", 0, [], lambda: (), serving).start()
    ports = Ports(8600)
    plan = dataclasses.replace(a_plan(tmp_path / "home"), ports=ports, choices=Choices("10.0.0.1", "10.0.0.1"))
    plan.config("clc").parent.mkdir(parents=True)
    plan.own_settings("clc").write_text(
        f'[console]\ncertificate = "{tmp_path}/localhost.pem"\nprivate_key = "{tmp_path}/localhost.key"\npublic_url = "https://localhost:{door.port}"\n',
    )
    who = account.Caller(tmp_path / "user", os.getuid(), os.getgid())
    contexts.save(contexts.Context("local", "https://10.0.0.1:8600", "t"), tmp_path / "made.toml")
    try:
        account.put_entry(plan, who, tmp_path / "made.toml")
        api = Api(contexts.choose("", {}, who.config))
        assert api.get("/healthz")["status"] == "ok"
        api.close()
    finally:
        door.stop()
