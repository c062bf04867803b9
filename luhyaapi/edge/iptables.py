"""Rules by iptables, ip6tables and ebtables, for hosts without nftables: the same plan, by restoring whole chains."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

from luhyaapi.edge import chains, kernel
from luhyaapi.edge.base import of_name, with_exchanged
from luhyaapi.edge.chains import JUMPS, Chains, Table
from luhyaapi.edge.plan import Forward, RulesPlan, check
from luhyaapi.errors import Failed
from luhyaapi.process import run

_S = 60.0
# The one that cannot say beforehand what it would not take comes first.
_PROGRAMS = (chains.ETHERNET, chains.IPV4, chains.IPV6)


class IptablesRules:
    """Chains named ``edu.<name>.*``, jumped to by one rule of each built-in chain they need, which stands first there.

    What it cannot do as nftables does: a table of a program is one transaction, not all of them (a plan that one program would not take
    is found out before anything is changed, though); every change restores all of our chains; each forward is one rule more for every
    first packet of a connection to pass; a neighbour advertisement of IPv6 is not looked into, so a guest may claim the IPv6
    address of another guest of its bridge. A chain of ours ends the asking for what it lets in, rules of others behind it are not asked.
    """

    def __init__(self, name: str) -> None:
        self._name, self._prefix = name, f"edu.{name}."
        self._lock = threading.Lock()
        self._plan: RulesPlan | None = None
        self._saved: dict[Table, list[str]] = {}

    @property
    def name(self) -> str:
        """What its plans are called."""
        return self._name

    def apply(self, plan: RulesPlan) -> None:
        """All our chains anew, those of other plans away."""
        of_name(plan, self._name)
        check(plan)
        with self._lock:
            self._apply(plan)

    def exchange(self, gone: Iterable[Forward], new: Iterable[Forward]) -> None:
        """The same as a whole plan: a chain knows no elements."""
        with self._lock:
            plan = with_exchanged(self._plan, gone, new)
            check(plan)
            self._apply(plan)

    def found(self) -> RulesPlan | None:
        """The plan last applied, when the programs save exactly what they saved after it."""
        with self._lock:
            if self._plan and (self._ours() != self._saved or not kernel.is_ready(self._plan)):
                self._plan = None
            return self._plan

    def close(self) -> None:
        """The rules outlive us; the next driver of this name replaces them."""

    def down(self) -> None:
        """No chain of ours, and no rule that jumps there."""
        with self._lock:
            there = self._ours()
            for program in _PROGRAMS:
                _restore(program, self._text(program, None, there))
            self._plan = None

    def _apply(self, plan: RulesPlan) -> None:
        made = chains.render(plan, self._prefix, is_router=kernel.is_router())
        kernel.prepare(plan)
        there = self._ours()
        texts = {program: self._text(program, made, there) for program in _PROGRAMS}
        for program in (chains.IPV4, chains.IPV6):
            _restore(program, texts[program], "--test")
        for program, text in texts.items():
            _restore(program, text)
        self._saved, self._plan = self._ours(), plan

    def _text(self, program: str, made: Chains | None, there: dict[Table, list[str]]) -> str:
        """What the program restores: a chain that is declared is emptied first."""
        lines = []
        for table in (each for each in JUMPS if each[0] == program):
            wanted = made.tables[table] if made else {}
            rules = there.get(table, [])
            before = {line[1:].split()[0] for line in rules if line.startswith(":")}
            jumps = [f"{chain} -j {self._prefix}{to}" for chain, to in JUMPS[table]]
            policy = "RETURN" if program == chains.ETHERNET else "- [0:0]"
            lines += [
                f"*{table[1]}",
                *(f":{chain} {policy}" for chain in {**wanted, **dict.fromkeys(sorted(before))}),
                *(f"-A {chain} {rule}" for chain, listed in wanted.items() for rule in listed),
                *(f"-I {jump}" for jump in jumps if made and f"-A {jump}" not in rules),
                *(f"-D {jump}" for jump in jumps if not made and f"-A {jump}" in rules),
                *(f"-X {chain}" for chain in sorted(before - wanted.keys())),
                "COMMIT",
            ]
        return "\n".join([*lines, ""])

    def _ours(self) -> dict[Table, list[str]]:
        """Per table the saved lines that name a chain of ours."""
        found: dict[Table, list[str]] = {}
        for program in _PROGRAMS:
            table = (program, "")
            for line in _ran([f"{program}-save"], f"The rules of {program} could not be read").splitlines():
                if line.startswith("*"):
                    table = (program, line[1:].strip())
                elif re.search(rf"(^:|-j |-A ){re.escape(self._prefix)}", line):
                    found.setdefault(table, []).append(line.strip())
        return found


def _restore(program: str, text: str, *options: str) -> None:
    wait = [] if program == chains.ETHERNET else ["--wait=5"]
    _ran([f"{program}-restore", "--noflush", *wait, *options], f"{program} took it not", text)


def _ran(argv: list[str], trouble: str, text: str = "") -> str:
    try:
        done = run(argv, timeout_s=_S, stdin=text.encode(), check=False)
    except Failed as e:
        if e.code != "missing":
            raise
        raise Failed("missing", e.what, e.why, hint="Install the package iptables.") from e
    if done.code:
        why = done.stderr.decode("utf-8", "replace").strip()
        raise Failed("network", trouble, why.splitlines()[0] if why else "it did not say why")
    return done.text
