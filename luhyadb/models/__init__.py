"""Every table there is."""

from luhyadb.models.access import Access, ElasticAddress, Forward, GroupMember, SecurityGroup
from luhyadb.models.account_requests import AccountRequest
from luhyadb.models.directories import Directory, DirectoryAccount, DirectoryMapping
from luhyadb.models.groups import Group, GroupAbove
from luhyadb.models.hosts import Host, JoinToken
from luhyadb.models.images import Comparison, Image, ImageVersion, Upload
from luhyadb.models.instances import Instance, ScreenTicket
from luhyadb.models.letters import Letter
from luhyadb.models.limits import AddressHolding, Budget, CapacitySample, Expiry, ExpiryRule, Run
from luhyadb.models.networks import Card, Network, NetworkPlan, Reservation
from luhyadb.models.people import Account, Departure, IdempotencyKey
from luhyadb.models.queue import Gate, Turn
from luhyadb.models.quotas import Quota
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
from luhyadb.models.rights import AccessRole, Grant, Permission, Share
from luhyadb.models.sign_in import ApiToken, BrowserSession, Guess, Passkey, SecondStep, SpentChallenge
from luhyadb.models.tasks import Chain, Event, FlowRun, Heard, Outbox, Prefetch, Task, TaskOrder, TaskStep
from luhyadb.models.workspaces import Workspace

__all__ = [
    "Access", "AccessOrder", "AccessRole", "Account", "AccountRequest", "AddressHolding", "AddressLease", "ApiToken", "BrowserSession",
    "Budget", "CapacitySample", "Card", "Chain", "Child", "Comparison", "Departure", "Directory", "DirectoryAccount", "DirectoryMapping",
    "ElasticAddress", "ElasticLink", "Event", "Expiry", "ExpiryRule", "FlowRun", "Forward", "ForwardLease", "Gate", "Grant", "Group",
    "GroupAbove", "GroupMember", "Guess", "Heard", "Host", "IdempotencyKey", "Image", "ImageVersion", "Instance", "JoinToken", "Letter",
    "Network", "NetworkPlan", "Outbox", "Passkey", "Permission", "Placement", "Pool", "PortLease", "Prefetch", "Quota", "Reservation",
    "ReservedAddress", "Run", "ScreenTicket", "SecondStep", "SecurityGroup", "Segment", "Share", "SpentChallenge", "TakenAddress", "Task",
    "TaskOrder", "TaskStep", "Turn", "Upload", "Workspace",
]
