"""Every enumeration, with its label in English and Chinese and its colour: one word per thing everywhere."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """A word with a label in two languages and a colour of the console."""

    en: str
    zh: str
    colour: str

    def __new__(cls, value: str, en: str = "", zh: str = "", colour: str = "secondary") -> Self:
        word = str.__new__(cls, value)
        word._value_ = value
        word.en = en or value
        word.zh = zh or word.en
        word.colour = colour
        return word


class Role(Word):
    """One of the five programs."""

    CLC = "clc", "Cloud controller", "云控制器"
    WALRUS = "walrus", "Image store", "镜像仓库"
    CC = "cc", "Cluster controller", "集群控制器"
    NC = "nc", "Node controller", "节点控制器"
    SC = "sc", "Storage controller", "存储控制器"


class Lane(StrEnum):
    """Where a command waits for its turn: long copies, boots, stops, what else is done to domains, and everything quick."""

    TRANSFER = "transfer"
    BOOT = "boot"
    STOP = "stop"
    DOMAIN = "domain"
    QUICK = "quick"


class LinkState(Word):
    """How one link of the way from a guest to the outside was found."""

    OK = "ok", "In order", "正常", "green"
    BROKEN = "broken", "Broken", "中断", "red"
    UNKNOWN = "unknown", "Not seen", "无法查看", "orange"
    SKIPPED = "skipped", "Not needed", "不涉及", "secondary"


class TaskState(Word):
    """Where one intention of a user stands."""

    QUEUED = "queued", "Queued", "排队中", "secondary"
    RUNNING = "running", "Running", "进行中", "blue"
    CANCELLING = "cancelling", "Cancelling", "取消中", "orange"
    DONE = "done", "Done", "完成", "green"
    FAILED = "failed", "Failed", "失败", "red"
    CANCELLED = "cancelled", "Cancelled", "已取消", "secondary"
    LOST = "lost", "No news", "失去音讯", "orange"


class Via(Word):
    """By which way a change was asked for."""

    PAGE = "page", "Console", "控制台"
    API = "api", "API", "API"
    LIVE = "live", "Open line", "长连接"
    HOST = "host", "Host", "主机"
    CLOUD = "cloud", "The cloud itself", "云自身"
    SHELL = "shell", "The machine itself", "本机命令"
    DIRECTORY = "directory", "Directory", "目录服务"


class DirectoryKind(Word):
    """How a directory of people is asked."""

    LDAP = "ldap", "LDAP, Active Directory", "LDAP、Active Directory"
    OIDC = "oidc", "OpenID Connect", "OpenID Connect"


class RequestState(Word):
    """What became of a request for an account."""

    WAITING = "waiting", "Waiting", "待处理", "blue"
    APPROVED = "approved", "Approved", "已批准", "green"
    REFUSED = "refused", "Refused", "被拒绝", "red"


class Result(Word):
    """What came of what somebody asked for."""

    DONE = "done", "Done", "完成", "green"
    REFUSED = "refused", "Refused", "被拒绝", "red"


class InstanceState(Word):
    """Where a virtual machine stands."""

    DEFINED = "defined", "Defined", "已定义", "secondary"
    QUEUED = "queued", "Queued", "排队中", "secondary"
    STARTING = "starting", "Starting", "启动中", "blue"
    RUNNING = "running", "Running", "运行中", "green"
    STOPPING = "stopping", "Stopping", "停止中", "orange"
    STOPPED = "stopped", "Stopped", "已停止", "secondary"
    DELETED = "deleted", "Deleted", "已删除", "secondary"
    FAILED = "failed", "Failed", "失败", "red"
    UNKNOWN = "unknown", "Unknown", "未知", "orange"


class HostState(Word):
    """Where a host of one role stands."""

    NEW = "new", "Waiting for approval", "待批准", "orange"
    UP = "up", "Up", "正常", "green"
    SILENT = "silent", "Silent", "无响应", "red"
    DRAINING = "draining", "Draining", "排空中", "orange"
    DOWN = "down", "Down", "停机", "secondary"
    RETIRED = "retired", "Retired", "已移除", "secondary"


class ImageState(Word):
    """Where a version of an image stands."""

    DRAFT = "draft", "Draft", "草稿", "secondary"
    BUILDING = "building", "Being checked", "检查中", "blue"
    PUBLISHED = "published", "Published", "已发布", "green"
    RETIRED = "retired", "Retired", "已撤下", "secondary"
    FAILED = "failed", "Refused", "被拒绝", "red"


class WorkspaceState(Word):
    """Where the next version of an image stands while somebody makes it."""

    PREPARING = "preparing", "Being prepared", "准备中", "blue"
    EDITING = "editing", "Being edited", "编辑中", "green"
    SUBMITTING = "submitting", "Being submitted", "提交中", "blue"
    PUBLISHED = "published", "Published", "已发布", "green"
    ABANDONED = "abandoned", "Abandoned", "已放弃", "secondary"
    FAILED = "failed", "Failed", "失败", "red"


class Usage(Word):
    """What an image is for; also the kind of an instance."""

    DESKTOP = "desktop", "Desktop", "虚拟桌面"
    SERVER = "server", "Server", "虚拟服务器"


class Protocol(Word):
    """What a forward carries."""

    TCP = "tcp", "TCP", "TCP"
    UDP = "udp", "UDP", "UDP"


class Allowed(Word):
    """What a security rule lets in."""

    TCP = "tcp", "TCP", "TCP"
    UDP = "udp", "UDP", "UDP"
    ICMP = "icmp", "Ping", "Ping"
    ANY = "any", "Everything", "全部"


class AddressState(Word):
    """Where a public address stands."""

    FREE = "free", "Free", "空闲", "green"
    RESTING = "resting", "Resting", "冷却中", "orange"
    ALLOCATED = "allocated", "Allocated", "已分配", "blue"
    ASSOCIATED = "associated", "Associated", "已绑定", "purple"


class LeaseState(Word):
    """Where an address of a network stands."""

    FREE = "free", "Free", "空闲", "green"
    LENT = "lent", "Lent", "已出借", "blue"
    RESTING = "resting", "Resting", "冷却中", "orange"
    RESERVED = "reserved", "Reserved", "已保留", "purple"
    TAKEN = "taken", "Somebody else's", "被他人占用", "red"
    GATEWAY = "gateway", "Gateway", "网关"
    OUTSIDE = "outside", "Not lent", "不出借"


class NetworkMode(Word):
    """Where a network ends, and who is the gateway of its guests."""

    NODE = "node", "Behind the node", "节点内网"
    CLUSTER = "cluster", "Behind the cluster", "集群内网"
    CAMPUS = "campus", "On the campus network", "校园网"
    CLOSED = "closed", "Closed class", "封闭网络"


SPANNING = frozenset({NetworkMode.CLUSTER, NetworkMode.CLOSED})
"""The modes of networks that are one on all hosts of a cluster, whose gateway is the cluster's own host."""


class Persistence(Word):
    """What becomes of the system disk of an instance when it stops."""

    PERSISTENT = "persistent", "Persistent", "持久"
    TRANSIENT = "transient", "Transient", "临时"


class DiskFormat(StrEnum):
    """The formats a disk may have, stated and never guessed."""

    QCOW2 = "qcow2"
    RAW = "raw"


class Part(StrEnum):
    """The files an image version may consist of."""

    DISK = "disk"
    KERNEL = "kernel"
    INITRD = "initrd"


class Architecture(Word):
    """Which processor the system in an image is made for, as Glance and libvirt call it."""

    X86_64 = "x86_64", "64 bit", "64 位"
    I686 = "i686", "32 bit", "32 位"


class DiskBus(StrEnum):
    """How a guest reaches its disks (Glance's hw_disk_bus)."""

    VIRTIO = "virtio"
    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"


class VifModel(StrEnum):
    """Which network card a guest gets (hw_vif_model)."""

    VIRTIO = "virtio"
    E1000 = "e1000"
    E1000E = "e1000e"
    RTL8139 = "rtl8139"


class VideoModel(StrEnum):
    """Which graphics card a guest gets (hw_video_model)."""

    VGA = "vga"
    CIRRUS = "cirrus"
    VIRTIO = "virtio"


class PointerModel(StrEnum):
    """What moves the pointer of a guest with a disk beside its mouse (hw_pointer_model)."""

    VIRTIO = "virtio"
    USB = "usbtablet"
    PS2 = "ps2mouse"


class MachineType(StrEnum):
    """Which main board a guest gets (hw_machine_type)."""

    PC = "pc"
    Q35 = "q35"


class FirmwareType(StrEnum):
    """What starts a guest (hw_firmware_type)."""

    BIOS = "bios"
    UEFI = "uefi"


class GuestClock(StrEnum):
    """What the clock of the main board shows when a guest starts: UTC, or as Windows expects the local time of the node."""

    UTC = "utc"
    LOCAL = "localtime"


class DomainState(StrEnum):
    """What a hypervisor says of a domain."""

    RUNNING = "running"
    STOPPED = "stopped"
    CRASHED = "crashed"
    ABSENT = "absent"


class Accelerator(Word):
    """How a node runs guests, proved by booting one."""

    KVM = "kvm", "Hardware (KVM)", "硬件加速 (KVM)", "green"
    TCG = "tcg", "Emulated (TCG)", "软件模拟 (TCG)", "orange"
    SIMULATED = "simulated", "Simulated", "模拟", "purple"
    UNPROVED = "unproved", "Not proved yet", "尚未验证", "secondary"


class Health(Word):
    """The colour of a part of the cloud in `educloud status`."""

    OK = "ok", "OK", "正常", "green"
    WARN = "warn", "Attention", "注意", "orange"
    BAD = "bad", "Down", "故障", "red"


class Kind(Word):
    """A kind of resource that rights are given over."""

    HOST = "host", "Hosts", "主机"
    IMAGE = "image", "Images", "镜像"
    INSTANCE = "instance", "Machines", "实例"
    ACCOUNT = "account", "Accounts and groups", "帐户与组"


class Verb(Word):
    """What may be done with a resource; ``full`` is all of them, and each but ``create`` lets one read."""

    READ = "read", "See", "查看"
    WRITE = "write", "Change", "修改"
    EXECUTE = "execute", "Use", "使用"
    CREATE = "create", "Make", "创建"
    DELETE = "delete", "Delete", "删除"
    FULL = "full", "All", "全部"


class Budgeted(Word):
    """What hours are counted for a budget: of machines that run, or of their processors."""

    HOURS = "hours", "Machine hours", "实例小时"
    CPU_HOURS = "cpu_hours", "Processor hours", "处理器小时"


class Counted(Word):
    """What limits are set on. Memory and disks in MiB; disks are the data disks."""

    INSTANCES = "instances", "Machines", "实例"
    CPUS = "cpus", "Processors", "处理器"
    MEMORY = "memory_mib", "Memory, MiB", "内存 MiB"
    DISK = "disk_mib", "Data disks, MiB", "数据盘 MiB"
    IMAGES = "images", "Images", "镜像"
    ADDRESSES = "addresses", "Public addresses", "公网地址"
