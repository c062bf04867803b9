"""The supervisor as seen from outside: start it, ask it, tell it, end it."""

from __future__ import annotations

import json
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy.host import enclose
from deploy.host.plan import Plan
from luhyaapi import clock, process
from luhyaapi.errors import Failed


class Supervision:
    """One cloud's supervisor."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def _ask(self, method: str, *args: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._plan.supervisor_socket}")
        try:
            proxy: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*args)
        finally:
            transport.close()

    def answers(self) -> bool:
        """Whether it is there."""
        try:
            return bool(self._ask("getState")["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def states(self) -> dict[str, str]:
        """Program to its state: RUNNING, STARTING, BACKOFF, STOPPED, ... Raises OSError when the supervisor is away."""
        return {row["name"]: row["statename"] for row in self._ask("getAllProcessInfo")}

    def started(self) -> dict[str, int]:
        """Program to the second of the epoch at which it was started last, 0: never. Raises OSError when the supervisor is away."""
        return {row["name"]: int(row["start"]) for row in self._ask("getAllProcessInfo")}

    def pid(self, program: str) -> int:
        """The process number of a program, 0 when it does not run."""
        return int(self._ask("getProcessInfo", program)["pid"])

    def launch(self, patience_s: float = 15.0) -> None:
        """Start it, in a session of its own. What a dead supervisor left is ended program by program, by each one's successor."""
        plan = self._plan
        spec = {
            "program": "supervisor", "home": str(plan.home), "user": plan.user("supervisor"), "log": str(plan.supervisor / "output.log"),
            "cwd": str(plan.program), "needs": [], "binds": [], "hide_kvm_unless": None, "keep": [],
            "environ": {
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/",
                "EDUCLOUD_HOME": str(plan.home), "EDUCLOUD_PROGRAM": "supervisor",
            },
            "argv": [str(plan.python), "-m", "deploy.host.keeper", str(plan.supervisor / "supervisord.conf")],
        }
        file = plan.supervisor / "supervisor.json"
        file.write_text(json.dumps(spec, indent=1), "utf-8")
        process.spawn([plan.python, "-m", "deploy.host.enclose", file], output=plan.supervisor / "output.log", cwd=plan.program)
        until = clock.monotonic() + patience_s
        while not self.answers():
            if clock.monotonic() > until:
                raise Failed("program", "The supervisor did not start", tail(plan.supervisor / "output.log"))
            clock.sleep(0.05)

    def start(self, program: str) -> bool:
        """Have a program run; whether it had to be started."""
        if self.states()[program] in ("RUNNING", "STARTING"):
            return False
        try:
            self._ask("startProcess", program, False)
        except xmlrpc.client.Fault as e:
            if "ALREADY_STARTED" not in e.faultString:
                raise Failed("program", f"{program} could not be started", f"{e.faultString}; {tail(self._plan.log(program))}") from e
        return True

    def stop(self, program: str) -> None:
        """Have a program not run; back when it is gone."""
        try:
            self._ask("stopProcess", program, True)
        except xmlrpc.client.Fault as e:
            if "NOT_RUNNING" not in e.faultString:
                raise Failed("program", f"{program} could not be stopped", e.faultString) from e

    def restart(self, program: str) -> None:
        """Stop and start."""
        self.stop(program)
        self.start(program)

    def shutdown(self, patience_s: float = 60.0) -> None:
        """End it with all its programs; guests are nobody's program and stay."""
        own = [pid for pid, name in enclose.ours(str(self._plan.home), "supervisor").items() if name == "supervisor"]
        try:
            # All at once; the supervisor's own way out is one after the other.
            self._ask("stopAllProcesses", True)
            self._ask("shutdown")
        except (OSError, xmlrpc.client.Error):
            pass
        until = clock.monotonic() + patience_s
        while any(process.alive(pid) for pid in own) and clock.monotonic() < until:
            clock.sleep(0.05)
        for pid in own:
            if process.alive(pid):
                process.end(pid)


def last_words(plan: Plan, program: str) -> str:
    """Why a program does not run: the end of its own log, of what it said before it had one, and of the supervisor's about it."""
    parts = [f"the end of {log}:\n{tail(log)}" for log in (plan.log(program), plan.unstarted(program)) if _says(log)]
    about = [line for line in tail(plan.supervisor / "supervisor.log", 200).splitlines() if f"'{program}'" in line or f" {program} " in line]
    if about:
        parts.append("the supervisor:\n" + "\n".join(about[-4:]))
    return "\n".join(parts) or f"neither {plan.log(program)} nor the supervisor says anything"


def _says(log: Path) -> bool:
    try:
        return log.stat().st_size > 0
    except OSError:
        return False


def tail(log: Path, lines: int = 8, width: int = 400) -> str:
    """The last lines of a log, long ones cut."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 128 * 1024))
            last = file.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        return f"(no log at {log})"
    return "\n".join(line if len(line) <= width else f"{line[:width]} ..." for line in last)
