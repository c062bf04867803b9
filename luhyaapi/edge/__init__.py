"""The edge of a host's guest networks. Here: its packet rules, by the name a setting calls their driver."""

from __future__ import annotations

from collections.abc import Callable

from luhyaapi.conf import Network, rules_of
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.edge.base import RulesDriver
from luhyaapi.edge.fake import FakeRules
from luhyaapi.edge.iptables import IptablesRules
from luhyaapi.edge.nft import NftRules
from luhyaapi.errors import Refused

RULES: dict[str, Callable[[str], RulesDriver]] = {"fake": FakeRules, "iptables": IptablesRules, "nftables": NftRules}
"""Each is called with the name that the plans bear, in the network namespace whose rules it keeps."""


def rules_for(network: Network, role: Role) -> RulesDriver | None:
    """The driver of a role's packet rules on this host; None when its settings want none. Raises Refused(invalid) for one that is not known."""
    if network.rules == "none":
        return None
    if network.rules not in RULES:
        raise Refused("invalid", "network.rules is not possible", f"{network.rules!r}: give {', '.join(sorted(RULES))} or none")
    return RULES[network.rules](rules_of(role, network.bridge))
