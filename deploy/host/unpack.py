"""What Debian packages bring, for a user who may not install any: fetched by apt, unpacked into a folder, run from there."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.host import checks, ground
from deploy.host.plan import Plan
from luhyaapi import process
from luhyaapi.errors import Failed, Refused

PACKAGES = (
    "rabbitmq-server", "memcached", "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "qemu-system-x86", "qemu-utils",
    "bubblewrap", "python3-libvirt",
)
_HERE_ANYWAY = ("?essential", "apt", "make", "python3-venv", "ca-certificates")
_NOT_NEEDED = {"iso-codes", "cron", "cron-daemon-common", "logrotate", "lsb-base"}
_INSTALLS = re.compile(r"^Inst (\S+) ", re.MULTILINE)
_STAMP = "unpacked"
_LIBVIRT_DATA, _DATA_FROM_HERE = b"/usr/share/libvirt", b"/proc/self/cwd/pkg"
_ERLANG = b"ROOTDIR=/usr/lib/erlang"
_UPDATE = "Check /etc/apt/sources.list and the network, then try again."


def provide(plan: Plan, environ: Mapping[str, str]) -> bool:
    """Have the programs this cloud needs below ``plan.packages``, those installed on the machine left out; whether anything was done.

    EDUCLOUD_PACKAGES names a folder that several clouds share and no reset deletes; EDUCLOUD_UNPACK=all unpacks also what
    is installed. Raises Failed(missing) when apt cannot fetch it, Refused(invalid) for a folder that cannot be used.
    """
    _shared(plan, environ.get("EDUCLOUD_PACKAGES", ""))
    mode = "all" if environ.get("EDUCLOUD_UNPACK") == "all" else "missing"
    stamp = plan.packages / _STAMP
    known = stamp.read_text("utf-8").split() if stamp.exists() else []
    if known[:1] in ([mode], ["all"]) and not checks.absent(plan):
        return False
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        if checks.absent(plan):
            raise Failed("missing", "This is not Debian, and programs are missing", ", ".join(checks.absent(plan)))
        return False
    with ground.alone(plan.packages.resolve()):
        names = _wanted(plan, everything=mode == "all")
        if names:
            print(f"unpacking {len(names)} Debian packages into {plan.packages.resolve()}", file=sys.stderr, flush=True)
            _unpack(plan, names)
        stamp.write_text(f"{mode} {' '.join(names)}\n", "utf-8")
    return True


def bind_python(plan: Plan) -> None:
    """Have libvirt's Python binding, and nothing else of that package folder, where the node's program finds it.

    Raises Failed(missing) when there is none for this Python.
    """
    if (Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages/libvirt.py").exists():
        return
    tag = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
    for folder in (plan.unpacked / "usr/lib/python3/dist-packages", Path("/usr/lib/python3/dist-packages")):
        found = [folder / "libvirt.py", *folder.glob(f"libvirtmod.{tag}-*.so")]
        if len(found) == 2 and found[0].exists():
            plan.binding.mkdir(parents=True, exist_ok=True)
            for file in found:
                link = plan.binding / file.name
                link.unlink(missing_ok=True)
                link.symlink_to(file)
            return
    raise Failed("missing", "libvirt's Python binding is not there", f"none for {tag}; .venv must be made with Debian's own Python",
                 hint="Remove .venv and run `make up` again with /usr/bin/python3 there.")


def apt_environ(plan: Plan) -> dict[str, str]:
    """How apt is called: with package lists of our own where the machine has none."""
    file = plan.packages / "apt.conf"
    return {"APT_CONFIG": str(file)} if file.exists() else {}


def _shared(plan: Plan, folder: str) -> None:
    if folder and not plan.packages.exists():
        if not Path(folder).is_absolute():
            raise Refused("invalid", f"EDUCLOUD_PACKAGES={folder} cannot be used", "an absolute path is needed")
        Path(folder).mkdir(parents=True, exist_ok=True)
        plan.packages.symlink_to(folder)
    plan.packages.mkdir(parents=True, exist_ok=True)


def _wanted(plan: Plan, *, everything: bool) -> list[str]:
    """The packages to unpack: what installing ours would bring, and, of ``everything``, no part of the smallest Debian."""
    nothing = plan.packages / "nothing-installed"
    nothing.write_text("", "ascii")
    status = ["-o", f"Dir::State::status={nothing}"] if everything else []
    try:
        names = _closure(plan, PACKAGES, status)
    except Failed:
        _own_lists(plan)
        names = _closure(plan, PACKAGES, status)
    if everything:
        names -= _closure(plan, _HERE_ANYWAY, status)
    return sorted(names - _NOT_NEEDED)


def _closure(plan: Plan, names: Iterable[str], options: list[str]) -> set[str]:
    told = process.run(
        ["apt-get", "-s", "-q", "-o", "Debug::NoLocking=1", *options, "install", "--no-install-recommends", *names],
        timeout_s=120, check=False, env=apt_environ(plan),
    )
    if told.code != 0:
        why = told.stderr.decode("utf-8", "replace").strip()[-500:]
        raise Failed("missing", "apt does not know a package that is needed", why, hint=_UPDATE)
    return set(_INSTALLS.findall(told.text))


def _own_lists(plan: Plan) -> None:
    """The machine's package lists are empty or old, and only root may fetch them: fetch our own from the same sources."""
    apt = plan.packages / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (plan.packages / "apt.conf").write_text(f'Dir::State::lists "{apt}/lists";\nDir::Cache "{apt}/cache";\n', "utf-8")
    told = process.run(["apt-get", "-q", "update"], timeout_s=600, check=False, env=apt_environ(plan))
    if told.code != 0:
        (plan.packages / "apt.conf").unlink()
        raise Failed("missing", "apt-get update failed", told.stderr.decode("utf-8", "replace").strip()[-500:], hint=_UPDATE)


def _unpack(plan: Plan, names: list[str]) -> None:
    # Where it really is: a folder that clouds share outlives the one that filled it.
    place = plan.packages.resolve()
    debs, part, root = place / "debs", place / "root.part", place / plan.unpacked.name
    for folder in (debs, part, root):
        if folder.exists():
            shutil.rmtree(folder)
    debs.mkdir()
    part.mkdir()
    argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names]
    told = process.run(argv, timeout_s=1800, cwd=debs, check=False, env=apt_environ(plan))
    if told.code != 0:
        raise Failed("missing", "apt could not fetch the packages", told.stderr.decode("utf-8", "replace").strip()[-500:], hint=_UPDATE)
    for deb in sorted(debs.glob("*.deb")):
        process.run(["dpkg-deb", "-x", deb, part], timeout_s=300)
    _resettle_erlang(part, root)
    _resettle_libvirt(part)
    part.rename(root)
    shutil.rmtree(debs)


def _resettle_libvirt(part: Path) -> None:
    """Its library knows its data by one path, for which nothing stands in: another one of the same length takes its place."""
    for library in (part / "usr/lib/x86_64-linux-gnu").glob("libvirt.so.*"):
        if not library.is_symlink():
            library.write_bytes(library.read_bytes().replace(_LIBVIRT_DATA, _DATA_FROM_HERE))


def share_libvirt(plan: Plan) -> None:
    """Where the unpacked library looks, seen from the folder libvirt runs in, stands its data."""
    link = plan.hypervisor / "pkg"
    if not link.is_symlink():
        link.symlink_to(plan.unpacked / "usr/share/libvirt")


def _resettle_erlang(part: Path, root: Path) -> None:
    """Debian's start scripts of Erlang know one place only."""
    for folder in (part / "usr/lib/erlang/bin", *(part / "usr/lib/erlang").glob("erts-*/bin")):
        for script in folder.iterdir():
            if script.is_symlink() or not script.read_bytes().startswith(b"#!"):
                continue
            script.write_bytes(script.read_bytes().replace(_ERLANG, f"ROOTDIR={root}/usr/lib/erlang".encode()))
