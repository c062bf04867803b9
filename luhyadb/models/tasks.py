"""Tables: Task, TaskOrder, TaskStep, Event, Chain, Outbox, Heard, FlowRun, Prefetch."""

from __future__ import annotations

from django.db import models

from luhyaapi.chain import START
from luhyaapi.contracts.vocabulary import Result, TaskState, Via
from luhyadb.memory import BOTH
from luhyadb.models.base import Table, pk, word
from luhyadb.models.people import Account


class Task(Table):
    """One intention of a user. Writer: clc.services.tasks."""

    id = pk()
    kind = models.CharField(max_length=40)
    owner = models.ForeignKey(Account, models.PROTECT, null=True)
    subject = models.CharField(max_length=20, default="", db_index=True)
    subject_name = models.CharField(max_length=63, default="")
    state = word(TaskState, default=TaskState.QUEUED)
    command = models.CharField(max_length=64, default="", db_index=True)
    order = models.TextField(default="")
    receiver = models.CharField(max_length=20, default="")
    phase = models.CharField(max_length=40, default="")
    progress = models.PositiveSmallIntegerField(default=0)
    error = models.JSONField(null=True, default=None)
    deadline = models.FloatField()
    created_at = models.FloatField()
    ended_at = models.FloatField(default=0)

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [models.Index(fields=["owner", "created_at"]), models.Index(fields=["state", "deadline"])]


class TaskOrder(Table):
    """One of the orders of a task that goes to several clusters; the task ends with the last of them. Writer: clc.services.tasks."""

    command = models.CharField(max_length=64, primary_key=True)
    task = models.ForeignKey(Task, models.CASCADE, related_name="orders")
    order = models.TextField()
    receiver = models.CharField(max_length=20)
    error = models.JSONField(null=True, default=None)
    ended_at = models.FloatField(default=0)


class TaskStep(Table):
    """One step of a task as its role told it. Writer: clc.services.tasks."""

    task = models.ForeignKey(Task, models.CASCADE, related_name="steps")
    name = models.CharField(max_length=40)
    state = models.CharField(max_length=16)
    host = models.CharField(max_length=20, default="")
    note = models.TextField(default="")
    started_at = models.FloatField(default=0)
    ended_at = models.FloatField(default=0)

    class Meta:
        ordering = ["started_at", "id"]
        constraints = [models.UniqueConstraint(fields=["task", "name"], name="one_row_per_step")]


class Event(Table):
    """What happened, append-only; browsers follow it by id, the chain goes by ``number``. Writer: clc.services.events.

    ``owner``: whose thing it is, and so on whose behalf; ``actor``: who did it, none for hosts and the cloud itself. ``before`` and
    ``after`` hold only what changed. ``number`` and ``digest`` are given once, by the sealer.
    """

    at = models.FloatField(db_index=True)
    noun = models.CharField(max_length=16)
    subject = models.CharField(max_length=64, db_index=True)
    owner = models.ForeignKey(Account, models.PROTECT, null=True)
    task = models.CharField(max_length=20, default="", db_index=True)
    host = models.CharField(max_length=20, default="")
    what = models.CharField(max_length=80)
    fields = models.JSONField(default=dict)
    actor = models.ForeignKey(Account, models.PROTECT, null=True, related_name="+")
    actor_name = models.CharField(max_length=150, default="")
    via = word(Via, default=Via.CLOUD)
    origin = models.CharField(max_length=100, default="")
    token = models.CharField(max_length=12, default="")
    request = models.CharField(max_length=64, default="")
    result = word(Result, default=Result.DONE)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    number = models.BigIntegerField(null=True, unique=True)
    digest = models.CharField(max_length=64, default="")


class Chain(Table):
    """Where the chain of events stands: its head, and the last line that retention removed. One row. Writer: clc.services.audit."""

    number = models.BigIntegerField(default=0)
    digest = models.CharField(max_length=64, default=START)
    anchor_number = models.BigIntegerField(default=0)
    anchor_digest = models.CharField(max_length=64, default=START)
    noted_at = models.FloatField(default=0)


class Outbox(Table):
    """An order written with the change that wants it, posted after commit. Writer: luhyadb.outbox."""

    home = BOTH
    order = models.TextField()
    command = models.CharField(max_length=64, db_index=True)
    to = models.CharField(max_length=20)
    subject = models.CharField(max_length=80, default="")
    at = models.FloatField()
    attempts = models.PositiveIntegerField(default=0)
    why = models.CharField(max_length=200, default="")


class Heard(Table):
    """The newest report on each subject of each origin. Writer: luhyadb.heard."""

    home = BOTH
    origin = models.CharField(max_length=20)
    subject = models.CharField(max_length=100)
    epoch = models.BigIntegerField()
    seq = models.BigIntegerField()
    expires_at = models.FloatField(db_index=True, help_text="when the report itself is refused as too old")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "subject"], name="one_newest")]


class FlowRun(Table):
    """A flow under way on a CC: the order that opened it and the step it is at. Writer: cc.services.flows."""

    home = "cc"
    command = models.CharField(max_length=64, primary_key=True)
    task = models.CharField(max_length=20, db_index=True)
    kind = models.CharField(max_length=40)
    instance = models.CharField(max_length=20, db_index=True)
    envelope = models.TextField()
    step = models.PositiveSmallIntegerField(default=0)
    attempt = models.PositiveSmallIntegerField(default=0)
    waiting = models.CharField(max_length=64, default="", db_index=True)
    said_at = models.FloatField(default=0)
    back = models.BooleanField(default=False)
    error = models.JSONField(null=True, default=None)
    facts = models.JSONField(default=dict)
    deadline = models.FloatField()
    ended_at = models.FloatField(default=0)


class Prefetch(Table):
    """An image on its way to one host of the cluster, for an order of the CLC (``command``). Writer: cc.services.prefetches.

    ``state``: waiting, running, done or failed; ``order``: what the host was told last.
    """

    home = "cc"
    command = models.CharField(max_length=64)
    task = models.CharField(max_length=20, db_index=True)
    host = models.CharField(max_length=20)
    state = models.CharField(max_length=16, default="waiting")
    order = models.CharField(max_length=64, default="", db_index=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    said_at = models.FloatField(default=0)
    began_at = models.FloatField(default=0)
    ended_at = models.FloatField(default=0)
    note = models.TextField(default="", blank=True)
    error = models.JSONField(null=True, default=None)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["command", "host"], name="one_row_per_host")]
