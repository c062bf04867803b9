"""Which versions of an image stay: rules, pins and uses; and that nothing in use ever goes."""

import json
import random

import pytest

from clc.beat import Beat
from clc.services import image_uses, images, instances, prefetches, retention, workspaces
from luhyaapi import clock
from luhyaapi.command.send import Order
from luhyaapi.contracts.commands import ImageDelete
from luhyaapi.contracts.vocabulary import ImageState, InstanceState, Part
from luhyaapi.errors import Refused
from luhyadb.models import Image, ImageVersion, Instance, Outbox, Task, Workspace
from tests.support.clc_world import sha256

BASE = "/api/v1/images/lab/"


def publish(image, parent=None, number=None):
    """The next version, with a disk of its own and a kernel all share."""
    parent = parent or image.versions.order_by("-version").first()
    version = images.add_version(image, parent, "", "")
    disk = {"part": "disk", "sha256": sha256(f"{image.name}{version.version}"), "index": sha256("i"), "size": 10, "format": "raw", "virtual_size": 10}
    images.publish(version, [disk, {**disk, "part": "kernel", "sha256": sha256("kernel")}], [])
    return version


@pytest.fixture
def lab(world, admin):
    world.cluster()
    image = world.image(admin, "lab")
    for _ in range(5):
        publish(image)
    return image


@pytest.fixture
def client(admin, api):
    return api(admin)


def there(image):
    return list(image.versions.filter(state=ImageState.PUBLISHED).order_by("version").values_list("version", flat=True))


def gone():
    """The files that some host was told to remove."""
    orders = [Order.model_validate_json(row.order) for row in Outbox.objects.all()]
    return {b["sha256"] for o in orders if o.kind == ImageDelete.kind for b in json.loads(o.body)["blobs"]}


def test_the_newest_stay_and_what_goes_is_forgotten_everywhere(lab, client):
    dry = client.get(f"{BASE}retention/?keep=2").json()
    assert [(v["version"], v["goes"]) for v in dry["versions"]] == [(1, True), (2, True), (3, True), (4, True), (5, False), (6, False)]
    assert (dry["keep"], dry["is_default"], there(lab)) == (2, True, [1, 2, 3, 4, 5, 6]), "nothing went by looking"
    answer = client.put(f"{BASE}retention/", {"keep": 2}, format="json")
    assert answer.status_code == 200, answer.content
    assert [v["version"] for v in answer.json()["went"]] == [1, 2, 3, 4]
    assert (there(lab), answer.json()["is_default"]) == ([5, 6], False)
    assert gone() >= {sha256(f"lab{n}") for n in (2, 3, 4)}
    assert not gone() & {sha256("lab5"), sha256("lab6"), sha256("kernel")}
    publish(lab)
    assert there(lab) == [6, 7], "a publish applies it"


def test_what_is_pinned_or_used_stays_until_it_is_not(lab, client, admin):
    (one,) = instances.run(admin, instances.Ask("lab:2"))
    assert client.put(f"{BASE}versions/3/pin/", {}, format="json").status_code == 200
    told = client.get(f"{BASE}retention/?keep=1").json()["versions"]
    assert {v["version"]: v["because"] for v in told} == {1: "", 2: "used", 3: "pinned", 4: "", 5: "", 6: "new"}
    assert told[1]["used_by"] == [{"kind": "instance", "id": one.pk, "name": one.name}]
    images.keep(admin, "lab", 1)
    assert there(lab) == [2, 3, 6]
    Instance.objects.filter(pk=one.pk).update(state=InstanceState.DELETED)
    assert client.delete(f"{BASE}versions/3/pin/").status_code == 200
    assert images.tidy_all() == 2
    assert there(lab) == [6]
    assert images.tidy_all() == 0
    assert client.put(f"{BASE}versions/2/pin/", {}, format="json").json()["code"] == "not_found"


def test_a_workspace_a_prefetch_and_a_draft_are_uses_too(lab, world, admin, client):
    space = workspaces.begin(admin, workspaces.Ask("lab:2"))
    task = prefetches.prefetch(admin, "lab:3", ["all"], clock.now() + 3600)
    draft = images.add_version(lab, lab.versions.get(version=4), "", "")
    used = {row["version"]: [(u["kind"], u["id"]) for u in row["used_by"]] for row in client.get(f"{BASE}uses/").json()["results"]}
    assert used == {1: [], 2: [("workspace", space.pk)], 3: [("prefetch", task.pk)], 4: [("draft", "lab:7")], 5: [], 6: [], 7: []}
    images.keep(admin, "lab", 1)
    assert there(lab) == [2, 3, 4, 6]
    for number, name, hint in ((2, space.pk, "abandon"), (3, task.pk, "Cancel"), (4, "lab:7", "published")):
        with pytest.raises(Refused, match=f"Version {number} of lab is in use") as trouble:
            images.retire(admin, "lab", number)
        assert name in trouble.value.why
        assert hint in trouble.value.hint
    with pytest.raises(Refused, match="needed by") as trouble:
        images.delete(admin, "lab")
    assert all(name in trouble.value.why for name in (space.pk, task.pk, "lab:7"))
    Task.objects.filter(pk=task.pk).update(state="done")
    assert images.tidy_all() == 0, "what came for a class stays until that is over"
    images.refuse(draft, "it came to nothing")
    Workspace.objects.update(state="abandoned")
    Instance.objects.update(state=InstanceState.DELETED)
    Task.objects.filter(pk=task.pk).update(state="cancelled")
    assert (images.tidy_all(), there(lab)) == (3, [6])


def test_many_names_are_counted(lab, admin):
    instances.run(admin, instances.Ask("lab", count=7))
    with pytest.raises(Refused, match="and 2 more"):
        images.delete(admin, "lab")


def test_the_setting_is_for_images_that_say_nothing(lab, admin, client, settings):
    settings.EDUCLOUD = settings.EDUCLOUD.model_copy(update={"images": settings.EDUCLOUD.images.model_copy(update={"keep_versions": 3})})
    other = images.like(lab, "other", admin, "")
    images.keep(admin, "lab", 0)
    for _ in range(5):
        publish(other, lab.versions.get(version=1))
    assert images.tidy_all() == 0
    assert (there(other), len(there(lab))) == ([3, 4, 5], 6)
    assert [v["version"] for v in client.put(f"{BASE}retention/", {"keep": None}, format="json").json()["went"]] == [1, 2, 3]
    assert client.put(f"{BASE}retention/", {"keep": -1}, format="json").status_code == 422
    assert client.get(f"{BASE}retention/?keep=many").status_code == 422


def test_only_administrators_rule(lab, user, api):
    client = api(user)
    for answer in (client.get(f"{BASE}retention/"), client.put(f"{BASE}retention/", {"keep": 1}, format="json"), client.get(f"{BASE}uses/"),
                   client.put(f"{BASE}versions/1/pin/", {}, format="json"), client.delete(f"{BASE}versions/1/pin/")):
        assert answer.status_code == 403
    assert len(there(lab)) == 6


def test_what_was_just_retired_comes_into_no_use(lab, admin):
    version = lab.versions.get(version=2)
    images.retire(admin, "lab", 2)
    with pytest.raises(Refused, match="was just retired") as trouble:
        images.hold(version)
    assert trouble.value.code == "state"
    with pytest.raises(Refused, match="was just retired"):
        instances.prepare(admin, version, "", 1, 128)
    assert not Instance.objects.exists()


def test_the_slow_loop_applies_it(lab, admin):
    class Agent:
        """What of an agent the rhythm touches when nothing is connected."""

        class settings:  # noqa: N801 - as the agent calls it
            class beat:  # noqa: N801
                queue_patience_s = 1e9

        down = None

    Image.objects.update(keep_versions=4)
    beat = Beat(Agent)
    beat._said_at = clock.monotonic()
    beat.reconcile()
    assert there(lab) == [3, 4, 5, 6]
    Image.objects.update(keep_versions=1)
    beat.reconcile()
    assert there(lab) == [3, 4, 5, 6], "not at every turn"


class Life:
    """What people do with two images, at random; each step is told whether a rule had its way in it."""

    def __init__(self, world, admin, seed):
        self.admin, self.rng = admin, random.Random(seed)
        self.images = [world.image(admin, name) for name in ("lab", "debian")]
        self.steps = [self.publish, self.publish, self.branch, self.run, self.run, self.end, self.end, self.pin, self.unpin, self.rule, self.rule,
                      self.loop, self.retire, self.delete, self.workspace, self.abandon, self.prefetch, self.arrived, self.back]
        for image in self.images:
            publish(image)

    def step(self):
        """One of them, on an image and a version of it; whether a rule was applied."""
        self.image = self.rng.choice(self.images)
        self.number = self.rng.choice(list(self.image.versions.values_list("version", flat=True)))
        self.chosen = f"{self.image.name}:{self.number}"
        what = self.rng.choice(self.steps)
        try:
            what()
        except Refused:
            return False
        return what in (self.publish, self.branch, self.rule, self.loop, self.back)

    def publish(self):
        publish(self.image)

    def branch(self):
        publish(self.rng.choice(self.images), self.image.versions.get(version=self.number))

    def run(self):
        instances.run(self.admin, instances.Ask(self.chosen))

    def end(self):
        live = Instance.objects.filter(workspace=None).exclude(state=InstanceState.DELETED).order_by("pk").first()
        Instance.objects.filter(pk=live and live.pk).update(state=InstanceState.DELETED)

    def pin(self):
        images.pin(self.admin, self.image.name, self.number, on=True)

    def unpin(self):
        images.pin(self.admin, self.image.name, self.number, on=False)

    def rule(self):
        images.keep(self.admin, self.image.name, self.rng.choice((None, 0, 1, 2, 3)))

    def loop(self):
        images.tidy_all()

    def retire(self):
        images.retire(self.admin, self.image.name, self.number)

    def delete(self):
        if self.rng.random() < 0.3:
            images.delete(self.admin, self.image.name)

    def workspace(self):
        workspaces.begin(self.admin, workspaces.Ask(self.chosen))

    def abandon(self):
        for space in Workspace.objects.filter(state="preparing")[:1]:
            workspaces.abandon(self.admin, space.pk)

    def prefetch(self):
        prefetches.prefetch(self.admin, self.chosen, ["all"], clock.now() + 60)

    def arrived(self):
        under_way = Task.objects.filter(kind="image/prefetch", state="queued").first()
        Task.objects.filter(pk=under_way and under_way.pk).update(state=self.rng.choice(("done", "failed")))

    def back(self):
        images.roll_back(self.admin, self.image.name, self.number)


def used():
    """The versions that are in use, asked of the tables themselves."""
    for task in Task.objects.filter(kind="image/prefetch", state="queued"):
        order = image_uses.prefetch_of(task)
        yield ImageVersion.objects.get(image=order.image, version=order.ref.version).pk
    yield from Instance.objects.exclude(state=InstanceState.DELETED).values_list("image", flat=True)
    yield from Workspace.objects.filter(state="preparing").values_list("base", flat=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.walk
def test_nothing_in_use_ever_goes(world, admin, seed):
    world.cluster()
    life = Life(world, admin, seed)
    for _ in range(40):
        pinned = set(ImageVersion.objects.filter(pinned=True).values_list("pk", flat=True))
        newest = {image.pk: there(image)[-1:] for image in life.images}
        by_rule = life.step()
        states = dict(ImageVersion.objects.values_list("pk", "state"))
        assert {states[pk] for pk in used()} <= {ImageState.PUBLISHED}
        if by_rule:
            assert {states[pk] for pk in pinned} <= {ImageState.PUBLISHED}
            assert all(there(image)[-1:] >= newest[image.pk] for image in life.images), "the newest never goes by a rule"
        needed = {b["sha256"] for v in ImageVersion.objects.filter(state=ImageState.PUBLISHED) for b in v.blobs}
        assert not gone() & needed
        Outbox.objects.all().delete()


def test_a_verdict_names_why(lab):
    assert [v.because for v in retention.judged(lab, 5)] == ["", *["new"] * 5]
    assert [v.because for v in retention.judged(lab)] == ["new"] * 6
    assert Part.DISK in {b["part"] for b in lab.versions.get(version=6).blobs}
