"""`educloud instance`: virtual machines, from the wish to the screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode, urljoin, urlsplit

import typer

from deploy.cli import access, api, output, sizes, waiting
from deploy.cli.session import Session, noun, verb
from luhyaapi.errors import Failed, Refused, Trouble, Unavailable, from_wire

app = noun("instance")
InstanceName = Annotated[str, typer.Argument(metavar="ID", help="The instance's id, or its name if only one has it.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the task at once instead of waiting for it.")]
Timeout = Annotated[float, typer.Option(metavar="S", help="Give up waiting after so many seconds; 0: never. The cloud goes on.")]
Kind = Literal["desktop", "server"]

_ID = re.compile(r"ins-[0-9a-f]{8}")
_WAIT_S = 900.0
_SETTLE_S = 20.0
_LARGEST_KEY = 16 * 1024
_LARGEST_USER_DATA = 64 * 1024
_ORDER = ("id", "name", "state", "kind", "image", "image_version", "newest_version", "persistence", "cpus", "memory_bytes", "owner", "cluster", "host")

Instance = dict[str, Any]


def resolve(session: Session, name: str) -> str:
    """The id of the instance called ``name``. Raises Refused(not_found), Refused(invalid) when several have that name."""
    if _ID.fullmatch(name):
        return name
    api.segment(name, "name of an instance")
    ids = [str(i["id"]) for i in session.api.everything(api.path("instances")) if i.get("name") == name and i.get("state") != "deleted"]
    if not ids:
        raise Refused("not_found", f"There is no instance {name!r}", "nothing you may see is called so", hint="`educloud instance list` shows what there is.")
    if len(ids) > 1:
        raise Refused("invalid", f"Several instances are called {name!r}", ", ".join(ids), hint="Name one of them by its id.")
    return ids[0]


def fetch(session: Session, instance: str) -> Instance:
    """The instance as the cloud sees it now."""
    found: Instance = session.api.get(api.path("instances", instance))
    return found


def address(instance: Instance) -> str:
    """Its addresses in one text."""
    return " ".join(str(n.get("ip")) for n in instance.get("nics") or [] if n.get("ip"))


def print_one(session: Session, instance: Instance) -> None:
    """Print one instance."""
    if session.json:
        output.document(instance)
        return
    shown = {k: v for k, v in instance.items() if k not in {"nics", "error", "forwards", "queue", "reached"}}
    if line := waiting.queue_line(instance):
        shown["queue"] = f"{line}: {why}" if (why := instance["queue"]["why"]) else line
    if instance.get("forwards"):
        shown["forwards"] = " ".join(f"{f.get('guest_port')}={f.get('host')}:{f.get('port')}" for f in instance["forwards"])
    for name in ("memory_bytes", "data_disk_bytes"):
        shown[name] = sizes.show(instance.get(name))
    output.fields({**shown, "address": address(instance), **access.fields(instance.get("reached") or {})}, (*_ORDER, "address"))
    if instance.get("error"):
        output.trouble(instance_error(instance))


def _version(instance: Instance) -> str:
    """The version it has, and the newest one if that is another."""
    has, newest = instance.get("image_version"), instance.get("newest_version")
    return f"{has} (newest {newest})" if newest not in (None, has) else str(has)


def print_many(session: Session, instances: list[Instance]) -> None:
    """Print a list of instances."""
    if session.json:
        output.document(instances)
        return
    output.table(
        ("id", "name", "state", "image", "version", "cpus", "memory", "address", "host", "owner"),
        [
            (
                i.get("id"), i.get("name"), i.get("state"), i.get("image"), _version(i), i.get("cpus"), sizes.show(i.get("memory_bytes")),
                address(i), i.get("host"), i.get("owner"),
            )
            for i in instances
        ],
    )


def instance_error(instance: Instance) -> Trouble:
    """The error that stands on an instance."""
    form = instance.get("error") or {"code": "guest", "what": f"The instance {instance.get('id')} is {instance.get('state')}"}
    error = from_wire({k: str(v or "") for k, v in form.items()})
    error.params["task"] = instance.get("task")
    return error


def read_key(file: Path) -> str:
    """The public ssh key in ``file``. Raises Refused(invalid) for anything else, above all for a private key."""
    size = api.readable(file, "ssh key")
    text = file.read_bytes()[: _LARGEST_KEY + 1].decode("utf-8", "replace").strip()
    if "PRIVATE KEY" in text:
        raise Refused("invalid", f"{file} is a private key", "it must never leave this machine", hint=f"Name the public one, usually {file}.pub.")
    if size > _LARGEST_KEY or not text.isprintable() or not re.match(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]{16,}", text):
        raise Refused("invalid", f"{file} is no public ssh key", "it must be one line like: ssh-ed25519 AAAA... name")
    return text


def read_user_data(file: Path) -> str:
    """What ``file`` hands to a guest. Raises Refused(invalid | not_found)."""
    size = api.readable(file, "user-data")
    if size > _LARGEST_USER_DATA:
        raise Refused("invalid", f"{file} is too long for user-data", f"it has {size} bytes; at most {_LARGEST_USER_DATA} are possible")
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as e:
        raise Refused("invalid", f"{file} is no user-data", "it is not UTF-8") from e
    if "\0" in text:
        raise Refused("invalid", f"{file} is no user-data", "it has a NUL in it")
    return text


def _settled(session: Session, instance: Instance, deadline: waiting.Deadline) -> Instance:
    """The instance once it runs and has its addresses; its record may come a moment after its task."""
    ident = str(instance["id"])
    seen, good = waiting.settle(
        lambda: fetch(session, ident),
        lambda i: i.get("state") == "failed" or (i.get("state") == "running" and all(n.get("ip") for n in i.get("nics") or [{}])),
        deadline, task=waiting.id_of(instance), patience_s=_SETTLE_S,
    )  # fmt: skip
    if seen.get("state") == "failed":
        raise instance_error(seen)
    if seen.get("state") == "running":
        if not good:
            output.note(f"{ident} runs and has no address yet.")
        return seen
    raise Failed("timeout", f"The instance {ident} does not run yet", f"its task is done and it is {seen.get('state')}", task=waiting.id_of(instance))


def _why(session: Session, instance: Instance) -> dict[str, Any]:
    try:
        found: dict[str, Any] = session.api.get(api.path("instances", str(instance["id"]), "why"))
    except Trouble as e:
        output.note(f"{instance['id']}: why is not known: {e}")
        return {"node": None, "why": {}}
    reasons = found.get("why") or {}
    output.note(f"{instance['id']}: chosen node {found.get('node') or '-'}")
    for host, reason in reasons.items():
        output.note(f"  {host}: {reason}")
    return {"node": found.get("node"), "why": reasons}


def _order(  # noqa: PLR0913, PLR0917 - the options people have
    image: str, name: str, cpus: int | None, memory: str, count: int | None, kind: str, keys: list[Path], transient: bool, data_disk: str,
) -> dict[str, Any]:
    api.segment(image, "name of an image")
    if name:
        api.segment(name, "name of an instance")
    body: dict[str, Any] = {"image": image, "name": name, "cpus": cpus, "count": count, "kind": kind}
    body["memory_bytes"] = sizes.parse(memory) if memory else None
    body["data_disk_bytes"] = sizes.parse(data_disk) if data_disk else None
    body["persistence"] = "transient" if transient else ""
    body["ssh_keys"] = [read_key(k) for k in keys]
    return {k: v for k, v in body.items() if v not in (None, "", [])}


@verb(app, "run")
def run(  # noqa: PLR0913, PLR0917 - the options people have
    session: Session,
    image: Annotated[str, typer.Option(help="Name or id of the image.")],
    name: Annotated[str, typer.Option(help="Name of the instance; made up when left out.")] = "",
    cpus: Annotated[int | None, typer.Option(min=1, help="Virtual CPUs.")] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory, for example 512M or 2GiB; otherwise what the image recommends (`image show`).")] = "",
    count: Annotated[int | None, typer.Option(min=1, max=10_000, help="How many; prints a list.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="What it is for.")] = None,
    ssh_key: Annotated[list[Path] | None, typer.Option(help="File of a public key to let in; may be repeated.")] = None,
    transient: Annotated[bool, typer.Option("--transient", help="Its system disk is reset when it stops.")] = False,
    user_data: Annotated[Path | None, typer.Option(metavar="FILE", help="File handed to the guest's cloud-init, at most 64 KiB.")] = None,
    data_disk: Annotated[str, typer.Option(metavar="SIZE", help="Give it a disk of its own of that size, which stays; for example 10G.")] = "",
    network: Annotated[list[str] | None, typer.Option(help="Network to have a card in; may be repeated; `default` is the cluster's own.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Security group to be in from the start; may be repeated.")] = None,
    first_boot_offline: Annotated[bool, typer.Option("--first-boot-offline", help="No network until the guest says that its first boot is done.")] = False,
    expires: Annotated[str, typer.Option(metavar="WHEN", help="When it ends: 7d, 12h, 2030-01-31, never; otherwise as its group says.")] = "",
    why: Annotated[bool, typer.Option("--why", help="Also say why each node was taken or not.")] = False,
    no_wait: NoWait = False,
    timeout: Timeout = _WAIT_S,
) -> None:
    """Run new instances and wait until they run."""
    body = _order(image, name, cpus, memory, count, kind or "", ssh_key or [], transient, data_disk)
    body |= {name: given for name, given in (("networks", network), ("groups", group)) if given}
    if expires:
        body["expires"] = expires
    if first_boot_offline:
        body["first_boot_offline"] = True
    if user_data and (given := read_user_data(user_data)):
        body["user_data"] = given
    made: list[Instance] = session.api.post(api.path("instances"), body)["results"]
    tasks = [waiting.id_of(i) for i in made]
    if no_wait:
        _print_tasks(session, tasks, many=count is not None)
        return
    deadline = waiting.Deadline(timeout)
    with waiting.detaching(session, tasks):
        ended = waiting.until_final(session, tasks, deadline)
        results, errors = [], []
        for instance, task in zip(made, ended, strict=True):
            shown, error = _outcome(session, instance, task, deadline)
            results.append({**shown, "placement": _why(session, instance)} if why else shown)
            errors += [error] if error else []
    if count is None and errors:
        raise errors[0]
    if count is None:
        print_one(session, results[0])
        return
    print_many(session, results)
    for error in errors:
        output.trouble(error)
    if errors:
        raise typer.Exit(api.exit_of(errors[0]))


def _outcome(session: Session, instance: Instance, task: dict[str, Any], deadline: waiting.Deadline) -> tuple[Instance, Trouble | None]:
    try:
        if task["state"] != "done":
            raise api.task_error(task)
        return _settled(session, instance, deadline), None
    except Trouble as error:
        unseen = task["state"] == "done" and isinstance(error, Unavailable)
        return {**instance, "state": "unknown" if unseen else "failed", "error": error.wire()}, error


def _print_tasks(session: Session, tasks: list[str], *, many: bool) -> None:
    found = [waiting.fetch(session, t) for t in dict.fromkeys(tasks)]
    if session.json:
        output.document(found if many else found[0])
        return
    output.table(("task", "kind", "state"), [(t.get("id"), t.get("kind"), t.get("state")) for t in found])
    output.note(f"Watch it: educloud task watch {found[0]['id']}")


def _act(session: Session, ident: str, ask: Callable[[], Instance | None], *, no_wait: bool, timeout_s: float) -> Instance | None:
    """Ask, wait for the task, and the instance afterwards; None when only the task was wanted and printed."""
    asked = ask() or {"id": ident, "state": "deleted"}
    if not asked.get("task"):
        return asked
    task = waiting.id_of(asked)
    if no_wait:
        _print_tasks(session, [task], many=False)
        return None
    waiting.finished(session, task, timeout_s)
    try:
        return fetch(session, ident)
    except Refused as e:
        if e.code != "not_found":
            raise
        return {**asked, "state": "deleted"}


def _post(session: Session, name: str, action: str, body: dict[str, Any], *, no_wait: bool, timeout_s: float) -> None:
    ident = resolve(session, name)
    done = _act(session, ident, lambda: session.api.post(api.path("instances", ident, action), body), no_wait=no_wait, timeout_s=timeout_s)
    if done:
        print_one(session, done)


@verb(app, "list")
def list_instances(session: Session, group: Annotated[str, typer.Option(metavar="PATH", help="Of that group and all below it.")] = "") -> None:
    """List instances."""
    print_many(session, session.api.everything(api.path("instances") + (f"?{urlencode({'owner_group': group})}" if group else "")))


@verb(app, "show")
def show(session: Session, instance: InstanceName) -> None:
    """Show one instance."""
    print_one(session, fetch(session, resolve(session, instance)))


@verb(app, "stop")
def stop(
    session: Session, instance: InstanceName,
    grace: Annotated[int | None, typer.Option(min=0, metavar="S", help="Seconds the guest has to stop by itself.")] = None,
    no_wait: NoWait = False, timeout: Timeout = _WAIT_S,
) -> None:  # fmt: skip
    """Stop an instance: ask the guest, then pull the plug."""
    _post(session, instance, "stop", {} if grace is None else {"grace_s": grace}, no_wait=no_wait, timeout_s=timeout)


@verb(app, "start")
def start(session: Session, instance: InstanceName, no_wait: NoWait = False, timeout: Timeout = _WAIT_S) -> None:
    """Start a stopped instance."""
    _post(session, instance, "start", {}, no_wait=no_wait, timeout_s=timeout)


@verb(app, "reboot")
def reboot(
    session: Session, instance: InstanceName,
    grace: Annotated[int | None, typer.Option(min=0, metavar="S", help="Seconds the guest has to stop by itself.")] = None,
    no_wait: NoWait = False, timeout: Timeout = _WAIT_S,
) -> None:  # fmt: skip
    """Stop and start an instance."""
    _post(session, instance, "reboot", {} if grace is None else {"grace_s": grace}, no_wait=no_wait, timeout_s=timeout)


@verb(app, "connect")
def connect(session: Session, instance: InstanceName, no_wait: NoWait = False, timeout: Timeout = _WAIT_S) -> None:
    """Give an instance its network, whether or not its first boot is done."""
    _post(session, instance, "connect", {}, no_wait=no_wait, timeout_s=timeout)


@verb(app, "expire")
def expire(session: Session, instance: InstanceName, when: Annotated[str, typer.Argument(metavar="WHEN", help="7d, 12h, 2030-01-31 or never.")]) -> None:
    """Have an instance end at another time, or never: it is stopped then, and deleted only where its group says so."""
    print_one(session, session.api.put_json(api.path("instances", resolve(session, instance), "expiry"), {"expires": when}))


@verb(app, "restore")
def restore(
    session: Session, instance: InstanceName,
    version: Annotated[str, typer.Option(metavar="newest|N", help="Make it from that version of its image; otherwise from the one it has.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_wait: NoWait = False, timeout: Timeout = _WAIT_S,
) -> None:  # fmt: skip
    """Give an instance a new system disk: all on the old one is lost, a data disk and the addresses stay."""
    api.segment(instance, "name of an instance")
    output.confirm(f"Losing all that is on the system disk of {instance}", yes=yes, terminal=session.terminal)
    _post(session, instance, "restore", {"version": version} if version else {}, no_wait=no_wait, timeout_s=timeout)


@verb(app, "delete")
def delete(
    session: Session, instance: InstanceName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_wait: NoWait = False, timeout: Timeout = _WAIT_S,
) -> None:  # fmt: skip
    """Delete an instance and everything on its disk."""
    api.segment(instance, "name of an instance")
    output.confirm(f"Deleting the instance {instance} and its disk", yes=yes, terminal=session.terminal)
    ident = resolve(session, instance)
    done = _act(session, ident, lambda: session.api.delete(api.path("instances", ident)), no_wait=no_wait, timeout_s=timeout)
    if not done:
        return
    if session.json:
        output.document(done)
    else:
        output.note(f"The instance {ident} is deleted.")


@verb(app, "rules")
def rules(
    session: Session, instance: InstanceName,
    allow: Annotated[list[str] | None, typer.Option("--allow", metavar="RULE", help="Let this in: tcp:22:10.0.0.0/8, udp:5000-5010, icmp.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Security group to be in as well; may be repeated.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take away its rules and groups first.")] = False,
) -> None:  # fmt: skip
    """Show, or change, what may reach an instance from outside."""
    ident = resolve(session, instance)
    found = session.api.get(api.path("instances", ident, "rules"))
    if allow or clear:
        kept = [] if clear else found["rules"]
        found = session.api.put_json(api.path("instances", ident, "rules"), {"rules": [*kept, *map(access.rule, allow or [])]})
    if group or clear:
        names = [] if clear else [g["id"] for g in found["groups"]]
        found = session.api.put_json(api.path("instances", ident, "groups"), {"groups": [*names, *(group or [])]})
    if session.json:
        output.document(found)
        return
    rows = [("-", r) for r in found["rules"]] + [(g["name"], r) for g in found["groups"] for r in g["rules"] or [{}]]
    output.table(("group", "protocol", "ports", "source"), [(name, r.get("protocol"), r.get("ports"), r.get("source")) for name, r in rows])


@verb(app, "screen")
def screen(session: Session, instance: InstanceName, browse: Annotated[bool, typer.Option("--open", help="Also open it in the browser.")] = False) -> None:
    """Print the address of the page that shows the instance's screen."""
    found = fetch(session, resolve(session, instance))
    display = found.get("display") or {}
    if not display.get("url"):
        raise Refused("state", f"The instance {found['id']} shows no screen", f"it is {found.get('state')}")
    url = urljoin(session.api.context.url + "/", str(display["url"]))
    if urlsplit(url).scheme not in {"http", "https"}:
        raise Refused("invalid", "The address of the screen is none a browser should open", url)
    if session.json:
        output.document({"instance": found["id"], "protocol": display.get("protocol"), "url": url})
    else:
        output.line(url)
    if browse:
        import webbrowser

        webbrowser.open(url)


@verb(app, "log")
def log(session: Session, instance: InstanceName) -> None:
    """Print what the guest wrote on its serial console."""
    import sys

    ident = resolve(session, instance)
    text = session.api.text(api.path("instances", ident, "log"))
    if session.json:
        output.document({"instance": ident, "log": text})
        return
    # a guest may write what steers a terminal; a file or a pipe gets it as it is
    shown = output.clean(text, keep="\n\t") if text and sys.stdout.isatty() else text
    sys.stdout.write(shown if not shown or shown.endswith("\n") else shown + "\n")
