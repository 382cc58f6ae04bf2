"""Free ports on the loopback interface for servers that these tests start."""

from __future__ import annotations

import itertools
import os
import pathlib
import socket

_FIRST = 10_000
#: Number of ports of one test process; parallel ones have others.
_SHARE = 100


def _share() -> range:
    """Returns ports below those that the system assigns to clients, so that no client takes one between this check and
    the server's start."""
    clients_from = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    shares = max(1, (clients_from - _FIRST) // _SHARE)
    first = _FIRST + os.getpid() % shares * _SHARE
    return range(first, first + _SHARE)


_ports = itertools.cycle(_share())


def free_port() -> int:
    """Returns a port on which nothing is listening."""
    for port in itertools.islice(_ports, _SHARE):
        with socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of {_SHARE} ports is free")
