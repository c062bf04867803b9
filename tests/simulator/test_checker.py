"""The judge judges: each rule on a history written by hand, broken and kept."""

import copy

import pytest

from tests.simulator import checker

ONE, TWO = "ins-00000001", "ins-00000002"
NC1, NC2 = "nc-00000001", "nc-00000002"
NICS = [["02:00:00:00:00:02", "10.0.0.2"]]
RUN, STOP, DELETE = "tsk-00000001", "tsk-00000002", "tsk-00000003"


def effect(what, instance=ONE, who="nc1", order=f"{RUN}#boot.0", t=0.0, nics=NICS, port=8700):
    return {"t": t, "who": who, "what": "effect", "effect": what, "instance": instance, "order": order, "nics": nics, "port": port}


def asked(verb, task, instance=ONE, **answer):
    return {"t": 0.0, "who": "web", "what": "asked", "verb": verb, "instance": instance,
            "answer": {"accepted": True, "tasks": [task], "instances": [instance], **answer}}


def fault(what, about=""):
    return {"t": 0.0, "who": "fault", "what": what, "about": about}


def got(who, kind, t=0.0, **more):
    return {"t": t, "who": who, "what": "got", "kind": kind, "id": "m1", "subject": "", "task": RUN, **more}


def task(state, ident=RUN):
    return {"t": 0.0, "who": "clc", "what": "task", "task": ident, "state": state}


def history(*records):
    return [{"n": n, **r} for n, r in enumerate(records)]


def broken(rule, *records):
    return list(rule(history(*records)))


def test_one_instance_on_two_nodes():
    first = effect("running")
    assert broken(checker.one_place, first, effect("running", who="nc2"))
    assert not broken(checker.one_place, first, effect("stopped"), effect("running", who="nc2"))
    assert not broken(checker.one_place, first, effect("running"))


@pytest.mark.parametrize("shared", ["nics", "port"])
def test_two_owners_of_one_thing(shared):
    mine = {"nics": [], "port": 0} | ({"nics": NICS} if shared == "nics" else {"port": 8700})
    first = effect("defined", **mine)
    assert broken(checker.nothing_lent_twice, first, effect("defined", TWO, "nc2", **mine))
    assert broken(checker.nothing_lent_twice, first, effect("stopped", **mine), effect("running", TWO, "nc2", **mine))
    assert not broken(checker.nothing_lent_twice, first, effect("removed", **mine), effect("defined", TWO, "nc2", **mine))


def test_an_address_that_did_not_rest():
    gone = effect("removed", t=10.0)
    assert broken(checker.lent_things_rest, gone, effect("defined", TWO, t=60.0))
    assert not broken(checker.lent_things_rest, gone, effect("defined", TWO, t=70.0))
    assert not broken(checker.lent_things_rest, gone, effect("defined", t=11.0))
    assert not broken(checker.lent_things_rest, fault("clock_forward"), gone, effect("defined", TWO, t=60.0))


def test_an_order_with_effect_after_another_order():
    first = effect("running")
    assert broken(checker.once, first, effect("stopped", order=f"{STOP}#halt.0"), effect("running"))
    assert not broken(checker.once, first, effect("stopped", order=f"{STOP}#halt.0"), effect("running", order="tsk-00000009#boot.0"))
    assert not broken(checker.once, first, effect("crashed", order=""), effect("running", order=""))


def test_the_dead_come_back():
    gone = asked("delete", DELETE), effect("removed", order=f"{DELETE}#wipe.0")
    assert broken(checker.the_dead_stay_dead, *gone, effect("running"))
    assert not broken(checker.the_dead_stay_dead, *gone, effect("running", TWO))
    assert not broken(checker.the_dead_stay_dead, fault("guest_started", f"{ONE} on nc1"), *gone, effect("running", order=""))


def test_somebody_stumbles():
    fell = {"t": 0.0, "who": "cc", "what": "stumbled", "why": "KeyError", "full": False}
    assert broken(checker.nobody_stumbles, fell)
    assert not broken(checker.nobody_stumbles, {**fell, "full": True})
    request = asked("run", RUN)
    request["answer"] = {"stumbled": "bug", "full": False}
    assert broken(checker.nobody_stumbles, request)


def test_what_was_not_taken_never_comes_again():
    first = got("clc", "outcome"), {"t": 0.0, "who": "clc", "what": "not taken", "id": "m1", "direction": "up"}
    assert broken(checker.taken_in_the_end, *first)
    assert not broken(checker.taken_in_the_end, *first, got("clc", "outcome"))
    assert not broken(checker.taken_in_the_end, fault("broker_lost"), *first)


def test_a_task_is_done_before_its_outcome():
    done, came = task("done"), got("clc", "outcome", subject=f"{RUN}#0.0")
    assert broken(checker.done_is_done, asked("run", RUN), done)
    assert broken(checker.done_is_done, asked("run", RUN), done, came)
    assert not broken(checker.done_is_done, asked("run", RUN), came, done)
    assert broken(checker.done_is_done, fault("lie", {"id": "m1"}), came, done)


def test_a_run_is_done_that_never_ran():
    assert broken(checker.who_was_run_ran, asked("run", RUN), task("done"))
    assert broken(checker.who_was_run_ran, asked("run", RUN), effect("running", TWO), task("done"))
    assert not broken(checker.who_was_run_ran, asked("run", RUN), effect("running"), task("done"))
    assert not broken(checker.who_was_run_ran, asked("start", STOP), task("done", STOP))


def test_a_task_ends_twice():
    assert broken(checker.final_is_final, task("failed"), task("done"))
    assert not broken(checker.final_is_final, task("lost"), task("running"), task("done"), task("failed", STOP))


def test_a_deleted_instance_takes_orders():
    deleted = asked("delete", DELETE), task("done", DELETE)
    assert broken(checker.answers_in_order, *deleted, asked("start", RUN))
    assert not broken(checker.answers_in_order, asked("delete", DELETE), task("cancelled", DELETE), asked("start", RUN))
    assert not broken(checker.answers_in_order, *deleted, asked("start", RUN, TWO))


def test_an_older_order_comes_after_a_later_one_is_done():
    asked_for = asked("run", RUN), asked("stop", STOP), task("done", STOP)
    assert broken(checker.in_order, *asked_for, effect("running"))
    assert not broken(checker.in_order, *asked_for, effect("stopped", order=f"{STOP}#halt.0"))
    assert not broken(checker.in_order, *asked_for, effect("removed", order=f"{RUN}#undo-boot.0"))
    assert not broken(checker.in_order, *asked_for[:2], effect("running"), asked_for[2])
    assert not broken(checker.in_order, *asked_for, effect("running", TWO, order="tsk-00000009#boot.0"))


def test_a_cancelled_task_goes_on():
    heard = got("nc1", "task/cancel")
    assert broken(checker.the_cancelled_rest, heard, effect("running", t=60.0))
    assert not broken(checker.the_cancelled_rest, heard, effect("running", t=1.0))
    assert not broken(checker.the_cancelled_rest, effect("running"), heard)
    assert not broken(checker.the_cancelled_rest, heard | {"late": True}, effect("running", t=60.0))
    early = fault("clock_forward", "nc1 by 250 s")
    assert not broken(checker.the_cancelled_rest, early, heard, effect("running", t=60.0))
    assert not broken(checker.the_cancelled_rest, fault("clock_backward", "cc by -100 s"), heard, effect("running", t=60.0))
    assert broken(checker.the_cancelled_rest, early, fault("clock_forward ends", "nc1 by 250 s"), heard, effect("running", t=60.0))


# ---- the last picture


def picture():
    """A cloud at rest with one running instance."""
    place = {"instance": ONE, "node": NC1, "fence": 1, "gen": 1, "wanted": "running", "found": "running",
             "spec": {"nics": [{"mac": NICS[0][0], "ip": NICS[0][1]}]}}
    return {
        "clc": {
            "task": [{"id": RUN, "kind": "instance/run", "state": "done", "subject": ONE, "error": None, "deadline": 9.0,
                      "created_at": 1.0, "owner_id": 1}],
            "instance": [{"id": ONE, "state": "running", "wanted": "running", "node": NC1, "nics": place["spec"]["nics"],
                          "display_port": 8700, "gen": 1, "task": RUN, "error": None, "image_id": 7}],
            "host": [{"id": NC1, "role": "nc", "name": "nc1", "state": "up", "boss": "cc-00000001"}],
            "imageversion": [{"image_id": "img-1", "version": 1, "state": "published", "blobs": [{"sha256": "a"}], "task": "", "id": 7}],
            "taskstep": [{"task_id": RUN, "name": "boot", "state": "done"}], "outbox": [], "upload": [], "workspace": [], "network": [],
        },
        "cc": {
            "placement": [place],
            "addresslease": [{"ip": NICS[0][1], "mac": NICS[0][0], "instance": ONE, "released_at": 0}],
            "portlease": [{"port": 8700, "instance": ONE, "released_at": 0}],
            "outbox": [], "child": [{"id": NC1, "role": "nc", "draining": 0}], "flowrun": [], "segment": [],
        },
        "journals": {"nc1": {"open": [], "reports": []}},
        "nodes": {"nc1": {"domains": {ONE: {"state": "running", "nics": [], "port": 8700}},
                          "wanted": {ONE: {"state": "running", "gen": 1, "fence": 1, "version": 1}}, "taps": {"t1": ONE}, "pins": [ONE]}},
        "hosts": {NC1: "nc1"}, "store": ["a"], "uploads": [], "drafts": [], "later": None, "parts": [], "served": [[ONE, *NICS[0]]],
    }


def judged(change):
    """What the judge says after ``change(picture)``."""
    it = copy.deepcopy(picture())
    change(it)
    return checker.at_rest(history(asked("run", RUN)), it)


def test_a_cloud_at_rest_is_at_rest():
    assert judged(lambda _p: None) == []


def _gone(p):
    p["nodes"]["nc1"]["domains"].clear()


BROKEN = {
    "a task that runs on": lambda p: p["clc"]["task"][0].update(state="running"),
    "a task that is gone": lambda p: p["clc"]["task"].clear(),
    "a lost task without a clock that jumped": lambda p: p["clc"]["task"][0].update(state="lost", error={"code": "timeout"}),
    "a fault of ours": lambda p: p["clc"]["task"][0].update(state="failed", error={"code": "bug"}),
    "a step that runs on": lambda p: p["clc"]["taskstep"][0].update(state="running"),
    "an instance on its way": lambda p: p["clc"]["instance"][0].update(state="starting"),
    "an instance nobody asked for": lambda p: p["clc"]["instance"].clear(),
    "a running instance without a domain": _gone,
    "a deleted one with a place": lambda p: p["clc"]["instance"][0].update(state="deleted"),
    "another address for the CLC": lambda p: p["clc"]["instance"][0].update(nics=[]),
    "another wish of the cluster": lambda p: p["cc"]["placement"][0].update(wanted="stopped"),
    "a place on nobody": lambda p: p["cc"]["placement"][0].update(node="nc-00000009"),
    "a lease of nobody": lambda p: p["cc"]["addresslease"].append({"ip": "x", "mac": "y", "instance": TWO, "released_at": 0}),
    "a network the cluster did not hear of": lambda p: p["clc"]["network"].append({"id": "net-1", "number": 1, "retired_at": 0}),
    "a network that was given up": lambda p: p["cc"]["segment"].append({"id": "net-1", "number": 1}),
    "a port too few": lambda p: p["cc"]["portlease"].clear(),
    "an old DHCP entry": lambda p: p["served"].append([TWO, "y", "x"]),
    "a stranger's domain": lambda p: p["nodes"]["nc1"]["domains"].update({TWO: {"state": "stopped"}}),
    "a folder left": lambda p: p["nodes"]["nc1"]["wanted"].update({TWO: {"state": "deleted"}}),
    "a wanted file nobody can read": lambda p: p["nodes"]["nc1"]["wanted"].update({ONE: {"state": "unreadable", "version": 0}}),
    "another version for the CLC": lambda p: p["nodes"]["nc1"]["wanted"][ONE].update(version=2),
    "a tap left": lambda p: p["nodes"]["nc1"]["taps"].update(t2=TWO),
    "a pin left": lambda p: p["nodes"]["nc1"]["pins"].append(TWO),
    "half a file": lambda p: p["parts"].append("nc1/instances/x/wanted.json.part"),
    "an order not posted": lambda p: p["cc"]["outbox"].append({"command": "c", "to": NC1, "why": ""}),
    "a flow under way": lambda p: p["cc"]["flowrun"].append({"command": "c", "kind": "k", "step": 1, "waiting": ""}),
    "an open order": lambda p: p["journals"]["nc1"]["open"].append(["c", "k", "accepted"]),
    "a report unsaid": lambda p: p["journals"]["nc1"]["reports"].append("s"),
    "a published image that is nowhere": lambda p: p["store"].clear(),
    "a blob of no image": lambda p: p["store"].append("b"),
    "a version that is built for ever": lambda p: p["clc"]["imageversion"].append(
        {"image_id": "i", "version": 2, "state": "building", "blobs": [], "task": "", "id": 2}),
    "a silent host": lambda p: p["clc"]["host"][0].update(state="silent"),
    "a host its cluster does not know": lambda p: p["cc"]["child"].clear(),
    "a host drained for one only": lambda p: p["cc"]["child"][0].update(draining=1),
    "a removed host still there": lambda p: p["clc"]["host"][0].update(state="retired"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_picture_is_judged(what):
    assert judged(BROKEN[what])


def test_a_run_without_an_end_is_no_success():
    assert checker.check(history(asked("run", RUN)))
    assert checker.check([])
