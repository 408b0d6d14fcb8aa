"""Locked memory, huge pages, and room for the segment."""

import os
from collections.abc import Iterator

from feedhandler.config import AfXdp, Books, Ring
from feedhandler.doctor.findings import MIB, Host, Row
from feedhandler.doctor.privileges import has


def packet_memory() -> int:
    """Bytes that af_xdp locks for one receive queue, with the default sizes."""
    return AfXdp().ring * AfXdp().frame_bytes


def lockable(host: Host) -> int:
    """Bytes that this process may lock; -1 for no limit."""
    return -1 if has(host, "cap_ipc_lock") else host.kernel.locked_memory()[0]


def memory(host: Host, shm_dir: str) -> Iterator[Row]:
    """Locked memory, huge pages, and room for the segment."""
    yield _locked(host)
    meminfo = host.fields("proc/meminfo")
    total = int(meminfo.get("HugePages_Total", "0").split()[0])
    if total:
        free, size = meminfo.get("HugePages_Free", "0"), meminfo.get("Hugepagesize", "")
        yield Row("memory", "huge pages", "yes", f"{total} of {size}, {free} free")
    else:
        found = "none reserved: large books and packet memory cost more TLB misses"
        yield Row("memory", "huge pages", "no", found, "sysctl -w vm.nr_hugepages=128")
    transparent = host.text("sys/kernel/mm/transparent_hugepage/enabled")
    if transparent is None:
        yield Row("memory", "transparent", "unseen", "/sys/kernel/mm/transparent_hugepage cannot be read")
    elif "[never]" in transparent:
        mend = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        yield Row("memory", "transparent", "no", "never: order tables get small pages", mend)
    else:
        yield Row("memory", "transparent", "yes", transparent)
    yield _segment(shm_dir)


def _locked(host: Host) -> Row:
    soft, hard = host.kernel.locked_memory()
    if soft < 0:
        return Row("memory", "memlock", "yes", "unlimited")
    if lockable(host) < 0:
        return Row("memory", "memlock", "yes", "cap_ipc_lock: no limit")
    mend = "ulimit -l unlimited" if hard < 0 else "systemd: LimitMEMLOCK=infinity"
    wanted = f"lock_memory = true will be refused, and af_xdp wants {packet_memory() // MIB} MiB a receive queue"
    return Row("memory", "memlock", "no", f"{soft // 1024:,} KiB: {wanted}", mend)


def _segment(shm_dir: str) -> Row:
    try:
        space = os.statvfs(shm_dir)
    except OSError as error:
        return Row("memory", shm_dir, "no", f"{error.strerror}: segments cannot be made", f"mkdir -p {shm_dir}")
    free_bytes = space.f_bavail * space.f_frsize
    found = f"{free_bytes // MIB:,} MiB free of {space.f_blocks * space.f_frsize // MIB:,}"
    if not os.access(shm_dir, os.W_OK | os.X_OK):
        return Row("memory", shm_dir, "no", f"not writable for this user; {found}", f"chmod 1777 {shm_dir}")
    if free_bytes < (needed := segment_bytes()):
        mend = f"mount -o remount,size=1G {shm_dir} (docker run --shm-size=1g)"
        found = f"{found}: a segment of the default sizes takes {needed // MIB:,}"
        return Row("memory", shm_dir, "no", found, mend)
    return Row("memory", shm_dir, "yes", f"{found}; a segment of the default sizes takes {needed // MIB:,}")


def segment_bytes() -> int:
    """The size of a segment with the default sizes of the configuration and two lines."""
    from feedhandler.publish.layout import Layout

    books = Books()
    return Layout(books.depth, books.instruments, channels=1, lines=2, ring_events=Ring().events).parts()[1]
