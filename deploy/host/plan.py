"""Where everything of one cloud on one host lives: every port, path, name and account, from a few choices; pure."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.host.profiles import FULL, Profile
from luhyaapi.errors import Refused

DEFAULT_HOME = Path("/var/lib/educloud")
DEFAULT_BASE = 8600
CONFIG_FILE = Path("/etc/educloud/educloud.toml")
PORT_SPAN = 500
CHOICES = "choices.json"
DISPLAY_OFFSET = 100
DISPLAY_COUNT = 400

ENVIRONMENT = {
    "PROFILE": "`full` (default as root), `rootless` (default otherwise) or `demo`; a cloud remembers its own",
    "EDUCLOUD_HOME": "folder of the whole state; `/var/lib/educloud`, without root `~/.local/share/educloud`",
    "EDUCLOUD_PORT_BASE": "first of its ports (8600): clouds with different ones run side by side; it stays",
    "EDUCLOUD_SUBNET": "network of the guests, /16 to /28; told from the ports, so that two clouds differ",
    "EDUCLOUD_DEMO": "first images: `all`, `tiny` or `none`; each is brought in once",
    "EDUCLOUD_ROLES": "`clc` and which others run on this host, parted by commas; all five",
    "EDUCLOUD_UPLINK": "network card, without an address of its own, by which guests reach the cluster's other hosts",
    "LISTEN": "address of this host at which its doors open, with TLS; `127.0.0.1` closes them; another one later: the roles of this host follow",
}
"""What ``make up`` takes from the environment."""

LOOPBACK = "127.0.0.1"
ACTING = ("walrus", "cc", "nc", "sc")
REACHED = ("clc", "walrus", "cc", "nc")
"""Roles with doors that other hosts come to."""
BOSSES = {"walrus": "clc", "cc": "clc", "nc": "cc", "sc": "cc"}
ROLES = ("clc", *ACTING)
SERVICES = FULL.services
ROLE_PROGRAMS = FULL.programs
PROGRAMS = (*SERVICES, *ROLE_PROGRAMS)
_SERVED = {"broker": {"clc", "cc"}, "board": {"clc"}, "libvirtd": {"nc"}}
FOLDERS = {"board": "board", "broker": "broker", "libvirtd": "hypervisor", "clc-web": "clc", "clc-relay": "clc", "cloud": "clc"}
ALL_ROLES = "cloud"
"""The program that is all five roles."""


@dataclass(frozen=True)
class Ports:
    """Every port of one cloud."""

    base: int

    @property
    def table(self) -> dict[str, int]:
        """Name to port, without the display ports."""
        offsets = {
            "console": 0, "clc_stream": 1, "walrus_door": 2, "cc_door": 3, "cc_stream": 4, "nc_door": 5, "sc_door": 6,
            "clc_door": 7, "amqp": 10, "management": 11, "epmd": 12, "distribution": 13, "memcached": 14, "amqps": 15,
        }
        return {name: self.base + offset for name, offset in offsets.items()}

    def __getitem__(self, name: str) -> int:
        """The port of that name."""
        return self.table[name]

    @property
    def displays(self) -> range:
        """Ports lent to guests' screens."""
        return range(self.base + DISPLAY_OFFSET, self.base + DISPLAY_OFFSET + DISPLAY_COUNT)

    def shared(self, forwarded: int) -> tuple[range, int]:
        """The same ports when each guest is lent ``forwarded`` more: those of the screens, and the first of the others."""
        count = DISPLAY_COUNT // (1 + forwarded)
        first = self.base + DISPLAY_OFFSET
        return range(first, first + count), first + count


@dataclass(frozen=True)
class Choices:
    """What was chosen for a host once and holds until it is chosen anew.

    ``listen``: the address its doors bind; ``address``: the one others reach them at. ``bosses``: the roles that joined a
    cloud from here, each with its boss's door; none: this host has the CLC, with the other ``roles`` chosen for it (none
    chosen: all five). ``uplink``: the network card that takes guests to the cluster's other hosts. ``subnet``: the network of
    the guests, where one was named. ``port_base``: the first of its ports, 0 before it was first up; it stays. ``demo``: the first
    images, where they were named.
    """

    listen: str = LOOPBACK
    address: str = LOOPBACK
    bosses: Mapping[str, str] = field(default_factory=dict)
    uplink: str = ""
    roles: tuple[str, ...] = ()
    subnet: str = ""
    port_base: int = 0
    demo: str = ""

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def kept(cls, file: Path) -> Choices:
        """What was kept; the defaults when nothing was. Raises Refused(invalid)."""
        try:
            form = json.loads(file.read_text("utf-8"))
            return cls(**form | {"roles": tuple(form.get("roles", ()))})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, AttributeError) as e:
            raise Refused("invalid", f"{file} cannot be read", str(e)) from e


@dataclass(frozen=True)
class Plan:
    """One cloud, or the roles that joined one, on one host.

    ``program`` is the folder of the programs, ``python`` their interpreter, ``runtime`` the folders that one lives in.
    """

    home: Path
    ports: Ports
    subnet: str
    program: Path
    python: Path
    runtime: tuple[Path, ...] = ()
    choices: Choices = Choices()
    profile: Profile = FULL

    @property
    def secured(self) -> bool:
        """Whether doors here are reached from other hosts; then they speak TLS."""
        return self.choices.listen != LOOPBACK

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of this host."""
        chosen = self.choices.bosses or self.choices.roles or ROLES
        return tuple(role for role in ROLES if role in chosen)

    @property
    def role_programs(self) -> tuple[str, ...]:
        """The programs of these roles."""
        return tuple(program for program in self.profile.programs if FOLDERS.get(program, program) in self.roles)

    def programs_of(self, role: str) -> tuple[str, ...]:
        """The programs that are a role."""
        return tuple(p for p in self.profile.programs if p == ALL_ROLES or FOLDERS.get(p, p) == role)

    @property
    def services(self) -> tuple[str, ...]:
        """The programs of others that these roles need."""
        return tuple(name for name in self.profile.services if _SERVED[name] & set(self.roles))

    @property
    def programs(self) -> tuple[str, ...]:
        """All programs of this host."""
        return (*self.services, *self.role_programs)

    def boss_door(self, role: str) -> str:
        """The door at which a role's boss is found."""
        port = self.ports[f"{BOSSES[role]}_door"]
        return self.choices.bosses.get(role) or f"http{'s' if self.secured else ''}://{bracketed(self.choices.address)}:{port}"

    @property
    def certified(self) -> Path:
        """Folder with the certificate that this host's broker shows: that of the boss it belongs to."""
        return self.home / ("clc" if "clc" in self.roles else "cc") / "identity"

    @property
    def choices_file(self) -> Path:
        """Where the choices are kept."""
        return self.supervisor / CHOICES

    @property
    def bridge(self) -> str:
        """The guests' bridge."""
        return f"edu{self.ports.base}"

    @property
    def broker_node(self) -> str:
        """The broker's node name; with the port, so that two clouds do not meet."""
        return f"educloud-{self.ports.base}@localhost"

    @property
    def context(self) -> str:
        """The name of this cloud in a user's client configuration."""
        return "default" if self.ports.base == DEFAULT_BASE else f"cloud-{self.ports.base}"

    @property
    def console(self) -> str:
        """The console's address."""
        return f"http{'s' if self.secured else ''}://{bracketed(self.choices.address)}:{self.ports['console']}/"

    @property
    def supervisor(self) -> Path:
        """Folder of the supervisor: its configuration, socket, log and the programs' enclosures."""
        return self.home / "supervisor"

    @property
    def supervisor_socket(self) -> Path:
        """Where the supervisor takes orders; root only."""
        return self.supervisor / "supervisor.sock"

    @property
    def hypervisor(self) -> Path:
        """Folder of the private libvirt."""
        return self.home / "hypervisor"

    @property
    def libvirt_uri(self) -> str:
        """How a program outside libvirt's mount namespace reaches it."""
        kind = "system" if self.profile.is_roots else "session"
        return f"qemu:///{kind}?socket={self.hypervisor / 'run/libvirt/libvirt-sock'}"

    @property
    def guest_logs(self) -> Path:
        """Where libvirt writes a log of each guest's process."""
        return self.hypervisor / ("log/libvirt/qemu" if self.profile.is_roots else "cache/libvirt/qemu/log")

    @property
    def session_config(self) -> Path:
        """Configuration of a user's own libvirt; short, since it puts the guests' sockets below it."""
        return self.home / "vm"

    @property
    def packages(self) -> Path:
        """Where Debian packages are unpacked that are not installed, and what was fetched for that."""
        return self.home / "packages"

    @property
    def unpacked(self) -> Path:
        """What stands for / to the programs in those packages."""
        return self.packages / "root"

    @property
    def binding(self) -> Path:
        """The Python binding of libvirt out of its package."""
        return self.packages / "python"

    @property
    def databases(self) -> Path:
        """Where one process that is all roles has the databases of its two bosses."""
        return self.home / "databases"

    @property
    def demo_images(self) -> Path:
        """Where the demonstration images are built, and the guest of the accelerator proof."""
        return self.home / "demo-images"

    @property
    def accelerator_verdict(self) -> Path:
        """Where the node remembers what its accelerator proof said."""
        return self.home / "nc" / "accelerator.json"

    @property
    def admin_password(self) -> Path:
        """File with the administrator's one-time password."""
        return self.home / "clc" / "admin-password"

    @property
    def dnsmasq_pid(self) -> Path:
        """Where the CC's edge driver leaves dnsmasq's process number."""
        return self.home / "cc" / "edge" / "dnsmasq.pid"

    def folder(self, program: str) -> Path:
        """The folder a program remembers in."""
        return self.home / FOLDERS.get(program, program)

    def user(self, program: str) -> str:
        """The account a program, or the owner of a role's folder, runs as; empty: whoever calls."""
        accounts = self.profile.accounts
        return accounts.get(program) or accounts.get(FOLDERS.get(program, program), "")

    def config(self, role: str) -> Path:
        """A role's own configuration."""
        return self.home / role / f"{role}.toml"

    def own_settings(self, role: str) -> Path:
        """What the operator sets for a role, beside that."""
        return self.config(role).with_suffix(".local.toml")

    def log(self, program: str) -> Path:
        """Where a program's output goes."""
        return self.folder(program) / "log" / f"{program}.log"

    def unstarted(self, program: str) -> Path:
        """Where the supervisor keeps what a program said before it had a log."""
        return self.supervisor / f"{program}.err"

    def join_token(self, role: str) -> Path:
        """Where an acting role finds its one-time join token."""
        return self.home / role / "join-token"

    def certificate(self, role: str) -> Path:
        """What an acting role has once it joined."""
        return self.home / role / "identity" / "certificate.pem"

    def secret(self, owner: str, name: str) -> Path:
        """A secret's file."""
        return self.home / owner / name


def make(
    environ: Mapping[str, str], program: Path, python: Path, config_file: Path = CONFIG_FILE, runtime: tuple[Path, ...] = (),
    choices: Choices | None = None, profile: Profile = FULL, default_home: Path = DEFAULT_HOME,
) -> Plan:
    """The plan from EDUCLOUD_HOME, EDUCLOUD_PORT_BASE, EDUCLOUD_SUBNET, else the file's ``home``, ``port_base``, ``subnet``, else what was kept.

    ``choices`` not given are those kept in the home. Raises Refused(invalid) with the choice named, Refused(state) for other ports than the cloud's.
    """
    given = _file(config_file)
    home = Path(environ.get("EDUCLOUD_HOME") or str(given.get("home", default_home)))
    if not home.is_absolute() or len(home.parts) < 3 or any(c in str(home) for c in "%\"'\\\n;, "):
        raise Refused("invalid", f"EDUCLOUD_HOME={home} cannot be used", "an absolute path of at least two plain names is needed")
    if len(str(home)) > profile.longest_home:
        raise Refused("invalid", f"EDUCLOUD_HOME={home} is too long", f"sockets live in it: at most {profile.longest_home} characters",
                      hint="Choose a shorter folder by EDUCLOUD_HOME.")
    kept = Choices.kept(home / "supervisor" / CHOICES) if choices is None else choices
    base = _base(environ.get("EDUCLOUD_PORT_BASE") or str(given.get("port_base") or kept.port_base or DEFAULT_BASE))
    if kept.port_base not in (0, base):
        # Broker, bridge and memberships are named by it: with another one the cloud would begin with an empty broker.
        raise Refused("state", f"EDUCLOUD_PORT_BASE={base} is not that of the cloud in {home}", f"it was made with {kept.port_base}, which stays",
                      hint="Leave it out (also in the configuration file), or choose another folder by EDUCLOUD_HOME for another cloud.")
    told = environ.get("EDUCLOUD_SUBNET", "")
    subnet = told or str(given.get("subnet", "")) or kept.subnet or _subnet_of(base)
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as e:
        raise Refused("invalid", f"EDUCLOUD_SUBNET={subnet} is not a network", str(e)) from e
    if not 16 <= network.prefixlen <= 28:
        raise Refused("invalid", f"EDUCLOUD_SUBNET={subnet} has the wrong size", "between /16 and /28 is needed")
    # Guests have addresses of it: without being told again it stays the same.
    kept = dataclasses.replace(kept, port_base=base, subnet=str(network) if told else kept.subnet)
    return Plan(home, Ports(base), str(network), program, python, runtime, kept, profile)


def bracketed(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def _file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise Refused("invalid", f"{path} cannot be read", str(e)) from e


def _base(text: str) -> int:
    highest = 65535 - PORT_SPAN
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= highest:
        raise Refused("invalid", f"EDUCLOUD_PORT_BASE={text} cannot be used", f"a number from 1024 to {highest} is needed")
    return int(text)


def _subnet_of(base: int) -> str:
    # Clouds a whole port span apart get networks apart without being told.
    return f"10.231.{(base - DEFAULT_BASE) // PORT_SPAN % 256}.0/24"
