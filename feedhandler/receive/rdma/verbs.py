"""pyverbs, found at run time: the distribution's package, and which of the ways in which it can be missing this is.

The one on PyPI is a third party's: it brings a libibverbs of its own, which finds no driver of the distribution's.
Numbers of the verbs' ABI stand here as numbers: pyverbs has moved its module of constants twice.
"""

import ctypes
import errno
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from feedhandler.errors import BackendError

DISTRIBUTION = "/usr/lib/python3/dist-packages"
"""Where Debian and Ubuntu have it; an interpreter of another origin does not look there by itself."""
INSTALL = "apt-get install python3-pyverbs (Fedora, RHEL: dnf install python3-pyverbs)"
SYSFS = Path("/sys/class/infiniband")

QPT_UD, QPT_RAW_PACKET = 4, 8  # enum ibv_qp_type
LOCAL_WRITE, ACCESS_HUGETLB = 1, 1 << 7  # enum ibv_access_flags
WR_SEND, SEND_SIGNALED = 2, 2  # enum ibv_wr_opcode, ibv_send_flags
FLOW_SPEC_UDP = 0x41  # enum ibv_flow_spec_type
WITH_BYTE_LEN, WITH_WALLCLOCK = 1, 1 << 11  # enum ibv_create_cq_wc_flags
SIZES = {"CQ": 96, "CQEX": 80, "QP": 128, "CompChannel": 64}
"""Bytes of pyverbs' objects as they were in every release whose layout was looked at."""


class Verbs(NamedTuple):
    """The classes of pyverbs that are used here, and libibverbs itself."""

    get_device_list: Any
    Context: Any
    PD: Any
    MR: Any
    CQ: Any
    CQEX: Any
    CqInitAttrEx: Any
    CompChannel: Any
    QP: Any
    QPAttr: Any
    QPCap: Any
    QPInitAttr: Any
    SGE: Any
    RecvWR: Any
    SendWR: Any
    AH: Any
    AHAttr: Any
    GID: Any
    GlobalRoute: Any
    Flow: Any
    FlowAttr: Any
    EthSpec: Any
    Ipv4ExtSpec: Any
    TcpUdpSpec: Any
    library: ctypes.CDLL
    """libibverbs as pyverbs has loaded it: another copy would know none of its devices."""


MODULES = {
    "device": ("get_device_list", "Context"),
    "pd": ("PD",),
    "mr": ("MR",),
    "cq": ("CQ", "CQEX", "CqInitAttrEx", "CompChannel"),
    "qp": ("QP", "QPAttr", "QPCap", "QPInitAttr"),
    "wr": ("SGE", "RecvWR", "SendWR"),
    "addr": ("AH", "AHAttr", "GID", "GlobalRoute"),
    "flow": ("Flow", "FlowAttr"),
    "spec": ("EthSpec", "Ipv4ExtSpec", "TcpUdpSpec"),
}


@functools.cache
def load() -> Verbs:
    """pyverbs, imported. Raises BackendError: not installed, for another Python, or not of this libibverbs."""
    _find()
    found: dict[str, Any] = {}
    try:
        for module, names in MODULES.items():
            loaded = importlib.import_module(f"pyverbs.{module}")
            found |= {name: getattr(loaded, name) for name in names}
        return Verbs(**found, library=ctypes.CDLL(_library_path(), use_errno=True))
    except (ImportError, AttributeError, OSError) as error:
        raise BackendError(
            f"pyverbs does not match this host's libibverbs ({error}); take both from the distribution: {INSTALL}, "
            "and remove another one: pip uninstall pyverbs"
        ) from None


def devices(verbs: Verbs) -> list[str]:
    """The names of the RDMA devices here. Raises BackendError: kernel without RDMA, no device, no driver for it."""
    try:
        names = [_text(device.name) for device in verbs.get_device_list()]
    except Exception as error:
        if not is_refusal(error):
            raise
        raise BackendError(
            "this kernel has no RDMA: modprobe ib_uverbs, or boot one with CONFIG_INFINIBAND (cloud kernels lack it)"
        ) from None
    if names:
        return names
    if there := kernel_devices():
        raise BackendError(f"libibverbs has no driver for {', '.join(there)}: apt-get install ibverbs-providers")
    raise BackendError(
        "there is no RDMA device: load the NIC's driver (modprobe mlx5_ib), or have one in software: "
        "rdma link add rxe0 type rxe netdev eth0"
    )


def kernel_devices() -> list[str]:
    """Those the kernel knows of."""
    return sorted(path.name for path in SYSFS.iterdir()) if SYSFS.is_dir() else []


def is_refusal(error: BaseException) -> bool:
    """Whether this is pyverbs' way of saying that a verb was refused, not a fault of the program."""
    return any(kind.__name__ == "PyverbsError" for kind in type(error).__mro__)


def error_number(error: BaseException) -> int:
    """The errno of what pyverbs raised; 0 when it has none."""
    return max(0, int(getattr(error, "error_code", 0)))


def refusal(step: str, error: BaseException) -> BackendError:
    """The sentence for a verb that was refused while doing `step`, with the remedy."""
    number = error_number(error)
    reason = os.strerror(number) if number else str(error).rstrip(".")
    remedy = {
        errno.EPERM: "it needs CAP_NET_RAW: run as root, or setcap cap_net_raw+ep on the interpreter",
        errno.EACCES: "give this user /dev/infiniband/uverbs*: run as root, or a udev rule with its group",
        errno.ENOMEM: "memory that the device uses must be locked: ulimit -l unlimited, or a smaller ring",
        errno.EINVAL: "more than the device can: a smaller ring",
        errno.EBUSY: "another program uses it",
    }.get(number, "")
    return BackendError(f"cannot {step}: {reason}{remedy and f' ({remedy})'}")


class refused:  # noqa: N801 (reads as a verb: with refused("open rxe0"))
    """Turns what pyverbs raises in the block into a BackendError that names the step."""

    def __init__(self, step: str) -> None:
        self.step = step

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and is_refusal(error):
            raise refusal(self.step, error) from error


def _find() -> None:
    """Let `import pyverbs` find the package: this interpreter's own, else the distribution's."""
    if importlib.util.find_spec("pyverbs") is not None:
        return
    spec = importlib.machinery.PathFinder.find_spec("pyverbs", [DISTRIBUTION])
    if spec is None or spec.loader is None or spec.origin is None:
        raise BackendError(f"python3-pyverbs is not installed: {INSTALL}")
    folder = Path(spec.origin).parent
    if not any(folder.joinpath(f"device{suffix}").exists() for suffix in importlib.machinery.EXTENSION_SUFFIXES):
        built = ", ".join(sorted(_tags(folder))) or "another Python"
        raise BackendError(
            f"the distribution's pyverbs is for {built}, this is {sys.implementation.cache_tag}: run feedhandler with "
            "the distribution's python3, or build pyverbs from rdma-core's source for this one"
        )
    # this one package alone: with the folder on sys.path others would come from there too
    module = importlib.util.module_from_spec(spec)
    sys.modules["pyverbs"] = module
    spec.loader.exec_module(module)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _tags(folder: Path) -> Iterator[str]:
    for path in folder.glob("device.*.so"):
        yield "-".join(path.name.split(".")[1].split("-")[:2])


def _library_path() -> str:
    """The file of the libibverbs that is loaded."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.partition("/")[2]
        if path.rpartition("/")[2].startswith("libibverbs.so"):
            return f"/{path}"
    raise OSError("libibverbs is not loaded")
