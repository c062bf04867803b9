"""What the clients of a simulated cloud ask for, and what they were answered."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clc.services import hosts, images, instances, networks, prefetches, renewals, tasks, uploads
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Refused, Trouble, of
from luhyadb import memory
from luhyadb.models import Account, Child, Host, Image, Instance
from tests.simulator.plan import Item
from tests.simulator.studio import LAB, Studio
from tests.support.flow_world import KERNEL, Crash

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

MIB = 1024 * 1024
AGAIN_S = 5.0
_WITHOUT, _GIVES_UP = 14, 19
"""Of twenty who ask for an instance so many want no network beside the cluster's own; the last gives one up."""


class Clients:
    """They remember what they were answered, and choose among that by the dice of the plan."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.instances: list[str] = []
        self.tasks: list[str] = []
        self.images: list[str] = ["tiny"]
        self.nodes = 2
        self._studio = Studio(sim, self)
        self.counts: Counter[str] = Counter()
        self._uploads = 0
        self._may_pass = False
        self._networks: set[str] = set()

    def do(self, item: Item) -> None:
        """Ask for what was planned."""
        self.counts[item.name] += 1
        mine = getattr(self, f"_{item.name}", None)
        if mine:
            mine(item.dice)
        else:
            self._studio.do(item.name, item.dice)

    def ask(self, verb: str, work: Callable[[], dict[str, Any]], **args: Any) -> dict[str, Any] | None:
        """One request, as the web process answers it; None when it was refused, or that process died on the way."""
        sim = self._sim
        sim.clock.actor = "web"
        answer: dict[str, Any] = {}
        passing = True
        try:
            with memory.of("clc"):
                found = work()
            answer = {"accepted": True, **found}
        except Crash as crash:
            answer = {"crashed": str(crash)}
        except Trouble as e:
            answer = {"refused": e.code, "why": str(e)[:200]}
            passing = e.family == "unavailable"
        except Exception as e:
            answer = {"stumbled": f"{of(e).code} {type(e).__name__}: {e}"[:300], "full": "web" in sim.full}
        finally:
            sim.clock.actor = ""
            sim.dying.discard("web")
            sim.clock.ahead.pop("web", None)
        sim.tell("web", "asked", verb=verb, **args, answer=answer)
        sim.tell_tasks()
        self._may_pass = passing
        return answer if "accepted" in answer else None

    @property
    def _user(self) -> Account:
        return Account.objects.get(username="ada")

    @property
    def admin(self) -> Account:
        return Account.objects.get(username="root")

    def _one(self, dice: float) -> str | None:
        return self.instances[int(dice * len(self.instances))] if self.instances else None

    # ---- instances

    def _run(self, dice: tuple[float, ...], count: int = 1) -> None:
        self.run_of(self.images[int(dice[0] * len(self.images))], dice, count)

    def run_of(self, image: str, dice: tuple[float, ...], count: int = 1) -> None:
        """Instances of an image; what the dice decide is their memory, and in which networks they are."""
        memory_mib = (64, 256, 900)[int(dice[1] * 3)]
        cards = self._cards(dice[3])

        def work() -> dict[str, Any]:
            rows = instances.run(self._user, instances.Ask(image, memory_bytes=memory_mib * MIB, count=count, networks=cards))
            return {"instances": [r.pk for r in rows], "tasks": [r.task for r in rows]}

        answer = self.ask("run", work, image=image, count=count, **({"networks": cards} if cards else {}))
        if answer:
            self.instances += answer["instances"]
            self.tasks += answer["tasks"]

    def _cards(self, dice: float) -> tuple[str, ...]:
        """Mostly none: then the network is the cluster's own. The first that is in another makes it, and now and then one is given up."""
        which = int(dice * 20)
        if which < _WITHOUT:
            return ()
        name = f"class-{which % 2}"
        if which == _GIVES_UP:
            if self.ask("network retire", lambda: {"network": networks.retire(self.admin, name).pk}, name=name):
                self._networks.discard(name)
            return ()
        if name not in self._networks:
            ask = networks.Ask(cluster="", name=name, subnet=f"10.4{which % 2}.0.0/24")
            if self.ask("network create", lambda: {"network": networks.create(self.admin, ask).pk}, name=name):
                self._networks.add(name)
        return (name, "default") if which % 4 > 1 else (name,)

    def _run_many(self, dice: tuple[float, ...]) -> None:
        self._run(dice, 2 + int(dice[2] * 3))

    def _order(self, verb: str, dice: tuple[float, ...], **more: Any) -> None:
        one = self._one(dice[0])
        if one is None:
            return

        def work() -> dict[str, Any]:
            row = getattr(instances, verb)(self._user, one, **more)
            return {"instances": [row.pk], "tasks": [row.task]}

        answer = self.ask(verb, work, instance=one)
        if answer:
            self.tasks += answer["tasks"]

    def _stop(self, dice: tuple[float, ...]) -> None:
        self._order("stop", dice, grace_s=int(dice[1] * 8))

    def _start(self, dice: tuple[float, ...]) -> None:
        self._order("start", dice)

    def _reboot(self, dice: tuple[float, ...]) -> None:
        self._order("reboot", dice, grace_s=int(dice[1] * 8))

    def _delete(self, dice: tuple[float, ...]) -> None:
        self._order("delete", dice)

    def _cancel(self, dice: tuple[float, ...]) -> None:
        if not self.tasks:
            return
        # of the newest, for the older ones have ended
        task = self.tasks[-1 - int(dice[0] * min(len(self.tasks), 3))]
        self.ask("cancel", lambda: {"tasks": [tasks.cancel(self._user, task).pk]}, task=task)

    def _restore(self, dice: tuple[float, ...]) -> None:
        """A new system disk for one of them; or a new version, and all of its image are put on it a little later."""
        if dice[1] < 0.5:
            one = self._one(dice[0])
            if one and (answer := self.ask("restore", lambda: _told([renewals.restore(self._user, one, "newest" if dice[2] < 0.5 else "")]), instance=one)):
                self.tasks += answer["tasks"]
            return
        self._upload((dice[0], dice[2], 0.0), "tiny")
        self._sim.after(5 + dice[3] * 10, self._renew)

    def _renew(self) -> None:
        answer = self.ask("renew", lambda: _told(renewals.renew(self._user, "tiny").begun), image="tiny")
        if answer:
            self.tasks += answer["tasks"]

    # ---- images

    def _upload(self, dice: tuple[float, ...], name: str = "") -> None:
        self._uploads += 1
        name = name or f"image-{self._uploads}"
        self.upload_of(name, "kernel", KERNEL + f"image-{self._uploads}".encode() * (1 + int(dice[1] * 40)), dice)

    def upload_of(self, name: str, part: str, data: bytes, dice: tuple[float, ...]) -> None:
        """A version of one file, now and then with another digest than its bytes have."""
        if "walrus" not in self._sim.p.houses:
            return
        library = self._sim.p.houses["walrus"].agent.services.library

        digest = hashlib.sha256(data if dice[2] < 0.8 else b"other").hexdigest()
        begun: list[str] = []

        def complete() -> dict[str, Any]:
            return {"tasks": [uploads.complete(self.admin, begun[0], ({"part": part, "sha256": digest},)).pk]}

        def work() -> dict[str, Any]:
            is_next = Image.objects.filter(name=name, retired=False).exists()
            up = uploads.begin(self.admin, images.Ask(name, ({"part": part, "size_bytes": len(data)},), new_version=is_next))
            library.open_upload(up.id, [(part, len(data))])
            begun.append(up.id)
            library.write(up.id, part, 0, io.BytesIO(data), len(data))
            return complete()

        self._insist("upload", work, complete, begun, image=name)

    def _insist(self, verb: str, work: Callable[[], dict[str, Any]], again: Callable[[], dict[str, Any]], begun: list[str], **args: Any) -> None:
        """Once its bytes are there, whoever uploads says again that they are, until somebody hears it."""
        if answer := self.ask(verb, work, **args):
            self.tasks += answer["tasks"]
            if args["image"] not in (*self.images, LAB):
                self.images.append(args["image"])
        elif begun and self._may_pass:
            self._sim.after(AGAIN_S, lambda: self._insist("complete", again, again, begun, **args))

    def _prefetch(self, dice: tuple[float, ...]) -> None:
        image, ahead_s = self.images[int(dice[0] * len(self.images))], int(dice[1] * 60)
        name = "all" if dice[2] < 0.7 else self._node(dice[3])

        def work() -> dict[str, Any]:
            return {"tasks": [prefetches.prefetch(self.admin, image, [name], clock.now() + ahead_s).pk]}

        if answer := self.ask("prefetch", work, image=image, host=name):
            self.tasks += answer["tasks"]

    def _delete_image(self, dice: tuple[float, ...]) -> None:
        name = self.images[int(dice[0] * len(self.images))]
        self.ask("delete_image", lambda: {"image": images.delete(self.admin, name).pk}, image=name)

    # ---- hosts

    def _node(self, dice: float) -> str:
        return f"nc{1 + int(dice * self.nodes)}"

    def _of_host(self, verb: str, name: str, call: Callable[[str], Any]) -> dict[str, Any] | None:
        host = self._sim.p.known[name][0].host if name in self._sim.p.known else ""
        return self.ask(verb, lambda: {"host": call(host).pk}, host=name) if host else None

    def _drain(self, dice: tuple[float, ...]) -> None:
        self._of_host("drain", self._node(dice[0]), lambda h: hosts.drain(self.admin, h, on=True))

    def _resume(self, dice: tuple[float, ...]) -> None:
        self._of_host("resume", self._node(dice[0]), lambda h: hosts.drain(self.admin, h, on=False))

    def _refresh(self, dice: tuple[float, ...]) -> None:
        names = list(self._sim.p.known)
        self._of_host("refresh", names[int(dice[0] * len(names))], lambda h: hosts.refresh(self.admin, h))

    def _remove(self, dice: tuple[float, ...]) -> None:
        """As the manual says: of a node that was drained, and while nothing is being placed."""
        sim, name = self._sim, self._node(dice[0])
        host = sim.p.known[name][0].host if name in sim.p.known else ""
        drained = Child.objects.using("cc").filter(pk=host, draining=True).exists()
        if not drained or Instance.objects.filter(state__in=("queued", "starting"), node="").exists():
            return
        if self._of_host("remove", name, lambda h: hosts.remove(self.admin, h)):
            sim.retired.add(name)

    def _join(self, _dice: tuple[float, ...]) -> None:
        """A further node: a token, a knock at the cluster's door, and asking until it is answered."""
        sim = self._sim
        if "cc" not in sim.p.houses or self.nodes > 3:
            return
        made: list[str] = []

        def ask() -> dict[str, str]:
            # Not in the history: a secret, and its end names an authority whose key no seed decides.
            made.append(hosts.make_token(self.admin, Role.NC)[0])
            return {}

        answer = self.ask("token", ask)
        if answer is None:
            return
        self.nodes += 1
        name = f"nc{self.nodes}"
        sim.tell("web", "joining", host=name)
        self._knock(name, made[0], "", 0)

    def _knock(self, name: str, token: str, request: str, tries: int) -> None:
        """Not before heal: a host that cannot reach its boss tries on; so does this one."""
        sim = self._sim
        if name in sim.p.known:
            return
        if "cc" in sim.p.houses:
            sim.clock.actor = name
            try:
                boss = sim.p.houses["cc"]
                if not request or tries % 5 == 0:
                    request = sim.p.knock(name, boss, token, request)
                elif sim.p.let_in(name, boss, request):
                    sim.began(name)
                    sim.tell(name, "joined", host=sim.p.known[name][0].host)
                    return
            except (Refused, Crash) as e:
                sim.tell(name, "not let in", why=str(e)[:200])
                if isinstance(e, Refused) and e.code == "forbidden":
                    return
            except Exception as e:
                sim.tell(name, "not let in yet", why=str(e)[:200])
            finally:
                sim.clock.actor = ""
        if tries < 150:
            sim.after(4.0, lambda: self._knock(name, token, request, tries + 1))


def _told(rows: list[Instance]) -> dict[str, Any]:
    return {"instances": [row.pk for row in rows], "tasks": [row.task for row in rows]}


def host_rows() -> dict[str, str]:
    """Name of each host by id."""
    with memory.of("clc"):
        return dict(Host.objects.values_list("pk", "name"))
