"""The answers of the API as OpenAPI describes them; ``clc.services.pictures`` makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.settings import spectacular_settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers as s

from luhyaapi.contracts.vocabulary import (
    Accelerator,
    AddressState,
    Allowed,
    Architecture,
    Budgeted,
    Health,
    HostState,
    ImageState,
    InstanceState,
    Kind,
    LeaseState,
    NetworkMode,
    Persistence,
    Protocol,
    RequestState,
    Result,
    Role,
    TaskState,
    Usage,
    Verb,
    Via,
    WorkspaceState,
)
from luhyaapi.errors import CODES


def _choices(words: Any) -> list[tuple[str, str]]:
    return [(str(w), w.en) for w in words]


# The description names an enumeration as the vocabulary does, not by a hash of its words.
spectacular_settings.apply_patches({"ENUM_NAME_OVERRIDES": {  # type: ignore[no-untyped-call]
    w.__name__: _choices(w) for w in (
        Accelerator, AddressState, Allowed, Architecture, Budgeted, Health, HostState, ImageState, InstanceState, Kind, LeaseState, NetworkMode, Persistence,
        Protocol, RequestState, Result, Role, TaskState, Usage, Verb, Via, WorkspaceState,
    )
}})


def word(words: Any) -> s.ChoiceField:
    """One word of an enumeration."""
    return s.ChoiceField(choices=_choices(words))


class FaultShape(s.Serializer):
    """What went wrong, why, and what to do."""

    code = s.ChoiceField(choices=sorted(CODES))
    what = s.CharField()
    why = s.CharField()
    hint = s.CharField()


class ProblemShape(FaultShape):
    """Every error of the API (application/problem+json)."""

    type = s.CharField()
    title = s.CharField()
    status = s.IntegerField()
    detail = s.CharField()
    field = s.CharField(required=False)
    request = s.CharField(required=False)


class NicShape(s.Serializer):
    """One network card."""

    mac = s.CharField()
    ip = s.CharField()
    ip6 = s.CharField(help_text="Empty where its network has no IPv6.")
    network = s.CharField()


class DisplayShape(s.Serializer):
    """Where the screen is shown."""

    protocol = s.CharField()
    port = s.IntegerField()
    url = s.CharField()


class ForwardShape(s.Serializer):
    """A port of the machine, and where on its node it is reached."""

    guest_port = s.IntegerField()
    host = s.CharField()
    port = s.IntegerField()


class QueueShape(s.Serializer):
    """Where a run stands among those that wait."""

    place = s.IntegerField()
    of = s.IntegerField()
    what = s.CharField(help_text="why it waits")
    why = s.CharField()
    until = s.DateTimeField(help_text="it waits no longer than this")


class InstanceShape(s.Serializer):
    """A virtual machine."""

    id = s.CharField()
    name = s.CharField()
    state = word(InstanceState)
    wanted = word(InstanceState)
    kind = word(Usage)
    image = s.CharField()
    image_id = s.CharField()
    image_version = s.IntegerField()
    newest_version = s.IntegerField(help_text="the newest published version of its image; higher than `image_version`: it could be restored to that")
    persistence = word(Persistence)
    data_disk_bytes = s.IntegerField(help_text="0: it has no data disk")
    first_boot_offline = s.BooleanField(help_text="its cards get their carrier once its first boot is done")
    offline = s.BooleanField(help_text="it runs, and they have none yet")
    cpus = s.IntegerField()
    memory_bytes = s.IntegerField()
    owner = s.CharField()
    owner_group = s.CharField(allow_blank=True, help_text="the path of the group it belongs to; empty: everybody's")
    cluster = s.CharField(allow_null=True)
    cluster_name = s.CharField()
    host = s.CharField(allow_null=True)
    host_name = s.CharField()
    nics = NicShape(many=True)
    forwards = ForwardShape(many=True)
    display = DisplayShape()
    accelerator = word(Accelerator)
    error = FaultShape(allow_null=True)
    created_at = s.DateTimeField()
    changed_at = s.DateTimeField()
    expires_at = s.DateTimeField(allow_null=True, help_text="It is stopped then; null: never.")
    task = s.CharField(allow_null=True)
    queue = QueueShape(allow_null=True)


class RenewedShape(s.Serializer):
    """What became of the instances that had an older version."""

    results = InstanceShape(many=True, help_text="those that get a new system disk, each with its task")
    passed_over = s.ListField(child=s.CharField(), help_text="ids of those that cannot now: try again later")


class WhyShape(s.Serializer):
    """Why an instance is where it is."""

    id = s.CharField()
    node = s.CharField(allow_null=True)
    why = s.DictField(child=s.CharField())


class TicketShape(s.Serializer):
    """A permission to look at a screen or a serial console, or of a line to a port, once: ``url`` is the address of the websocket."""

    ticket = s.CharField()
    url = s.CharField()
    expires_at = s.DateTimeField()


class SentShape(s.Serializer):
    """A file as it was sent; ``was`` are its formats, outermost first."""

    sha256 = s.CharField()
    size_bytes = s.IntegerField()
    was = s.ListField(child=s.CharField())


class PartShape(s.Serializer):
    """One file of a version."""

    part = s.CharField()
    sha256 = s.CharField()
    size_bytes = s.IntegerField()
    virtual_size_bytes = s.IntegerField()
    format = s.CharField()
    uploaded = SentShape(allow_null=True)


class CachedShape(s.Serializer):
    """What a host has of a version."""

    host = s.CharField()
    host_name = s.CharField()
    role = word(Role)
    whole = s.BooleanField()
    bytes_done = s.IntegerField(help_text="what is on its disk; holes are not counted")
    bytes_total = s.IntegerField()


class HardwareShape(s.Serializer):
    """What the guests of a version get."""

    disk_bus = s.CharField()
    vif_model = s.CharField()
    video_model = s.CharField()
    pointer_model = s.CharField()
    machine_type = s.CharField()
    firmware_type = s.CharField()
    clock = s.CharField()


class VersionShape(s.Serializer):
    """One version of an image."""

    version = s.IntegerField()
    state = word(ImageState)
    sha256 = s.CharField()
    size_bytes = s.IntegerField()
    added_bytes = s.IntegerField()
    virtual_size_bytes = s.IntegerField()
    format = s.CharField()
    cmdline = s.CharField()
    why = s.CharField()
    note = s.CharField()
    parent = s.CharField(allow_null=True)
    instances = s.IntegerField()
    task = s.CharField(allow_null=True)
    hardware = HardwareShape()
    pinned = s.BooleanField(help_text="no rule retires it")
    created_at = s.DateTimeField()
    published_at = s.DateTimeField(allow_null=True)
    cached_on = CachedShape(many=True, help_text="hosts that have something of it, as they last told")
    parts = PartShape(many=True)


class ImageShape(s.Serializer):
    """An image with its versions."""

    id = s.CharField()
    name = s.CharField()
    usage = word(Usage)
    state = word(ImageState)
    description = s.CharField()
    os_type = s.CharField()
    os_distro = s.CharField()
    architecture = word(Architecture)
    owner_group = s.CharField()
    owner = s.CharField()
    versions = VersionShape(many=True)
    memory_bytes = s.IntegerField(help_text="what an instance gets unless one asks for another size")
    cached_on = s.ListField(child=s.CharField())
    created_at = s.DateTimeField()
    published_at = s.DateTimeField(allow_null=True, help_text="when its newest version was")


class ArrivedShape(s.Serializer):
    """What has arrived of one file."""

    part = s.CharField()
    received_bytes = s.IntegerField()


class UploadPartShape(ArrivedShape):
    """One file of an upload."""

    size_bytes = s.IntegerField()
    format = s.CharField()


class UploadShape(s.Serializer):
    """An upload under way."""

    id = s.CharField()
    image = s.CharField()
    image_id = s.CharField()
    version = s.IntegerField()
    state = word(ImageState)
    created_at = s.DateTimeField()
    parts = UploadPartShape(many=True)


class StepShape(s.Serializer):
    """One step of a task."""

    name = s.CharField()
    state = s.CharField()
    host = s.CharField(allow_null=True)
    note = s.CharField()
    started_at = s.DateTimeField(allow_null=True)
    ended_at = s.DateTimeField(allow_null=True)
    bytes_done = s.IntegerField()
    bytes_total = s.IntegerField()


class TaskShape(s.Serializer):
    """A long action."""

    id = s.CharField()
    tid = s.CharField()
    kind = s.CharField()
    state = word(TaskState)
    phase = s.CharField()
    progress = s.IntegerField()
    prompt = s.CharField()
    steps = StepShape(many=True)
    error = FaultShape(allow_null=True)
    subject = s.CharField()
    subject_name = s.CharField()
    owner = s.CharField(allow_null=True)
    queue = QueueShape(allow_null=True)
    created_at = s.DateTimeField()
    ended_at = s.DateTimeField(allow_null=True)
    deadline = s.DateTimeField()


class TraceShape(s.Serializer):
    """A task's way through all roles, in order."""

    id = s.CharField()
    events = s.ListField(child=s.DictField())


class HostShape(s.Serializer):
    """One role on one machine."""

    id = s.CharField()
    role = word(Role)
    name = s.CharField()
    state = word(HostState)
    boss = s.CharField(allow_null=True)
    group = s.CharField(allow_blank=True, help_text="The path of the group it belongs to; empty: everybody's.")
    last_heartbeat_age_s = s.FloatField(allow_null=True)
    last_heard_at = s.DateTimeField(allow_null=True)
    created_at = s.DateTimeField()
    facts = s.DictField()


class LetterShape(s.Serializer):
    """A message that could not be handled, and its story."""

    id = s.CharField()
    host = s.CharField(help_text="the boss in whose broker it died")
    created_at = s.DateTimeField()
    queue = s.CharField()
    reason = s.CharField()
    times = s.IntegerField()
    kind = s.CharField(help_text="empty: it cannot be read")
    task = s.CharField(allow_null=True)
    sender = s.CharField()
    to = s.CharField()
    about = s.CharField()
    sent_again_at = s.DateTimeField(allow_null=True)


class TokenShape(s.Serializer):
    """A one-time token for one host."""

    token = s.CharField()
    role = word(Role)
    boss = s.CharField(help_text="the door at which the new host asks")
    expires_at = s.DateTimeField()


class AccountShape(s.Serializer):
    """Somebody who may sign in."""

    id = s.IntegerField()
    username = s.CharField()
    display_name = s.CharField(allow_blank=True, help_text="What people call them.")
    email = s.CharField(allow_blank=True)
    service = s.BooleanField(help_text="A program's: it has no password, and tokens that others make for it.")
    role = s.CharField(help_text="Its access role.")
    group = s.CharField(help_text="The path of its group; empty: that of everybody.")
    active = s.BooleanField()
    language = s.CharField()
    password_change = s.BooleanField(help_text="Somebody else chose the password: it has to be changed before anything else.")
    created_at = s.DateTimeField()


class PersonShape(AccountShape):
    """Somebody who may sign in, as administrators see them."""

    instances = s.IntegerField()
    last_login_at = s.DateTimeField(allow_null=True)
    locked_until = s.DateTimeField(allow_null=True, help_text="Until then somebody waits after wrong passwords.")
    second_step = s.BooleanField()
    passkeys = s.IntegerField()


class LoginShape(s.Serializer):
    """A token for ``Authorization: Bearer``."""

    token = s.CharField()
    expires_at = s.DateTimeField()
    password_change = s.BooleanField(help_text="The password has to be changed before anything else.")


class HealthShape(s.Serializer):
    """One part of the cloud."""

    name = s.CharField()
    health = word(Health)
    line = s.CharField()


class StatusShape(s.Serializer):
    """How the cloud is."""

    health = word(Health)
    simulation = s.BooleanField(help_text="No machine really runs.")
    parts = HealthShape(many=True)
    hosts = HostShape(many=True)


def listed(name: str, shape: type[s.Serializer]) -> Any:
    """One page of a list."""
    return inline_serializer(f"{name}Page", {"results": shape(many=True), "next": s.URLField(allow_null=True)})


def many(name: str, shape: type[s.Serializer]) -> Any:
    """A whole list."""
    return inline_serializer(f"{name}List", {"results": shape(many=True)})


KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="Said again with the same key, the request is done once.")
PAGES = [
    OpenApiParameter("cursor", str, description="Where the page begins; taken from `next`."),
    OpenApiParameter("limit", int, description="Entries on the page, 1 to 1000."),
]
BYTES = OpenApiTypes.BINARY
TEXT = OpenApiTypes.STR


def asks(*names: str) -> list[OpenApiParameter]:
    """The parameters of a list: its filters and pages."""
    return [*(OpenApiParameter(n, str, description="Only these; several separated by commas.") for n in names), *PAGES]


_F = TypeVar("_F", bound=Callable[..., Any])


def says(
    answer: Any, status: int = 200, *, sends: Any = None, parameters: Any = (), tag: str, **more: Any,
) -> Callable[[_F], _F]:
    """The description of one method: what it answers, and problem documents for all that goes wrong."""
    answers = (answer if isinstance(answer, dict) else {status: answer}) | {"4XX": ProblemShape, "5XX": ProblemShape}
    described: Callable[[_F], _F] = extend_schema(request=sends, responses=answers, parameters=list(parameters), tags=[tag], **more)
    return described


class BaseShape(s.Serializer):
    """A version something was made from."""

    image = s.CharField()
    version = s.IntegerField()


class WorkspaceShape(s.Serializer):
    """A private disk over a version, in which somebody makes the next one."""

    id = s.CharField()
    state = word(WorkspaceState)
    image = s.CharField()
    is_new = s.BooleanField()
    owner = s.CharField()
    base = BaseShape()
    version = s.IntegerField(allow_null=True)
    note = s.CharField()
    instance = InstanceShape()
    task = TaskShape(allow_null=True)
    error = FaultShape(allow_null=True)
    created_at = s.DateTimeField()
    changed_at = s.DateTimeField()
