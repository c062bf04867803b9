"""What the judge asks of images: every published version whole at any time, every submit exactly what its guest wrote, nothing left of the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]
_OVER = {"published", "abandoned", "failed"}
_BEHIND = {"guest_started", "guest_ends", "guest_dies"}


def the_published_is_whole(history: list[Record]) -> Iterator[str]:
    """Whenever somebody looked into the store, no published version lacked a block or had a wrong byte."""
    for r in history:
        if r["what"] == "store":
            yield from (f"{w} at record {r['n']}" for w in _wrong(r["found"]))


def _wrong(found: dict[str, Any]) -> Iterator[str]:
    for sha256, why in found["published"].items():
        if why:
            yield f"the published file {sha256[:12]} is not whole: {why}"
    yield from (f"the store is damaged: {why}" for why in found["wrong"])


def submitted_is_what_was_written(history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """A submit that is done made one version, which holds what its guest wrote until then; one that came to nothing made none."""
    behind = {str(r["about"]).split(" ")[0] for r in history if r["who"] == "fault" and r["what"] in _BEHIND}
    versions: dict[str, list[Record]] = defaultdict(list)
    for version in picture["clc"]["imageversion"]:
        versions[version["task"]].append(version)
    ended = {r["task"]: r for r in history if r["what"] == "task" and r["state"] in ("done", "failed", "cancelled")}
    seen: dict[str, str] = {}
    for r in history:
        if r["what"] == "asked" and r["verb"] == "prepare" and r["answer"].get("accepted"):
            seen[r["answer"]["instances"][0]] = r["answer"]["base"]
    for r in history:
        if r["what"] != "asked" or r["verb"] != "space submit" or not r["answer"].get("accepted"):
            continue
        (task,), (instance,) = r["answer"]["tasks"], r["answer"]["instances"]
        made = [v for v in versions[task] if v["state"] in ("published", "retired")]
        end = ended.get(task)
        if end is None or end["state"] != "done":
            if made:
                yield f"the submit {task} came to nothing, and made version {made[0]['version']}"
            continue
        wrote = [w["sha256"] for w in history[: end["n"]] if w["what"] == "wrote" and w["instance"] == instance]
        expected = wrote[-1] if wrote else seen.get(instance)
        if len(made) != 1:
            yield f"the submit {task} is done, and made {len(made)} versions"
        elif instance not in behind and [b["sha256"] for b in made[0]["blobs"] if b["part"] == "disk"] != [expected]:
            yield f"version {made[0]['version']} of {task} is not what {instance} wrote: {expected}"


def newest_is_not_overwritten(history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """Each version has its number alone; a submit from an older one is taken only from who said so."""
    numbers = [(v["image_id"], v["version"]) for v in picture["clc"]["imageversion"]]
    for image, version in sorted({n for n in numbers if numbers.count(n) > 1}):
        yield f"there are two versions {version} of {image}"
    done = {r["task"]: r["n"] for r in history if r["what"] == "task" and r["state"] == "done"}
    versions = {v["id"]: v for v in picture["clc"]["imageversion"]}
    spaces = {s["id"]: s for s in picture["clc"]["workspace"]}
    for r in history:
        if r["what"] == "asked" and r["verb"] == "space submit" and r["answer"].get("accepted") and not r["anyway"]:
            (task,), space = r["answer"]["tasks"], spaces[r["workspace"]]
            base = versions[space["base_id"]]
            between = [
                v["version"] for v in versions.values()
                if v["image_id"] == base["image_id"] and v["version"] > base["version"] and v["state"] == "published"
                and v["task"] != task and done.get(v["task"], r["n"]) < r["n"]
            ]
            if between and not space["is_new"]:
                yield f"{task} was submitted at record {r['n']} from version {base['version']}, and nobody was told of {between}"


def workspaces_end(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """Every workspace is being edited or over; of one that is over nothing is left, and what is left in the store belongs to one."""
    instances = {i["id"]: i["state"] for i in picture["clc"]["instance"]}
    versions = {v["id"]: v["state"] for v in picture["clc"]["imageversion"]}
    for space in picture["clc"]["workspace"]:
        state, instance = space["state"], instances.get(space["instance_id"])
        if state not in _OVER | {"editing"}:
            yield f"workspace {space['id']} is {state} at rest"
        elif (state in _OVER) != (instance == "deleted"):
            yield f"workspace {space['id']} is {state}, its instance is {instance}"
        if state == "published" and versions.get(space["version_id"]) not in ("published", "retired"):
            yield f"workspace {space['id']} is published, its version is {versions.get(space['version_id'])}"
        if state != "published" and space["version_id"] is not None:
            yield f"workspace {space['id']} is {state} and has a version"
    done = {t["id"] for t in picture["clc"]["task"] if t["state"] == "done"}
    known = {t["id"] for t in picture["clc"]["task"] if t["kind"] == "workspace/submit"}
    for draft in picture["drafts"]:
        if draft in done:
            yield f"the draft {draft} is left, and its version is published"
        elif draft not in known:
            yield f"the draft {draft} is of nobody"


def no_digest_is_wrong(history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """Blocks that were acknowledged stay: no submit ends with a block lost, unless bits were turned on the way."""
    if any(r["who"] == "fault" and r["what"] == "bytes_flip" for r in history):
        return
    for task in picture["clc"]["task"]:
        if task["kind"] == "workspace/submit" and (task["error"] or {}).get("code") in ("digest", "not_found"):
            yield f"the submit {task['id']} ended with {task['error']}"


def the_store_is_tidy(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """A day later there is nothing in it that no version needs, and every version is whole."""
    later = picture["later"]
    if later is None:
        return
    yield from _wrong(later)
    yield from (f"pack {name[:12]} holds mostly what nobody needs" for name in later["empty"])
    yield from (f"index {name[:12]} is of no file" for name in later["indexes"])


def versions_agree(_history: list[Record], picture: dict[str, Any]) -> Iterator[str]:
    """The version that the CLC names is the one its node has."""
    numbers = {v.get("id"): v["version"] for v in picture["clc"]["imageversion"]}
    for row in picture["clc"]["instance"]:
        for name, node in picture["nodes"].items():
            wanted = node["wanted"].get(row["id"])
            if wanted and row["state"] != "deleted" and wanted["version"] != numbers.get(row["image_id"]):
                yield f"{row['id']} has version {numbers.get(row['image_id'])} for the CLC, {wanted['version']} on {name}"


RULES = (the_published_is_whole,)
REST = (versions_agree, submitted_is_what_was_written, newest_is_not_overwritten, workspaces_end, no_digest_is_wrong, the_store_is_tidy)
