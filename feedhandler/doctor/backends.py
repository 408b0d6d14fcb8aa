"""The ways to the wire: for each interface and back end yes or no, what stands in the way, and what would mend it."""

from collections.abc import Iterator, Sequence

from feedhandler.config import AfXdp
from feedhandler.doctor.findings import MIB, Host, Row
from feedhandler.doctor.interfaces import driver, is_up, queues
from feedhandler.doctor.memory import lockable, packet_memory
from feedhandler.doctor.privileges import NEEDS, grant, missing
from feedhandler.errors import BackendError

RAW_DRIVERS = ("mlx5_core", "mlx4_core", "mlx4_en")  # whose RDMA devices take raw packets by flow steering
JUMBO = 3498  # bytes of MTU from where on a frame, its headroom and the kernel's tail do not fit a page


def backends(host: Host, names: Sequence[str], probe: bool = False) -> Iterator[Row]:
    """sockets, af_xdp, rdma on each interface; `probe` opens AF_XDP for a moment where the kernel may be asked so."""
    packages = host.kernel.rdma_packages()
    for name in names:
        yield _sockets(host, name)
        yield _af_xdp(host, name, probe)
        yield _rdma(host, name, packages)


def _sockets(host: Host, name: str) -> Row:
    check = f"{name} sockets"
    if not is_up(host, name):
        return Row("backend", check, "no", "the interface is down", f"ip link set {name} up")
    return Row("backend", check, "yes", "recvmmsg on UDP sockets")


class _Hindrances:
    """Everything that stands in the way, with its remedy."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.mends: list[str] = []

    def add(self, reason: str, mend: str = "") -> None:
        self.reasons.append(reason)
        if mend and mend not in self.mends:
            self.mends.append(mend)

    def row(self, check: str) -> Row:
        return Row("backend", check, "no", "; ".join(self.reasons), "\n".join(self.mends))


# -- af_xdp ------------------------------------------------------------------------------------------------------------


def mode(host: Host, name: str) -> str | None:
    """The mode that AF_XDP would have here, by what the driver says of itself; None where it does not."""
    xdp = host.kernel.xdp(name)
    if xdp is None:
        return None
    return "native zero-copy" if xdp.zero_copy else "native copy" if xdp.native else "generic"


def _af_xdp(host: Host, name: str, probe: bool) -> Row:
    check, found, expected = f"{name} af_xdp", _Hindrances(), mode(host, name)
    if host.kernel.xdp_sockets() is False:
        found.add("this kernel was built without CONFIG_XDP_SOCKETS")
        return found.row(check)
    if not is_up(host, name):
        found.add("the interface is down", f"ip link set {name} up")
    if lacking := missing(host, NEEDS["af_xdp"].must):
        found.add(f"without {', '.join(lacking)}", grant("af_xdp"))
    if expected == "generic":
        why = "loopback has no native XDP" if name == "lo" else f"{_the_driver(host, name)} has no native XDP"
        found.add(why, '[af_xdp] mode = "generic" (slower than native, only by name)')
    elif host.kernel.xdp_program(name):
        number = host.kernel.xdp_program(name)
        found.add(f"another XDP program is on it (id {number})", f"bpftool net show dev {name}")
    mtu = host.number(f"sys/class/net/{name}/mtu") or 0
    if mtu > JUMBO and name != "lo" and expected != "generic":
        found.add(f"an MTU of {mtu} is too large for native XDP", f"ip link set {name} mtu 1500")
    wanted, limit = packet_memory() * queues(host, name), lockable(host)
    if 0 <= limit < wanted:
        found.add(
            f"its {wanted // MIB} MiB of packet memory are over RLIMIT_MEMLOCK ({limit // MIB} MiB)",
            f"ulimit -l unlimited\n[af_xdp] ring = {_ring(limit // queues(host, name))}",
        )
    if probe and not lacking and name != "lo":
        return _try(host, name, check)
    if found.reasons:
        return found.row(check)
    if expected is None:
        words = "the kernel does not tell what the driver can (Linux 6.3 does); feedhandler doctor --probe tries it"
        return Row("backend", check, "unseen", words)
    return Row("backend", check, "yes", f"{expected}, by what the driver says (--probe tries it)")


def _the_driver(host: Host, name: str) -> str:
    known = driver(host, name)
    return f"the driver {known}" if known else "this virtual interface"


def _ring(limit: int) -> int:
    """The largest ring that fits into so many bytes."""
    frames = max(limit // AfXdp().frame_bytes, 64)
    return 1 << (frames.bit_length() - 1)


def _try(host: Host, name: str, check: str) -> Row:
    """Open it and close it again."""
    try:
        return Row("backend", check, "yes", f"{host.kernel.try_af_xdp(name)}, opened and closed again")
    except BackendError as error:
        return Row("backend", check, "no", str(error).removeprefix("af_xdp: "))


# -- rdma --------------------------------------------------------------------------------------------------------------


def devices(host: Host, name: str) -> list[str]:
    """The RDMA devices that belong to a network interface."""
    found = []
    for device in host.names("sys/class/infiniband"):
        base = f"sys/class/infiniband/{device}"
        owners = {host.text(f"{base}/parent") or ""} | set(host.names(f"{base}/device/net"))
        for port in host.names(f"{base}/ports"):
            folder = f"{base}/ports/{port}/gid_attrs/ndevs"
            owners |= {host.text(f"{folder}/{number}") or "" for number in host.names(folder)}
        if name in owners:
            found.append(device)
    return found


def _rdma(host: Host, name: str, packages: tuple[str, str]) -> Row:
    check, found = f"{name} rdma", _Hindrances()
    if packages[0]:
        found.add(*packages)
    mine = devices(host, name)
    if not host.names("sys/class/infiniband_verbs") and not mine:
        found.add("no RDMA device, or its driver is not loaded", "modprobe ib_uverbs")
    elif not mine:
        soft = f"rdma link add rxe0 type rxe netdev {name} (soft-RoCE, for tests)"
        found.add(f"no RDMA device belongs to {name}", soft)
    elif not host.names("dev/infiniband"):
        found.add("/dev/infiniband is not there", "modprobe ib_uverbs")
    if found.reasons:
        return found.row(check)
    raw = driver(host, name) in RAW_DRIVERS
    words = f"device {', '.join(mine)}: roce-ud" + (", raw-eth" if raw else "")
    if raw and (lacking := missing(host, NEEDS["rdma raw-eth"].must)):
        return Row("backend", check, "yes", f"{words} (raw-eth not without {', '.join(lacking)})")
    return Row("backend", check, "yes", words)
