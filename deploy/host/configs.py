"""The text of every configuration file of one cloud; pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.host import tools
from deploy.host.plan import ALL_ROLES, BOSSES, FOLDERS, LOOPBACK, REACHED, Plan, bracketed

_DOORS = {role: f"{role}_door" for role in ("clc", "walrus", "cc", "nc", "sc")}
GUESTS = "libvirt-qemu"
_PRETENDED = {"cpus": 64, "memory_mib": 65536}
"""What the node of a simulation offers: as much as a class needs, since it costs nothing."""
_STOP_WAIT_S = {"broker": 40, "libvirtd": 15}
_LIBVIRT_SHADOWS = {
    "etc": "/etc/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt", "log/libvirt": "/var/log/libvirt",
}


def toml(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Groups of plain values as TOML. A JSON string is a TOML string."""
    lines = []
    for group, fields in groups.items():
        lines.append(f"[{group}]")
        for name, value in fields.items():
            lines.append(f"{name} = {json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)}")
        lines.append("")
    return "\n".join(lines)


def role(plan: Plan, name: str) -> str:
    """A role's own configuration. Beside the port numbers it names nothing of another role but its boss's door."""
    ports = plan.ports
    groups: dict[str, dict[str, Any]] = {
        "host": {
            "role": name, "state": plan.home / name, "listen": plan.choices.listen if name in REACHED else LOOPBACK,
            "door_port": ports[_DOORS[name]], "address": plan.choices.address, "tls": plan.secured and name in REACHED,
        },
    }
    if name in ("clc", "cc"):
        groups["host"]["stream_port"] = ports[f"{name}_stream"]
        if "broker" in plan.services:
            groups["broker"] = own_broker(plan, name)
    if name in BOSSES:
        groups["boss"] = {"door": plan.boss_door(name), "token_file": plan.join_token(name)}
    if name == "clc":
        groups["board"] = {"host": "127.0.0.1", "port": ports["memcached"] if "board" in plan.services else 0}
        groups["console"] = {"port": ports["console"], "secret_file": plan.secret("clc", "session-secret")}
        if plan.profile.is_simulated:
            groups["console"]["simulation"] = True
    if name == "nc":
        groups["hypervisor"] = _hypervisor(plan)
    if name in ("cc", "nc"):
        groups["network"] = _network(plan)
    return toml(groups)


OWNED = {
    "host": ("role", "state", "listen", "door_port", "stream_port", "address", "tls"),
    "boss": ("door", "token_file"),
    "broker": ("host", "port", "admin_port", "vhost", "user", "password_file", "address", "name"),
    "board": ("host", "port"),
    "console": ("port", "secret_file", "simulation"),
    "network": ("bridge", "subnet", "uplink", "display_first", "display_count", "forwarded", "forward_first"),
}
"""Settings in which programs of this host have to agree: no role can have its own. Group to fields."""
CHOSEN_BY = {
    "listen": "LISTEN", "address": "LISTEN", "tls": "LISTEN", "subnet": "EDUCLOUD_SUBNET", "uplink": "EDUCLOUD_UPLINK", "door": "make join BOSS=",
}
"""How such a setting is chosen for the host, where not by EDUCLOUD_PORT_BASE."""


def own_broker(plan: Plan, boss: str) -> dict[str, Any]:
    """How a boss of this host reaches the broker here, and by which ``address`` and ``name`` its children on other hosts do."""
    ports = plan.ports
    group = {
        "host": "127.0.0.1", "port": ports["amqp"], "admin_port": ports["management"],
        "vhost": boss, "user": boss, "password_file": plan.secret(boss, "broker-password"),
    }
    if plan.secured:
        group["address"] = f"{bracketed(plan.choices.address)}:{ports['amqps']}"
    if plan.secured and plan.certified.parent.name != boss:
        group["name"] = f"{plan.certified.parent.name}.educloud"
    return group


def _hypervisor(plan: Plan) -> dict[str, Any]:
    if plan.profile.is_simulated:
        return {"driver": plan.profile.hypervisor, **_PRETENDED}
    return {
        "driver": plan.profile.hypervisor, "uri": plan.libvirt_uri, "logs": plan.guest_logs,
        "probe_kernel": plan.demo_images / "probe" / "kernel", "probe_initrd": plan.demo_images / "probe" / "initrd",
    }


def _network(plan: Plan) -> dict[str, Any]:
    forwarded = plan.profile.forwarded
    displays, first = plan.ports.shared(len(forwarded))
    group = {
        "driver": plan.profile.edge, "node_driver": plan.profile.node_network, "bridge": plan.bridge, "subnet": plan.subnet,
        "uplink": plan.choices.uplink, "display_first": displays.start, "display_count": len(displays),
    }
    return group | ({"forwarded": list(forwarded), "forward_first": first} if forwarded else {})


def password_hash(password: str) -> str:
    """RabbitMQ's form of a password. The salt comes from the password, so that the file stays the same; ours are 256 random bits."""
    salt = hashlib.sha256(b"educloud salt " + password.encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def broker_definitions(passwords: Mapping[str, str]) -> str:
    """The two bosses' accounts, each with its own virtual host and nothing else."""
    return json.dumps(
        {
            "users": [
                {
                    "name": user, "password_hash": password_hash(password),
                    "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "administrator", "limits": {},
                }
                for user, password in passwords.items()
            ],
            "vhosts": [{"name": user} for user in passwords],
            "permissions": [{"user": user, "vhost": user, "configure": ".*", "write": ".*", "read": ".*"} for user in passwords],
        },
        indent=1,
    )


def broker(plan: Plan, *, secured: bool) -> str:
    """The broker's settings. ``secured``: there is a certificate, so children on other hosts are let in by TLS."""
    return "\n".join(
        (
            *(_broker_tls(plan) if secured else ()),
            f"listeners.tcp.1 = 127.0.0.1:{plan.ports['amqp']}",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {plan.ports['management']}",
            f"load_definitions = {plan.home}/broker/definitions.json",
            # A message is acknowledged at once here; the limit only must not cut a consumer that waits for its database.
            "consumer_timeout = 259200000",
            "disk_free_limit.absolute = 100MB",
            "vm_memory_high_watermark.absolute = 512MB",
            "log.console = true",
            "log.console.level = warning",
            "log.file = false",
            "",
        )
    )


def _broker_tls(plan: Plan) -> list[str]:
    folder = plan.home / "broker"
    return [
        f"listeners.ssl.1 = {bracketed(plan.choices.listen)}:{plan.ports['amqps']}",
        f"ssl_options.cacertfile = {folder}/authority.pem",
        f"ssl_options.certfile = {folder}/tls.pem",
        f"ssl_options.keyfile = {folder}/tls-key.pem",
        "ssl_options.versions.1 = tlsv1.3",
        # A child proves itself by its own account, good for its own queues.
        "ssl_options.verify = verify_none",
        "ssl_options.fail_if_no_peer_cert = false",
    ]


def qemu_session() -> str:
    """A user's own libvirt's settings for guests, which are that user as well."""
    return 'stdio_handler = "file"\nvnc_listen = "127.0.0.1"\nmax_core = 0\n'


def qemu() -> str:
    """The private libvirt's settings for guests."""
    # The node gives each guest an account and its files; this one is for what libvirt asks QEMU on its own behalf.
    # Guests' folders below libvirt's own are open to the group, so it is the one the node gives them.
    settings = {
        "user": f'"{GUESTS}"', "group": '"kvm"', "stdio_handler": '"file"', "security_driver": '"none"', "namespaces": "[]",
        "cgroup_controllers": "[]", "dynamic_ownership": "0", "remember_owner": "0", "vnc_listen": '"127.0.0.1"', "max_core": "0",
    }
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def libvirtd() -> str:
    """The private libvirt's settings of its door: its folder is closed, so the socket asks no further question."""
    settings = {
        "auth_unix_ro": "none", "auth_unix_rw": "none", "unix_sock_ro_perms": "0700", "unix_sock_rw_perms": "0700",
        "log_outputs": "3:stderr",
    }
    return "".join(f'{name} = "{value}"\n' for name, value in settings.items())


def enclosure(plan: Plan, program: str) -> dict[str, Any]:
    """What ``deploy.host.enclose`` needs to become a program: account, environment, folders it must reach, mounts, log, words."""
    folder = plan.folder(program)
    environ = {
        **tools.environ(plan), "LC_ALL": "C.UTF-8", "HOME": str(folder),
        "EDUCLOUD_HOME": str(plan.home), "EDUCLOUD_PROGRAM": program,
    }
    spec: dict[str, Any] = {
        "program": program, "home": str(plan.home), "user": plan.user(program), "log": str(plan.log(program)),
        "cwd": str(folder), "environ": environ, "needs": [str(folder)], "binds": [], "hide_kvm_unless": None, "keep": [], "reach_as": plan.user(program),
    }
    if program in plan.role_programs:
        if program == ALL_ROLES:
            environ["EDUCLOUD_ONE_PROCESS"] = str(plan.databases)
        environ["EDUCLOUD_CONFIG"] = str(plan.config(FOLDERS.get(program, program)))
        environ |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": ":".join(map(str, _importable(plan)))}
        spec["cwd"] = str(plan.program)
        spec["needs"] += [str(plan.program), *(str(path) for path in plan.runtime)]
        spec["argv"] = [str(plan.python), "-m", "deploy.processes", program]
    elif program == "broker":
        environ.update(_broker_environ(plan))
        spec["argv"] = [tools.at(plan, "/usr/lib/rabbitmq/bin/rabbitmq-server")]
        spec["keep"] = ["epmd"]
    elif program == "board":
        spec["argv"] = [tools.at(plan, "/usr/bin/memcached"), "-l", "127.0.0.1", "-p", str(plan.ports["memcached"]), "-U", "0", "-m", "64"]
    elif not plan.profile.is_roots:
        environ.update(tools.session(plan))
        spec["argv"] = [tools.at(plan, "/usr/sbin/libvirtd"), "-f", str(plan.session_config / "libvirt/libvirtd.conf")]
    else:
        spec["reach_as"] = GUESTS
        spec["needs"].append(str(plan.folder("nc")))
        spec["binds"] = [[str(folder / own), shadowed] for own, shadowed in {**_LIBVIRT_SHADOWS, "run": "/run"}.items()]
        spec["hide_kvm_unless"] = str(plan.accelerator_verdict)
        spec["argv"] = ["/usr/sbin/libvirtd", "-f", "/etc/libvirt/libvirtd.conf"]
    return spec


def _importable(plan: Plan) -> list[Path]:
    return [plan.program, *([plan.binding] if plan.profile.is_unpacked else [])]


def names() -> str:
    """How the broker looks up names: it asks for its host's with each connection that begins, and no name server may hold that up."""
    return '{lookup, [file]}.\n{host, {127,0,0,1}, ["localhost"]}.\n'


def _broker_environ(plan: Plan) -> dict[str, str]:
    folder = plan.home / "broker"
    return {
        "RABBITMQ_NODENAME": plan.broker_node,
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_PID_FILE": f"{folder}/broker.pid",
        "RABBITMQ_DIST_PORT": str(plan.ports["distribution"]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
        "ERL_INETRC": f"{folder}/erl_inetrc",
        "ERL_EPMD_PORT": str(plan.ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_SECONDS": "0",
        # Without it a shell stays between the supervisor and the broker, and a killed shell would leave the broker behind.
        "RUNNING_UNDER_SYSTEMD": "true",
        **tools.broker(plan),
    }


def supervisor(plan: Plan) -> str:
    """The supervisor's settings. Programs write their logs themselves, so they outlive the supervisor."""
    lines = [
        "[unix_http_server]", f"file = {plan.supervisor_socket}", "chmod = 0700", "",
        "[supervisord]", "nodaemon = true", *([f"user = {plan.user('supervisor')}"] if plan.user("supervisor") else []), f"directory = {plan.supervisor}",
        f"logfile = {plan.supervisor}/supervisor.log", "logfile_maxbytes = 5MB", "logfile_backups = 2", "silent = true",
        f"pidfile = {plan.supervisor}/supervisor.pid", f"childlogdir = {plan.supervisor}", "",
        "[rpcinterface:supervisor]", "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface", "",
    ]
    for rank, program in enumerate(plan.programs):
        whole_group = "false" if program == "libvirtd" else "true"
        lines += [
            f"[program:{program}]",
            f"command = {plan.python} -m deploy.host.enclose {plan.supervisor}/{program}.json",
            f"directory = {plan.program}",
            f"priority = {10 + rank}", "autostart = false", "autorestart = true", "startsecs = 1", "startretries = 1000000",
            f"stopwaitsecs = {_STOP_WAIT_S.get(program, 20)}", f"stopasgroup = {whole_group}", f"killasgroup = {whole_group}",
            # Only what is said before the program's own log is open: why it could not be enclosed.
            "stdout_logfile = NONE", f"stderr_logfile = {plan.unstarted(program)}", "stderr_logfile_maxbytes = 256KB",
            "stderr_logfile_backups = 0", "",
        ]
    return "\n".join(lines)
