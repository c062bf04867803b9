"""What reaches an instance, as OpenAPI describes it; ``clc.services.access_pictures`` makes the answers."""

from __future__ import annotations

from rest_framework import serializers as s

from clc.web.api.shapes import FaultShape, InstanceShape, word
from clc.web.rest import Form, Text, Whole
from luhyaapi.contracts.vocabulary import AddressState, Allowed, Protocol


class AskedForwardShape(s.Serializer):
    """A port of an instance, and where it is reached from outside."""

    id = s.CharField()
    instance = s.CharField()
    protocol = word(Protocol)
    guest_port = s.IntegerField()
    sources = s.ListField(child=s.CharField(), help_text="IPv4 CIDRs that may use it; none: anyone.")
    address = s.CharField(allow_null=True, help_text="Where it is reached; null until its cluster said it.")
    port = s.IntegerField(allow_null=True)
    until = s.DateTimeField(allow_null=True, help_text="When it ends; null: with its instance.")
    error = FaultShape(allow_null=True)
    created_at = s.DateTimeField()


class RemoteDesktopShape(s.Serializer):
    """A file that viewers of remote desktops open."""

    name = s.CharField(help_text="How it may be called: NAME.rdp")
    text = s.CharField(help_text="Its lines, each ended by CRLF.")


class RuleShape(s.Serializer):
    """What may reach an instance."""

    protocol = word(Allowed)
    ports = s.CharField(help_text="A port or first-last; empty for ICMP and any protocol.")
    source = s.CharField()


class GroupRulesShape(s.Serializer):
    """A security group an instance is in."""

    id = s.CharField()
    name = s.CharField()
    rules = RuleShape(many=True)


class RulesShape(s.Serializer):
    """What may reach an instance by rules; nothing else is let in but what its forwards let in."""

    id = s.CharField()
    rules = RuleShape(many=True, help_text="its own")
    groups = GroupRulesShape(many=True)


class ReachedShape(s.Serializer):
    """All that leads to an instance."""

    forwards = AskedForwardShape(many=True)
    rules = RuleShape(many=True)
    groups = GroupRulesShape(many=True)
    elastic = s.CharField(allow_null=True, help_text="its public address")
    pending = s.BooleanField(help_text="Its cluster has not answered the last word about it yet.")
    error = FaultShape(allow_null=True)


class OneInstanceShape(InstanceShape):
    """A virtual machine, with what leads to it."""

    reached = ReachedShape()


class SecurityGroupShape(s.Serializer):
    """Rules that several instances share."""

    id = s.CharField()
    name = s.CharField()
    owner = s.CharField()
    rules = RuleShape(many=True)
    instances = s.IntegerField(help_text="How many are in it.")
    created_at = s.DateTimeField()
    changed_at = s.DateTimeField()


class ElasticShape(s.Serializer):
    """A public address."""

    id = s.CharField()
    address = s.CharField()
    state = word(AddressState)
    cluster = s.CharField()
    cluster_name = s.CharField()
    owner = s.CharField(allow_null=True)
    instance = s.CharField(allow_null=True, help_text="Where it leads to.")
    instance_name = s.CharField(allow_null=True)
    allocated_at = s.DateTimeField(allow_null=True)
    created_at = s.DateTimeField()


class RuleForm(Form):
    """One rule."""

    protocol = Text(max_length=10, help_text="tcp, udp, icmp or any.")
    ports = Text(max_length=20, required=False, allow_blank=True, default="", help_text="A port or first-last, of TCP and UDP.")
    source = Text(max_length=60, required=False, allow_blank=True, default="", help_text="IPv4 or IPv6 CIDR; empty: anywhere by IPv4.")


class RulesForm(Form):
    """Rules, all of them."""

    rules = RuleForm(many=True)


class GroupForm(Form):
    """A new security group."""

    name = Text(max_length=63)
    rules = RuleForm(many=True, required=False, default=list)


class GroupsForm(Form):
    """The groups an instance shall be in, all of them."""

    groups = s.ListField(child=Text(max_length=63), max_length=8, help_text="Names or ids.")


class ForwardForm(Form):
    """A new forward."""

    guest_port = Whole(help_text="The port of the instance, 1 to 65535.")
    protocol = Text(max_length=10, required=False, default=Protocol.TCP)
    sources = s.ListField(child=Text(max_length=40), required=False, default=list, max_length=64, help_text="IPv4 CIDRs that may use it; none: anyone.")
    until = s.DateTimeField(required=False, allow_null=True, default=None, help_text="When it ends.")
    for_s = Whole(required=False, allow_null=True, default=None, help_text="In how many seconds it ends, in place of `until`.")


class AllocateForm(Form):
    """An address for oneself."""

    cluster = Text(max_length=63, required=False, allow_blank=True, default="", help_text="Id or name; may be left out where only one has any.")


class RangesForm(Form):
    """More addresses of a cluster."""

    cluster = Text(max_length=63, required=False, allow_blank=True, default="", help_text="Id or name; may be left out where there is one.")
    ranges = s.ListField(child=Text(max_length=40), min_length=1, max_length=64,
                         help_text="`first-last`, one address, or CIDR (without its first and last); at most 4096 in all.")


class AssociateForm(Form):
    """Where an address shall lead to."""

    instance = Text(max_length=63, help_text="Id, or a name only one has.")
