"""Handlers every acting role has in common: cancel a task, send all facts now."""

from __future__ import annotations

from luhyaapi.contracts.commands import HostRefresh, TaskCancel
from luhyaapi.role import Handler, Job, handles


@handles(TaskCancel)
class CancelTask(Handler[TaskCancel]):
    """The worker has buried the task already: running handlers reach their next checkpoint."""

    def run(self, job: Job, command: TaskCancel) -> None:
        """Nothing more to do here."""


@handles(HostRefresh)
class RefreshHost(Handler[HostRefresh]):
    """Hello and heartbeat at once."""

    def run(self, job: Job, command: HostRefresh) -> None:  # noqa: ARG002 - it is about us
        agent = job.services.agent
        agent.hello()
        agent.beat()
