"""Who makes new versions in a simulated cloud: workspaces, what their guests write, and versions that are gone back to or retired."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from typing import TYPE_CHECKING, Any

from clc.services import images, workspaces
from luhyadb.models import ImageVersion, Workspace
from tests.simulator import overlays

if TYPE_CHECKING:
    from tests.simulator.clients import Clients
    from tests.simulator.simulation import Simulation

BLOCK = overlays.CLUSTER
BLOCKS, FILLED = 20, 5
LAB = "lab"
"""The image with a disk that every simulated cloud begins with."""
_MBR = bytes(446) + struct.pack("<BBBBBBBBII", 0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, BLOCKS * BLOCK // 512 - 1) + bytes(48) + b"\x55\xaa"


def disk(seed: str) -> bytes:
    """A disk of 20 blocks, five of them not empty; most of what differs in seeds is in one."""
    same, own = random.Random("disk").randbytes((FILLED - 1) * BLOCK), random.Random(seed).randbytes(BLOCK)
    return _MBR + same[512:] + own + bytes((BLOCKS - FILLED) * BLOCK)


class Studio:
    """They choose among the workspaces they began by the dice of the plan. ``disks`` is what each guest should see."""

    def __init__(self, sim: Simulation, clients: Clients) -> None:
        self._sim, self._clients = sim, clients
        self._spaces: list[tuple[str, str]] = []
        self._disks: dict[str, bytearray] = {}
        self._contents: dict[str, bytes] = {}
        self._know(disk(LAB))
        self._made = 0

    def do(self, name: str, dice: tuple[float, ...]) -> None:
        """Ask for what was planned."""
        getattr(self, f"_{name}")(dice)

    def _of(self, verb: str, space: Workspace) -> dict[str, Any]:
        return {"workspace": space.pk, "tasks": [space.task], "instances": [space.instance_id]} if verb else {}

    def _prepare(self, dice: tuple[float, ...]) -> None:
        """A workspace over the newest version, now and then of a new image."""
        name = f"own-{self._made}" if dice[1] < 0.2 else ""
        self._made += 1

        def work() -> dict[str, Any]:
            space = workspaces.begin(self._clients.admin, workspaces.Ask(LAB, name, memory_bytes=64 * 2**20))
            return {**self._of("prepare", space), "base": space.base.blobs[0]["sha256"]}

        if answer := self._clients.ask("prepare", work):
            self._spaces.append((answer["workspace"], answer["instances"][0]))
            self._clients.tasks += answer["tasks"]
            if answer["base"] not in self._contents:
                self._sim.tell("simulator", "stumbled", why=f"a version holds {answer['base'][:12]}, which nobody wrote", full=False)
            self._disks[answer["instances"][0]] = bytearray(self._contents.get(answer["base"], b""))

    def _know(self, content: bytes) -> str:
        """A version may come to hold this; its digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        self._contents[sha256] = content
        return sha256

    def _one(self, dice: float) -> tuple[str, str] | None:
        return self._spaces[-1 - int(dice * min(len(self._spaces), 3))] if self._spaces else None

    def _order(self, verb: str, dice: tuple[float, ...], **more: Any) -> None:
        one = self._one(dice[0])
        if one is None:
            return

        def work() -> dict[str, Any]:
            space = getattr(workspaces, verb)(self._clients.admin, one[0], **more)
            space.instance.refresh_from_db()
            said = self._of(verb, space)
            return said if verb == "submit" else {**said, "tasks": [space.instance.task] if verb != "abandon" else []}

        if answer := self._clients.ask(f"space {verb}", work, workspace=one[0], **more):
            self._clients.tasks += answer["tasks"]

    def _space_start(self, dice: tuple[float, ...]) -> None:
        self._order("start", dice)

    def _space_stop(self, dice: tuple[float, ...]) -> None:
        self._order("stop", dice, grace_s=int(dice[1] * 8))

    def _submit(self, dice: tuple[float, ...]) -> None:
        self._order("submit", dice, note="n", anyway=dice[1] < 0.5)

    def _abandon(self, dice: tuple[float, ...]) -> None:
        self._order("abandon", dice)

    def _edit(self, dice: tuple[float, ...]) -> None:
        """The guest writes one to three blocks, if it runs."""
        one = self._one(dice[0])
        if one is None:
            return
        for name in sorted(self._sim.p.known):
            domain = self._sim.p.folder / name / "fake" / "domains" / f"{one[1]}.json"
            overlay = self._sim.p.folder / name / "instances" / one[1] / "disk.qcow2"
            if not overlay.is_file() or not domain.is_file() or json.loads(domain.read_text())["state"] != "running":
                continue
            chance = random.Random(f"edit {dice}")
            seen = self._disks[one[1]]
            with overlays.opened(overlay) as opened:
                for number in chance.sample(range(1, BLOCKS), chance.randint(1, 3)):
                    data = bytes([chance.randrange(256)]) * BLOCK if chance.random() < 0.5 else chance.randbytes(BLOCK)
                    opened.write(number, data)
                    seen[number * BLOCK : (number + 1) * BLOCK] = data
            self._sim.tell("guest", "wrote", instance=one[1], sha256=self._know(bytes(seen)))

    # ---- versions

    def _run_disk(self, dice: tuple[float, ...]) -> None:
        self._clients.run_of(LAB, dice)

    def _upload_disk(self, dice: tuple[float, ...]) -> None:
        """The next version of the same image, most of it known."""
        self._made += 1
        content = disk(f"{LAB} {self._made}")
        self._know(content)
        self._clients.upload_of(LAB, "disk", content, dice)

    def _version(self, dice: float) -> int:
        found = list(ImageVersion.objects.filter(image__name=LAB, state="published").order_by("version").values_list("version", flat=True))
        return found[int(dice * len(found))] if found else 1

    def _roll_back(self, dice: tuple[float, ...]) -> None:
        self._clients.ask("roll_back", lambda: {"version": images.roll_back(self._clients.admin, LAB, self._version(dice[0])).version})

    def _retire(self, dice: tuple[float, ...]) -> None:
        self._clients.ask("retire", lambda: {"image": images.retire(self._clients.admin, LAB, self._version(dice[0])).pk})
