"""The edge of a host's guest networks. Here: its packet rules, by the name a setting calls their driver."""

from __future__ import annotations

from collections.abc import Callable

from luhyaapi.edge.base import RulesDriver
from luhyaapi.edge.fake import FakeRules
from luhyaapi.edge.iptables import IptablesRules
from luhyaapi.edge.nft import NftRules

RULES: dict[str, Callable[[str], RulesDriver]] = {"fake": FakeRules, "iptables": IptablesRules, "nftables": NftRules}
"""Each is called with the name that the plans bear, in the network namespace whose rules it keeps."""
