"""The demo images, built from packages and booted without hardware acceleration."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from deploy.demo_images import build
from luhyaapi import clock

pytestmark = pytest.mark.live

IID = "ins-1234abcd"


@pytest.fixture(scope="module")
def places() -> Iterator[tuple[Path, Path]]:
    """Where images go, and where packages are kept. Not below pytest's folder: apt needs to read it."""
    top = Path("/var/tmp") / f"educloud-demo-images-{clock.now():.0f}"
    yield top / "out", top / "work"
    shutil.rmtree(top)


class Guest:
    """A QEMU without libvirt around it."""

    def __init__(self, tmp: Path, *args: str | Path) -> None:
        self.serial, self._qmp = tmp / "serial", tmp / "qmp"
        common = ["-machine", "pc", "-accel", "tcg", "-display", "none", "-no-user-config", "-serial", f"file:{self.serial}",
                  "-qmp", f"unix:{self._qmp},server=on,wait=off"]
        self.process = subprocess.Popen(["qemu-system-x86_64", *common, *map(str, args)], start_new_session=True)

    def log(self) -> str:
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    def ask(self, *commands: tuple[str, dict[str, Any]]) -> None:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(self._qmp))
            stream = s.makefile("rw")
            for name, arguments in (("qmp_capabilities", {}), *commands):
                stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                stream.flush()
                while not {"return", "error"} & (told := json.loads(stream.readline())).keys():
                    pass
                assert "error" not in told, told

    def type(self, text: str) -> None:
        names = {" ": "spc", "\n": "ret", ">": "dot"}
        for letter in text:
            keys = [{"type": "qcode", "data": names.get(letter, letter)}]
            self.ask(("send-key", {"keys": keys}))
            clock.sleep(0.05)

    def picture(self, to: Path) -> bytes:
        self.ask(("screendump", {"filename": str(to)}))
        return to.read_bytes()


@contextlib.contextmanager
def guest(tmp: Path, *args: str | Path) -> Iterator[Guest]:
    one = Guest(tmp, *args)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def until(ask: Callable[[], Any], patience_s: float, log: Callable[[], str]) -> Any:
    end = clock.monotonic() + patience_s
    while clock.monotonic() < end:
        if found := ask():
            return found
        clock.sleep(0.1)
    raise AssertionError(f"not within {patience_s:.0f} s; the console says:\n{log()[-3000:]}")


def network(port: int, inside: int) -> list[str]:
    return ["-netdev", f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{inside}", "-device", "virtio-net-pci,netdev=n,romfile="]


def page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=3) as told:
            assert told.headers["Content-Type"].startswith("text/plain")
            return str(told.read().decode())
    except OSError:
        return ""


@pytest.mark.parametrize("given", ["cmdline", "smbios"])
def test_tiny_answers_shows_and_goes_down(places: tuple[Path, Path], tmp_path: Path, given: str):
    built = build.build_tiny(*places)
    port = free_port()
    words = f"{built.cmdline} iid={IID}" if given == "cmdline" else built.cmdline
    args = ["-m", "96", "-kernel", built.files["kernel"], "-initrd", built.files["initrd"], "-append", words,
            "-smbios", f"type=1,serial={IID}", *network(port, 80)]
    with guest(tmp_path, *args) as tiny:
        lines = until(lambda: page(port), 60, tiny.log).splitlines()
        assert lines[:2] == [IID, "ip 10.0.2.15"]
        before = tiny.picture(tmp_path / "before.ppm")
        pixels = before.split(b"\n255\n", 1)[1]
        assert len({pixels[n : n + 3] for n in range(0, len(pixels), 3)}) >= 4
        tiny.type("ps\n")
        until(lambda: tiny.picture(tmp_path / "after.ppm")[-40_000:] != before[-40_000:], 10, tiny.log)
        tiny.ask(("system_powerdown", {}))
        assert tiny.process.wait(20) == 0
        assert f"educloud: {IID} is up" in tiny.log()
        assert "educloud: power button" in tiny.log()


def test_tiny_restarts(places: tuple[Path, Path], tmp_path: Path):
    built = build.build_tiny(*places)
    args = ["-m", "96", "-kernel", built.files["kernel"], "-initrd", built.files["initrd"]]
    with guest(tmp_path, *args, "-append", f"{built.cmdline} iid={IID}", "-nic", "none") as tiny:
        until(lambda: tiny.log().count("is up") == 1, 60, tiny.log)
        keys = [{"type": "qcode", "data": k} for k in ("ctrl", "alt", "delete")]
        tiny.ask(("send-key", {"keys": keys}))
        until(lambda: tiny.log().count("is up") == 2, 60, tiny.log)
        assert "educloud: restarting" in tiny.log()


def test_probe_says_its_word_and_is_gone(places: tuple[Path, Path], tmp_path: Path):
    built = build.build_probe(*places)
    args = ["-m", "96", "-kernel", built.files["kernel"], "-initrd", built.files["initrd"], "-append", built.cmdline]
    with guest(tmp_path, *args, "-nic", "none", "-no-reboot") as probe:
        assert probe.process.wait(60) == 0
        assert build.PROBE_MARKER in probe.log()


def test_a_cancelled_build_leaves_only_fetched_packages(places: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(Exception, match="cancelled"):
        build.build_tiny(tmp_path / "out", places[1], cancelled=lambda: True)
    assert [f.name for f in (tmp_path / "out").iterdir()] == [".tiny.lock"]


def seed(to: Path, key: str) -> None:
    iso: Any = pycdlib.PyCdlib()
    iso.new(vol_ident="cidata", rock_ridge="1.09", joliet=3)
    files = {
        "meta-data": f"instance-id: {IID}\nlocal-hostname: {IID}\n",
        "user-data": f"#cloud-config\nssh_authorized_keys: [{json.dumps(key)}]\n",
    }
    for name, text in files.items():
        short = f"/{name[:4].upper()}.;1"
        iso.add_fp(io.BytesIO(text.encode()), len(text), short, rr_name=name, joliet_path=f"/{name}")
    iso.write(str(to))
    iso.close()
