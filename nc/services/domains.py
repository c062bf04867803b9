"""The instances of this node: wanted files, driver calls, found state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from luhyaapi import clock, ids, log
from luhyaapi.conf import Settings
from luhyaapi.contracts.reports import InstanceFacts, MachineFacts
from luhyaapi.contracts.specs import DomainFacts, Fault, MachineSpec
from luhyaapi.contracts.vocabulary import DomainState, InstanceState
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable, of
from luhyaapi.role import Job
from luhyaapi.wire import stream
from nc.services import belongings, disks, stalls
from nc.services.boots import Boots
from nc.services.first_boots import FirstBoots
from nc.services.furnishing import Hands, furnish
from nc.services.guards import Guards
from nc.services.lazy.exports import Exports
from nc.services.lazy.standing import Standing
from nc.services.probes import Probes
from nc.services.stalls import Stalls
from nc.services.turns import Turns
from nc.services.wanted import Wanted, WantedFiles
from nc.services.ways import Ways

__all__ = ["Domains", "Hands"]

_log = log.get(__name__)
RESTARTS, RESTARTS_WITHIN_S = 5, 8 * 3600.0
_FETCHED_S = 3600.0
_FOUND_HOLDS_S = 2.0
Tell = Callable[[InstanceFacts], None]


class Domains:
    """Instances by id. Every verb is idempotent; ``tell`` reports what changed; an older order is refused."""

    def __init__(self, settings: Settings, hands: Hands, node: str, tell: Tell, exports: Exports | None = None) -> None:
        self._settings = settings
        self._hands = hands
        self._node = node
        self._tell = tell
        self._boots = Boots(settings.hypervisor, hands.hypervisor.busy_s)
        self._turns = Turns()
        self._told: dict[str, tuple[str, int, int, bool, bool]] = {}
        self._failed: dict[str, Fault] = {}
        self._unseen: dict[str, str] = {}
        self._compared = False
        self._watched: set[str] = set()
        self._fetched: dict[tuple[str, str], float] = {}
        self.wanted = WantedFiles(settings.host.state / "instances")
        self.guards = Guards(hands.network, self.wanted, settings.host.state / "edge.json")
        self.probes = Probes(hands.hypervisor, hands.network, self.wanted, self.guards)
        self.ways = Ways(hands.hypervisor, self.wanted)
        self._first_boots = FirstBoots(self._is_offline, self._first_boot_done)
        self._connected: set[str] = set()
        self.exports = exports or Exports(settings, hands.cache)
        self.standing = Standing(hands.hypervisor, hands.cache, self.exports, self.wanted, self._turns)
        self.stalls = Stalls(hands.hypervisor, settings.host.state)
        self.strangers: tuple[str, ...] = ()
        """Guests that run here and that nobody told this node to run; its boss judges them."""

    # ---- orders

    def start(self, job: Job, spec: MachineSpec, gen: int, fence: int) -> DomainFacts:
        """Have it running. Raises Refused(state) for an older order, Failed(hypervisor), Refused(not_found) without image."""
        with self._turns.order(spec.instance):
            before, spec = self._taking(job, spec, gen, fence)
            restarts, online = (before.restarts, before.online) if before else ((), -1)
            wanted = self.wanted.write(Wanted(spec=spec, state=InstanceState.RUNNING, gen=gen, fence=fence, restarts=restarts, online=online))
            job.checkpoint()
            facts = self._boot(wanted, job.cancelled)
            for blob in spec.image.blobs:
                self._hands.cache.unpin(blob.sha256, job.task)
            self._report(wanted, facts)
            return facts

    def prepare(self, job: Job, spec: MachineSpec, gen: int, fence: int) -> None:
        """Have its disks here, and it stopped. Raises what :meth:`start` raises."""
        with self._turns.order(spec.instance):
            before, spec = self._taking(job, spec, gen, fence)
            wanted = self.wanted.write(Wanted(spec=spec, state=InstanceState.STOPPED, gen=gen, fence=fence, online=before.online if before else -1))
            job.checkpoint()
            furnish(spec, self._hands, self.exports, self.wanted.folder(spec.instance))
            self._hands.network.unplug(spec.instance)
            for blob in spec.image.blobs:
                self._hands.cache.unpin(blob.sha256, job.task)
            self._report(wanted, self._hands.hypervisor.inspect(spec.instance))

    @contextmanager
    def at_rest(self, instance: str) -> Iterator[tuple[Wanted, Path]]:
        """Have the turn with one that does not run: what is wanted of it, and its folder. Raises Refused(state | not_found)."""
        with self._turns.order(instance):
            wanted = self.wanted.read(instance)
            if wanted is None:
                raise Refused("not_found", "The instance is not on this node", instance)
            if self._hands.hypervisor.inspect(instance).state is DomainState.RUNNING:
                raise Refused("state", "The instance runs", "its disk can be read only while it is stopped")
            yield wanted, self.wanted.folder(instance)

    def stop(self, job: Job, instance: str, grace_s: float, gen: int, fence: int) -> None:
        """Have it stopped; its overlay stays."""
        with self._turns.order(instance):
            before = wanted = self._newest(instance, gen, fence)
            if wanted is not None:
                wanted = self.wanted.write(wanted.model_copy(update={"state": InstanceState.STOPPED, "gen": gen, "restarts": ()}))
            try:
                self._hands.hypervisor.stop(instance, grace_s, job.cancelled)
            except Refused:
                if before is not None:  # cancelled: nobody shall stop it later
                    self.wanted.write(before.model_copy(update={"gen": gen}))
                raise
            if wanted is not None:
                belongings.close_screen(self.wanted.folder(instance))
                self.exports.close(instance)
                self._reset(wanted)
                self._report(wanted, self._hands.hypervisor.inspect(instance))

    def delete(self, instance: str, gen: int, fence: int) -> None:
        """Have nothing of it: no domain, tap, overlay, pin."""
        with self._turns.order(instance):
            wanted = self._newest(instance, gen, fence)
            if wanted is not None:
                wanted = self.wanted.write(wanted.model_copy(update={"state": InstanceState.DELETED, "gen": gen}))
            self.wanted.bury(instance, max(gen, self.wanted.buried(instance)))
            self._wipe(instance, wanted)

    def connect(self, instance: str, gen: int, fence: int) -> None:
        """Have its cards connected, whether or not its first boot is done. Raises Refused(not_found | state)."""
        with self._turns.order(instance):
            wanted = self._newest(instance, gen, fence)
            if wanted is None:
                raise Refused("not_found", "The instance is not on this node", instance)
            self._connect(self.wanted.write(wanted.model_copy(update={"gen": gen})))

    def _first_boot_done(self, instance: str) -> None:
        with self._turns.order(instance):
            wanted = self.wanted.read(instance)
            if wanted is not None and wanted.is_offline:
                self._connect(wanted)

    def _connect(self, wanted: Wanted) -> None:
        instance = wanted.spec.instance
        wanted = self.wanted.write(wanted.model_copy(update={"online": wanted.spec.disk}))
        self._hands.hypervisor.connect(instance)
        self._report(wanted, self._hands.hypervisor.inspect(instance))

    def _is_offline(self, instance: str) -> bool:
        wanted = self.wanted.read(instance)
        return wanted is not None and wanted.is_offline

    def machine(self, instance: str) -> MachineFacts:
        """What of it is here. Raises Unavailable when the hypervisor cannot be asked."""
        with self._turns.order(instance):
            wanted = self.wanted.read(instance)
            runs = self._hands.hypervisor.inspect(instance).state is DomainState.RUNNING
        if wanted is None:
            return MachineFacts(instance=instance, node=self._node, runs=runs)
        return MachineFacts(instance=instance, node=self._node, runs=runs, machine=wanted.spec, wanted=wanted.state, gen=wanted.gen, fence=wanted.fence)

    def is_going(self, instance: str) -> bool:
        """Whether its delete has begun."""
        wanted = self.wanted.read(instance)
        return wanted is not None and wanted.state == InstanceState.DELETED

    def _wipe(self, instance: str, wanted: Wanted | None) -> None:
        self._hands.hypervisor.stop(instance, 0)
        self._hands.hypervisor.remove(instance)
        self._hands.network.unplug(instance)
        self.guards.leave(instance)
        if self._hands.metadata:
            self._hands.metadata.drop(instance)
        self.exports.close(instance)
        self.standing.forget(instance)
        cache = self._hands.cache
        # of one whose file is gone nobody knows its image
        pinned = [b.sha256 for b in wanted.spec.image.blobs] if wanted else [one for one, owners in cache.pins().items() if instance in owners]
        for sha256 in pinned:
            cache.unpin(sha256, instance)
        self.wanted.forget(instance)
        for known in (self._told, self._failed, self._unseen):
            known.pop(instance, None)
        self.stalls.forget(instance)
        self._watched.discard(instance)
        self._connected.discard(instance)

    def screen(self, instance: str) -> stream.Local:
        """Where its screen is dialled on this host. Raises Refused(state)."""
        facts = self._hands.hypervisor.inspect(instance)
        at = self._hands.hypervisor.screen(facts, belongings.screen_of(self.wanted.folder(instance)))
        if facts.state is not DomainState.RUNNING or not at:
            raise Refused("state", "The instance shows no screen", f"on its node it is {facts.state}")
        return stream.UnixSocket(at) if isinstance(at, Path) else at

    def log(self, instance: str) -> Path:
        """Its console log. Raises Refused(not_found)."""
        file = self.wanted.folder(instance) / "console.log"
        if not file.exists():
            raise Refused("not_found", "The instance has no console log yet")
        return file

    def _before(self, instance: str, gen: int, fence: int) -> Wanted | None:
        """What is wanted so far, for an order that puts it here. Raises Refused(state) when a newer one was here, or removed it."""
        wanted = self._newest(instance, gen, fence)
        if wanted is None and gen <= self.wanted.buried(instance):
            raise Refused("state", "The order is older than what this node knows", "the instance was removed from here since")
        return wanted

    def _taking(self, job: Job, spec: MachineSpec, gen: int, fence: int) -> tuple[Wanted | None, MachineSpec]:
        """What is wanted so far, and the machine with its newest system disk. What runs on an older one is stopped."""
        before = self._before(spec.instance, gen, fence)
        if before is None or spec.disk == before.spec.disk:
            return before, spec
        if spec.disk < before.spec.disk:
            return before, spec.model_copy(update={"disk": before.spec.disk, "image": before.spec.image})
        job.checkpoint()
        self._hands.hypervisor.stop(spec.instance, 0)
        return before, spec

    def _reset(self, wanted: Wanted) -> None:
        """A transient system disk goes when its guest has stopped; the next start makes another one."""
        if wanted.spec.transient and wanted.state == InstanceState.STOPPED:
            disks.drop_systems(self.wanted.folder(wanted.spec.instance))

    def _newest(self, instance: str, gen: int, fence: int) -> Wanted | None:
        """What is wanted so far. Raises Refused(state) when a newer order was here before this one."""
        wanted = self.wanted.read(instance)
        if wanted is not None and fence < wanted.fence:
            raise Refused("state", "The order is older than what this node knows", f"fence {fence}, here {wanted.fence}")
        if wanted is not None and gen < wanted.gen:
            raise Refused("state", "The order is older than what this node knows", f"generation {gen}, here {wanted.gen}")
        return wanted

    # ---- booting

    def _boot(self, wanted: Wanted, cancelled: Callable[[], bool]) -> DomainFacts:
        spec = wanted.spec
        found = self._hands.hypervisor.inspect(spec.instance)
        if found.state is DomainState.RUNNING:
            return self._hands.hypervisor.start(spec.instance) if found.paused else found
        self.standing.forget(spec.instance)
        files = furnish(spec, self._hands, self.exports, self.wanted.folder(spec.instance), offline=wanted.is_offline)
        self.guards.stand(spec)
        self._serve(spec)
        with self._boots.slot(spec.instance, cancelled):
            self._hands.hypervisor.define(spec, files)
            facts = self._hands.hypervisor.start(spec.instance)
        self.standing.started(spec.instance)
        self._watch_first_boot(wanted)
        self._failed.pop(spec.instance, None)
        return facts

    def _watch_first_boot(self, wanted: Wanted) -> None:
        """Of a guest that runs, and whose first boot is offline: hear when it is done; one that may be online is, also after a crash of ours."""
        instance = wanted.spec.instance
        if wanted.is_offline:
            self._connected.discard(instance)
            self._first_boots.listen(instance, belongings.first_boot_of(self.wanted.folder(instance)))
        elif wanted.spec.first_boot_offline and instance not in self._connected:
            self._hands.hypervisor.connect(instance)
            self._connected.add(instance)

    def _serve(self, spec: MachineSpec | None = None) -> None:
        """Have this guest told of itself, or all there are: of one alone a new process would forget the others."""
        metadata = self._hands.metadata
        if metadata and spec and metadata.is_whole:
            metadata.put(spec)
        elif metadata:
            metadata.serve(wanted.spec for instance in self.wanted.all() if (wanted := self.wanted.read(instance)))

    # ---- wanted against found

    def reconcile(self, busy: set[str]) -> None:
        """Look at every instance that no order is about; the first time, start what should run.

        One that cannot be looked at is tried again the next time. Raises what ``list`` of the hypervisor raises.
        """
        self.standing.resume()
        self.standing.settle()
        found = self._found()
        self._serve()
        if not self._compared:
            # each boot takes a while, and the last ones shall not pass for running until then
            self._greet(found, busy)
        asked_at = clock.monotonic()
        for instance in self.wanted.all():
            if instance not in busy:
                with self._turns.look(instance) as is_ours:
                    if is_ours:
                        self._try_look(instance, found, asked_at)
        self._compared = True
        running = sorted(instance for instance, d in found.items() if d.state is DomainState.RUNNING)
        # also one whose file is gone or cannot be read
        self.strangers = tuple(one for one in running if one not in busy and self.wanted.read(one) is None)
        for stranger in self.strangers:
            _log.warning("domain without an order is left alone", instance=stranger)
        self.wanted.seen()

    def _try_look(self, instance: str, found: dict[str, DomainFacts], asked_at: float) -> None:
        """What one instance is in the way of is in no other's way."""
        try:
            self._look(instance, self._there(instance, found, asked_at))
        except Exception as error:
            trouble = of(error)
            if self._unseen.get(instance) != trouble.code:
                is_bug = trouble.code == "bug"
                _log.warning("instance could not be looked at", instance=instance, code=trouble.code, why=str(error), exc_info=is_bug)
            self._unseen[instance] = trouble.code
            if trouble.family == "unavailable":
                self._found()  # which tells a hypervisor that answers nobody from one guest it has trouble with
        else:
            self._unseen.pop(instance, None)

    def unpin_fetched(self) -> None:
        """What a task fetched and never started is let go after a while: its flow has long ended."""
        now = clock.now()
        pinned = {(sha256, owner) for sha256, owners in self._hands.cache.pins().items() for owner in owners if ids.is_id(owner, "tsk")}
        self._fetched = {pin: self._fetched.get(pin, now) for pin in pinned}
        for (sha256, owner), since in self._fetched.items():
            if now - since > _FETCHED_S:
                self._hands.cache.unpin(sha256, owner)

    def look(self, instance: str, busy: set[str]) -> None:
        """Look at one instance now: something changed."""
        if instance not in busy and self.wanted.folder(instance).exists():
            with self._turns.look(instance) as is_ours:
                if is_ours:
                    self._look(instance, self._hands.hypervisor.inspect(instance))

    def _there(self, instance: str, found: dict[str, DomainFacts], asked_at: float) -> DomainFacts:
        """What a list said of it; asked again where others had to boot since, or an order may have come since."""
        there, wanted = found.get(instance) or _absent(instance), self.wanted.read(instance)
        is_old = clock.monotonic() - asked_at > _FOUND_HOLDS_S
        agrees = wanted is not None and (wanted.state == InstanceState.RUNNING) == (there.state is DomainState.RUNNING)
        return there if agrees and not is_old else self._hands.hypervisor.inspect(instance)

    def _look(self, instance: str, found: DomainFacts) -> None:
        wanted = self.wanted.read(instance)
        if wanted is None:
            return
        if wanted.state == InstanceState.DELETED:
            self._wipe(instance, wanted)
            # its order failed half-way and said so: what became of it meanwhile nobody else will tell
            self._tell(self._facts(wanted, _absent(instance)))
            return
        if wanted.state == InstanceState.RUNNING and found.state is not DomainState.RUNNING:
            wanted, found = self._fell(wanted, found)
        elif wanted.state == InstanceState.STOPPED and found.state is DomainState.RUNNING:
            self._hands.hypervisor.stop(instance, 0)
            found = self._hands.hypervisor.inspect(instance)
        if found.state is DomainState.RUNNING:
            found = self.stalls.seen(found)
            self._watch_first_boot(wanted)
        else:
            self.stalls.forget(instance)
            self._close_screen(instance)
            if wanted.state != InstanceState.RUNNING:
                self.exports.close(instance)
                self._reset(wanted)
        self._report(wanted, found)

    def _close_screen(self, instance: str) -> None:
        folder = self.wanted.folder(instance)
        # what was found may be old, and a start writes its wish before it makes its screen
        if belongings.screen_of(folder).is_socket() and (wanted := self.wanted.read(instance)) and wanted.state == InstanceState.STOPPED:
            belongings.close_screen(folder)

    def _fell(self, wanted: Wanted, found: DomainFacts) -> tuple[Wanted, DomainFacts]:
        """A guest that should run does not: it ended by itself while watched, or it crashed, or the host was away."""
        # one that could not be looked at so far, because somebody else had its turn, was not watched
        is_watched = wanted.spec.instance in self._watched
        if is_watched and found.state is DomainState.STOPPED and wanted.spec.instance not in self._failed:
            return self.wanted.write(wanted.model_copy(update={"state": InstanceState.STOPPED})), found
        now = clock.now()
        recent = tuple(t for t in wanted.restarts if now - t < RESTARTS_WITHIN_S)
        if is_watched:
            if len(recent) >= RESTARTS:
                return wanted, found
            wanted = self.wanted.write(wanted.model_copy(update={"restarts": (*recent, now)}))
        _log.info("guest is started again", instance=wanted.spec.instance, found=found.state, times=len(recent))
        self._tell_starting(wanted)
        try:
            return wanted, self._boot(wanted, lambda: False)
        except Trouble as e:
            if e.family == "unavailable":
                raise
            self._failed[wanted.spec.instance] = Fault(**e.wire())
            return wanted, found

    # ---- reports

    def tell_all(self) -> None:
        """Say every instance's state again: the boss may have forgotten."""
        self._told.clear()

    def tell_again(self, instance: str) -> None:
        """Say how one is with the next comparison: what was said before its place was known was passed over."""
        self._told.pop(instance, None)

    def greet(self, busy: set[str]) -> None:
        """Say every instance's state again, and before the first comparison at once, as far as it can be known.

        Until then the boss has what was told before this process, or the whole host, went away.
        """
        self.tell_all()
        if self._compared:
            return
        try:
            self._greet(self._found(), busy)
        except Trouble as e:
            _log.info("the hypervisor cannot be asked yet", why=str(e))
            if not self.wanted.is_same_boot():
                self._greet({}, busy)

    def disown(self, doubtful: Sequence[str], busy: set[str]) -> None:
        """Say of those of which nothing is here that they do not run. Raises Unavailable when the hypervisor cannot be asked."""
        found = self._found()
        for instance in doubtful:
            with self._turns.look(instance) as is_ours:
                if is_ours and instance not in busy and instance not in found and self.wanted.read(instance) is None:
                    self._tell(InstanceFacts(instance=instance, state=InstanceState.STOPPED, node=self._node))

    def _greet(self, found: dict[str, DomainFacts], busy: set[str]) -> None:
        for instance in self.wanted.all():
            with self._turns.look(instance) as is_ours:
                wanted = self.wanted.read(instance)
                if wanted is None or instance in busy or not is_ours:
                    continue
                there = found.get(instance) or _absent(instance)
                runs = there.state is DomainState.RUNNING
                if wanted.state == InstanceState.RUNNING and not runs:
                    self._tell_starting(wanted)
                elif (wanted.state == InstanceState.RUNNING) == runs:
                    self._report(wanted, there)

    def _found(self) -> dict[str, DomainFacts]:
        return {d.instance: d for d in self._hands.hypervisor.list()}

    def _tell_starting(self, wanted: Wanted) -> None:
        """It should run and does not, and is started again; one whose start just failed is failed until it runs."""
        spec = wanted.spec
        if self._told.get(spec.instance) in (_mark(InstanceState.STARTING, wanted), _mark(InstanceState.FAILED, wanted)):
            return
        why = "its guest ended unexpectedly" if spec.instance in self._watched else "its node was away"
        trouble = Unavailable("interrupted", "The guest is started again", why)
        self._tell(InstanceFacts(
            instance=spec.instance, state=InstanceState.STARTING, node=self._node, nics=spec.nics, fence=wanted.fence,
            gen=wanted.gen, version=spec.image.version, error=Fault(**trouble.wire()),
        ))
        self._told[spec.instance] = _mark(InstanceState.STARTING, wanted)

    def _report(self, wanted: Wanted, found: DomainFacts) -> None:
        facts = self._facts(wanted, found)
        self._watched.add(facts.instance)
        mark = _mark(facts.state, wanted, is_stalled=found.io_error)
        if self._told.get(facts.instance) != mark:
            self._tell(facts)
            self._told[facts.instance] = mark

    def _facts(self, wanted: Wanted, found: DomainFacts) -> InstanceFacts:
        state, error = InstanceState.DELETED if wanted.state == InstanceState.DELETED else InstanceState.STOPPED, None
        if found.state is DomainState.RUNNING:
            state, error = InstanceState.RUNNING, stalls.fault() if found.io_error else None
        elif wanted.state == InstanceState.RUNNING:
            trouble = Failed("guest", "The guest ended unexpectedly", f"it was restarted {RESTARTS} times in 8 hours")
            state, error = InstanceState.FAILED, self._failed.get(wanted.spec.instance) or Fault(**trouble.wire())
        return InstanceFacts(
            instance=wanted.spec.instance, state=state, node=self._node, nics=wanted.spec.nics, display=found.display,
            accelerator=found.accelerator, fence=wanted.fence, gen=wanted.gen,
            version=wanted.spec.image.version, offline=state is InstanceState.RUNNING and wanted.is_offline, error=error,
        )

    def counts(self) -> int:
        """Instances on this node."""
        return len(self.wanted.all())


def _mark(state: InstanceState, wanted: Wanted, *, is_stalled: bool = False) -> tuple[str, int, int, bool, bool]:
    """What is told again only when it is otherwise."""
    return state, wanted.gen, wanted.spec.image.version, wanted.is_offline, is_stalled


def _absent(instance: str) -> DomainFacts:
    return DomainFacts(instance=instance, state=DomainState.ABSENT)
