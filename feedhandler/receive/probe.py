"""Can a backend work here, and if not, why: asked by `backend = "auto"` and by `feedhandler doctor`."""

import socket
from collections.abc import Callable
from typing import NamedTuple


class Verdict(NamedTuple):
    """Whether a backend can be had here, and the reason in one clause."""

    usable: bool
    reason: str


ORDER = ("rdma", "af_xdp", "sockets")
"""The order in which "auto" asks: least kernel first."""


def probe(backend: str, interface: str = "") -> Verdict:
    """What stands in the way of this backend on this host (and interface). Raises KeyError for an unknown name."""
    return _PROBES[backend](interface)


def choose(interface: str = "") -> tuple[str, str]:
    """The first backend of ORDER that works here, and one line that says why not the others."""
    refused: list[str] = []
    for name in ORDER:
        verdict = probe(name, interface)
        if verdict.usable:
            others = "; ".join(refused)
            return name, f"backend {name}" + (f" ({others})" if others else "")
        refused.append(f"{name}: {verdict.reason}")
    return "sockets", "backend sockets (" + "; ".join(refused) + ")"


def _sockets(interface: str) -> Verdict:
    if interface and interface not in (name for _, name in socket.if_nameindex()):
        return Verdict(False, f"there is no interface {interface}")
    return Verdict(True, "recvmmsg on UDP sockets")


def _absent(interface: str) -> Verdict:
    return Verdict(False, "not built into this version")


_PROBES: dict[str, Callable[[str], Verdict]] = {"rdma": _absent, "af_xdp": _absent, "sockets": _sockets}
