"""Which network addresses are the public internet's, whichever way they are written; and names to addresses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol

__all__ = ["Network", "Resolver", "is_public", "resolve"]

_NAT64: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_COMPATIBLE: Final = ip_network("::/96")  # RFC 4291, 2.5.5.1: an IPv4 address in its last 32 bits
_NEVER: Final = (
    ip_network("192.0.0.0/24"),  # RFC 6890: protocol assignments, some of which Python calls global
    ip_network("192.88.99.0/24"),  # RFC 7526: 6to4 relays, given up
    ip_network("fec0::/10"),  # RFC 3879: site-local, given up
    ip_network("5f00::/16"),  # RFC 9602: segment routing
    ip_network("3fff::/20"),  # RFC 9637: documentation
)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214, 6.1: the upper half of such an interface id

Network = IPv4Network | IPv6Network


class Resolver(Protocol):
    """Names to addresses."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host, IPv4 and IPv6. Raises OSError where it has none."""
        ...


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's own resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def is_public(text: str, allowed: Iterable[Network] = ()) -> bool:
    """Whether an address is on the public internet, whichever way it is written, or in one of the `allowed` networks.

    Not private, shared, loopback, link-local, multicast or reserved (IANA's special-purpose registries, as Python's
    `ipaddress` has them), and neither is the IPv4 address that it may carry: mapped or compatible, NAT64, 6to4, Teredo
    or ISATAP.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if any(address in network for network in allowed if network.version == address.version):
        return True
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        carried = list(_carried(address))
        if carried:
            # Reached through a translator or a tunnel: never public by itself, and never allowed by being carried.
            return address.ipv4_mapped is not None and is_public(str(carried[0]))
    is_never = any(address in network for network in _NEVER if network.version == address.version)
    return address.is_global and not address.is_multicast and not address.is_reserved and not is_never


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses inside an IPv6 one."""
    last = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _COMPATIBLE or any(address in network for network in _NAT64):
        yield last
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        yield last
