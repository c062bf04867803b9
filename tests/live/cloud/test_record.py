"""The record of a real cloud: an administrator's work in it, exported through the real server, and verified with and without the cloud."""

import json

import httpx
import pytest

pytestmark = pytest.mark.live


def test_the_work_of_an_administrator_is_recorded_exported_and_verified(cloud, tmp_path):
    cloud.call("user", "add", "audited")
    cloud.call("security-group", "create", "recorded", "--allow", "tcp:22")
    assert httpx.post(f"{cloud.url}/api/v1/login/", json={"username": "audited", "password": "no horse at all"}).status_code == 401
    cloud.call("user", "delete", "audited", "--yes")
    cloud.call("security-group", "delete", "recorded", "--yes")
    told = {line["what"]: line for line in reversed(cloud.json("audit", "list"))}
    assert {"user added", "security group made", "sign-in refused", "user deleted", "security group deleted"} <= set(told)
    assert (told["user added"]["actor"], told["user added"]["via"], told["user added"]["origin"]) == ("admin", "api", "127.0.0.1")
    assert told["security group made"]["after"]["rules"]

    def is_sealed():
        return cloud.json("audit", "list", "--limit", "1")[0]["number"]

    assert cloud.soon(is_sealed, 30), "within seconds"
    file = tmp_path / "audit.jsonl"
    cloud.call("audit", "export", "--out", str(file))
    found = cloud.json("audit", "verify", str(file))
    assert (found["faults"], found["whole"], found["first"]) == ([], True, 1)
    again = cloud.json("audit", "verify", "--head", found["last"])
    assert (again["faults"], again["lines"] >= found["lines"]) == ([], True)
    file.write_text(file.read_text().replace('"security group made"', '"security group read"', 1))
    assert any("was changed" in fault for fault in json.loads(cloud.call("audit", "verify", str(file), "--json", code=1))["faults"])
