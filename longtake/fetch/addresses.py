"""Which addresses may be reached."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The only part of IPv6 that is given out as public addresses (IANA, IPv6 Address Space)."""

NEVER_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        # IANA special-purpose registries (RFC 6890); `is_global` of Python 3.11 knows only some of them
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        # Azure's metadata and DNS: numbered as public, answered by the machine's own host
        "168.63.129.16/32",
    )
)


def parse_networks(text: str) -> tuple[Network, ...]:
    """`127.0.0.1/32, fd00::/8, 10.1.2.3` → networks. Raises ValueError that names the part that is none."""
    networks: list[Network] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            network = ip_network(part, strict=False)
        except ValueError:
            raise ValueError(f"a network is written like 10.0.0.0/8 or fd00::/8, got {part!r}") from None
        if "/" in part and str(network.network_address) != str(ip_address(part.split("/")[0])):
            raise ValueError(f"a network's address has no host bits: for {part!r} write {network}")
        networks.append(network)
    return tuple(networks)


def is_allowed(address: Address, allow: Iterable[Network] = ()) -> bool:
    """Whether an address is public, or inside a network of `allow`."""
    if is_inside(address, allow):
        return True
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False  # so no mapped, NAT64, unique local, link-local, site-local or multicast address
    return address.is_global and not is_inside(address, NEVER_PUBLIC)


def is_inside(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def literal_address(host: str) -> Address | None:
    """The address that a host is, if it is one; also 2130706433, 0x7f.1 and 0177.1, as the resolver reads them."""
    host = host.strip("[]").rstrip(".")
    with contextlib.suppress(ValueError):
        return ip_address(host)
    with contextlib.suppress(OSError, ValueError):
        return IPv4Address(socket.inet_aton(host))
    return None
