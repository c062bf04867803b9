"""A real Debian, from build to a shell: the image, cloud-init with name and key, ssh, a polite end."""

import subprocess

import pytest

from luhyaapi.errors import CODES

pytestmark = pytest.mark.live
TOLD = "hostname; cat /etc/machine-id; sudo -n grep -c '^[^:]*:[$]' /etc/shadow; ls /etc/ssh"


def test_debian_boots_and_takes_the_key(cloud, tmp_path):
    cloud.call("image", "build-demo", "--only", "debian", patience_s=900)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    made = cloud.json("instance", "run", "--image", "debian", "--name", "course-1", "--ssh-key", str(key) + ".pub")
    address = made["nics"][0]["ip"]
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
    assert "ssh_host_ed25519_key" in keys
    cloud.call("instance", "stop", made["id"])
    assert cloud.json("instance", "show", made["id"])["state"] == "stopped"
    cloud.call("instance", "delete", made["id"], "--yes")


def test_an_ssh_key_that_is_none_is_refused(cloud, tmp_path):
    bad = tmp_path / "bad.pub"
    bad.write_text("ssh-ed25519 not!base64\n")
    cloud.call("instance", "run", "--image", "tiny", "--ssh-key", str(bad), code=CODES["invalid"].exit)
