"""What is written by program: message samples, and the pages of messages, settings, errors, life cycles, words, reliability and performance."""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench import page
from deploy import reliability
from deploy.host import plan
from luhyaapi import conf
from luhyaapi.contracts.base import Command, Envelope, Report
from luhyaapi.contracts.commands import COMMANDS
from luhyaapi.contracts.reports import REPORTS
from luhyaapi.contracts.vocabulary import Word
from luhyaapi.errors import CODES
from luhyaapi.machines import LIFE_CYCLES, LifeCycle

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = "tests/contract/samples"
_NOTE = "<!-- Written by `python -m deploy.generate`; a test fails when it is stale. -->\n"
_HEX = "3fa21c00"
_BY_PATTERN = {
    "^img-": f"img-{_HEX}", "^ins-": f"ins-{_HEX}", "^tsk-": f"tsk-{_HEX}", "^ltr-": f"ltr-{_HEX}", "^fwd-": f"fwd-{_HEX}", "^prb-": f"prb-{_HEX}",
    "^(default|": f"net-{_HEX}",
    "^(clc|": f"nc-{_HEX}", "^[0-9a-f]{64}$": "ab" * 32,
    "^([0-9a-f]{64})?$": "ab" * 32, "^([0-9a-f]{2}:){5}": "52:54:00:00:00:01", r"^(\d{1,3}\.){3}\d{1,3}/": "10.231.0.0/24",
    "^[0-9a-f:]{2,39}/64": "fd00:231::/64",
    r"^(\d{1,3}\.){3}": "10.231.0.10",
    "^[flcrtgo]*$": "glf", "^[A-Za-z0-9](": "lab-1", "^(screen|log|serial|tunnel)$": "screen", "^[a-z]{1,20}$": "bridge",
}
_BY_NAME = {
    "command": f"tsk-{_HEX}#0.0", "task": f"tsk-{_HEX}", "node": f"nc-{_HEX}", "host": f"nc-{_HEX}", "image_url": "http://10.0.0.1:8604",
    "url": "http://10.0.0.2:8603", "step": "boot", "state": "running", "phase": "fetch", "protocol": "vnc", "code": "busy",
    "boot": "8f1d0e0a-0000-4000-8000-000000000000", "version": "0.1.0", "cmdline": "console=ttyS0", "source": "10.0.0.0/8",
}
_TEXTS = "text"


def sample(model: type[BaseModel]) -> dict[str, Any]:
    """One valid instance of a model as JSON, every field filled, the same at every call."""
    schema = model.model_json_schema()
    filled = _value(schema, "", schema.get("$defs", {}))
    return model.model_validate(filled).model_dump(mode="json")


def _value(schema: dict[str, Any], name: str, defs: dict[str, Any]) -> Any:  # noqa: PLR0911 - one for each kind of schema
    if "$ref" in schema:
        return _value(defs[schema["$ref"].rsplit("/", 1)[-1]], name, defs)
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], name, defs)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        if "properties" in schema:
            return {n: _value(s, n, defs) for n, s in schema["properties"].items()}
        return {"kvm": _value(schema["additionalProperties"], name, defs)}
    if kind == "array":
        return [_value(each, name, defs) for each in schema.get("prefixItems") or [schema["items"]]]
    if kind == "boolean":
        return True
    if kind in ("integer", "number"):
        return _number(schema)
    return _text(schema, name)


def _number(schema: dict[str, Any]) -> int:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    return int(min(low + 1, schema.get("maximum", low + 1)))


def _text(schema: dict[str, Any], name: str) -> str:
    pattern = schema.get("pattern", "")
    for start, text in _BY_PATTERN.items():
        if pattern.startswith(start):
            return text
    return _BY_NAME.get(name, _TEXTS)


def kinds() -> dict[str, type[Command | Report]]:
    """Every command and report by kind."""
    return {**COMMANDS, **REPORTS}


def sample_file(kind: str) -> str:
    """Where the sample of a kind lies, from the root."""
    return f"{SAMPLES}/{kind.replace('/', '-')}.json"


def samples() -> dict[str, str]:
    """Every sample by its path, and the envelope's."""
    found = {sample_file(kind): _json({"kind": kind, "v": m.v, "body": sample(m)}) for kind, m in sorted(kinds().items())}
    return {**found, f"{SAMPLES}/envelope.json": _json(sample(Envelope))}


def _json(form: Any) -> str:
    return json.dumps(form, indent=2, ensure_ascii=False) + "\n"


def messages() -> str:
    """The page of everything that can be said."""
    parts = [
        "# Messages\n", _NOTE,
        "Commands go down the tree one step at a time; a command with an unknown field is refused. Reports go up; an unknown",
        "field in a report is read over. Each has a sample in `tests/contract/samples`.\n",
        "## Commands\n",
    ]
    parts += [_message(c, f"to {_roles(c)}, lane {c.lane}, {c.timeout_s:g} s") for _, c in sorted(COMMANDS.items())]
    parts += ["## Reports\n"]
    parts += [_message(r, "kept until the boss's broker has it" if r.durable else "may be lost") for _, r in sorted(REPORTS.items())]
    return "\n".join(parts)


def _roles(command: type[Command]) -> str:
    return ", ".join(command.to if isinstance(command.to, tuple) else (command.to,))


def _message(model: type[Command | Report], facts: str) -> str:
    rows = [f"| `{n}` | {_type(f.annotation)} | {_default(f)} |" for n, f in model.model_fields.items()]
    doc = " ".join((model.__doc__ or "").split())
    table = ["| Field | Type | Default |", "|---|---|---|", *rows] if rows else ["No fields."]
    return "\n".join([f"### {model.kind}\n", f"{doc} ({facts}; version {model.v}, since {model.since})\n", *table, ""])


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, BaseModel):
        return "empty"
    return f"`{json.dumps(value, default=str)}`"


def _type(annotation: Any) -> str:  # noqa: PLR0911 - one for each kind of annotation
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type(a) for a in args)
    if origin is typing.Annotated:
        return _type(args[0])
    if origin is tuple:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return f"map of {_type(args[1])}"
    if annotation is type(None):
        return "nothing"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return f"one of {', '.join(annotation)}"
    return {"str": "text", "int": "integer", "float": "number", "bool": "yes or no"}.get(str(annotation.__name__), str(annotation.__name__))


def settings() -> str:
    """The page of every setting."""
    parts = [
        "# Settings\n", _NOTE,
        "Each role reads its own TOML file, named by `EDUCLOUD_CONFIG`. Where `make up` writes that file, what you choose yourself goes",
        "beside it, into `<role>.local.toml`: it wins, is never touched, and the next `make up` restarts the role with it. A role that is started by hand,",
        "or by a unit of its own, takes `EDUCLOUD_<GROUP>__<FIELD>` from its environment before either file; one that `make up` starts",
        "has an environment of its own.",
        "Secrets are never values: a setting names the file that holds one.\n",
        "## make up\n", "What `make up` takes from the environment to write the files of the roles. It remembers all of it",
        f"but `EDUCLOUD_HOME`; `home`, `port_base` and `subnet` may stand in `{plan.CONFIG_FILE}` instead.\n",
        "| Variable | Meaning |", "|---|---|", *(f"| `{name}` | {meaning} |" for name, meaning in plan.ENVIRONMENT.items()),
        "\n`EDUCLOUD_UPLINK=none` takes the card out again. Without root, `EDUCLOUD_PACKAGES` names a folder for unpacked Debian packages that several",
        "clouds share and no reset deletes, and `EDUCLOUD_UNPACK=all` unpacks also what is installed.\n",
    ]
    for group, field in conf.Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)  # noqa: S101, PT018 - every group is a model
        parts += [f"## [{group}]\n", f"{' '.join((model.__doc__ or '').split())}\n", "| Setting | Default | Meaning |", "|---|---|---|"]
        parts += [f"| `{group}.{n}` | `{json.dumps(f.default, default=str)}` | {f.description or ''} |" for n, f in model.model_fields.items()]
        parts += [""]
    return "\n".join(parts)


def errors() -> str:
    """The page of every error code."""
    families = {
        "refused": "The asker must change something; nothing happened, nobody tries again.",
        "unavailable": "Nobody's fault; it is tried again until the deadline.",
        "failed": "It was tried and did not work; the half was taken back.",
        "bug": "A fault of ours; logged loudly.",
    }
    parts = ["# Errors\n", _NOTE, "Every error that leaves a role has one of these codes, one line of what, one of why, and the next step.\n"]
    for family, law in families.items():
        parts += [f"## {family}\n", f"{law}\n", "| Code | What it says | Next step | HTTP | Exit |", "|---|---|---|---|---|"]
        parts += [f"| `{c.name}` | {c.title} | {c.hint} | {c.http} | {c.exit} |" for c in CODES.values() if c.family == family]
        parts += [""]
    return "\n".join(parts)


def life_cycles() -> str:
    """The page of every life cycle."""
    parts = ["# Life cycles\n", _NOTE, "`luhyaapi/machines.py` is the only judge: what is not in these tables is refused.\n"]
    return "\n".join([*parts, *(_cycle(c) for c in LIFE_CYCLES)])


_RULES = {
    "instance": (
        "A run is `queued` until it has a node, and `starting` from then on.\n\n"
        "A **first run** that fails leaves a `failed` instance: it holds nothing on any host, keeps its name and its error in lists,\n"
        "and is started again or deleted by its owner. A first run that is cancelled leaves no instance once its half is undone: it is\n"
        "`deleted`, its name is free, and its task keeps the story. Where undoing may have left something on a host, the instance\n"
        "stays until it has no place any more, or is deleted. A later start that is cancelled leaves the instance `stopped`, as it was.\n"
    ),
}
"""What the tables alone do not say."""


def _cycle(cycle: LifeCycle) -> str:
    rows = [f"| {s} | {event} | {to} |" for (s, event), to in cycle.moves.items()]
    return "\n".join([
        f"## {cycle.name}\n", *([_RULES[cycle.name]] if cycle.name in _RULES else []),
        f"First: {cycle.first}. Stable: {_list(cycle.stable)}. Final: {_list(cycle.final) or 'none'}.\n",
        "| State | Event | Then |", "|---|---|---|", *rows, "",
    ])


def _list(states: Iterable[str]) -> str:
    return ", ".join(sorted(map(str, states)))


_THINGS = (
    ("role", "角色", "one of the five programs"), ("boss", "上级", "the role above; it commands"), ("child", "下级", "a role below; it reports"),
    ("host", "主机", "one role on one machine, with its own key"), ("node", "节点", "a host of the role nc"),
    ("cluster", "集群", "a cc and its children"), ("command", "命令", "an order, down"), ("report", "报告", "a fact, up"),
    ("task", "任务", "one intention of a user"), ("step", "步骤", "one part of a task"), ("flow", "流程", "the ordered steps of an order, on the cc"),
    ("instance", "实例", "a virtual machine of a user"), ("domain", "虚拟机域", "what a hypervisor calls an instance"),
    ("image", "镜像", "a name with immutable versions"), ("blob", "数据块文件", "one file of a version, named by its sha256"),
    ("block", "数据块", "64 KiB of a file: what is compared, verified and moved"),
    ("hole", "空洞", "a block of zeros: named, never read, stored or sent"),
    ("index", "块索引", "the digests of a file's blocks in order"), ("frame", "压缩帧", "up to 16 blocks compressed together"),
    ("pack", "打包文件", "many frames in one object of the image store"), ("manifest", "清单", "what the store signs: a file, its size and its index"),
    ("system disk", "系统盘", "the disk an instance boots from: an overlay on its version"),
    ("data disk", "数据盘", "a second disk of an instance's own; it stays until the instance is deleted"),
    ("restore", "还原", "give an instance a new system disk, from its version or another one"),
    ("renew", "更新", "restore all instances with an older version of an image to the newest"),
    ("overlay", "覆盖盘", "what an instance wrote on top of its image"), ("lease", "租约", "an address, MAC or port lent to an instance"),
    ("placement", "放置", "which node an instance is on"), ("fence", "围栏号", "the number that refuses older orders"),
    ("screen", "屏幕", "what a guest draws, seen and typed at through VNC"), ("tunnel", "隧道", "a line to one TCP port of a guest, through the cloud's doors"),
    ("serial console", "串行控制台", "a guest's first serial port, as a terminal"),
    ("board", "状态板", "the last known picture, in memcached"), ("door", "服务入口", "a role's own small web service"),
    ("ticket", "凭据", "a signed permission for certain bytes or one look at a screen"), ("token", "令牌", "a one-time permission to join"),
    ("API token", "API 令牌", "a secret that stands for an account, with a name, a scope and an end"),
    ("session", "会话", "a browser that is signed in"), ("second step", "两步验证", "a code of an authenticator app, asked for after the password"),
    ("passkey", "通行密钥", "a key pair on a device of somebody's, which signs in with a finger, a face or a PIN"),
    ("departure", "帐户离开", "an account that is being deleted with everything it owns"),
    ("request", "帐户申请", "somebody without an account asks for one, in a group that is open to it"),
    ("recovery code", "恢复码", "signs in once in place of a code of the second step"), ("lock-out", "登录等待", "the wait after wrong passwords"),
    ("dead letter", "死信", "a message its receiver could not handle; kept with its story"),
    ("driver", "驱动", "the only code that knows an outside thing"), ("life cycle", "生命周期", "a table of states"),
    ("prefetch", "预取", "an image brought to hosts before it is needed"), ("neighbour", "邻居", "a node that another one takes an image from"),
    ("queue", "队列", "runs that wait for their turn and for room"), ("turn", "轮次", "a place in the queue; owners take turns"),
    ("workspace", "工作区", "a private disk over a version, in which somebody makes the next one"),
    ("draft", "草稿文件", "a file that is being pushed up, block by block, until it is a version"),
    ("build", "构建", "an image being made outside the cloud, shown as a task"),
    ("hardware", "硬件", "the devices the system of a version has drivers for: what its guests get"),
    ("owner group", "所属组", "the group an image belongs to, a path like edu.school.class"),
    ("retention", "版本保留", "how many of the newest versions of an image are kept; older ones that nobody uses are retired"),
    ("pin", "固定", "a version that is pinned is retired by no rule; files are pinned in a cache by those who need them"),
    ("lineage", "版本来历", "which version was made from which"),
    ("offline", "离线", "of an instance that runs: its cards have no carrier yet, for its first boot is not done"),
    ("audit", "审计", "who did what, from where: every event as a line"), ("actor", "操作者", "the account that did something; its owner is on whose behalf"),
    ("origin", "来源", "the address or host that a change came from"), ("chain", "链", "the lines of the audit, each with the digest of the one before it"),
    ("seal", "封存", "give an event its number and digest in the chain"), ("head", "链头", "number and digest of the chain's last line, to be noted elsewhere"),
    ("lane", "分支线", "a column of the lineage: versions that follow each other share one"),
    ("limit", "上限", "at most so much of something, of a group or a person; `educloud quota` sets it"),
    ("expiry", "到期", "the moment a machine is stopped at by itself; addresses are lent, they do not expire"),
    ("expiry rule", "到期规则", "how long machines of a group are there, usually and at most"),
    ("term", "学期", "the days a budget is for"),
    ("budget", "预算", "at most so many hours of running in a term"),
    ("holding", "占用记录", "who has had a public address, and when"),
    ("public address", "公网地址", "an address of the outside that leads to an instance"),
    ("forward", "端口转发", "a port of the cluster, or of a node, that leads to a guest's"),
    ("security group", "安全组", "named security rules that several instances have"),
    ("directory", "目录服务", "where an organization has its people already: LDAP, Active Directory, OpenID Connect"),
    ("access role", "访问角色", "named verbs over kinds of resources; not one of the five roles"),
    ("grant", "授权", "an access role that somebody has over a group and all below it"),
    ("share", "共享", "a right over a single resource, of a person or a group"),
    ("seat", "席位", "the right to read a host's orders, which one machine has at a time (ADR 0032)"),
)


def glossary() -> str:
    """The page of words: one word per thing, in code, database, pages and both languages."""
    parts = ["# Words\n", _NOTE, "One word per thing, everywhere.\n", "## Things\n", "| English | 中文 | what it is |", "|---|---|---|"]
    parts += [f"| {en} | {zh} | {what} |" for en, zh, what in _THINGS]
    for words in sorted(Word.__subclasses__(), key=lambda w: w.__name__):
        parts += ["", f"## {words.__name__}\n", f"{(words.__doc__ or '').strip()}\n", "| value | English | 中文 |", "|---|---|---|"]
        parts += [f"| `{w.value}` | {w.en} | {w.zh} |" for w in words]
    return "\n".join([*parts, ""])


def documents() -> dict[str, str]:
    """Every generated page by its path from the root."""
    pages: dict[str, Callable[[], str]] = {
        "docs/messages.md": messages, "docs/settings.md": settings, "docs/errors.md": errors, "docs/life-cycles.md": life_cycles,
        "docs/glossary.md": glossary, "docs/reliability.md": lambda: reliability.page(ROOT / "docs/ledger.json", _NOTE), "docs/performance.md": page.text,
    }
    return {path: make().rstrip() + "\n" for path, make in pages.items()}


WHAT: dict[str, Callable[[], dict[str, str]]] = {"samples": samples, "docs": documents}


def main(asked: list[str]) -> int:
    """Write what is asked for, everything by default; says what changed."""
    if unknown := [a for a in asked if a not in WHAT]:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(WHAT)}", file=sys.stderr)
        return 2
    for name in asked or list(WHAT):
        for path, text in WHAT[name]().items():
            file = ROOT / path
            if not file.exists() or file.read_text("utf-8") != text:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
                print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
