"""Every table there is."""

from luhyadb.models.hosts import Host, JoinToken
from luhyadb.models.images import Comparison, Image, ImageVersion, Upload
from luhyadb.models.instances import Instance, ScreenTicket
from luhyadb.models.letters import Letter
from luhyadb.models.people import Account, IdempotencyKey
from luhyadb.models.queue import Gate, Turn
from luhyadb.models.resources import AddressLease, Child, Placement, Pool, PortLease
from luhyadb.models.tasks import Event, FlowRun, Heard, Outbox, Prefetch, Task, TaskOrder, TaskStep
from luhyadb.models.workspaces import Workspace

__all__ = [
    "Account", "AddressLease", "Child", "Comparison", "Event", "FlowRun", "Gate", "Heard", "Host", "IdempotencyKey", "Image", "ImageVersion",
    "Instance", "JoinToken", "Letter", "Outbox", "Placement", "Pool", "PortLease", "Prefetch", "ScreenTicket", "Task", "TaskOrder",
    "TaskStep", "Turn", "Upload", "Workspace",
]
