"""Every table there is."""

from luhyadb.models.access import Access, ElasticAddress, Forward, GroupMember, SecurityGroup
from luhyadb.models.hosts import Host, JoinToken
from luhyadb.models.images import Comparison, Image, ImageVersion, Upload
from luhyadb.models.instances import Instance, ScreenTicket
from luhyadb.models.letters import Letter
from luhyadb.models.networks import Card, Network, NetworkPlan, Reservation
from luhyadb.models.people import Account, IdempotencyKey
from luhyadb.models.queue import Gate, Turn
from luhyadb.models.resources import (
    AccessOrder,
    AddressLease,
    Child,
    ElasticLink,
    ForwardLease,
    Placement,
    Pool,
    PortLease,
    ReservedAddress,
    Segment,
    TakenAddress,
)
from luhyadb.models.sign_in import ApiToken, BrowserSession, Guess, SecondStep
from luhyadb.models.tasks import Event, FlowRun, Heard, Outbox, Prefetch, Task, TaskOrder, TaskStep
from luhyadb.models.workspaces import Workspace

__all__ = [
    "Access", "AccessOrder", "Account", "AddressLease", "ApiToken", "BrowserSession", "Card", "Child", "Comparison", "ElasticAddress", "ElasticLink",
    "Event", "FlowRun", "Forward", "ForwardLease", "Gate", "GroupMember", "Guess", "Heard", "Host", "IdempotencyKey", "Image", "ImageVersion",
    "Instance", "JoinToken", "Letter", "Network", "NetworkPlan", "Outbox", "Placement", "Pool", "PortLease", "Prefetch", "Reservation",
    "ReservedAddress", "ScreenTicket", "SecondStep", "SecurityGroup", "Segment", "TakenAddress", "Task", "TaskOrder", "TaskStep", "Turn", "Upload",
    "Workspace",
]
