"""What a role installs is enough for what it imports, and no more than it should be."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploy import lock

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = {
    "walrus": "walrus.role, walrus.door, walrus.beat, walrus.services.library, walrus.drivers.local, walrus.drivers.s3, "
              "luhyaapi.wire.amqp, luhyaapi.wire.joining, deploy.processes",
    "nc": "nc.role, nc.door, nc.beat, nc.drivers.libvirt_hypervisor, nc.drivers.bridge_network, luhyaapi.wire.amqp, luhyaapi.wire.joining, "
          "deploy.processes",
    "sc": "sc.role, sc.door, sc.beat, luhyaapi.wire.amqp, luhyaapi.wire.joining, deploy.processes",
    "client": "httpx, websockets.asyncio.client, deploy.doctor.examination, deploy.doctor.__main__, "
              + ", ".join(f"deploy.cli.{file.stem}" for file in sorted((ROOT / "deploy/cli").glob("[a-z]*.py"))),
}


HOST = "deploy.host.__main__, deploy.host.keeper, deploy.host.enclose"
"""What brings a role up on its host."""


def names(text):
    return {m.group(1).replace(".", "-") for m in re.finditer(r"^([a-z0-9.-]+)==", text, re.MULTILINE)}


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(name)
absent = set({absent!r})
sys.meta_path.insert(0, Absent())
import {imports}
"""


@pytest.mark.parametrize("role", sorted(IMPORTS))
@pytest.mark.walk
def test_it_is_enough(role):
    """The role, or the client, starts where everything outside its part of the lock is not installed."""
    kept = names(lock.needed(role)) | {"educloud"}
    absent = sorted(top for top, owners in packages_distributions().items()
                    if not {o.lower().replace("_", "-").replace(".", "-") for o in owners} & kept)
    assert "django" in absent
    code = WITHOUT.format(absent=absent, imports=IMPORTS[role] + ("" if role == "client" else f", {HOST}"))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.mark.parametrize("role", ["walrus", "nc", "sc"])
def test_hands_install_no_django(role):
    assert not {n for n in names(lock.needed(role)) if n.startswith("django")}


def test_every_line_keeps_its_hashes():
    text = lock.needed("nc")
    assert len(re.findall(r"^[a-z0-9.-]+==", text, re.MULTILINE)) < len(re.findall("--hash=sha256:", text))


def test_an_unknown_package_is_said():
    with pytest.raises(KeyError, match="not in the lock"):
        lock.needed("nc", lock="amqp==1 \\\n    --hash=sha256:00\n")


def test_without_root_nothing_is_compiled():
    assert names(lock.LOCK.read_text("utf-8")) - names(lock.uncompiled()) == lock.COMPILED


def test_what_is_compiled_and_needed_by_others_is_said():
    text = "libvirt-python==1 \\\n    --hash=sha256:a\n    # via other\nother==2 \\\n    --hash=sha256:b\n    # via -r requirements.in\n"
    text += "mysqlclient==3\npython-ldap==4\n"
    with pytest.raises(KeyError, match="libvirt-python"):
        lock.uncompiled(text)
