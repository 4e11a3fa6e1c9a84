"""Which names this machine answers to: its own names and addresses, and those of ALLOWED_HOSTS. Knows no HTTP library.

Against DNS rebinding: a page in the narrator's browser can make its own name point at this machine, and what it asks
then carries that name in `Host`. Only names that nobody else can register, and addresses that are really here, pass.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

READ_AGAIN_S = 5.0
"""An unknown name makes the machine's own be read anew, at most so often: a laptop changes networks."""

LOCAL_SUFFIXES = (".local", ".lan", ".home", ".home.arpa", ".internal", ".localdomain")
"""What home routers and mDNS put behind a machine's name; nobody can register a name in them."""

_PORT = re.compile(r":[0-9]*$")

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


def host_name(value: str) -> str:
    """A Host header or a setting without port and brackets, in one form: `[::1]:7860` is `::1`.

    Empty where it is no name and no address.
    """
    value = value.strip().lower()
    if value.startswith("["):
        inside, closed, rest = value[1:].partition("]")
        return _address(inside) if closed and (not rest or _PORT.fullmatch(rest)) else ""
    if _address(value):  # an IPv6 address without brackets, as people write it into settings
        return _address(value)
    name = _PORT.sub("", value).removesuffix(".")
    return _address(name) or (name if _NAME.fullmatch(name) else "")


def _address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def is_loopback_name(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return bool(_address(name)) and ipaddress.ip_address(name).is_loopback


def parse_hosts(setting: str) -> frozenset[str]:
    """ALLOWED_HOSTS: names and addresses between commas. Raises ValueError for what is neither."""
    names = [part for part in (part.strip() for part in setting.split(",")) if part]
    for name in names:
        if not host_name(name):
            raise ValueError(name)
    return frozenset(host_name(name) for name in names)


def names_of(machine: str, full: str) -> frozenset[str]:
    """Every name that the machine goes by. machine: what it calls itself; full: with its domain, where known."""
    names = set()
    for name in (machine.lower(), full.lower()):
        short = name.partition(".")[0]
        names |= {name, short, *(short + suffix for suffix in LOCAL_SUFFIXES if short)}
    return frozenset(name for name in names if host_name(name) == name)


def read_machine() -> frozenset[str]:
    """This machine's names and addresses, as they are now. May take seconds where a name server does not answer."""
    machine = socket.gethostname()
    found = set(names_of(machine, socket.getfqdn()))
    with contextlib.suppress(OSError):
        found |= {host_name(str(entry[4][0])) for entry in socket.getaddrinfo(machine, None)}
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # The address that leads outside. Nothing is sent: connecting a UDP socket only chooses a route.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            found.add(host_name(str(probe.getsockname()[0])))
    return frozenset(found - {""})


@dataclass
class Hosts:
    allowed: frozenset[str] = frozenset()
    """From ALLOWED_HOSTS"""
    read: Callable[[], frozenset[str]] = read_machine
    own: frozenset[str] = field(default_factory=frozenset)
    last_read: float | None = None
    """Monotonic"""

    def knows(self, name: str, arrived_at: str) -> bool:
        """name: as host_name() gives it. arrived_at: the address that the connection came in at."""
        if is_loopback_name(name) or name in self.allowed or name in self.own:
            return True
        # Always current, whatever could be read: the operating system itself took the connection at this address.
        return bool(_address(name)) and _address(name) == _address(arrived_at)

    def may_read(self, now: float) -> bool:
        return self.last_read is None or now - self.last_read >= READ_AGAIN_S

    def read_now(self, now: float) -> None:
        self.last_read = now
        self.own = self.read()


def is_loopback(host: str) -> bool:
    """True when only this machine can reach a server bound there."""
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def own_addresses() -> list[str]:
    """This machine's addresses on its networks, the one that leads outside first. No packet is sent."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1: a UDP "connection" only asks the routing table
        found.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):  # a host name that resolves to nothing
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]
