"""A real Debian, from build to a shell: the image, cloud-init with name and key, ssh, a polite end."""

import json
import subprocess

import pytest

from luhyaapi.errors import CODES

pytestmark = pytest.mark.live
USER_DATA = """#!/bin/sh
echo "told $(hostname)" > /run/told
"""
ASKED = """python3 - << 'END'
import json, urllib.error, urllib.request
def read(path, method="GET", **headers):
    asked = urllib.request.Request("http://169.254.169.254" + path, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        return urllib.request.urlopen(asked, timeout=5).read().decode()
    except urllib.error.HTTPError as e:
        return e.code
token = read("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")
print(json.dumps({
    "ran": open("/run/told").read(), "id": read("/latest/meta-data/instance-id"), "none": read("/latest/none"),
    "host": read("/latest/meta-data/local-hostname", X_aws_ec2_metadata_token=token), "ip": read("/2009-04-04/meta-data/local-ipv4"),
    "key": read("/latest/meta-data/public-keys/0/openssh-key"), "given": read("/openstack/latest/user_data"),
    "ec2_given": read("/latest/user-data"), "meta": json.loads(read("/openstack/latest/meta_data.json")),
    "passed_on": read("/latest/user-data", X_Forwarded_For="1.2.3.4"),
}))
END
"""
TOLD = "hostname; cat /etc/machine-id; sudo -n grep -c '^[^:]*:[$]' /etc/shadow; ls /etc/ssh"


def test_debian_boots_and_takes_the_key(cloud, tmp_path):
    cloud.call("image", "build-demo", "--only", "debian", patience_s=900)
    key, given = tmp_path / "key", tmp_path / "user-data"
    given.write_text(USER_DATA)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    cloud.json("network", "create", "--name", "course", "--subnet", "10.198.9.0/24", "--subnet6", "fd07:0:0:9::/64")
    made = cloud.json("instance", "run", "--image", "debian", "--name", "course-1", "--ssh-key", str(key) + ".pub", "--user-data", str(given),
                      "--first-boot-offline", "--network", "course")
    address, sixth = made["nics"][0]["ip"], made["nics"][0]["ip6"]
    assert made["offline"], "until all that it was given is done"
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=5", "BatchMode=yes"]
    ssh = ["ssh", "-i", key, *(word for option in options for word in ("-o", option)), f"debian@{address}"]

    def signed_in():
        try:
            tried = subprocess.run([*ssh, TOLD], capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return ""  # A guest that is still at its first keys takes a connection and says nothing.
        return tried.stdout if tried.returncode == 0 else ""

    told = cloud.soon(signed_in, 400, 2)
    assert told, cloud.call("instance", "log", made["id"])[-2000:]
    name, machine, passwords, *keys = told.split()
    assert (name, passwords) == ("course-1", "0")
    assert len(machine) == 32
    assert not cloud.json("instance", "show", made["id"])["offline"]
    assert "ssh_host_ed25519_key" in keys
    said = json.loads(subprocess.run([*ssh, ASKED], capture_output=True, text=True, timeout=60, check=True).stdout)
    assert (said["ran"], said["id"], said["host"], said["ip"]) == ("told course-1\n", made["id"], "course-1", address)
    assert said["key"] == (tmp_path / "key.pub").read_text()
    assert said["given"] == said["ec2_given"] == USER_DATA
    assert (said["none"], said["passed_on"]) == (404, 403)
    assert (said["meta"]["uuid"], said["meta"]["hostname"], list(said["meta"]["public_keys"])) == (made["id"], "course-1", ["key-0"])
    assert cloud.soon(lambda: subprocess.run([*ssh[:-1], f"debian@{sixth}", "true"], capture_output=True, timeout=60, check=False).returncode == 0)
    cloud.call("instance", "stop", made["id"])
    assert cloud.json("instance", "show", made["id"])["state"] == "stopped"
    cloud.call("instance", "delete", made["id"], "--yes")
    cloud.call("network", "delete", "course", "--yes")


def test_an_ssh_key_that_is_none_is_refused(cloud, tmp_path):
    bad = tmp_path / "bad.pub"
    bad.write_text("ssh-ed25519 not!base64\n")
    cloud.call("instance", "run", "--image", "tiny", "--ssh-key", str(bad), code=CODES["invalid"].exit)
