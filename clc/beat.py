"""The CLC's own rhythm: its facts, silent hosts, overdue tasks, unfinished uploads."""

from __future__ import annotations

import os

from clc.services import (
    access,
    account_requests,
    admission,
    audit,
    capacity,
    deletes,
    departures,
    endings,
    expiry,
    forwards,
    hosts,
    images,
    lock_out,
    passkeys,
    plans,
    prefetches,
    remains,
    sessions,
    tasks,
    tokens,
    uploads,
    workspaces,
)
from luhyaapi import clock
from luhyaapi.agent import Agent
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.facts import host_facts
from luhyadb import outbox

_TIDY_S = 600.0


class Beat:
    """Plugs into the agent: ``hello``, ``beat`` and ``reconcile``."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._said_at: float | None = None
        self._tidied_at: float | None = None
        self._differ: set[str] = set()
        self._held = endings.Held()

    def hello(self) -> None:
        """Our own row is there."""
        hosts.ensure_own(self._agent.settings.host.name or os.uname().nodename)

    def beat(self) -> None:
        """Our own facts; who fell silent."""
        agent = self._agent
        queued = agent.journal.counts()[0] + outbox.waiting()
        services = {
            "broker": "ok" if agent.down and agent.down.is_connected() else "does not answer",
            "board": "ok" if agent.services.board.is_alive() else "does not answer",
        }
        agent.report(host_facts(agent.me, agent.settings, services=services, open_commands=queued))
        agent.relay.heard[agent.me] = clock.now()
        limit = agent.settings.beat.every_s * agent.settings.beat.silent_after
        since = agent.listening_since()
        if since is not None:
            hosts.silence(agent.relay.heard, limit, since)
        hosts.awake(agent.relay.heard, limit)
        audit.tend()

    def _forget_again(self) -> None:
        for store in hosts.hosts_of(Role.WALRUS):
            picture = self._agent.services.board.read([f"host:{store.pk}"]).get(f"host:{store.pk}", {})
            remains.forget_again(store.pk, set(picture.get("blobs", ())))

    def _repair(self) -> None:
        clusters = hosts.hosts_of(Role.CC)
        found = self._agent.services.board.read([f"host:{c.pk}" for c in clusters])
        pictures = {key.removeprefix("host:"): picture for key, picture in found.items()}
        hosts.repair(pictures)
        plans.repair(pictures)
        self._differ = access.repair(pictures, self._differ)
        self._forget_again()

    def reconcile(self) -> None:
        """Wanted against heard."""
        patience = self._agent.settings.beat.queue_patience_s
        is_time = self._said_at is None or clock.monotonic() - self._said_at > patience
        try:
            if is_time:
                self._said_at = clock.monotonic()
                self._repair()
            hosts.ask_again()
        finally:
            if is_time:
                # after those, which leave alone whom an order waits for; also when one of them fails again and again
                tasks.say_again(patience)
        admission.tend()
        forwards.expire()
        prefetches.warn()
        tasks.lose_overdue()
        deletes.again()
        departures.tend()
        self._held = endings.tend(self._held)
        uploads.sweep()
        if self._tidied_at is None or clock.monotonic() - self._tidied_at > _TIDY_S:
            self._tidied_at = clock.monotonic()
            images.tidy_all()
            tokens.tidy()
            sessions.tidy()
            lock_out.tidy()
            account_requests.tidy()
            passkeys.tidy()
            expiry.tidy()
            capacity.sample()
        workspaces.sweep()
        if self._agent.down is not None and self._agent.down.is_connected():
            hosts.close_accounts(self._agent.down)
