"""What this host can do for a feed, and the command that would mend each "no".

Reads /proc and /sys, and tries socket options on sockets of its own; it changes nothing, needs no root, and says what
it could not see. `examine()` gives the rows, the command `feedhandler doctor` prints them.
"""

import array
import ctypes
import errno
import fcntl
import os
import platform
import resource
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from feedhandler.config import Books, Ring, Run, Shm
from feedhandler.errors import BackendError

State = Literal["yes", "no", "unseen"]
MIB = 1 << 20

SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python's socket module does not name these
SO_BUSY_POLL = 46
SIOCETHTOOL = 0x8946
ETHTOOL_GET_TS_INFO = 0x41
HARDWARE_RECEIVE = 1 << 2  # SOF_TIMESTAMPING_RX_HARDWARE
IFF_UP, IFF_MULTICAST = 0x1, 0x1000
STA_UNSYNC = 0x40  # timex.h: the clock is not disciplined

CAPABILITIES = {  # number in linux/capability.h, and what it is wanted for
    "cap_net_admin": (12, "receive buffers and busy polling beyond the limits of sysctl"),
    "cap_net_raw": (13, "af_xdp, a later version"),
    "cap_ipc_lock": (14, "lock_memory = true without a limit"),
    "cap_sys_nice": (23, "a real-time priority for the hot thread"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One finding: yes, no, or unseen; what was found and why it matters; the command that would mend it, or ""."""

    topic: str
    check: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """The files below `root` that tell of the machine; a test puts a folder of its own there."""

    root: Path = Path("/")

    def text(self, path: str) -> str | None:
        """What the file holds, stripped; None when it is absent or may not be read."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """The first number of the file, or None."""
        words = (self.text(path) or "").split()
        return int(words[0]) if words and words[0].lstrip("-").isdigit() else None


def examine(host: Host | None = None, receive_buffer: int = 0, shm_dir: str = "") -> list[Row]:
    """All rows, in the order in which a person would mend them. The defaults are those of the configuration."""
    host = host or Host()
    return [
        *system(host),
        *processor(host),
        *clock(host),
        *sockets(host, receive_buffer or Run().receive_buffer),
        *interfaces(host),
        *memory(host, shm_dir or Shm("doctor").dir),
        *privileges(host),
        *backends(),
    ]


def system(host: Host) -> Iterator[Row]:
    """Kernel, Python, packages."""
    kernel = host.text("proc/sys/kernel/osrelease") or platform.release()
    linux = sys.platform == "linux"
    yield Row("system", "kernel", "yes" if linux else "no", f"{platform.system()} {kernel} {platform.machine()}")
    python = platform.python_version()
    yield Row("system", "python", "yes" if sys.version_info >= (3, 11) else "no", f"{python} ({sys.executable})")
    for name in ("feedhandler", "numpy", "zstandard", "typer", "rich"):
        try:
            yield Row("system", name, "yes", metadata.version(name))
        except metadata.PackageNotFoundError:
            here = name == "feedhandler"
            found = "run from its source tree, not installed" if here else "not installed"
            yield Row("system", name, "yes" if here else "no", found, "" if here else f"pip install {name}")


def processor(host: Host) -> Iterator[Row]:
    """CPUs, what else may run on them, and their speed."""
    usable = len(os.sched_getaffinity(0))
    found = f"{usable} usable of {os.cpu_count()}"
    if usable >= 2:
        yield Row("cpu", "count", "yes", found)
    else:
        yield Row("cpu", "count", "no", f"{found}: handler and strategy would share one", "run on two or more CPUs")
    quota = (host.text("sys/fs/cgroup/cpu.max") or "").split()
    if len(quota) == 2 and quota[0] != "max":
        share = int(quota[0]) / int(quota[1])
        yield Row(
            "cpu", "no quota", "no", f"{share:.1f} CPUs: a spinning thread is halted", "lift the cgroup's cpu.max"
        )
    else:
        yield Row("cpu", "no quota", "yes", "no cgroup limit on CPU time" if quota else "none seen")
    isolated = host.text("sys/devices/system/cpu/isolated")
    if isolated:
        yield Row("cpu", "isolation", "yes", f"CPUs {isolated} are isolated; name one in [handler] cpu")
    elif isolated is None:
        yield Row("cpu", "isolation", "unseen", "/sys/devices/system/cpu/isolated cannot be read")
    else:
        last = (os.cpu_count() or 1) - 1
        boot = f"kernel command line: isolcpus={last} nohz_full={last} rcu_nocbs={last}"
        yield Row("cpu", "isolation", "no", "no CPU is kept free: other work interrupts the hot thread", boot)
    governors = {
        path.read_text().strip()
        for path in (host.root / "sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")
    }
    if not governors:
        yield Row("cpu", "governor", "unseen", "no cpufreq here (usual in a virtual machine)")
    elif governors == {"performance"}:
        yield Row("cpu", "governor", "yes", "performance")
    else:
        found = f"{', '.join(sorted(governors))}: CPUs slow down when idle"
        yield Row("cpu", "governor", "no", found, "cpupower frequency-set -g performance")


def clock(host: Host) -> Iterator[Row]:
    """How the time is read, and whether it is right."""
    base = "sys/devices/system/clocksource/clocksource0"
    source, others = host.text(f"{base}/current_clocksource"), host.text(f"{base}/available_clocksource") or ""
    if source is None:
        yield Row("clock", "source", "unseen", f"/{base} cannot be read")
    elif source in ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"):
        yield Row("clock", "source", "yes", f"{source}: read without a system call")
    else:
        mend = f"echo tsc > /{base}/current_clocksource" if "tsc" in others.split() else "boot with tsc=reliable"
        yield Row("clock", "source", "no", f"{source}: each reading is a system call", mend)
    state = clock_status()
    if state is None:
        yield Row("clock", "synchronised", "unseen", "the kernel does not tell (adjtimex)")
    elif state & STA_UNSYNC:
        found = "nothing disciplines it: ts_recv may be off by seconds"
        yield Row("clock", "synchronised", "no", found, "apt install chrony")
    else:
        yield Row("clock", "synchronised", "yes", "disciplined by NTP or PTP")


def clock_status() -> int | None:
    """The status bits of adjtimex(2), read only; None where that is not allowed."""
    timex = (ctypes.c_char * 512)()  # struct timex of 64-bit Linux is 208 bytes; modes = 0 asks and changes nothing
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return int(struct.unpack_from("i", timex, 40)[0])  # modes, offset, freq, maxerror, esterror, then status


def sockets(host: Host, receive_buffer: int) -> Iterator[Row]:
    """What the kernel grants a UDP socket: tried on one that is bound to nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
        except OSError:  # without cap_net_admin
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        granted = udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles it for its own use
        found = f"asked {receive_buffer:,} bytes, granted {granted:,}"
        if granted >= receive_buffer:
            yield Row("sockets", "receive buffer", "yes", found)
        else:
            limit = host.number("proc/sys/net/core/rmem_max")
            seen = "" if limit is not None else " (net.core.rmem_max cannot be seen from here: set it on the host)"
            mend = f"sysctl -w net.core.rmem_max={receive_buffer}"
            yield Row("sockets", "receive buffer", "no", f"{found}: a burst may be dropped{seen}", mend)
        yield _option(udp, SO_TIMESTAMPNS, 1, "kernel timestamps", "packets are stamped in nanoseconds", "")
        mend = "setcap cap_net_admin+ep $(readlink -f $(command -v python3)), or run as root"
        yield _option(udp, SO_BUSY_POLL, 50, "busy poll", "busy_poll_us may be set", mend)
    groups = host.number("proc/sys/net/ipv4/igmp_max_memberships")
    if groups is None:
        yield Row("sockets", "groups", "unseen", "net.ipv4.igmp_max_memberships cannot be seen from here")
    else:
        yield Row("sockets", "groups", "yes", f"{groups} multicast groups may be joined per socket")


def _option(udp: socket.socket, option: int, value: int, check: str, found: str, mend: str) -> Row:
    """A row for a socket option, tried."""
    try:
        udp.setsockopt(socket.SOL_SOCKET, option, value)
    except OSError as error:
        reason = "not permitted" if error.errno in (errno.EPERM, errno.EACCES) else error.strerror
        return Row("sockets", check, "no", f"the kernel refuses: {reason}", mend)
    return Row("sockets", check, "yes", found)


def interfaces(host: Host) -> Iterator[Row]:
    """Each network interface: whether multicast can come in on it, and how packets would be stamped."""
    for path in sorted((host.root / "sys/class/net").glob("*")):
        name = path.name
        flags = int(host.text(f"sys/class/net/{name}/flags") or "0", 16)
        driver = path / "device/driver"
        words = [f"driver {driver.resolve().name}" if driver.exists() else "virtual"]
        if speed := host.number(f"sys/class/net/{name}/speed"):
            words += [f"{speed} Mb/s"] if speed > 0 else []
        words.append(f"mtu {host.text(f'sys/class/net/{name}/mtu')}")
        hardware = hardware_timestamps(name)
        words.append({True: "hardware timestamps", False: "kernel timestamps", None: "timestamping unseen"}[hardware])
        found = ", ".join(words)
        if not flags & IFF_UP:
            yield Row("interface", name, "no", f"down; {found}", f"ip link set {name} up")
        elif not flags & IFF_MULTICAST and name != "lo":
            yield Row("interface", name, "no", f"no multicast; {found}", f"ip link set {name} multicast on")
        else:  # lo carries multicast when it is named, without the flag
            yield Row("interface", name, "yes", f"up, {'loopback multicast' if name == 'lo' else 'multicast'}, {found}")
        if host.text(f"proc/sys/net/ipv4/conf/{name}/rp_filter") == "1" and name != "lo":
            found = "strict: multicast from sources routed elsewhere is dropped"
            yield Row("interface", f"{name} rp_filter", "no", found, f"sysctl -w net.ipv4.conf.{name}.rp_filter=2")


def hardware_timestamps(interface: str) -> bool | None:
    """Whether the NIC stamps received packets, as ETHTOOL_GET_TS_INFO tells; None when it does not."""
    info = array.array("B", struct.pack("I", ETHTOOL_GET_TS_INFO) + bytes(40))
    request = struct.pack("16sP8x", interface.encode()[:15], info.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            fcntl.ioctl(udp, SIOCETHTOOL, request)
    except OSError:
        return None
    return bool(struct.unpack_from("I", info, 4)[0] & HARDWARE_RECEIVE)


def memory(host: Host, shm_dir: str) -> Iterator[Row]:
    """Locked memory, huge pages, and room for the segment."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY or effective_capabilities(host) >> CAPABILITIES["cap_ipc_lock"][0] & 1:
        yield Row(
            "memory", "memlock", "yes", "unlimited" if soft == resource.RLIM_INFINITY else "cap_ipc_lock: no limit"
        )
    else:
        mend = "ulimit -l unlimited" if hard == resource.RLIM_INFINITY else "systemd: LimitMEMLOCK=infinity"
        yield Row("memory", "memlock", "no", f"{soft // 1024:,} KiB: lock_memory = true will be refused", mend)
    meminfo = dict(line.split(":", 1) for line in (host.text("proc/meminfo") or "").splitlines() if ":" in line)
    total = int(meminfo.get("HugePages_Total", "0").split()[0])
    if total:
        free, size = meminfo.get("HugePages_Free", "0").strip(), meminfo.get("Hugepagesize", "").strip()
        yield Row("memory", "huge pages", "yes", f"{total} of {size}, {free} free")
    else:
        found = "none reserved: large books cost more TLB misses"
        yield Row("memory", "huge pages", "no", found, "sysctl -w vm.nr_hugepages=128")
    transparent = host.text("sys/kernel/mm/transparent_hugepage/enabled")
    if transparent is None:
        yield Row("memory", "transparent", "unseen", "/sys/kernel/mm/transparent_hugepage cannot be read")
    elif "[never]" in transparent:
        mend = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        yield Row("memory", "transparent", "no", "never: order tables get small pages", mend)
    else:
        yield Row("memory", "transparent", "yes", transparent)
    try:
        space = os.statvfs(shm_dir)
    except OSError as error:
        yield Row("memory", shm_dir, "no", f"{error.strerror}: segments cannot be made", f"mkdir -p {shm_dir}")
        return
    free_bytes = space.f_bavail * space.f_frsize
    found = f"{free_bytes // MIB:,} MiB free of {space.f_blocks * space.f_frsize // MIB:,}"
    if not os.access(shm_dir, os.W_OK | os.X_OK):
        yield Row("memory", shm_dir, "no", f"not writable for this user; {found}", f"chmod 1777 {shm_dir}")
    elif free_bytes < (needed := segment_bytes()):
        mend = f"mount -o remount,size=1G {shm_dir} (docker run --shm-size=1g)"
        found = f"{found}: a segment of the default sizes takes {needed // MIB:,}"
        yield Row("memory", shm_dir, "no", found, mend)
    else:
        yield Row("memory", shm_dir, "yes", f"{found}; a segment of the default sizes takes {needed // MIB:,}")


def segment_bytes() -> int:
    """The size of a segment with the default sizes of the configuration and two lines."""
    from feedhandler.publish.layout import Layout

    books = Books()
    return Layout(books.depth, books.instruments, channels=1, lines=2, ring_events=Ring().events).parts()[1]


def effective_capabilities(host: Host) -> int:
    """The effective capabilities of this process as bits, 0 where they cannot be read."""
    status = dict(line.split(":", 1) for line in (host.text("proc/self/status") or "").splitlines() if ":" in line)
    return int(status.get("CapEff", "0").strip(), 16)


def privileges(host: Host) -> Iterator[Row]:
    """The capabilities of this process; `feedhandler run` would have the same."""
    effective = effective_capabilities(host)
    for name, (number, purpose) in CAPABILITIES.items():
        if effective >> number & 1:
            yield Row("privileges", name, "yes", f"for {purpose}")
        else:
            mend = f"setcap {name}+ep $(readlink -f $(command -v python3))"
            yield Row("privileges", name, "no", f"wanted for {purpose}", mend)


def backends() -> Iterator[Row]:
    """The ways to the wire, as `backend = "auto"` finds them."""
    from feedhandler.receive.choose import ORDER, load

    for name in reversed(ORDER):
        try:
            load(name)
        except BackendError as error:
            yield Row("backend", name, "no", str(error).removeprefix(f"{name}: "))
        else:
            yield Row("backend", name, "yes", "built in")
