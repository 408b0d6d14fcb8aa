"""The capabilities of this process, and the least that each back end needs; `feedhandler run` would have the same."""

import sys
from collections.abc import Iterator, Sequence
from os.path import realpath
from typing import NamedTuple

from feedhandler.doctor.findings import Host, Row

CAPABILITIES = {  # number in linux/capability.h, and what it is wanted for
    "cap_net_admin": (12, "XDP programs; receive buffers and busy polling beyond the limits of sysctl"),
    "cap_net_raw": (13, "AF_XDP sockets, raw packets of an RDMA device"),
    "cap_ipc_lock": (14, "packet memory and lock_memory = true beyond RLIMIT_MEMLOCK"),
    "cap_sys_nice": (23, "[handler] priority"),
    "cap_bpf": (39, "loading the XDP program"),
}
SYS_ADMIN = 21  # stands for cap_bpf, as before Linux 5.8


class Need(NamedTuple):
    """What something takes: without `must` it does not work, `may` makes it better."""

    must: tuple[str, ...]
    may: tuple[str, ...]
    otherwise: str
    """What there is without `may`."""


NEEDS = {
    "sockets": Need((), ("cap_net_admin",), "buffers and busy polling end at the limits of sysctl"),
    "af_xdp": Need(
        ("cap_net_raw", "cap_net_admin", "cap_bpf"), ("cap_ipc_lock",), "packet memory ends at RLIMIT_MEMLOCK"
    ),
    "rdma": Need((), ("cap_ipc_lock",), "packet memory ends at RLIMIT_MEMLOCK"),
    "rdma raw-eth": Need(("cap_net_raw",), ("cap_ipc_lock",), "packet memory ends at RLIMIT_MEMLOCK"),
    "priority": Need(("cap_sys_nice",), (), ""),
}


def has(host: Host, name: str) -> bool:
    """Whether this process has the capability, or one that stands for it."""
    effective = int(host.fields("proc/self/status").get("CapEff", "0"), 16)
    number = CAPABILITIES[name][0]
    return bool(effective >> number & 1 or (name == "cap_bpf" and effective >> SYS_ADMIN & 1))


def missing(host: Host, names: Sequence[str]) -> list[str]:
    """Those of the capabilities that this process lacks."""
    return [name for name in names if not has(host, name)]


def grant(what: str) -> str:
    """The setcap line, or else the systemd line, that grants the least that is needed."""
    names = (*NEEDS[what].must, *NEEDS[what].may)
    memory = ", LimitMEMLOCK=infinity" if "cap_ipc_lock" in names else ""
    ambient = " ".join(name.upper() for name in names)
    return f"setcap {','.join(names)}+ep {realpath(sys.executable)}\nsystemd: AmbientCapabilities={ambient}{memory}"


def privileges(host: Host) -> Iterator[Row]:
    """Each capability, and then what each back end would be granted with one line."""
    if "CapEff" not in host.fields("proc/self/status"):
        yield Row("privileges", "capabilities", "unseen", "/proc/self/status cannot be read")
    for name, (_, purpose) in CAPABILITIES.items():
        yield Row("privileges", name, "yes" if has(host, name) else "no", f"for {purpose}")
    for what, need in NEEDS.items():
        lacking, less = missing(host, need.must), missing(host, need.may)
        check = f"for {what}"
        if what == "priority" and lacking and host.kernel.real_time():
            yield Row("privileges", check, "yes", f"RLIMIT_RTPRIO {host.kernel.real_time()}")
        elif lacking:
            yield Row("privileges", check, "no", f"it needs {', '.join(lacking)}", grant(what))
        elif less:
            yield Row("privileges", check, "no", f"works, but without {', '.join(less)} {need.otherwise}", grant(what))
        else:
            yield Row("privileges", check, "yes", "has all that it needs")
