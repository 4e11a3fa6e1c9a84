"""Names in a Host header, and this machine's own addresses. Knows no HTTP library.

Against DNS rebinding: a page in the narrator's browser can point its own DNS name at this machine, and the browser then
lets the page read the answers. Such a request carries the page's name in `Host`, so a name passes only if no stranger
can register it (`cannot_be_rebound`), or if it is this machine's own name or one of ALLOWED_HOSTS.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket
import sys

LOCAL_SUFFIXES = (
    ".local",  # multicast DNS, RFC 6762
    ".localhost",  # loopback, RFC 6761
    ".home.arpa",  # home networks, RFC 8375
    ".internal",  # reserved for private use by ICANN's board, 2024
    ".home",  # RFC 6762 appendix G names .home and .lan as in use at home; ICANN's board has refused .home since 2018
    ".lan",
    ".localdomain",  # what some systems and routers put behind a name; not delegated in the DNS root
)
"""Ends of names that are answered in the local network alone: no registry sells a name under them. A machine inside the
network can still take such a name, and what it then reads are the open paths: all others need the key."""

_PORT = re.compile(r":[0-9]*$")

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""2130706433 and 0x7f000001 are 127.0.0.1 to a browser, which sends the address in its usual form instead."""


def host_name(value: str) -> str:
    """A Host header or a setting without port and brackets, in one form: `[::1]:7860` is `::1`.

    Empty where the value is neither a name nor an address.
    """
    value = value.strip(" \t").lower()
    if value.startswith("["):
        inside, closed, rest = value[1:].partition("]")
        return _address(inside) if closed and (not rest or _PORT.fullmatch(rest)) else ""
    if _address(value):  # an IPv6 address without brackets, as people write it into settings
        return _address(value)
    name = _PORT.sub("", value).removesuffix(".")
    return _address(name) or (name if _NAME.fullmatch(name) else "")


def _address(value: str) -> str:
    """An IP address in its shortest form, without a zone; empty where the value is none."""
    plain, zone, _ = value.partition("%")
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return "" if zone else str(address)
    return str(address.ipv4_mapped or address)


def cannot_be_rebound(name: str) -> bool:
    """Whether no stranger can make this name point at another machine. name: as host_name() gives it.

    An IP address is never looked up. A name without a dot is a top-level domain to the DNS, and strangers cannot
    register one. Names under LOCAL_SUFFIXES are not sold.
    """
    if _address(name):
        return True
    if "." in name:
        return name.endswith(LOCAL_SUFFIXES)
    return bool(name) and not _NUMBER.fullmatch(name)


def own_names(machine: str, full: str) -> frozenset[str]:
    """Both names as host_name() gives them, with and without their domains.

    machine: what the machine calls itself; full: with the network's domain, where one is known.
    """
    names = {host_name(name) for name in (machine, full)}
    return frozenset(names | {name.partition(".")[0] for name in names}) - {""}


def read_own_names() -> frozenset[str]:
    """This machine's names. Takes seconds where a name server does not answer."""
    machine = full = socket.gethostname()
    with contextlib.suppress(UnicodeError):  # a name too long for the DNS
        full = socket.getfqdn()
    return own_names(machine, full)


def parse_hosts(setting: str) -> frozenset[str]:
    """ALLOWED_HOSTS: names and addresses between commas. Raises ValueError for a part that is neither."""
    names = [part for part in (part.strip() for part in setting.split(",")) if part]
    for name in names:
        if not host_name(name):
            raise ValueError(name)
    return frozenset(host_name(name) for name in names)


def is_loopback(host: str) -> bool:
    """True when only this machine can reach a server bound there."""
    if host.casefold() == "localhost":
        return True
    address = _address(host.strip("[]"))
    return bool(address) and ipaddress.ip_address(address).is_loopback


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses on its networks, the one that leads outside first. No packet is sent."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1: connecting a UDP socket only chooses a route
        found.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):  # a host name that resolves to nothing
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]


def bound_socket(host: str, port: int) -> socket.socket:
    """A TCP socket that is bound and does not listen yet. Raises OSError when the port is taken or host is none."""
    # The protocol is named: asyncio switches Nagle's algorithm off only where it sees TCP. With the algorithm on, every
    # answer on a kept connection came 40 ms late.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # on Windows the option would let two programs share one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except TypeError as error:  # what Python raises for a host that it cannot encode: Hangul too long for the DNS
        sock.close()
        raise OSError(errno.EINVAL, "not a host name") from error
    except BaseException:  # whatever it was goes on; only the socket must not stay open
        sock.close()
        raise
    return sock
