"""The demo images' parts that need no package: archive, order of drivers, stamps, refusals."""

from __future__ import annotations

import fcntl
import gzip
import re
import shutil
import stat
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.demo_images import __main__ as command
from deploy.demo_images import bootdisk, build, cpio, initrd, modules, packages, stage
from luhyaapi import process
from luhyaapi.errors import Failed, Refused, Unavailable


def records(packed: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Mode, data and device by path, read by the rules of the kernel's documentation."""
    raw, at, found = gzip.decompress(packed), 0, {}
    while True:
        assert at % 4 == 0
        assert raw[at : at + 6] == b"070701"
        field = [int(raw[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = raw[at + 110 : at + 110 + field[11] - 1].decode()
        start = (at + 110 + field[11] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (field[1], raw[start : start + field[6]], (field[9], field[10]))
        at = (start + field[6] + 3) & ~3


def test_archive_holds_what_was_given_and_the_folders_above():
    entries = [cpio.plain("etc/rc", b"#!/bin/sh\n"), cpio.plain("a", b"text"), cpio.link("sbin", "bin"), cpio.device("dev/c", 5, 1)]
    found = records(cpio.archive(entries))
    assert found["etc"][0] == stat.S_IFDIR | 0o755
    assert found["etc/rc"][:2] == (stat.S_IFREG | 0o755, b"#!/bin/sh\n")
    assert found["a"][:2] == (stat.S_IFREG | 0o644, b"text")
    assert found["sbin"][:2] == (stat.S_IFLNK | 0o777, b"bin")
    assert stat.S_ISCHR(found["dev/c"][0])
    assert found["dev/c"][2] == (5, 1)


def test_archive_is_the_same_in_any_order_and_the_later_entry_wins():
    one, two = cpio.plain("one", b"1"), cpio.plain("two", b"22")
    assert cpio.archive([one, two]) == cpio.archive([two, one])
    assert records(cpio.archive([one, cpio.plain("one", b"new")]))["one"][1] == b"new"


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../b", "", "a//b", ".", "TRAILER!!!"])
def test_archive_refuses_paths_outside(path: str):
    with pytest.raises(ValueError, match="not a path inside"):
        cpio.archive([cpio.plain(path, b"")])


def module(folder: Path, name: str, needs: str) -> None:
    (folder / f"{name}.ko").write_bytes(b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0")


def test_drivers_come_after_what_they_need(tmp_path: Path):
    module(tmp_path, "virtio-net", "virtio,net_failover")
    module(tmp_path, "net_failover", "failover")
    module(tmp_path, "failover", "")
    module(tmp_path, "virtio", "virtio_ring,crc32")
    module(tmp_path, "virtio_ring", "")
    (tmp_path / "modules.builtin").write_text("kernel/lib/crc32.ko\n")
    names = [f.stem for f in modules.in_order(tmp_path, ["virtio_net", "crc32", "virtio"])]
    assert names == ["virtio_ring", "virtio", "failover", "net_failover", "virtio-net"]


def test_a_driver_the_kernel_lacks_is_named(tmp_path: Path):
    with pytest.raises(Failed, match="no module button") as told:
        modules.in_order(tmp_path, ["button"])
    assert told.value.code == "missing"


def recipe(scripts: str = "s1", versions: Mapping[str, str] | None = None) -> stage.Recipe:
    def ask() -> Mapping[str, str]:
        if versions is None:
            raise Failed("missing", "apt knows nothing")
        return versions

    return stage.Recipe("tiny", {"kernel": "kernel"}, "quiet", scripts, ask)


class Filler:
    """Writes the one part, with a number that grows; fails on request after half of it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.error = error

    def __call__(self, folder: Path, scratch: Path) -> None:
        self.runs += 1
        (scratch / "big").write_text("x")
        (folder / "kernel").write_text(str(self.runs))
        if self.error:
            raise self.error


def left(out: Path, work: Path) -> set[str]:
    return {f.name for f in (*out.iterdir(), *work.iterdir())}


def test_nothing_is_built_twice_for_the_same_inputs(tmp_path: Path):
    out, work, fill = tmp_path / "out", tmp_path / "work", Filler()
    first = stage.make(recipe(versions={"k": "1"}), out, work, fill)
    again = stage.make(recipe(versions={"k": "1"}), out, work, fill)
    assert (first.fresh, again.fresh, fill.runs) == (True, False, 1)
    assert first.inputs == again.inputs
    assert again.files["kernel"] == out / "tiny/kernel"
    assert left(out, work) == {"tiny", ".tiny.lock"}


@pytest.mark.parametrize("changed", [recipe("s2", {"k": "1"}), recipe("s1", {"k": "2"})])
def test_other_scripts_or_packages_build_anew(tmp_path: Path, changed: stage.Recipe):
    fill = Filler()
    stage.make(recipe(versions={"k": "1"}), tmp_path, tmp_path / "work", fill)
    assert stage.make(changed, tmp_path, tmp_path / "work", fill).fresh
    assert (tmp_path / "tiny/kernel").read_text() == "2"


@pytest.mark.parametrize("damage", ["stamp", "part", "garbage"])
def test_a_damaged_image_is_built_anew(tmp_path: Path, damage: str):
    fill = Filler()
    stage.make(recipe(versions={}), tmp_path, tmp_path / "work", fill)
    if damage == "garbage":
        (tmp_path / "tiny/built.json").write_text("[1]")
    else:
        (tmp_path / "tiny" / {"stamp": "built.json", "part": "kernel"}[damage]).unlink()
    assert stage.make(recipe(versions={}), tmp_path, tmp_path / "work", fill).fresh


@pytest.mark.parametrize("error", [Failed("program", "broken"), Refused("cancelled", "stop"), OSError(28, "full")])
def test_a_failed_build_leaves_the_old_image_and_nothing_half(tmp_path: Path, error: Exception):
    out, work = tmp_path / "out", tmp_path / "work"
    stage.make(recipe(versions={"k": "1"}), out, work, Filler())
    with pytest.raises(type(error)):
        stage.make(recipe(versions={"k": "2"}), out, work, Filler(error))
    assert (out / "tiny/kernel").read_text() == "1"
    assert left(out, work) == {"tiny", ".tiny.lock"}


def test_a_crash_in_the_middle_is_swept_up(tmp_path: Path):
    out, work = tmp_path / "out", tmp_path / "work"
    for path in (out / ".tiny.new", out / ".tiny.old", work / "tiny"):
        path.mkdir(parents=True)
        (path / "kernel").write_text("half")
    stage.make(recipe(versions={}), out, work, Filler())
    assert left(out, work) == {"tiny", ".tiny.lock"}


def test_offline_the_image_that_is_there_stays(tmp_path: Path):
    stage.make(recipe(versions={"k": "1"}), tmp_path, tmp_path / "work", Filler())
    assert not stage.make(recipe(), tmp_path, tmp_path / "work", Filler()).fresh
    with pytest.raises(Failed, match="apt knows nothing"):
        stage.make(recipe("s2"), tmp_path, tmp_path / "work", Filler())


def test_one_builder_at_a_time(tmp_path: Path):
    with (tmp_path / ".tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unavailable) as told:
            stage.make(recipe(versions={}), tmp_path, tmp_path / "work", Filler())
    assert told.value.code == "busy"
    assert not (tmp_path / "tiny").exists()


def test_scripts_digest_sees_names_and_bytes(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    before = stage.scripts_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    moved = stage.scripts_digest(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({before, moved, stage.scripts_digest(tmp_path)}) == 3


def programs(folder: Path, **scripts: str) -> None:
    for name, text in scripts.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)


STANZA = "Package: linux-image-6.1.0-9-cloud-amd64\nVersion: 6.1-2\nDepends: kmod, linux-base (>= 4.3~) | x\nSHA256: ab\nSize: 1\n"


def test_versions_come_from_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    meta = "Package: linux-image-cloud-amd64\nVersion: 1\nSHA256: cd\nDepends: linux-image-6.1.0-9-cloud-amd64 (= 6)\n"
    programs(tmp_path, apt_cache=f"cat <<'X'\n{meta}\n{STANZA}\nX")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    kernel = packages.cloud_kernel()
    assert kernel == packages.Package("linux-image-6.1.0-9-cloud-amd64", "6.1-2", "ab", ("kmod", "linux-base"))


def test_unknown_packages_are_named_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    programs(tmp_path, apt_cache="echo 'E: No packages found' >&2; exit 100")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Failed, match="does not know one, two") as told:
        packages.candidates(["one", "two"])
    assert (told.value.code, "apt-get update" in told.value.hint) == ("missing", True)


@pytest.mark.parametrize(("script", "code"), [("exit 100", "missing"), ("echo tampered > x.deb", "digest")])
def test_a_package_that_does_not_come_or_is_another_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: str,
):
    programs(tmp_path, apt_get=script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Failed) as told:
        packages.fetch(packages.Package("p", "1", "00", ()), tmp_path / "cache")
    assert told.value.code == code
    assert not list((tmp_path / "cache").iterdir())


def test_only_debians_own_sources_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines = ["Debian|bookworm|http://m/debian/|bookworm|main", "Debian|bookworm-security|http://m/sec/|bookworm-security|main",
             "Other|bookworm|http://o/|bookworm|main", "Debian|sid|http://m/debian/|sid|main"]
    programs(tmp_path, apt_get="cat <<'X'\n" + "\n".join(lines) + "\nX")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert packages.sources("bookworm") == ["deb http://m/debian/ bookworm main", "deb http://m/sec/ bookworm-security main"]
    with pytest.raises(Failed, match="no package lists of Debian trixie"):
        packages.sources("trixie")


def test_other_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(build, "_os_release", lambda: {"ID": "fedora", "PRETTY_NAME": "Fedora 40"})
    with pytest.raises(Failed, match="built on Debian 12: this host runs Fedora 40"):
        build.build_tiny(tmp_path / "out", tmp_path / "work")
    assert command.main(["tiny", "--out", str(tmp_path / "out")]) == 1
    assert "Fedora" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_missing_programs_are_named_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_os_release", lambda: {"ID": "debian", "VERSION_ID": "12"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed) as told:
        build.build_debian(tmp_path / "out", tmp_path / "work")
    assert told.value.code == "missing"
    assert "apt-get install apt coreutils dpkg e2fsprogs mmdebstrap qemu-utils" in told.value.hint


def test_debian_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_os_release", lambda: {"ID": "debian", "VERSION_ID": "12"})
    monkeypatch.setattr(build.shutil, "which", lambda name: name)
    monkeypatch.setattr(build.os, "geteuid", lambda: 1000)
    with pytest.raises(Failed, match="needs root"):
        build.build_debian(tmp_path / "out", tmp_path / "work")


def test_master_boot_record_has_one_active_partition_to_the_end():
    sector = bootdisk.master_boot_record(b"\xeb\x63" + bytes(510), 8192)
    assert (len(sector), sector[:2], sector[-2:]) == (512, b"\xeb\x63", b"\x55\xaa")
    active, kind, start, count = struct.unpack("<B3xB3xII", sector[446:462])
    assert (active, kind, start, start + count) == (0x80, 0x83, 2048, 8192)
    assert not any(sector[462:510])


def scripts() -> list[Path]:
    return sorted(f for f in initrd.GUEST.rglob("*") if f.is_file() and f.read_bytes().startswith(b"#!"))


def test_guest_scripts_are_whole():
    assert {"boot", "init", "screen", "index.cgi", "00000080"} <= {f.name for f in scripts()}
    shell = shutil.which("dash") or "/bin/sh"
    for script in scripts():
        assert process.run([shell, "-n", script], timeout_s=5).code == 0


def test_the_screens_status_line_fits_80_columns():
    banner = (initrd.GUEST / "tiny/etc/banner").read_text().splitlines()
    assert len(banner) == 5
    assert all(len(line.replace("|", "")) <= 76 for line in banner)


SCREEN = Path(__file__).resolve().parents[2] / "deploy/demo_images/guest/tiny/etc/screen"


def test_the_line_on_tinys_screen_says_who_where_and_how_long(tmp_path: Path) -> None:
    for name, text in {"id": "ins-1234abcd", "ip": "10.0.2.15", "uptime": "3723.45 1.00", "banner": "E|D"}.items():
        (tmp_path / name).write_text(f"{text}\n")
    script = SCREEN.read_text()
    for there in ("/proc/uptime", "/etc/banner", "/run/id", "/run/ip", "/run/picture", "/dev/tty1"):
        script = script.replace(there, str(tmp_path / there.rpartition("/")[2]))
    subprocess.run(["sh", "-c", script, "screen", "once"], check=True)
    shown = re.sub(r"\x1b(\[[0-9;]*[A-Za-z]|.)", "", (tmp_path / "tty1").read_text())
    assert "    instance ins-1234abcd   address 10.0.2.15        up 1:02:03" in shown


def test_the_clock_of_tiny_needs_no_process_each_second() -> None:
    """A fork a second in each of 40 emulated guests took more than a whole processor of their host."""
    script = SCREEN.read_text()
    status = script[script.index("status() {"):script.index("draw() {")]
    loop = script[script.index("while :; do"):]
    assert not re.search(r"\$\((?!\()|`|\|", status + loop)
    begun = {line.split()[0] for line in (status + loop).splitlines() if line.strip()}
    assert begun <= {"status()", "read", "up=${up%.*}", "printf", '"$id"', "}", "while", "status", "done"}
