"""FLOWS: the ordered steps of each order of the CLC. A step ends only by an Outcome; a crash anywhere resumes here.

A step begins with an order (to a node, or to this CC itself) or is done at once inside the transaction. Failure and
cancel walk back through the steps that were begun. Moving is one compare-and-set in one transaction with the outbox row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cc.services import children, placements
from cc.services.office import Office
from luhyaapi import clock, log
from luhyaapi.command.send import compose, stamp
from luhyaapi.contracts.base import Command, Envelope
from luhyaapi.contracts.commands import COMMANDS, InstanceDelete, TaskCancel
from luhyaapi.contracts.reports import MachineFacts, Outcome, TaskSteps
from luhyaapi.contracts.specs import StepFacts
from luhyaapi.errors import Bug, Failed, Refused, Trouble, from_wire, of
from luhyaapi.journal import KEEP_S, PENDING
from luhyadb import memory, outbox
from luhyadb.models import FlowRun

_log = log.get(__name__)
_GIVE_UP_S = 120.0
_KEPT_S = KEEP_S + 86400.0


@dataclass(frozen=True)
class Say:
    """An order that a step begins with; ``to`` may be this CC itself."""

    command: Command
    to: str
    gen: int = 0
    fence: int = 0


Begin = Callable[[Office, FlowRun], Say | None]


@dataclass(frozen=True)
class Step:
    """One step. ``begin`` answers the order that does it, or None when it is done already. ``undo`` likewise, backwards.

    ``commits``: once it is done nothing can be taken back, and a cancel that came meanwhile came too late. ``lacking``: the step
    from which the flow goes on, once, when the receiver says that something is not there (``not_found``) which was taken to be.
    """

    name: str
    begin: Begin
    undo: Begin = lambda _office, _run: None
    commits: bool = False
    lacking: str = ""


FLOWS: dict[str, tuple[Step, ...]] = {}

PROOFS: dict[str, Callable[[Office, FlowRun], MachineFacts | None]] = {}
"""By kind, what the node has of an order that came to its end unheard, as after a restored database; None: it did not.

Asked before a flow that another process began is taken back for want of an answer. Raises Trouble while that is not known.
"""


def open_flow(envelope: Envelope) -> None:
    """Begin the flow of an order; again it is there already."""
    if FlowRun.objects.filter(pk=envelope.id).exists():
        return
    FlowRun.objects.create(
        command=envelope.id, task=envelope.task, kind=envelope.kind, instance=envelope.subject,
        envelope=envelope.model_dump_json(), deadline=envelope.deadline, said_at=clock.now(),
    )


def is_overtaken(envelope: Envelope) -> bool:
    """Whether a newer order on the same instance opened its flow first; an older one would undo what it did."""
    others = FlowRun.objects.filter(instance=envelope.subject).exclude(pk=envelope.id)
    return any(gen_of(run) > envelope.gen for run in others)


def order_of(run: FlowRun) -> Command:
    """The order that opened a flow."""
    return COMMANDS[run.kind].model_validate_json(Envelope.model_validate_json(run.envelope).body)


def gen_of(run: FlowRun) -> int:
    """The generation of the order that opened a flow."""
    return Envelope.model_validate_json(run.envelope).gen


def fence_of(run: FlowRun) -> int:
    """The fence the CLC gave with the order that opened a flow."""
    return Envelope.model_validate_json(run.envelope).fence


def node_of(run: FlowRun) -> str:
    """Where the CLC took the instance to be when it gave the order; empty: nowhere."""
    return str(getattr(order_of(run), "node", ""))


def has_begun(run: FlowRun) -> bool:
    """Whether a flow had a place or came past its first step: one that found no room did not, and another of its generation may have."""
    return bool(run.facts.get("is_new")) or len(run.facts.get("steps", {})) > 1


def go(office: Office, command: str) -> None:
    """Move a flow as far as it goes now, in one transaction: until a step waits for its Outcome, or the flow ends."""
    with memory.atomic():
        run = FlowRun.objects.select_for_update().filter(pk=command).first()
        if run is None or run.waiting:
            return
        if run.ended_at:
            memory.on_commit(lambda: _end(office, run))
            return
        while not (run.waiting or run.ended_at):
            _move(office, run)
        _report(office, run)
        run.save()


def _move(office: Office, run: FlowRun) -> None:
    """One step forward or back."""
    steps = FLOWS[run.kind]
    step = steps[run.step]
    try:
        with memory.atomic():
            say = step.undo(office, run) if run.back else step.begin(office, run)
            if say is not None:
                _say(office, run, step, say)
    except memory.AWAY:
        raise  # no step's fault: with this transaction nothing happened, and it is tried again
    except Exception as error:
        trouble = of(error)
        if trouble.code == "bug":
            _log.error("a step is faulty", step=step.name, why=str(error), exc_info=error)
        if run.step or run.back or trouble.family != "unavailable":
            # a flow that finds no room has not begun: its Outcome says why
            _tell(office, run, step, "failed", trouble.what if trouble.code == "bug" else str(trouble))
        _turn_back(run, trouble)
        _settle(office, run, steps)
        return
    if say is not None:
        _tell(office, run, step, "undone" if run.back else "running")
        return
    if not run.back:
        _tell(office, run, step, "done")
    _advance(run)
    _settle(office, run, steps)


def _say(office: Office, run: FlowRun, step: Step, say: Say) -> None:
    """Post the order of a step under its computed id; to ourselves it goes straight into the journal after commit."""
    me = office.agent.me
    name = f"undo-{step.name}" if run.back else f"sure-{step.name}" if _is_committed(run) else step.name
    deadline = min(max(run.deadline, clock.now() + 60), clock.now() + say.command.timeout_s)
    if say.to == me:
        order = compose(say.command, me, sender=me, task=run.task, step=name, attempt=run.attempt, deadline=deadline, gen=say.gen)
        envelope = stamp(order, me, say.command.timeout_s)
        memory.on_commit(lambda: office.agent.worker.take(envelope))
    else:
        order = outbox.send(
            say.command, say.to, sender=me, task=run.task, step=name, attempt=run.attempt, deadline=deadline, gen=say.gen,
            fence=say.fence, speaks=children.speaks(say.to),
        )
    run.waiting, run.said_at = order.id, clock.now()
    run.facts = {**run.facts, "at": say.to}


def _is_committed(run: FlowRun) -> bool:
    """Whether a step is behind it that nothing takes back."""
    return not run.back and any(step.commits for step in FLOWS[run.kind][: run.step])


def _advance(run: FlowRun) -> None:
    run.step += -1 if run.back else 1
    run.waiting = ""


def _fail(run: FlowRun, trouble: Trouble) -> None:
    """The order of a step came to nothing. After a step that nothing takes back the flow goes on: reconciling makes it good."""
    lacking = FLOWS[run.kind][run.step].lacking
    if _is_committed(run):
        _advance(run)
    elif lacking and trouble.code == "not_found" and not run.back and not run.facts.get("brought"):
        run.step = next(n for n, step in enumerate(FLOWS[run.kind]) if step.name == lacking)
        run.facts, run.waiting, run.attempt = {**run.facts, "brought": True}, "", run.attempt + 1
    else:
        _turn_back(run, trouble)


def _turn_back(run: FlowRun, trouble: Trouble) -> None:
    """Go back from the step that failed; a step that fails while going back is passed over, and the first error is told.

    ``left`` in the facts says that something may be left of it: its place is kept then, for a later delete.
    """
    run.waiting = ""
    if run.back:
        run.step -= 1
        run.facts = {**run.facts, "left": True}
        return
    told = Bug("A step could not be done", "the log of this role says more") if trouble.code == "bug" else trouble
    run.back, run.error = True, run.error or told.wire()


def _settle(office: Office, run: FlowRun, steps: tuple[Step, ...]) -> None:
    if (run.back and run.step < 0) or (not run.back and run.step >= len(steps)):
        run.step = max(run.step, 0)
        run.ended_at = clock.now()
        placements.settle(run.instance)
        _report(office, run)
        memory.on_commit(lambda: _end(office, run))


def _end(office: Office, run: FlowRun) -> None:
    """The one Outcome of the CLC's order."""
    error = from_wire(run.error) if run.error else None
    office.begun.discard(run.command)
    office.doubts.pop(run.command, None)
    envelope = Envelope.model_validate_json(run.envelope)
    place = placements.facts(run.instance, envelope.task, envelope.gen)
    office.agent.worker.end(envelope, error, {**run.facts.get("outcome", {}), "place": place})


def ended(office: Office, report: Outcome) -> None:
    """An Outcome moves the one flow whose current step it ends; any other is old news."""
    run = FlowRun.objects.select_for_update().filter(waiting=report.command, ended_at=0).first()
    if run is None:
        return
    steps = FLOWS[run.kind]
    step = steps[run.step]
    if report.error is None:
        _tell(office, run, step, "undone" if run.back else "done")
        if report.display.port:
            outcome = {"display": report.display.model_dump(), "accelerator": report.accelerator}
            run.facts = {**run.facts, "outcome": outcome}
        if step.commits and not run.back:
            run.error = None
        if run.error and not run.back:
            run.back, run.waiting = True, ""
        else:
            _advance(run)
    elif is_doubtful(office, run) and run.facts.get("at") == office.agent.me:
        # our own order may have come to its end before this process, and only its time be over
        run.facts = {**run.facts, "doubt": report.error.model_dump()}
    else:
        _tell(office, run, step, "failed", f"{report.error.what}: {report.error.why}")
        _fail(run, from_wire(report.error.model_dump()))
    _settle(office, run, steps)
    run.save()
    memory.on_commit(lambda: go(office, run.command))


def is_doubtful(office: Office, run: FlowRun) -> bool:
    """Whether a flow may have come to its end without this process knowing: it began before it."""
    return not run.back and not run.error and run.kind in PROOFS and run.command not in office.begun


def cancel(office: Office, task: str) -> int:
    """Turn the open flows of a task back; a step under way is asked to stop and its Outcome turns the flow."""
    turned = 0
    for run in FlowRun.objects.select_for_update().filter(task=task, ended_at=0, back=False):
        if _is_committed(run):
            continue
        run.error = Refused("cancelled", "It was cancelled").wire()
        run.deadline = min(run.deadline, clock.now() + _GIVE_UP_S)
        if run.waiting:
            row = _receiver(run)
            if row and row != office.agent.me:
                outbox.send(TaskCancel(target=run.task), row, sender=office.agent.me, task=run.task, step=f"cancel-{run.step}")
        else:
            run.back = True
        run.save()
        turned += 1
        memory.on_commit(lambda run=run: go(office, run.command))
    return turned


def lose(office: Office, instance: str, host: str) -> None:
    """The open flows of an instance whose machine is gone for good end now; a delete is done by that. In a transaction of the caller's."""
    for run in FlowRun.objects.select_for_update().filter(instance=instance, ended_at=0):
        is_done = run.kind == InstanceDelete.kind
        run.error = None if is_done else Failed("host_lost", "Its host is gone for good", host).wire()
        run.waiting, run.ended_at = "", clock.now()
        run.save()
        memory.on_commit(lambda run=run: _end(office, run))


def _receiver(run: FlowRun) -> str:
    place = placements.find(run.instance)
    return place.node if place else ""


def look_after(office: Office) -> int:
    """Say overdue steps again under the same id, end flows past their deadline, finish what a crash left; how many."""
    now = clock.now()
    patience = office.agent.settings.beat.queue_patience_s
    touched = 0
    for run in FlowRun.objects.filter(ended_at=0):
        if run.waiting and (now > run.deadline + 30 or run.facts.get("doubt")):
            _give_up(office, run)
        elif not run.waiting:
            go(office, run.command)
        elif abs(now - run.said_at) > patience * 1.5 or _is_unheard(office, run):  # our clock may have been set back
            _say_again(office, run)
        else:
            continue
        touched += 1
    for row in office.agent.journal.open_rows(PENDING):
        run = FlowRun.objects.filter(pk=row.id).first()
        if run is None and row.kind in FLOWS:
            # not begun anew as it is: when it is said again it names the place its instance has by then
            _log.warning("the flow of an order is forgotten, and so is the order", cmd=row.id, kind=row.kind)
            office.agent.journal.forget(row.id)
        elif run is not None and run.ended_at:
            _end(office, run)
    FlowRun.objects.filter(ended_at__gt=0, ended_at__lt=now - _KEPT_S).delete()
    return touched


def _is_unheard(office: Office, run: FlowRun) -> bool:
    """Whether a crash came between the step and our own journal."""
    return run.facts.get("at") == office.agent.me and office.agent.journal.row(run.waiting) is None


def _say_again(office: Office, run: FlowRun) -> None:
    with memory.atomic():
        fresh = FlowRun.objects.select_for_update().filter(pk=run.pk, waiting=run.waiting, said_at=run.said_at).first()
        if fresh is None or outbox.is_waiting(run.waiting):
            return
        step = FLOWS[run.kind][run.step]
        say = step.undo(office, fresh) if fresh.back else step.begin(office, fresh)
        if say is None:
            return
        _say(office, fresh, step, say)
        fresh.save()


def _give_up(office: Office, run: FlowRun) -> None:
    """What nobody answers comes to nothing; what a node may have done before this process began, not without its word."""
    said = None
    if is_doubtful(office, run):
        asked_at = office.doubts.setdefault(run.command, clock.now())
        try:
            said = PROOFS[run.kind](office, run)
        except Trouble as e:
            if not 0 <= clock.now() - asked_at < _GIVE_UP_S:
                _conclude(office, run, None, Failed("timeout", "Its node did not say whether it was done before the deadline", str(e)))
            return
    if said is None:
        _take_back(office, run)
    else:
        _conclude(office, run, said, None)


def _conclude(office: Office, run: FlowRun, said: MachineFacts | None, trouble: Trouble | None) -> None:
    """End it where it stands: its place is kept, and nothing is taken back."""
    with memory.atomic():
        fresh = FlowRun.objects.select_for_update().filter(pk=run.pk, waiting=run.waiting).first()
        if fresh is None:
            return
        steps = FLOWS[run.kind]
        _tell(office, fresh, steps[fresh.step], "failed" if trouble else "done", str(trouble or ""))
        fresh.waiting, fresh.step, fresh.error = "", len(steps), trouble.wire() if trouble else None
        if said is not None:
            placements.told(said)
        _settle(office, fresh, steps)
        fresh.save()


def _take_back(office: Office, run: FlowRun) -> None:
    with memory.atomic():
        fresh = FlowRun.objects.select_for_update().filter(pk=run.pk, waiting=run.waiting).first()
        if fresh is None:
            return
        steps = FLOWS[run.kind]
        doubt = fresh.facts.pop("doubt", None)
        _fail(fresh, from_wire(doubt) if doubt else Failed("timeout", f"The step {steps[fresh.step].name} had no answer before the deadline"))
        fresh.deadline = clock.now() + _GIVE_UP_S
        _settle(office, fresh, steps)
        fresh.save()
    go(office, run.command)


def _tell(office: Office, run: FlowRun, step: Step, state: str, note: str = "") -> None:
    """How a step stands from now on; the CLC hears it with the next :func:`_report`."""
    now = clock.now()
    before = run.facts.get("steps", {})
    began = before.get(step.name, {}).get("started_at", now) if state != "running" else now
    told = StepFacts(
        step=step.name, state=state, host=str(run.facts.get("at", office.agent.me)), started_at=began,
        ended_at=0.0 if state == "running" else now, note=note,
    )
    run.facts = {**run.facts, "steps": {**before, step.name: told.model_dump()}, "untold": True}


def _report(office: Office, run: FlowRun) -> None:
    """Tell the CLC how the steps stand, if it does not know."""
    if run.facts.pop("untold", False):
        report = TaskSteps(task=run.task, steps=tuple(StepFacts(**told) for told in run.facts["steps"].values()))
        memory.on_commit(lambda: office.agent.report(report, run.task))
