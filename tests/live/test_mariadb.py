"""MariaDB by one setting: the tables are made, and the services work on it."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
PORT = 38699
WORK = """
import os, sys, threading
import django; django.setup()
from django.db import connection, connections
assert connection.vendor == "mysql", connection.vendor
from clc.services import hosts, images, own, people, tasks
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, Event, Host, Outbox
admin = people.add(None, "admin", "quiet-river-9041", "admin")
token, _ = hosts.make_token(admin, "walrus")
upload = images.begin_upload(admin, images.Ask("lab", ({"part": "disk", "size_bytes": 4096, "format": "raw"},)))
assert upload.version.version == 1
taken = []
def add(n):
    with memory.of("clc"):
        try:
            people.add(admin, "twin", "quiet-river-9041")
            taken.append(n)
        except Exception as e:
            assert isinstance(e, Refused) or "Duplicate" in str(e), e
        connections.close_all()
threads = [threading.Thread(target=add, args=(n,)) for n in range(6)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(taken) == 1, taken
with memory.atomic():
    task = tasks.open_task("image/publish", admin, upload.version.image_id, "lab", 10)
assert Event.objects.filter(task=task.id).count() == 1
assert set(Host.objects.filter(role="clc").values_list("state", flat=True)) == {"up"}
print("works")
"""


@pytest.fixture(scope="module")
def database():
    home = Path(tempfile.mkdtemp(prefix="edu-maria-"))
    home.chmod(0o755)
    subprocess.run(["chown", "mysql", home], check=True)
    base = ["--no-defaults", f"--datadir={home}/data", "--user=mysql"]
    subprocess.run(["mariadb-install-db", *base, "--auth-root-authentication-method=normal", "--skip-test-db"], check=True, capture_output=True)
    server = subprocess.Popen(
        ["mariadbd", *base, f"--port={PORT}", "--bind-address=127.0.0.1", f"--socket={home}/sock", f"--pid-file={home}/pid"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    client = ["mariadb", "--no-defaults", f"--socket={home}/sock", "-uroot"]
    for _ in range(100):
        if subprocess.run([*client, "-e", "select 1"], capture_output=True, check=False).returncode == 0:
            break
        time.sleep(0.1)
    (home / "password").write_text("lent-for-a-test-only\n")
    making = "create database {0} character set utf8mb4; grant all on {0}.* to {0}@'127.0.0.1' identified by 'lent-for-a-test-only';"
    subprocess.run([*client, "-e", making.format("clc") + making.format("cc")], check=True)
    yield home
    server.terminate()
    server.wait(30)
    subprocess.run(["rm", "-rf", home], check=True)


def environ(database, role, tmp_path):
    state = tmp_path / role
    state.mkdir(exist_ok=True)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("EDUCLOUD_")}, "DJANGO_SETTINGS_MODULE": "deploy.settings",
        "EDUCLOUD_HOST__ROLE": role, "EDUCLOUD_HOST__STATE": str(state), "EDUCLOUD_BOARD__PORT": "0",
        "EDUCLOUD_DATABASE__URL": f"mysql://{role}@127.0.0.1:{PORT}/{role}", "EDUCLOUD_DATABASE__PASSWORD_FILE": str(database / "password"),
    }


@pytest.mark.parametrize("role", ["clc", "cc"])
def test_tables_are_made_and_made_again(database, tmp_path, role):
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "deploy.admin", "migrate"], cwd=ROOT, env=environ(database, role, tmp_path), check=True)


def test_services_work_on_it(database, tmp_path):
    mine = environ(database, "clc", tmp_path)
    subprocess.run([sys.executable, "-m", "deploy.admin", "migrate"], cwd=ROOT, env=mine, check=True)
    done = subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, env=mine, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "works", done.stdout + done.stderr
