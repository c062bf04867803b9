"""The judge of a bed judges: facts of five hosts written by hand, kept and broken, one kind of wrong at a time."""

import copy
import signal
import subprocess
import sys

import pytest

from deploy import processes
from deploy.testbed.bed import ROOT, named
from tests.soak import bed_deaths, bed_truth

ONE, TWO = "ins-00000001", "ins-00000002"
NC1, NC2 = "nc-00000001", "nc-00000002"
MAC, IP, TAP = "02:00:00:00:00:02", "10.0.0.2", "t00000001000002"
RUN = "tsk-00000001"


def host(*roles, **more):
    return {"programs": dict.fromkeys(roles, 1), "guests": [], "domains": {}, "taps": {}, "wanted": {}, "pins": [], "networks": [], "addresses": [],
            "parts": [], "journals": {role: {"open": [], "reports": []} for role in roles}, "clc": {}, "cc": {}, **more}


def facts():
    """A cloud at rest with one running instance."""
    card = {"mac": MAC, "ip": IP}
    clc = {
        "task": [{"id": RUN, "kind": "instance/run", "state": "done", "subject": ONE, "error": None, "deadline": 9.0, "created_at": 1.0, "owner_id": 1}],
        "instance": [{"id": ONE, "state": "running", "wanted": "running", "node": NC1, "nics": [card], "display_port": 8700, "gen": 1, "task": RUN,
                      "error": None, "image_id": 7}],
        "host": [{"id": "cc-00000001", "role": "cc", "name": "head", "state": "up", "boss": "clc-00000001"},
                 *({"id": one, "role": "nc", "name": name, "state": "up", "boss": "cc-00000001"} for one, name in ((NC1, "node1"), (NC2, "node2")))],
        "taskstep": [{"task_id": RUN, "name": "boot", "state": "done"}], "outbox": [], "network": [],
    }
    cc = {
        "placement": [{"instance": ONE, "node": NC1, "fence": 1, "gen": 1, "wanted": "running", "found": "running", "spec": {"nics": [card]}}],
        "addresslease": [{**card, "instance": ONE, "released_at": 0}], "portlease": [{"port": 8700, "instance": ONE, "released_at": 0}],
        "outbox": [], "child": [{"id": one, "role": "nc", "draining": 0} for one in (NC1, NC2)], "flowrun": [], "segment": [],
    }
    network = {"bridge": "edu8600", "subnet": "10.0.0.0/24", "gateway": "10.0.0.1", "planned": [[ONE, MAC, IP]], "hosts": [[MAC, IP]], "served_by": [7]}
    guest = {"instance": ONE, "pid": 9, "macs": [MAC], "screen": f"/{ONE}/sock", "listens": True}
    return {
        "hosts": {
            "front": host("clc", "clc-web", clc=clc), "head": host("cc", cc=cc, networks=[network], addresses=["10.0.0.1", "192.168.1.9"]),
            "node1": host("nc", guests=[guest], taps={TAP: "edu8600"}, pins=[ONE], addresses=[IP],
                          domains={ONE: {"state": "running", "nics": [{"mac": MAC, "tap": TAP}], "port": 8700}},
                          wanted={ONE: {"state": "running", "gen": 1, "fence": 1, "version": 1}}),
            "node2": host("nc"),
        },
        "told": [{"id": ONE, "state": "running", "error": None, "host_name": "node1", "nics": [card], "display": {"port": 8700}}],
    }


def test_a_bed_at_rest_is_at_rest():
    assert bed_truth.wrong(facts()) == []


def _stopped(f):
    """All is as it should be after a stop."""
    node = f["hosts"]["node1"]
    node["guests"].clear()
    node["taps"].clear()
    node["domains"][ONE]["state"] = "shut off"
    node["wanted"][ONE]["state"] = f["told"][0]["state"] = "stopped"
    f["hosts"]["front"]["clc"]["instance"][0].update(state="stopped")
    f["hosts"]["head"]["cc"]["placement"][0].update(wanted="stopped")


def test_a_stopped_one_is_at_rest():
    it = facts()
    _stopped(it)
    assert bed_truth.wrong(it) == []


def _second(f, **more):
    """Another instance that runs on the second node, beside what the tables say."""
    node = f["hosts"]["node2"]
    mac = more.get("mac", "02:00:00:00:00:03")
    node["domains"][TWO] = {"state": "running", "nics": [{"mac": mac, "tap": "t00000002000003"}], "port": more.get("port", 8701)}
    node["guests"].append({"instance": TWO, "pid": 3, "macs": [mac], "screen": more.get("screen", "/2"), "listens": True})


def _failed(f):
    _stopped(f)
    f["hosts"]["front"]["clc"]["instance"][0].update(state="failed")
    f["told"][0].update(state="failed")


BROKEN = {
    "an instance that runs twice": ("runs 2 times", lambda f: f["hosts"]["node2"]["guests"].append(f["hosts"]["node1"]["guests"][0])),
    "a process without a domain": ("no running domain", lambda f: f["hosts"]["node1"]["domains"].clear()),
    "a domain without a process": ("no process", lambda f: f["hosts"]["node1"]["guests"].clear()),
    "a MAC of two domains": (f"MAC {MAC} is of {ONE} and of {TWO}, by domains", lambda f: _second(f, mac=MAC)),
    "a MAC of two processes": (f"MAC {MAC} is of {ONE} and of {TWO}, by processes", lambda f: _second(f, mac=MAC)),
    "a display port of two": ("display port 8700 is of", lambda f: _second(f, port=8700)),
    "a screen of two": (f"screen /{ONE}/sock is of", lambda f: _second(f, screen=f"/{ONE}/sock")),
    "an address of two by DHCP": (f"address {IP} is of", lambda f: f["hosts"]["head"]["networks"][0]["hosts"].append(["02:00:00:00:00:03", IP])),
    "a MAC of two by DHCP": (f"MAC {MAC} is of", lambda f: f["hosts"]["head"]["networks"][0]["hosts"].append([MAC, "10.0.0.3"])),
    "an address told of two": ("by what is told", lambda f: f["told"].append({**f["told"][0], "id": TWO})),
    "a tap of no instance": ("of no guest that runs", lambda f: f["hosts"]["node2"]["taps"].update(t00000002000003="edu8600")),
    "a tap of a stopped one": ("of no guest that runs", lambda f: (_stopped(f), f["hosts"]["node1"]["taps"].update({TAP: "edu8600"}))),
    "a card without its tap": (f"tap {TAP} on node1 is missing", lambda f: f["hosts"]["node1"]["taps"].clear()),
    "a tap that is unplugged": ("on no bridge", lambda f: f["hosts"]["node1"]["taps"].update({TAP: ""})),
    "another card than its domain's": ("has the cards", lambda f: f["hosts"]["node1"]["guests"][0].update(macs=["02:00:00:00:00:09"])),
    "a guest without a screen": ("has no screen", lambda f: f["hosts"]["node1"]["guests"][0].update(listens=False)),
    "a domain of no instance": (f"domains of {TWO} is left", lambda f: f["hosts"]["node2"]["domains"].update(
        {TWO: {"state": "shut off", "nics": [], "port": 0}})),
    "a folder of no instance": (f"wanted of {TWO} is left", lambda f: f["hosts"]["node2"]["wanted"].update({TWO: {"state": "deleted"}})),
    "a pin of no instance": (f"pins of {TWO} is left", lambda f: f["hosts"]["node2"]["pins"].append(TWO)),
    "a lease of no instance": ("addresses are held by", lambda f: f["hosts"]["head"]["cc"]["addresslease"].append(
        {"ip": "10.0.0.3", "mac": "02:00:00:00:00:03", "instance": TWO, "released_at": 0})),
    "a port too many": ("ports are held by", lambda f: f["hosts"]["head"]["cc"]["portlease"].append({"port": 8701, "instance": TWO, "released_at": 0})),
    "a host entry of no lease": ("DHCP serves", lambda f: f["hosts"]["head"]["networks"][0]["planned"].append([TWO, "02:00:00:00:00:03", "10.0.0.3"])),
    "a host file of no plan": ("DHCP of edu8600 on head knows", lambda f: f["hosts"]["head"]["networks"][0]["hosts"].append(["02:00:00:00:00:03", "10.0.0.3"])),
    "a network nobody serves": ("served by 0 dnsmasq", lambda f: f["hosts"]["head"]["networks"][0].update(served_by=[])),
    "a network served twice": ("served by 2 dnsmasq", lambda f: f["hosts"]["head"]["networks"][0].update(served_by=[7, 8])),
    "a forward to nobody": ("which is lent to nobody", lambda f: f["hosts"]["head"]["addresses"].append("10.0.0.3")),
    "a running one without a guest": ("its process is on no host", lambda f: f["hosts"]["node1"]["guests"].clear()),
    "a running one elsewhere": ("told to run on node2", lambda f: f["told"][0].update(host_name="node2")),
    "a stopped one that runs": ("is told to be stopped and runs", lambda f: f["told"][0].update(state="stopped")),
    "a guest of no instance": ("tells of no such instance", _second),
    "an instance that is not told": ("is there and not told", lambda f: f["told"].clear()),
    "an instance that is not there": ("is told and is not there", lambda f: f["hosts"]["front"]["clc"]["instance"].clear()),
    "one that failed without a reason": ("nobody says why", _failed),
    "one on its way": ("is starting at rest", lambda f: f["hosts"]["front"]["clc"]["instance"][0].update(state="starting")),
    "a task that runs on": ("is running at rest", lambda f: f["hosts"]["front"]["clc"]["task"][0].update(state="running")),
    "an order neither done nor open": (f"the order {RUN}#0 instance/boot is unreadable at nc of node1",
                                       lambda f: f["hosts"]["node1"]["journals"]["nc"]["open"].append([f"{RUN}#0", "instance/boot", "unreadable"])),
    "an outbox that does not empty": ("still has to post", lambda f: f["hosts"]["front"]["clc"]["outbox"].append({"command": "c", "to": "cc-1", "why": ""})),
    "a report that is not told": ("is unsaid at cc of head", lambda f: f["hosts"]["head"]["journals"]["cc"]["reports"].append(ONE)),
    "a flow under way": ("the flow c", lambda f: f["hosts"]["head"]["cc"]["flowrun"].append({"command": "c", "kind": "k", "step": 1, "waiting": ""})),
    "half a file": ("half a file is left: node1/nc/instances", lambda f: f["hosts"]["node1"]["parts"].append("nc/instances/x/wanted.json.part")),
    "a silent host": ("node1 is silent at rest", lambda f: f["hosts"]["front"]["clc"]["host"][1].update(state="silent")),
    "a program that does not run": ("nc runs 0 times on node1", lambda f: f["hosts"]["node1"]["programs"].update(nc=0)),
    "a program that runs twice": ("cc runs 2 times on head", lambda f: f["hosts"]["head"]["programs"].update(cc=2)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_each_kind_of_wrong_is_named(what):
    said, change = BROKEN[what]
    it = copy.deepcopy(facts())
    change(it)
    assert [each for each in bed_truth.wrong(it) if said in each], bed_truth.wrong(it)


@pytest.mark.parametrize(("words", "command", "program", "name"), [
    (["/usr/bin/beam.smp", "-W"], "beam.smp", "broker", "broker"),
    (["/usr/bin/epmd", "-daemon"], "epmd", "broker", "broker epmd"),
    (["/usr/bin/beam.smp", "-sname", "epmd-starter-7"], "beam.smp", "broker", "broker beam.smp"),
    (["python", "-m", "deploy.processes", "cc"], "python", "cc", "cc"),
    (["python", "-m", "deploy.host.enclose", "cc.json"], "python", "cc", "cc python"),
    (["dnsmasq", "--port=0"], "dnsmasq", "", "dnsmasq"),
    (["qemu-system-x86_64", "-name", f"guest={ONE},debug-threads=on"], "qemu-system-x86", "", f"guest {ONE}"),
    (["/usr/bin/memcached"], "memcached", "board", "board"),
    (["bash"], "bash", "", ""),
])
def test_a_broker_is_no_other_program_of_a_broker(words, command, program, name):
    assert named(words, command, program) == name


def test_every_process_dies_at_every_moment():
    tried = bed_deaths.cases()
    assert len(tried) == len(set(tried))
    assert {(host, process) for host, process, _ in tried} == {(host, process) for host, all_of in bed_deaths.PROCESSES.items() for process in all_of}
    assert {moment for _, _, moment in tried} == {*bed_deaths.MOMENTS, *(point for points in bed_deaths.POINTS.values() for point in points)}


def test_a_process_kills_itself_at_the_point_a_file_names_and_lives_without_it(tmp_path, monkeypatch):
    file = tmp_path / "die-cc"
    monkeypatch.setenv(processes.DIE_AT, str(file))
    steps = "points.at('report: confirmed'); points.at('file: before rename')"
    program = [sys.executable, "-c", f"from deploy import processes; from luhyaapi import points; processes.may_die(); {steps}"]
    assert subprocess.run(program, cwd=ROOT, check=False).returncode == 0
    file.write_text("file: before rename\n")
    assert subprocess.run(program, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert not file.exists(), "its next life is not killed"
    file.write_text("order: confirmed")
    assert subprocess.run(program, cwd=ROOT, check=False).returncode == 0
    assert file.exists()
