"""`educloud image`: what instances run."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from deploy.cli import api, moments, output, sizes, tasks, upload, waiting, workspaces
from deploy.cli.session import Session, noun, verb
from luhyaapi import clock
from luhyaapi.errors import Failed, Refused

app = noun("image")
ImageName = Annotated[str, typer.Argument(metavar="N", help="The image's name or id.")]
Usage = Literal["desktop", "server"]
Format = Literal["qcow2", "raw"]
Part = Literal["disk", "kernel", "initrd"]
Properties = Annotated[list[str] | None, typer.Option(
    "--property", metavar="NAME=VALUE", help="As `image set` has them, for example disk_bus=ide or owner_group=edu.school; several times.",
)]
NewVersion = Annotated[bool, typer.Option("--new-version", help="It becomes the next version of the image of that name, and keeps what is not given.")]
_USAGE = "What it is for; a new image: server when left out."
_WAIT_S = 1800.0
_CUTS = 5

Image = dict[str, Any]


def fetch(session: Session, name: str) -> Image:
    """The image as the cloud sees it now, by name or id."""
    found: Image = session.api.get(api.path("images", name))
    return found


def print_one(session: Session, image: Image) -> None:
    """Print one image."""
    if session.json:
        output.document(image)
        return
    shown = {k: v for k, v in image.items() if k != "versions"}
    if "memory_bytes" in shown:
        shown["memory_bytes"] = sizes.show(shown["memory_bytes"])
    output.fields(shown, ("id", "name", "usage"))
    _print_versions(image.get("versions") or [])
    _print_map(image.get("versions") or [])


def _print_versions(versions: list[dict[str, Any]]) -> None:
    output.table(
        ("version", "state", "size", "added", "virtual size", "sha256", "created", "note"),
        [
            (
                v.get("version"), v.get("state"), sizes.show(v.get("size_bytes")), sizes.show(v.get("added_bytes")), sizes.show(v.get("virtual_size_bytes")),
                str(v.get("sha256") or "-")[:16], v.get("created_at"), v.get("note") or "",
            )
            for v in versions
        ],
    )


def _print_map(versions: list[dict[str, Any]]) -> None:
    """Which host has which version: ``whole``, or how much of it."""
    found = {(c["host"], v["version"]): c for v in versions for c in v.get("cached_on") or []}
    hosts = {c["host"]: c for c in found.values()}
    shown = [v["version"] for v in versions if v.get("cached_on")]
    if hosts:
        output.line("")
        output.table(
            ("host", "name", "role", *(f"v{n}" for n in shown)),
            [(host, c.get("host_name"), c.get("role"), *(_share(found.get((host, n))) for n in shown)) for host, c in hosts.items()],
        )


def _share(cached: dict[str, Any] | None) -> str:
    if cached is None:
        return "-"
    return "whole" if cached["whole"] else f"{sizes.show(cached['bytes_done'])} of {sizes.show(cached['bytes_total'])}"


def _properties(given: list[str] | None) -> dict[str, str]:
    """What several ``NAME=VALUE`` say. Raises Refused(invalid)."""
    found = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise Refused("invalid", f"{each!r} is no property", hint="Give --property NAME=VALUE.")
        found[name.replace("-", "_")] = value
    return found


@verb(app, "list")
def list_images(
    session: Session,
    group: Annotated[str, typer.Option(help="Only those of this group, and of groups below it.")] = "",
    architecture: Annotated[Literal["", "x86_64", "i686"], typer.Option(help="Only those made for it.")] = "",
    sort: Annotated[Literal["name", "owner_group", "published_at", "created_at"], typer.Option(help="By what.")] = "created_at",
) -> None:
    """List images."""
    asked = {"owner_group": group, "architecture": architecture, "sort": sort if sort != "created_at" else ""}
    query = urlencode({k: v for k, v in asked.items() if v})
    found = session.api.everything(api.path("images") + (f"?{query}" if query else ""))
    if session.json:
        output.document(found)
        return
    rows = []
    for image in found:
        last = (sorted(image.get("versions") or [], key=lambda v: v.get("version") or 0) or [{}])[-1]
        cached = ", ".join(str(c) for c in image.get("cached_on") or [])
        rows.append((
            image.get("id"), image.get("name"), image.get("usage"), last.get("version"), last.get("format"),
            sizes.show(last.get("size_bytes")), image.get("architecture"), image.get("owner_group"), cached,
        ))
    output.table(("id", "name", "usage", "version", "format", "size", "architecture", "group", "cached on"), rows)


@verb(app, "show")
def show(session: Session, image: ImageName) -> None:
    """Show one image and its versions."""
    print_one(session, fetch(session, image))


@verb(app, "versions")
def versions(session: Session, image: ImageName) -> None:
    """List the versions of an image, and which host has which."""
    found = session.api.everything(api.path("images", image, "versions"))
    if session.json:
        output.document(found)
    else:
        _print_versions(found)
        _print_map(found)


@verb(app, "delete")
def delete(session: Session, image: ImageName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete an image and all its versions."""
    where = api.path("images", image)
    output.confirm(f"Deleting the image {image} and all its versions", yes=yes, terminal=session.terminal)
    answer = session.api.delete(where) or {"id": image, "state": "deleted"}
    if answer.get("task") or str(answer.get("id", "")).startswith("tsk-"):
        waiting.finished(session, waiting.id_of(answer), _WAIT_S)
    if session.json:
        output.document(answer)
    else:
        output.note(f"The image {image} is deleted.")


@verb(app, "modify")
def modify(
    session: Session, image: ImageName, cpus: Annotated[int | None, typer.Option(metavar="C", help="Processors of the guest.")] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory of the guest, like 2G.")] = "", no_wait: workspaces.NoWait = False,
    timeout: workspaces.Timeout = _WAIT_S,
) -> None:
    """Begin the next version of an image: a workspace to run, change and submit."""
    workspaces.begin(session, workspaces.order(image, cpus=cpus, memory=memory), no_wait=no_wait, timeout_s=timeout)


@verb(app, "create")
def create(
    session: Session, name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new image.")],
    base: Annotated[str, typer.Option("--from", metavar="N", help="The image it is made from; N:VERSION for a certain version.")],
    description: Annotated[str, typer.Option(help="One line for people.")] = "",
    cpus: Annotated[int | None, typer.Option(metavar="C", help="Processors of the guest.")] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory of the guest, like 2G.")] = "", no_wait: workspaces.NoWait = False,
    timeout: workspaces.Timeout = _WAIT_S,
) -> None:
    """Begin a new image made from another one: a workspace to run, change and submit."""
    workspaces.begin(session, workspaces.order(base, name, cpus, memory, description), no_wait=no_wait, timeout_s=timeout)


@verb(app, "rollback")
def rollback(session: Session, image: ImageName, to: Annotated[int, typer.Option("--to", min=1, metavar="VERSION", help="Which version.")]) -> None:
    """Publish an older version again, as the newest; no byte moves."""
    print_one(session, session.api.post(api.path("images", image, "versions", str(to), "rollback"), {}))


@verb(app, "retire")
def retire(
    session: Session, image: ImageName, version: Annotated[int, typer.Option(min=1, help="Which version.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Have one version of an image no more."""
    output.confirm(f"Retiring version {version} of the image {image}", yes=yes, terminal=session.terminal)
    session.api.delete(api.path("images", image, "versions", str(version)))
    print_one(session, fetch(session, image))


@verb(app, "upload")
def upload_image(  # noqa: PLR0913, PLR0917 - the options people have
    session: Session,
    name: Annotated[str, typer.Option(help="Name of the image.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The disk: qcow2, raw, vmdk, vdi, vhdx, vhd or ova, also packed; left out for a kernel without one."),
    ] = None,
    kernel: Annotated[Path | None, typer.Option(help="Kernel to boot directly.")] = None,
    initrd: Annotated[Path | None, typer.Option(help="Initial ram disk of that kernel.")] = None,
    cmdline: Annotated[str, typer.Option(help="Command line of that kernel.")] = "",
    new_version: NewVersion = False,
    usage: Annotated[Usage | None, typer.Option(help=_USAGE)] = None,
    format: Annotated[Format | None, typer.Option("--format", help="Format of the disk, where its first bytes do not tell.")] = None,
    description: Annotated[str, typer.Option(help="One line for people.")] = "",
    os_type: Annotated[str, typer.Option(help="Which system is in it, for example linux.")] = "",
    properties: Properties = None,
    resume: Annotated[str, typer.Option(metavar="UPLOAD", help="Take up an upload that was cut.")] = "",
    abandon: Annotated[str, typer.Option(metavar="UPLOAD", help="Give up an upload that was cut, instead of uploading: nothing of it is kept.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the checking task at once instead of waiting for it.")] = False,
    timeout: Annotated[float, typer.Option(metavar="S", help="Give up waiting for the check after so many seconds; 0: never.")] = _WAIT_S,
) -> None:
    """Upload an image: a disk, a kernel with its ram disk, or all three."""
    api.segment(name, "name of an image")
    if abandon:
        upload.give_up(session, abandon)
        return
    files = {"disk": file, "kernel": kernel, "initrd": initrd}
    if initrd and not kernel:
        raise Refused("invalid", "A ram disk needs its kernel", hint="Add --kernel FILE.")
    sources = [upload.source(part, f, (format or "") if part == "disk" else "") for part, f in files.items() if f]
    if not sources:
        raise Refused("invalid", "There is nothing to upload", hint="Name the disk's FILE, or --kernel and --initrd.")
    order = {
        "name": name, "new_version": new_version, "usage": usage, "description": description, "os_type": os_type, "cmdline": cmdline,
        **_properties(properties),
    }
    send(session, {k: v for k, v in order.items() if v}, sources, resume=resume, no_wait=no_wait, timeout_s=timeout)


@verb(app, "import")
def import_image(  # noqa: PLR0913, PLR0917 - the options people have
    session: Session,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the disk lies: http, https or ftp, without user name and password.")],
    name: Annotated[str, typer.Option(help="Name of the image.")],
    new_version: NewVersion = False,
    usage: Annotated[Usage | None, typer.Option(help=_USAGE)] = None,
    format: Annotated[Format | None, typer.Option("--format", help="Format of the disk, where its first bytes do not tell.")] = None,
    sha256: Annotated[str, typer.Option(help="Of the file as it lies there; with another one nothing is kept.")] = "",
    description: Annotated[str, typer.Option(help="One line for people.")] = "",
    os_type: Annotated[str, typer.Option(help="Which system is in it, for example linux.")] = "",
    properties: Properties = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the task at once instead of waiting for it.")] = False,
    timeout: Annotated[float, typer.Option(metavar="S", help="Give up waiting after so many seconds, it goes on; 0: never.")] = 0,
) -> None:
    """Have the cloud fetch a disk from a URL, as an image; it need not pass through this machine."""
    api.segment(name, "name of an image")
    order = {
        "name": name, "new_version": new_version, "url": url, "usage": usage, "format": format, "sha256": sha256, "description": description,
        "os_type": os_type, **_properties(properties),
    }
    task = session.api.post(api.path("images", "import"), {k: v for k, v in order.items() if v})
    _published(session, name, task, no_wait=no_wait, timeout_s=timeout)


def send(
    session: Session, order: dict[str, Any], sources: list[upload.Source], *, resume: str = "", no_wait: bool = False,
    timeout_s: float = _WAIT_S, show: bool = True,
) -> Image:
    """Upload, wait for the check, and the image afterwards (the task with ``no_wait``), printed with ``show``."""
    return _published(session, str(order["name"]), upload.bring(session, order, sources, resume=resume), no_wait=no_wait, timeout_s=timeout_s, show=show)


def _published(session: Session, name: str, task: dict[str, Any], *, no_wait: bool, timeout_s: float, show: bool = True) -> Image:
    if no_wait:
        if show and session.json:
            output.document(task)
        elif show:
            output.line(str(task["id"]))
        return task
    waiting.finished(session, waiting.id_of(task), timeout_s)
    image = fetch(session, name)
    if show:
        print_one(session, image)
    return image


@verb(app, "download")
def download(
    session: Session,
    image: ImageName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    version: Annotated[int | None, typer.Option(min=1, help="Which version; the newest published one when left out.")] = None,
    part: Annotated[Part, typer.Option(help="Which of its files.")] = "disk",
    format: Annotated[Format | None, typer.Option("--format", help="Of the disk; qcow2 when FILE is called so, else raw.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE when it is there.")] = False,
) -> None:
    """Download one file of an image; it appears whole or not at all. A disk as qcow2 has no holes in it."""
    if file.is_dir() or (file.exists() and not force):
        raise Refused("exists", f"{file} is there already", hint="Choose another name, or add --force.")
    if not file.absolute().parent.is_dir():
        raise Refused("invalid", f"{file} cannot be written", "its folder is not there")
    known = sorted(session.api.everything(api.path("images", image, "versions")), key=lambda v: v["version"])
    chosen = next((v for v in reversed(known) if version == v["version"] or (version is None and v.get("state") == "published")), None)
    if chosen is None:
        raise Refused("not_found", f"The image {image} has no version {version or ''}".rstrip())
    kind = format or ("qcow2" if part == "disk" and file.suffix.lower() == ".qcow2" else "raw")
    expected = _digest_of(chosen, part) if kind == "raw" else ""
    draft = file.with_name(f".{file.name}.part")
    try:
        where = api.path("images", image, "versions", str(chosen["version"]), "parts", part)
        found = _pull(session, f"{where}?as={kind}", draft, part)
        if expected and found != expected:
            raise Failed("digest", f"{part} of {image} did not arrive as it was sent", f"sha256 {found}, expected {expected}")
        os.replace(draft, file)  # noqa: PTH105 - replaces, which is what is meant
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    done = {"image": image, "version": chosen["version"], "part": part, "file": str(file), "size_bytes": file.stat().st_size, "sha256": found}
    if session.json:
        output.document(done)
    else:
        output.note(f"{file}: {sizes.show(done['size_bytes'])}, sha256 {found}")


def _digest_of(version: dict[str, Any], part: str) -> str:
    for each in version.get("parts") or []:
        if each.get("part") == part:
            return str(each.get("sha256") or "")
    return str(version.get("sha256") or "") if part == "disk" and not version.get("parts") else ""


def _pull(session: Session, where: str, draft: Path, part: str) -> str:
    """Fetch into ``draft``, resumed after cuts; the sha256 of what arrived."""
    total, cuts = 0, 0
    sum_ = hashlib.sha256()
    with draft.open("wb") as out, output.Bars() as bars:
        while True:
            try:
                for size, offset, piece in session.api.stream(where, out.tell()):
                    if offset < out.tell():
                        out.seek(0)
                        out.truncate()
                        sum_ = hashlib.sha256()
                    if piece.strip(b"\0"):
                        out.write(piece)
                    else:
                        out.seek(len(piece), os.SEEK_CUR)  # a hole
                    sum_.update(piece)
                    total = size
                    bars.show(f"download {part}", out.tell(), total)
                if out.tell() >= total:
                    out.truncate()
                    return sum_.hexdigest()
                raise api.Unreachable(session.api.context.url, "the bytes ended early")
            except api.Unreachable:
                cuts += 1
                if cuts >= _CUTS:
                    raise
                clock.sleep(0.2 * 2**cuts)


@verb(app, "prefetch")
def prefetch(
    session: Session,
    image: Annotated[str, typer.Option(help="Name or id of the image; `name:version` for a certain version.")],
    hosts: Annotated[str, typer.Option(metavar="all|NAME,NAME", help="Clusters and nodes, by name or id.")] = "all",
    by: Annotated[str, typer.Option(metavar="TIME", help="When it shall be there: 08:00 (today or tomorrow) or 2030-01-31T08:00. It begins at once.")] = "now",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the task at once instead of waiting for it.")] = False,
    timeout: Annotated[float, typer.Option(metavar="S", help="Give up waiting after so many seconds; 0: never. The cloud goes on.")] = 0,
) -> None:
    """Bring an image to hosts before a class needs it."""
    moment = moments.parse(by)
    body = {"hosts": [name.strip() for name in hosts.split(",") if name.strip()], "by": None if moment is None else clock.rfc3339(moment)}
    task = session.api.post(api.path("images", image, "prefetch"), body)
    if no_wait:
        tasks.show_task(session, task)
        return
    ident = waiting.id_of(task)
    with waiting.detaching(session, [ident]):
        waiting.finished(session, ident, timeout)
    tasks.show_task(session, waiting.fetch(session, ident))


@verb(app, "renew")
def renew(
    session: Session, image: ImageName,
    transient_only: Annotated[bool, typer.Option("--transient-only", help="Leave out instances whose system disk is to be kept.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the tasks at once instead of waiting for them.")] = False,
    timeout: Annotated[float, typer.Option(metavar="S", help="Give up waiting after so many seconds; 0: never. The cloud goes on.")] = 0,
) -> None:  # fmt: skip
    """Put all instances with an older version of an image on its newest one; all on their system disks is lost."""
    whose = "transient instances" if transient_only else "instances, also persistent ones,"
    output.confirm(f"Losing all that is on the system disks of the {whose} with an older version of {image}", yes=yes, terminal=session.terminal)
    found = session.api.post(api.path("images", image, "renew"), {"transient_only": transient_only})
    begun = [waiting.id_of(i) for i in found["results"]]
    if not no_wait:
        with waiting.detaching(session, begun):
            waiting.until_final(session, begun, waiting.Deadline(timeout))
    shown = [waiting.fetch(session, ident) for ident in begun]
    if session.json:
        output.document({"tasks": shown, "passed_over": found["passed_over"]})
    else:
        output.table(("task", "instance", "state"), [(t["id"], t["subject_name"], t["state"]) for t in shown])
    for ident in found["passed_over"]:
        output.note(f"{ident} cannot be renewed now: try again later.")
    if failed := next((t for t in shown if t["state"] in {"failed", "cancelled"}), None):
        raise api.task_error(failed)


@verb(app, "build-demo")
def build_demo(
    session: Session,
    only: Annotated[Literal["tiny", "debian"] | None, typer.Option(help="Only this one.")] = None,
    no_debian: Annotated[bool, typer.Option("--no-debian", help="Only the tiny one.")] = False,
) -> None:
    """Build the demonstration images from the system's packages and upload what is new."""
    from deploy.cli import demo

    names = [n for n in ("tiny", "debian") if only in (None, n) and not (no_debian and n == "debian")]
    if not names:
        raise Refused("invalid", "There is nothing to build", "--only debian and --no-debian exclude each other")
    found = [demo.provide(session, name) for name in names]
    if session.json:
        output.document(found)
    else:
        output.table(("image", "id", "what happened"), [(f["name"], f["id"], "uploaded" if f["uploaded"] else "was there already") for f in found])
