"""MariaDB by one setting: the tables are made, and the services work on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import private_mariadb

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, sys, threading
import django; django.setup()
from django.db import connection, connections
assert connection.vendor == "mysql", connection.vendor
from clc.services import hosts, images, own, people, tasks, uploads
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, Event, Host, Outbox
admin = people.add(None, "admin", "quiet-river-9041", "superAdm")
token, _ = hosts.make_token(admin, "walrus")
upload = uploads.begin(admin, images.Ask("lab", ({"part": "disk", "size_bytes": 4096, "format": "raw"},)))
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
    with private_mariadb.server("clc", "cc") as server:
        yield server


def environ(database, role, tmp_path):
    state = tmp_path / role
    state.mkdir(exist_ok=True)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("EDUCLOUD_")}, "DJANGO_SETTINGS_MODULE": "deploy.settings",
        "EDUCLOUD_HOST__ROLE": role, "EDUCLOUD_HOST__STATE": str(state), "EDUCLOUD_BOARD__PORT": "0",
        "EDUCLOUD_DATABASE__URL": database.url(role), "EDUCLOUD_DATABASE__PASSWORD_FILE": str(database.password),
    }


def works(script, mine):
    """That it says so at its end, on tables just made."""
    subprocess.run([sys.executable, "-m", "deploy.admin", "migrate"], cwd=ROOT, env=mine, check=True)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=mine, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "works", done.stdout + done.stderr


@pytest.mark.parametrize("role", ["clc", "cc"])
def test_tables_are_made_and_made_again(database, tmp_path, role):
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "deploy.admin", "migrate"], cwd=ROOT, env=environ(database, role, tmp_path), check=True)


def test_services_work_on_it(database, tmp_path):
    mine = environ(database, "clc", tmp_path)
    works(WORK, mine)


LEND = """
import threading
import django; django.setup()
from django.db import connections
from cc.services import leases, placements
from luhyaapi.conf import Network
from luhyadb import memory
from luhyadb.models import AddressLease, Placement
network, troubles, gate = Network(), [], threading.Barrier(9)
def lend(n):
    gate.wait()
    for k in range(20):
        one = f"ins-{n:04x}{k:04x}"
        try:
            with memory.of("cc"), memory.atomic():
                leases.take("cc-00000001", network, one, "lab")
                Placement.objects.create(instance=one, node="nc-00000001", spec={}, cpus=1, memory_mib=64)
        except Exception as e:
            troubles.append(repr(e))
    connections.close_all()
def sweep():
    gate.wait()
    for _ in range(60):
        with memory.of("cc"):
            try:
                troubles.extend(placements.sweep())
            except Exception as e:
                troubles.append(repr(e))
    connections.close_all()
threads = [threading.Thread(target=lend, args=(n,)) for n in range(8)] + [threading.Thread(target=sweep)]
[t.start() for t in threads]; [t.join() for t in threads]
assert not troubles, troubles[:3]
with memory.of("cc"):
    assert AddressLease.objects.exclude(instance="").values("ip").distinct().count() == 160
print("works")
"""


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_eight_lend_while_one_sweeps(database, tmp_path, kind):
    """Two who read the same free row, or a sweep that takes for lost what is just being lent."""
    mine = environ(database, "cc", tmp_path)
    if kind == "sqlite":
        mine = {k: v for k, v in mine.items() if "DATABASE" not in k}
    works(LEND, mine)


CREATE = """
import threading
import django; django.setup()
from django.db import connections
from clc.services import groups, instances, people, quotas, shares
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import Verb
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, Host, Image, ImageVersion, Instance, Task
admin = people.add(None, "head", "quiet-river-9041", "superAdm")
groups.create(admin, "fifty"); groups.create(admin, "fifty.class1")
for name, boss in (("cc-0000000f", ""), ("nc-0000000f", "cc-0000000f")):
    Host.objects.create(id=name, role=name[:2], name=name, boss=boss, state="up", cpus=64, memory_mib=65536, disk_mib=10**6, last_heard=clock.now(),
                        created_at=0)
image = Image.objects.create(id="img-0000000f", name="small", live_name="small", owner=admin, created_at=0)
ImageVersion.objects.create(image=image, version=1, state="published", created_at=0, blobs=[
    {"part": "kernel", "sha256": "1" * 64, "index": "2" * 64, "size": 1, "format": "raw", "virtual_size": 0}])
shares.open_to(image, image.group, (Verb.EXECUTE,))
pupils = [people.add(admin, f"pupil{n}", "quiet-river-9041", "user", "fifty.class1") for n in range(10)]
quotas.put(admin, "instances", 20, group="fifty")
quotas.put(admin, "cpus", 3, user="pupil0")
made, refused, troubles, gate = [], [], [], threading.Barrier(50)
def create(n):
    pupil = pupils[n % 10]
    gate.wait()
    try:
        with memory.of("clc"):
            made.extend(instances.run(pupil, instances.Ask(image="small", cpus=2 if n % 10 == 0 else 1)))
    except Refused as e:
        refused.append(e.code)
    except Exception as e:
        troubles.append(repr(e))
    connections.close_all()
threads = [threading.Thread(target=create, args=(n,)) for n in range(50)]
[t.start() for t in threads]; [t.join() for t in threads]
assert not troubles, troubles[:3]
assert set(refused) == {"quota"}, set(refused)
there = Instance.objects.filter(owner__in=pupils)
assert len(made) == there.count() == Task.objects.filter(owner__in=pupils).count() == 20, (len(made), there.count())
assert Instance.objects.filter(owner=pupils[0]).count() <= 1
print("works")
"""


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_fifty_at_once_never_pass_a_limit_and_use_it_up(database, tmp_path, kind):
    mine = environ(database, "clc", tmp_path)
    if kind == "sqlite":
        mine = {k: v for k, v in mine.items() if "DATABASE" not in k}
    works(CREATE, mine)


RACE = """
import threading
import django; django.setup()
from django.db import connections
from clc.services import groups, instance_reports, instances, people
from luhyaapi import clock, ids
from luhyaapi.contracts.reports import InstanceFacts
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Host, Image, ImageVersion, Instance, Task, Turn
admin = people.add(None, "racer", "quiet-river-9041", "superAdm")
for name, boss in (("cc-0000000e", ""), ("nc-0000000e", "cc-0000000e")):
    Host.objects.create(id=name, role=name[:2], name=name, boss=boss, state="up", last_heard=clock.now(), created_at=0)
image = Image.objects.create(id="img-0000000e", name="raced", live_name="raced", owner=admin, created_at=0)
version = ImageVersion.objects.create(image=image, version=1, state="published", created_at=0, blobs=[
    {"part": "kernel", "sha256": "1" * 64, "index": "2" * 64, "size": 1, "format": "raw", "virtual_size": 0}])
troubles = []
def at_once(*calls):
    done, gate = [], threading.Barrier(len(calls))
    def work(call):
        gate.wait()
        try:
            with memory.of("clc"):
                done.append(call())
        except Refused:
            pass
        except Exception as e:
            troubles.append(repr(e))
        connections.close_all()
    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    [t.start() for t in threads]; [t.join() for t in threads]
    return len(done)
def heard(row):
    with memory.atomic():
        instance_reports.found(InstanceFacts(instance=row.pk, state="stopped", node="nc-0000000e"))
for n in range(40):
    row = Instance.objects.create(id=ids.new("ins"), name=f"r{n}", live_name=f"r{n}", owner=admin, group=admin.group, usage="desktop", image=version, cpus=1,
        memory_mib=64, state="stopped", wanted="stopped", node="nc-0000000e", cluster="cc-0000000e", created_at=0, changed_at=0)
    start = lambda: instances.start(admin, row.pk)
    assert at_once(start, lambda: heard(row), start) == 2, "two starts were taken"
    row.refresh_from_db()
    assert (row.state, row.wanted) == ("queued", "running"), (row.state, row.wanted)
    assert Turn.objects.filter(task__subject=row.pk).count() == 1
    at_once(lambda: instances.delete(admin, row.pk), lambda: heard(row), start)
    assert not Turn.objects.filter(task__subject=row.pk).exists()
    row.refresh_from_db()
    assert row.wanted == "deleted", (row.state, row.wanted)
assert not troubles, troubles[:3]
print("works")
"""


def test_who_orders_at_the_same_moment_is_one_after_the_other(database, tmp_path):
    """Else a start that was taken makes a disk and boots nothing, or a place is taken for what is deleted."""
    mine = environ(database, "clc", tmp_path)
    works(RACE, mine)


SEAL = """
import json, threading
import django; django.setup()
from django.db import connection, connections
from clc.services import audit, audit_export, events, people
from luhyaapi.chain import Check
from luhyadb import memory
from luhyadb.models import Event
admin = people.add(None, "admin", "quiet-river-9041", "superAdm")
troubles, gate, done = [], threading.Barrier(6), threading.Event()
def write(n):
    gate.wait()
    for k in range(60):
        try:
            with memory.of("clc"), memory.atomic():
                events.record("instance", f"ins-{n:04x}{k:04x}", "instance running", owner=admin, before={"n": n}, after={"n": k + 1})
                if k % 7 == 3:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        except Exception as e:
            troubles.append(repr(e))
    connections.close_all()
def seal():
    gate.wait()
    while not done.is_set():
        try:
            with memory.of("clc"):
                audit.seal()
        except Exception as e:
            troubles.append(repr(e))
    connections.close_all()
writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
sealers = [threading.Thread(target=seal) for _ in range(2)]
[t.start() for t in writers + sealers]; [t.join() for t in writers]
done.set(); [t.join() for t in sealers]
assert not troubles, troubles[:3]
audit.tend()
count = Event.objects.count()
assert sorted(Event.objects.values_list("number", flat=True)) == list(range(1, count + 1)), "each has its number, once"
if connection.vendor == "mysql":
    begun, go = threading.Event(), threading.Event()
    def late():
        with memory.of("clc"), memory.atomic():
            events.record("x", "late", "said first and committed last")
            begun.set(); go.wait()
        connections.close_all()
    slow = threading.Thread(target=late); slow.start(); begun.wait()
    events.record("x", "early", "said last and committed first")
    assert audit.seal() == 1, "nobody waits for the other"
    go.set(); slow.join()
    assert audit.seal() == 1
    rows = {row.subject: row for row in Event.objects.filter(noun="x")}
    assert rows["late"].pk < rows["early"].pk and rows["late"].number == rows["early"].number + 1
check = Check([audit.head()])
for piece in audit_export.export(admin, audit_export.Asked()):
    [check.read(line) for line in piece.splitlines()]
found = check.end()
assert (found.faults, found.lines) == ([], Event.objects.count()), found
print("works")
"""
GUESS = """
import base64, contextlib, threading
import django; django.setup()
from django.conf import settings
from django.db import OperationalError, connections
from clc.services import lock_out, people, second_step
from luhyaapi import clock
from luhyaapi.errors import Refused
from luhyadb import memory
free = settings.EDUCLOUD.accounts.attempts
ada = people.add(None, "ada", "quiet-river-9041")
secret = base64.b32decode(second_step.enrol(ada).secret)
second_step.confirm(ada, second_step.code_at(secret, int(clock.now() // 30)))
tried, late, passed, troubles, gate = [], [], [], [], threading.Barrier(24)
code = second_step.code_at(secret, int(clock.now() // 30) + 1)
def guess(n):
    gate.wait()
    with memory.of("clc"):
        for _ in range(2):
            try:
                with lock_out.attempt("ada", "192.0.2.1"):
                    tried.append(n)
                    raise Refused("unauthenticated", "wrong")
            except Refused as e:
                late.extend([n] * (e.code == "locked_out"))
            except OperationalError as e:
                troubles.append(repr(e))
        with contextlib.suppress(Refused, OperationalError):
            second_step.check(ada, code)
            passed.append(n)
    connections.close_all()
threads = [threading.Thread(target=guess, args=(n,)) for n in range(24)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(tried) + len(late) + len(troubles) == 48, (len(tried), len(late), troubles[:3])
assert len(tried) <= free and late, (len(tried), troubles[:3])
assert len(passed) == 1, passed
print("works")
"""


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_two_seal_while_four_write(database, tmp_path, kind):
    """Two sealers take turns, a line that comes late is sealed late, and none twice."""
    database.say("drop database clc; create database clc character set utf8mb4")
    mine = environ(database, "clc", tmp_path)
    if kind == "sqlite":
        mine = {k: v for k, v in mine.items() if "DATABASE" not in k}
    works(SEAL, mine)


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_many_who_guess_at_once_are_counted_one_by_one(database, tmp_path, kind):
    """None runs ahead of the count, and a code of the second step is taken once."""
    mine = environ(database, "clc", tmp_path)
    if kind == "sqlite":
        mine = {k: v for k, v in mine.items() if "DATABASE" not in k}
    works(GUESS, mine)


DECIDE = """
import os, threading
os.environ["EDUCLOUD_CONSOLE__PUBLIC_URL"] = "https://cloud.test"
import django; django.setup()
from django.db import OperationalError, connections
from clc.services import account_requests, groups, passkeys, people
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, AccountRequest, Passkey
from tests.support.soft_authenticator import SoftAuthenticator
boss = people.add(None, "decider", "quiet-river-9041", "superAdm")
groups.create(boss, "asked"); groups.take_requests(boss, "asked", on=True)
for n in range(4):
    account_requests.ask(account_requests.Ask(f"asker-{n}", "quiet-river-9041", "asked"), "192.0.2.1")
asked = list(AccountRequest.objects.values_list("pk", flat=True))
device = SoftAuthenticator("https://cloud.test")
begun = passkeys.begin_registration(boss)
passkeys.register(boss, "key", begun.sealed, device.create(begun.options))
begun = passkeys.begin_sign_in()
answers = [device.get(begun.options) for _ in range(8)]
made, told, entered, refused, troubles, gate = [], [], [], [], [], threading.Barrier(8)
def decide(n):
    gate.wait()
    with memory.of("clc"):
        for ident in asked:
            try:
                made.append(account_requests.approve(boss, ident).pk) if n % 2 else account_requests.refuse(boss, ident, "no")
            except Refused as e:
                told.append(e.code)
            except OperationalError as e:
                troubles.append(repr(e))
        try:
            entered.append(passkeys.signed_in_by(begun.sealed, answers[n], f"192.0.2.{n}").pk)
        except Refused as e:
            refused.append(e.code)
        except OperationalError as e:
            troubles.append(repr(e))
    connections.close_all()
threads = [threading.Thread(target=decide, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
rows = list(AccountRequest.objects.all())
assert {r.state for r in rows} <= {"approved", "refused"}, ([r.state for r in rows], troubles[:3])
assert len(made) == len(set(made)) == sum(r.state == "approved" for r in rows) == Account.objects.filter(username__startswith="asker-").count()
assert set(told) == {"state"} and len(entered) == 1, (set(told), entered, refused, troubles[:3])
print("works")
"""


def test_of_many_who_decide_and_sign_in_at_once_one_does(database, tmp_path):
    """A request is decided once, and a challenge is answered once."""
    mine = environ(database, "clc", tmp_path)
    works(DECIDE, mine)


def test_a_server_that_is_killed_again_and_again_loses_nothing():
    """Who takes and gives back leases meanwhile connects anew by itself; what was told to be taken is held."""
    words = ["-m", "tests.soak.allocations", "--database=mariadb", "--kill-server", "--takers=4", "--seconds=9", "--seed=1"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, told["failures"]) == (0, []), done.stderr
    assert told["runs"]["server killed"] >= 1
    assert told["runs"]["4 takers on mariadb"] > 20
