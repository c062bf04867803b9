"""What shall be on this node, one file per instance: written before anything is done, so that a crash resumes it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from pydantic import ValidationError

from luhyaapi import clock, facts, ids, log
from luhyaapi.contracts.base import Model
from luhyaapi.contracts.specs import MachineSpec
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.files import write_atomic

_log = log.get(__name__)
_GONE_KEPT_S = 7 * 86400.0


class Wanted(Model):
    """One instance: its machine, what shall become of it, and when it had to be restarted (seconds since 1970).

    ``online``: the number of the system disk that may have a carrier though its machine begins offline; -1: none.
    """

    spec: MachineSpec
    state: InstanceState
    gen: int = 0
    fence: int = 0
    restarts: tuple[float, ...] = ()
    online: int = -1

    @property
    def is_offline(self) -> bool:
        """Whether its cards have no carrier."""
        return self.spec.first_boot_offline and self.online != self.spec.disk


class Gone(Model):
    """The generation of the order that removed an instance from here: what is not newer came late."""

    gen: int = 0


class WantedFiles:
    """The folder of all instances of this node: ``<folder>/<instance>/wanted.json``; ``<folder>/gone`` remembers removed ones for a week."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob("*/*.part"):  # somebody died over it
            half.unlink()
        self._boot = folder / "boot-id"
        self._gone = folder / "gone"

    def folder(self, instance: str) -> Path:
        """Everything of one instance."""
        return self._folder / instance

    def read(self, instance: str) -> Wanted | None:
        """What is wanted, or None."""
        file = self.folder(instance) / "wanted.json"
        try:
            return Wanted.model_validate_json(file.read_text())
        except FileNotFoundError:
            return None
        except (ValidationError, json.JSONDecodeError) as e:
            _log.error("wanted file cannot be read", instance=instance, why=str(e)[:200])
            return None

    def write(self, wanted: Wanted) -> Wanted:
        """Keep it, durably."""
        write_atomic(self.folder(wanted.spec.instance) / "wanted.json", wanted.model_dump_json().encode())
        return wanted

    def forget(self, instance: str) -> None:
        """Nothing of the instance stays here; the file goes last, so that a crash in between forgets again."""
        folder = self.folder(instance)
        if not folder.exists():
            return
        for entry in folder.iterdir():
            if entry.name != "wanted.json":
                is_folder = entry.is_dir() and not entry.is_symlink()
                shutil.rmtree(entry, onerror=_unless_gone) if is_folder else entry.unlink(missing_ok=True)
        (folder / "wanted.json").unlink(missing_ok=True)
        folder.rmdir()

    def bury(self, instance: str, gen: int) -> None:
        """Remember, durably, that an order of this generation removed it."""
        file = self._gone / f"{instance}.json"
        write_atomic(file, Gone(gen=gen).model_dump_json().encode())
        now = clock.now()
        os.utime(file, (now, now))
        with os.scandir(self._gone) as entries:
            for entry in entries:
                if entry.stat().st_mtime < now - _GONE_KEPT_S:
                    Path(entry.path).unlink(missing_ok=True)

    def buried(self, instance: str) -> int:
        """The generation that removed it from here; -1 when none did in the last week."""
        try:
            return Gone.model_validate_json((self._gone / f"{instance}.json").read_text()).gen
        except FileNotFoundError:
            return -1
        except (ValidationError, json.JSONDecodeError) as e:
            _log.error("a removed instance's file cannot be read", instance=instance, why=str(e)[:200])
            return -1

    def is_same_boot(self) -> bool:
        """Whether the host has not booted since :meth:`seen`; if it has, no guest can run that nobody started since."""
        try:
            return self._boot.read_text("ascii") == facts.boot_id()
        except (OSError, ValueError):
            return False

    def seen(self) -> None:
        """What is wanted was compared with what is found, in this boot of the host."""
        if not self.is_same_boot():
            write_atomic(self._boot, facts.boot_id().encode())

    def all(self) -> list[str]:
        """Every instance with a folder."""
        return sorted(f.name for f in self._folder.iterdir() if ids.is_id(f.name, "ins"))


def _unless_gone(_function: object, _path: str, error: tuple[object, BaseException, object]) -> None:
    """The process of a guest that is just ending takes its socket away itself."""
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
