"""The tables of nftables as they are without elements: sets, maps, and chains that never change."""

from __future__ import annotations

import functools

from luhyaapi.edge.plan import METADATA, METADATA_MAC, METADATA_PORT

INET, BRIDGE = "inet", "bridge"

# Where somebody has bridged frames judged as routed ones (net.bridge.bridge-nf-call-iptables), questions to the metadata service pass here too.
# Keys with a prefix in them make a set that the kernel copies with each change, so no forward stands in one. That a packet comes by a
# forward is known by the address it was sent to: what others translate at addresses without one permits nothing.
_INET = """
    map forwards { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
    map limited { type inet_proto . ipv4_addr . inet_service : verdict; }
    set forwarded { type ipv4_addr; }
    map elastic { type ipv4_addr : ipv4_addr; }
    map behind { type ipv4_addr : ipv4_addr; }
    set aliased { type ipv4_addr; }
    map cards4 { type ipv4_addr : verdict; }
    map cards6 { type ipv6_addr : verdict; }
    set uplinks { type ifname; }
    set bridges { type ifname; }
    set shut { type ifname; }
    set routed { type ipv4_addr; flags interval; }
    set routed6 { type ipv6_addr; flags interval; }
    set within { type ipv4_addr . ipv4_addr; flags interval; }
    set talking { type ipv4_addr . ipv4_addr; flags interval; }
    set talking6 { type ipv6_addr . ipv6_addr; flags interval; }
    set gateways { type ifname; }
    set inside { type ifname; }
    set routers { type ipv4_addr; }
    set routers6 { type ipv6_addr; }
    set outer4 { type ifname . ipv4_addr; flags interval; }
    set outer6 { type ifname . ipv6_addr; flags interval; }
    set closed4 { type ifname . ipv4_addr; flags interval; }
    set closed6 { type ifname . ipv6_addr; flags interval; }
    set masked4 { type ifname . ipv4_addr; flags interval; }
    set masked6 { type ifname . ipv6_addr; flags interval; }

    chain arrive {
        type filter hook prerouting priority mangle; policy accept;
        iifname . ip saddr @outer4 drop
        iifname . ip6 saddr @outer6 drop
    }
    chain translate {
        meta l4proto { tcp, udp } dnat ip to meta l4proto . ip daddr . th dport map @forwards
        dnat ip to ip daddr map @elastic
    }
    chain translate_in {
        type nat hook prerouting priority dstnat; policy accept;
        jump translate
    }
    chain translate_own {
        type nat hook output priority -100; policy accept;
        jump translate
    }
    chain translate_out {
        type nat hook postrouting priority srcnat; policy accept;
        ct status dnat ip saddr . ip daddr @within masquerade
        ct status dnat ct original ip daddr @forwarded ip daddr != @routed masquerade
        oifname @uplinks snat ip to ip saddr map @behind
        oifname . ip saddr @masked4 masquerade
        oifname . ip6 saddr @masked6 masquerade
    }
    chain judge {
        type filter hook forward priority filter; policy accept;
        ct direction reply accept
        ct state related accept
        icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
        oifname . ip saddr @closed4 ip saddr != @aliased drop
        oifname . ip6 saddr @closed6 drop
        ct status dnat ct original ip daddr @forwarded goto judge_forwarded
        iifname @shut oifname != @bridges jump judge_stray
        iifname @gateways oifname != @uplinks oifname != @bridges jump judge_stray
        ip daddr vmap @cards4
        ip6 daddr vmap @cards6
        ip saddr . ip daddr @talking accept
        ip6 saddr . ip6 daddr @talking6 accept
        iifname @gateways oifname @gateways ip daddr @IP@ tcp dport @PORT@ accept
        oifname @gateways drop
    }
    chain receive {
        type filter hook input priority filter; policy accept;
        iifname != "lo" iifname != @bridges ip daddr @routed drop
        iifname != "lo" iifname != @bridges ip6 daddr @routed6 drop
        iifname != @inside accept
        ct direction reply accept
        udp dport { 67, 547 } accept
        icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
        iifname @gateways icmp type echo-request accept
        iifname @gateways icmpv6 type echo-request accept
        iifname @gateways meta l4proto { tcp, udp } th dport 53 accept
        iifname != @gateways ip daddr @routers accept
        iifname != @gateways ip6 daddr @routers6 accept
        drop
    }
    chain judge_stray {
        ct status dnat return
        drop
    }
    chain judge_forwarded {
        meta l4proto tcp meta l4proto . ct original ip daddr . ct original proto-dst vmap @limited
        meta l4proto udp meta l4proto . ct original ip daddr . ct original proto-dst vmap @limited
        accept
    }
"""
# What a tap sends to the metadata service goes to its link, whomever the guest takes for its router: the name of the MAC is changed after
# the guards (which end only their own chain) and before br_netfilter. Nobody but asking taps and that link ever hears of the address.
# Before br_netfilter (priority 0), so that nothing forged is ever seen by connection tracking. What is neither ARP nor IP may hide IP
# (a VLAN's tag), so it is dropped. RFC 6980 has hosts ignore announcements in fragments, which nobody can look into here.
_BRIDGE = """
    set taps { type ifname; }
    set macs { type ifname . ether_addr; }
    set claims4 { type ifname . ether_addr . ipv4_addr; }
    set claims6 { type ifname . ether_addr . ipv6_addr; }
    set targets { typeof iifname . ether saddr . @th,64,128; }
    set apart { type ifname; }
    set alone { type ifname; }
    set fenced { type ifname . ipv4_addr; flags interval; }
    set fenced6 { type ifname . ipv6_addr; flags interval; }
    set routers { type ipv4_addr; }
    set routers6 { type ipv6_addr; }
    set asking { type ifname; }
    set answering { type ifname; }

    chain guard {
        type filter hook prerouting priority filter; policy accept;
        iifname @taps goto guard_tap
    }
    chain guard_tap {
        iifname . ether saddr != @macs drop
        ether type ip goto guard_ip
        ether type arp goto guard_arp
        ether type ip6 goto guard_ip6
        drop
    }
    chain guard_ip {
        udp sport 67 drop
        iifname . ether saddr . ip saddr @claims4 accept
        ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
        drop
    }
    chain guard_arp {
        arp htype 1 arp ptype ip arp hlen 6 arp plen 4 iifname . arp saddr ether . arp saddr ip @claims4 accept
        arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether @macs accept
        drop
    }
    chain guard_ip6 {
        udp sport 547 drop
        icmpv6 type { nd-router-advert, nd-redirect } drop
        icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 != @targets drop
        iifname . ether saddr . ip6 saddr @claims6 accept
        ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname . ether saddr . @th,64,128 @targets accept
        ip6 saddr :: icmpv6 type { mld-listener-report, mld2-listener-report } accept
        drop
    }
    chain ask {
        type filter hook prerouting priority -199; policy accept;
        iifname @asking ip daddr @IP@ ether daddr set @MAC@
    }
    chain inward {
        type filter hook input priority filter; policy accept;
        iifname @answering drop
        iifname @asking jump not_metadata
    }
    chain outward {
        type filter hook output priority filter; policy accept;
        oifname @answering drop
        oifname @asking jump not_metadata
    }
    chain question {
        iifname @asking ip daddr @IP@ tcp dport @PORT@ accept
        iifname @asking arp daddr ip @IP@ accept
        drop
    }
    chain answer {
        oifname @asking ip saddr @IP@ tcp sport @PORT@ accept
        oifname @asking arp saddr ip @IP@ accept
        drop
    }
    chain not_metadata {
        ip daddr @IP@ drop
        ip saddr @IP@ drop
        arp daddr ip @IP@ drop
        arp saddr ip @IP@ drop
    }
    chain separate {
        type filter hook forward priority filter; policy accept;
        iifname @answering goto answer
        oifname @answering goto question
        iifname @asking jump not_metadata
        oifname @asking jump not_metadata
        iifname @apart oifname @apart drop
        oifname @alone drop
        oifname . ip saddr @fenced ip saddr != @routers drop
        oifname . ip6 saddr @fenced6 ip6 saddr != @routers6 drop
    }
"""
# Filled in here and not by format: what is between braces is nftables'.
_VALUES = {"@MAC@": METADATA_MAC, "@IP@": METADATA, "@PORT@": str(METADATA_PORT)}
STATIC = {family: functools.reduce(lambda text, each: text.replace(*each), _VALUES.items(), made) for family, made in ((INET, _INET), (BRIDGE, _BRIDGE))}
