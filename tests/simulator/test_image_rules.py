"""What the judge sees of images: each rule says yes to what may be and no to what may not."""

import copy

import pytest

from tests.simulator import image_rules

SPACE, TASK, INSTANCE, BASE, NEW = "wks-1", "tsk-1", "ins-1", "a" * 64, "b" * 64
ASKED = {"n": 1, "what": "asked", "verb": "space submit", "workspace": SPACE, "anyway": False,
         "answer": {"accepted": True, "tasks": [TASK], "instances": [INSTANCE]}, "who": "web"}
PREPARED = {"n": 0, "what": "asked", "verb": "prepare", "answer": {"accepted": True, "instances": [INSTANCE], "base": BASE}, "who": "web"}
WROTE = {"n": 2, "what": "wrote", "who": "guest", "instance": INSTANCE, "sha256": NEW}
DONE = {"n": 3, "what": "task", "who": "clc", "task": TASK, "state": "done"}
HISTORY = [PREPARED, ASKED, WROTE, DONE]


def version(number, task="", sha256=BASE, state="published"):
    blobs = [{"part": "disk", "sha256": sha256}]
    return {"id": number, "image_id": "img-1", "version": number, "state": state, "task": task, "parent_id": None, "blobs": blobs}


@pytest.fixture
def picture():
    """Version 1, and 2 from a workspace."""
    found = {"published": {BASE: "", NEW: ""}, "wrong": [], "empty": [], "indexes": []}
    return {
        "clc": {
            "imageversion": [version(1), version(2, TASK, NEW)], "instance": [{"id": INSTANCE, "state": "deleted"}],
            "workspace": [{"id": SPACE, "state": "published", "instance_id": INSTANCE, "version_id": 2, "base_id": 1, "is_new": False}],
            "task": [{"id": TASK, "kind": "workspace/submit", "state": "done", "error": None}],
        }, "drafts": [], "later": found, "nodes": {},
    }


def broken(picture, history=HISTORY):
    return [rule.__name__ for rule in image_rules.REST if list(rule(history, picture))]


def changed(picture, change):
    other = copy.deepcopy(picture)
    change(other)
    return broken(other)


def test_all_is_well(picture):
    assert broken(picture) == []


def test_what_was_written_is_what_is_published(picture):
    assert broken(picture, [*HISTORY, WROTE | {"sha256": BASE}]) == []
    assert broken(picture, [PREPARED, ASKED, WROTE | {"sha256": BASE}, DONE]) == ["submitted_is_what_was_written"]
    assert broken(picture, [PREPARED, ASKED, DONE]) == ["submitted_is_what_was_written"]
    assert broken(picture, [*HISTORY[:3], DONE | {"state": "failed"}]) == ["submitted_is_what_was_written"]
    assert changed(picture, lambda p: p["clc"]["imageversion"].pop()) == ["submitted_is_what_was_written", "workspaces_end"]


def test_nobody_is_hidden(picture):
    other = version(3, "tsk-2")
    picture["clc"]["imageversion"].append(other)
    before = {"n": 0, "what": "task", "who": "clc", "task": "tsk-2", "state": "done"}
    assert broken(picture, [*HISTORY, before]) == ["newest_is_not_overwritten"]
    assert broken(picture, [PREPARED, ASKED | {"anyway": True}, WROTE, DONE, before]) == []
    assert broken(picture, [*HISTORY, before | {"n": 9}]) == []
    assert changed(picture, lambda p: p["clc"]["imageversion"].append(version(3, "tsk-9"))) == ["newest_is_not_overwritten"]


def test_one_that_is_over_leaves_nothing(picture):
    space = picture["clc"]["workspace"][0]
    for state in ("preparing", "submitting", "abandoned", "editing"):
        space["state"] = state
        assert broken(picture) == ["workspaces_end"], state
    space |= {"state": "published"}
    picture["clc"]["instance"][0]["state"] = "stopped"
    assert broken(picture) == ["workspaces_end"]


@pytest.mark.parametrize("draft", [TASK, "tsk-of-nobody"])
def test_no_draft_is_left(picture, draft):
    picture["drafts"] = [draft]
    assert broken(picture) == ["workspaces_end"]


def test_blocks_stay(picture):
    picture["clc"]["task"][0] |= {"state": "failed", "error": {"code": "digest"}}
    picture["clc"]["task"].append({"id": "tsk-2", "kind": "workspace/submit", "state": "failed", "error": {"code": "cancelled"}})
    assert broken(picture) == ["no_digest_is_wrong"]
    assert broken(picture, [*HISTORY, {"n": 9, "who": "fault", "what": "bytes_flip", "about": "flip"}]) == []


@pytest.mark.parametrize(("what", "value"), [("published", {BASE: "block 3 is not there"}), ("wrong", ["pack"]), ("empty", ["pack"]), ("indexes", ["one"])])
def test_the_store_is_whole_and_tidy(picture, what, value):
    picture["later"][what] = value
    assert broken(picture) == ["the_store_is_tidy"]
    seen = {"n": 4, "what": "store", "who": "walrus", "found": picture["later"]}
    assert bool(list(image_rules.the_published_is_whole([seen]))) == (what in ("published", "wrong"))
