"""Every setting of every role, typed and documented: defaults < the role's TOML file < <role>.local.toml < EDUCLOUD_<GROUP>__<FIELD>."""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from luhyaapi.contracts.specs import Nic
from luhyaapi.contracts.vocabulary import NetworkMode, Role
from luhyaapi.errors import Refused

CONFIG_VARIABLE = "EDUCLOUD_CONFIG"
Prefix = IPv4Network | IPv6Network
_HOME = Path("/var/lib/educloud")


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Host(_Group):
    """A role on its host."""

    role: Role = Field(Role.CLC, description="which of the five roles this process is")
    name: str = Field("", description="name shown in lists; empty: the machine's host name")
    state: Path = Field(_HOME / "clc", description="folder of everything this role remembers; no other role reads it")
    listen: str = Field("127.0.0.1", description="address the doors bind")
    door_port: int = Field(8602, description="port of this role's own web service: health, bytes, joining")
    stream_port: int = Field(8601, description="port on which children dial screens and logs outward (CLC and CC)")
    log_level: str = Field("INFO", description="least severe line written to the log")
    address: str = Field("127.0.0.1", description="address at which the boss and children reach this host")
    tls: bool = Field(False, description="the doors that other hosts reach speak TLS, with the certificate got at joining")

    @property
    def door(self) -> str:
        """Where this role's own web service is reached."""
        if "://" in self.address:
            return self.address
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http{'s' if self.tls else ''}://{host}:{self.door_port}"

    @property
    def identity(self) -> Path:
        """Folder of this role's keys, and of what it was granted when it joined."""
        return self.state / "identity"


class Boss(_Group):
    """Who commands this role; empty for the CLC."""

    door: str = Field("", description="address of the boss's door, e.g. http://10.0.0.1:8603")
    token_file: Path | None = Field(None, description="file with the one-time join token; needed until joined")


class Broker(_Group):
    """The broker a boss (CLC, CC) runs for its children."""

    host: str = "127.0.0.1"
    port: int = Field(8610, description="AMQP port")
    admin_port: int = Field(8611, description="port of the broker's management API, loopback")
    vhost: str = Field("clc", description="virtual host of this boss")
    user: str = Field("clc", description="the boss's own account")
    password_file: Path | None = Field(None, description="file with that account's password")
    address: str = Field("", description="AMQP address for children on other hosts, host:port, by TLS; empty: as the boss itself")
    name: str = Field("", description="whom the broker's certificate names; empty: this boss, its own id")


class Board(_Group):
    """memcached with the last picture of everything (CLC only)."""

    host: str = "127.0.0.1"
    port: int = Field(8614, description="port; 0 keeps the board in this process (tests, demo)")


class Database(_Group):
    """What the CLC and each CC remember in."""

    url: str = Field("", description="mysql://user@host:port/name, or empty for SQLite in the state folder")
    password_file: Path | None = None


class Beat(_Group):
    """Rhythms, in seconds."""

    every_s: float = Field(5, description="heartbeat")
    reconcile_s: float = Field(10, description="wanted against found")
    gather_s: float = Field(1, description="a cluster passes its hosts' heartbeats up as one report, at most this often")
    save_s: float = Field(60, description="how often a host's last sign of life goes into the database; in between the board has it")
    silent_after: int = Field(3, description="missed beats until a host is silent")
    queue_patience_s: float = Field(30, description="expiry of one command message; reconcilers say it again")


class Queue(_Group):
    """Runs that wait for room (CLC only)."""

    wait_s: float = Field(3600, ge=0, description="a run waits so long for room, then it fails; 0: it does not wait")
    at_most: int = Field(5000, description="runs that may wait at the same time; more are refused")
    each_at_most: int = Field(1000, description="of these, runs that one user may have waiting")
    per_node: int = Field(8, ge=1, description="runs under way in a cluster at the same time, for each of its nodes; the others wait for their turn")


class Cache(_Group):
    """Image bytes kept by CC and NC, or by Walrus as the store."""

    quota_mib: int = Field(50 * 1024, description="largest size of the image cache, MiB")
    keep_free_mib: int = Field(512, description="space never taken, MiB")
    take_mbit: int = Field(0, ge=0, description=(
        "images are taken into it no faster, all together, Mbit/s: by a CC from the store, by a node from cluster and neighbours; 0: any"
    ))


class Store(_Group):
    """Where Walrus keeps the packs and manifests of images."""

    driver: str = Field("folder", pattern="^(folder|s3)$", description="folder: below the state of Walrus; s3: a bucket of an S3-compatible server")
    endpoint: str = Field("", description="address of that server, e.g. https://s3.example.org:9000 (driver s3, as all below)")
    bucket: str = Field("educloud", pattern="^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="bucket of the objects; it is made when there is none")
    prefix: str = Field("", description="beginning of every object's name, for a bucket that others use too")
    region: str = Field("us-east-1", description="region of the bucket, as the server calls it")
    access_key: str = Field("", description="name of the account there")
    secret_file: Path | None = Field(None, description="file with the secret key of that account")
    ca_file: Path | None = Field(None, description="certificates of the authority of an https endpoint; empty: the well-known ones")

    scrub_mib: float = Field(4, ge=0, description="MiB read a second, in either store, to find damage before somebody needs the blocks; 0: none")

    @model_validator(mode="after")
    def _is_whole(self) -> Store:
        lacking = [name for name in ("endpoint", "bucket", "access_key", "secret_file") if not getattr(self, name)]
        if self.driver == "s3" and lacking:
            raise ValueError(f"the driver s3 needs {', '.join(f'store.{name}' for name in lacking)} too")
        return self


class Images(_Group):
    """What becomes of old versions of images (CLC only)."""

    keep_versions: int = Field(0, ge=0, le=10_000, description=(
        "newest versions of an image that are kept where the image says nothing else; older ones that nobody uses or pinned are retired; 0: all are kept"
    ))


class Audit(_Group):
    """The record of changes (CLC only)."""

    keep_days: float = Field(0, ge=0, description="older lines of the record are removed, from its beginning on; 0: none")


class Imports(_Group):
    """Images that Walrus fetches from a URL."""

    largest_mib: int = Field(256 * 1024, gt=0, description="largest file, MiB")
    longest_s: float = Field(4 * 3600, gt=0, description="time one import may take without a restart of Walrus")
    silent_s: float = Field(1800, gt=0, description="an import whose server gives nothing more for so long is given up")
    rate_mib: float = Field(0, ge=0, description="what one import takes of the line at most, MiB a second; 0: all")
    allowed: tuple[Prefix, ...] = Field((), description="networks that may be reached although they are not public, e.g. 10.1.0.0/16")
    denied: tuple[Prefix, ...] = Field((), description="public networks that may not be reached, e.g. those of the own servers")
    ca_file: Path | None = Field(None, description="certificates of a further authority that https servers are believed by")


class Hypervisor(_Group):
    """How a node runs guests."""

    driver: str = Field("libvirt", description="libvirt or fake")
    uri: str = Field("qemu:///system", description="libvirt connection; xen:///system for Xen")
    accelerator: str = Field("auto", description="auto: proved by booting a guest; kvm or tcg: believed")
    boots: int = Field(0, ge=0, description="guests booted at the same time on this node; 0: one per real processor, at least 2")
    boot_s: float = Field(20, ge=0, description="a boot is over when the guest rests, at the latest after this; then the next one begins")
    probe_kernel: Path | None = Field(None, description="kernel of the accelerator proof")
    probe_initrd: Path | None = Field(None, description="initial ram disk of the accelerator proof")
    probe_deadline_s: float = Field(15, description="the proof counts as failed after this")
    cpus: int = Field(0, description="virtual CPUs offered; 0: 32 per real one, for most guests rest and memory runs out first")
    guest_uid_first: int = Field(1_900_000_000, ge=0, le=4_294_900_000, description="a guest runs as the user with this number plus its display port")
    guest_group: str = Field("kvm", description="group of every guest; it may open /dev/kvm and read images")
    lazy_start: bool = Field(True, description="a guest starts while its image still comes, reading what is there; not with Xen")
    logs: Path = Field(Path("/var/log/libvirt/qemu"), description="where libvirt writes a log of each guest's process; it is removed with the guest")
    memory_mib: int = Field(0, description="memory offered, MiB; 0: all but 1 GiB")


class Network(_Group):
    """The cluster's guest network."""

    driver: str = Field("dnsmasq", description="edge driver of the CC: dnsmasq, user (QEMU serves each guest itself) or fake")
    node_driver: str = Field("bridge", description="network driver of the NC: bridge, user (without rights, guests apart) or fake")
    bridge: str = Field("edubr0", pattern="^[a-z][a-z0-9._]{0,9}$", description="bridge of the guests; other networks' are named edubr0-1 and so on")
    uplink: str = Field("", description="network card that goes into the bridge: the guests' way to other hosts of the cluster")
    rules: str = Field("nftables", description="packet rules of CC and NC: nftables, iptables or none (nobody is kept from anything)")
    outside: tuple[str, ...] = Field((), description="network cards of the host behind which the outside lies; none: those of its default routes")
    campus: str = Field("", description="network card of the NC that is in the campus network and has no address: guests of mode campus use it")
    subnet: str = Field("10.231.0.0/24", description="guest addresses; the first is the gateway on the bridge")
    subnet6: str = Field("", description="the same of IPv6, a /64: each guest has the address told from its MAC; empty: IPv4 only")
    cooldown_s: float = Field(60, description="a released address, MAC or port rests this long")
    forwarded: tuple[int, ...] = Field((), description="ports of every guest that are reached by leased ports of its node (driver user)")
    forward_first: int = Field(9100, description="first of those leased ports: as many per display port as ports are forwarded")
    address: str = Field("", description="the host's own address for users, where ports lead to guests; empty: that of its default route, else of its door")
    lent_first: int = Field(20000, ge=1024, le=65535, description="first port of the cluster that is lent to lead to a guest's")
    lent_count: int = Field(10000, ge=0, le=64512, description="how many such ports are lent")
    display_first: int = Field(8700, description="first display port lent to guests")
    display_count: int = Field(400, description="how many display ports are lent")


def bridge_of(bridge: str, segment: int) -> str:
    """The bridge of a network by its number, on every host of the cluster."""
    return f"{bridge}-{segment}" if segment else bridge


def bridge_for(bridge: str, nic: Nic) -> str:
    """The bridge of a guest's card; all networks of the campus share one."""
    return f"{bridge}-c" if nic.mode is NetworkMode.CAMPUS else bridge_of(bridge, nic.segment)


def rules_of(role: Role, bridge: str) -> str:
    """What the packet rules of a role are called: two clouds on one host, and two roles of one cloud, have their own."""
    return f"{role}-{bridge.replace('.', '-').replace('_', '-')}"


class Accounts(_Group):
    """How people sign in (CLC only)."""

    password_length: int = Field(10, ge=8, le=128, description="signs a password has at least")
    attempts: int = Field(10, ge=3, le=1000, description=(
        "wrong passwords for a name from an address until it has to wait; of an address 6 and of a name 10 times as many"
    ))
    wait_s: float = Field(30, gt=0, le=3600, description="the first such wait; each further wrong password doubles it")
    longest_wait_s: float = Field(300, gt=0, le=86_400, description="longest such wait; of an address, or of a name from everywhere, at most 60")
    session_s: float = Field(14 * 24 * 3600, ge=300, le=90 * 24 * 3600, description="a browser stays signed in so long")


class Console(_Group):
    """The web console and API (CLC only)."""

    port: int = Field(8600, description="port of console and API")
    secret_file: Path | None = Field(None, description="file with the session secret")
    origins: tuple[str, ...] = Field((), description="further addresses the console is reached by")
    public_url: str = Field("", description="the address people use, e.g. https://cloud.school.example: passkeys are bound to it, and need one")
    certificate: Path | None = Field(None, description="own TLS certificate (PEM, with its chain); empty: signed by the cloud itself")
    private_key: Path | None = Field(None, description="the private key of that certificate (PEM)")
    simulation: bool = Field(False, description="no machine really runs: every page and the status say so")
    language: str = Field("en", description="language before a user chooses: en or zh-hans")


class Settings(BaseSettings):
    """The settings of one role process."""

    model_config = SettingsConfigDict(env_prefix="EDUCLOUD_", env_nested_delimiter="__", extra="forbid")

    host: Host = Host()
    boss: Boss = Boss()
    broker: Broker = Broker()
    board: Board = Board()
    database: Database = Database()
    beat: Beat = Beat()
    queue: Queue = Queue()
    cache: Cache = Cache()
    store: Store = Store()
    images: Images = Images()
    audit: Audit = Audit()
    imports: Imports = Imports()
    hypervisor: Hypervisor = Hypervisor()
    network: Network = Network()
    accounts: Accounts = Accounts()
    console: Console = Console()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Later sources fill what earlier ones leave open: arguments, environment, the operator's file, the one that `make up` writes."""
        file = os.environ.get(CONFIG_VARIABLE, "")
        if not file:
            return (init_settings, env_settings)
        files = (Path(file).with_suffix(".local.toml"), Path(file))
        return (init_settings, env_settings, *(TomlConfigSettingsSource(settings_cls, toml_file=f) for f in files))


def load(path: Path | None = None, **over: Any) -> Settings:
    """The settings of this process. ``path`` wins over EDUCLOUD_CONFIG. Raises Refused(invalid) with the field named."""
    if path:
        os.environ[CONFIG_VARIABLE] = str(path)
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).is_file():
        raise Refused("not_found", f"The configuration {named} is not there")
    try:
        return Settings(**over)
    except ValueError as e:
        raise Refused("invalid", "The configuration is not valid", str(e)) from e


def read_secret(path: Path | None) -> str:
    """The one line of a secret's file. Raises Refused(not_found)."""
    if path is None:
        raise Refused("not_found", "A secret is needed and no file is named")
    try:
        return path.read_text("utf-8").strip()
    except OSError as e:
        raise Refused("not_found", f"The secret file {path} cannot be read", str(e)) from e


def table(settings: Settings) -> list[tuple[str, str, str]]:
    """Every setting: name, effective value, description. Secrets are files, so none stands here."""
    rows = []
    for group, model in type(settings).model_fields.items():
        value = getattr(settings, group)
        rows += [
            (f"{group}.{name}", str(getattr(value, name)), field.description or "")
            for name, field in type(value).model_fields.items()
        ]
        del model
    return rows


def given(name: str, default: str = "") -> str:
    """An EDUCLOUD_<NAME> variable of the installing user (profile, port base, listen)."""
    return os.environ.get(f"EDUCLOUD_{name}", default)
