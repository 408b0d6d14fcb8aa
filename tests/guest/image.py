"""The guest's memory disk: a static shell, the modules in the order they need each other, and what to do on start."""

import re
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
RDMA_MODULES = ("crc32_generic", "ib_uverbs", "rdma_rxe", "rdma_ucm", "dummy")
FOLDERS = ("bin", "dev", "proc", "sys", "mod", "host", "rw", "new")

# The host's files are below everything, read-only; what the guest writes stays in its memory. No tmpfs on /tmp: caches
# and checkouts live there too. No network device: the one interface is a dummy.
INIT = r"""#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
die() { echo "GUEST-FAILED $*"; $b poweroff -f; }
while read m; do $b insmod /mod/$m || die "insmod $m"; done < /mod/order
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose hostroot /host || die "mount 9p"
$b mount -t tmpfs t /rw; $b mkdir /rw/u /rw/w
$b mount -t overlay -o lowerdir=/host,upperdir=/rw/u,workdir=/rw/w o /new || die "mount overlay"
for d in proc sys dev run; do $b mkdir -p /new/$d; done
$b mount -t proc p /new/proc; $b mount -t sysfs s /new/sys; $b mount -t devtmpfs d /new/dev
$b mkdir -p /new/dev/shm; $b mount -t tmpfs t /new/dev/shm; $b mount -t tmpfs t /new/run
. /environment
read u _ < /proc/uptime; echo "GUEST-UP $u"
$b chroot /new /bin/sh -c "cd $FOLDER && $COMMAND"
echo "GUEST-CODE $?"
$b poweroff -f
"""


@dataclass(frozen=True)
class Entry:
    """A file or folder of the archive."""

    name: str
    data: bytes | None = None
    """None = a folder."""
    executable: bool = False


def entries(tree: Path, environment: Mapping[str, str]) -> Iterator[Entry]:
    """What the guest starts with. `environment` needs FOLDER and COMMAND."""
    yield from map(Entry, FOLDERS)
    busybox = next(path for path in (tree / "bin/busybox", tree / "usr/bin/busybox") if path.exists())
    yield Entry("bin/busybox", busybox.read_bytes(), executable=True)
    order = modules(tree / "lib/modules", (*BOOT_MODULES, *RDMA_MODULES))
    for path in order:
        yield Entry(f"mod/{path.name}", path.read_bytes())
    yield Entry("mod/order", "".join(f"{path.name}\n" for path in order).encode())
    exports = (f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    yield Entry("environment", "".join(exports).encode())
    yield Entry("init", INIT.encode(), executable=True)


def modules(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of these modules, each behind those it depends on. What is built into the kernel has none."""
    there = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        path = there.get(name.replace("-", "_"))
        if path is None or path in order:
            return
        depends = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in depends[1].decode().split(",") if depends else []:
            add(other)
        order.append(path)

    for name in names:
        add(name)
    return order


def cpio(contents: Iterable[Entry]) -> bytes:
    """An archive as the kernel unpacks it ("newc", Documentation/driver-api/early-userspace/buffer-format.rst)."""
    made = bytearray()
    for number, entry in enumerate((*contents, Entry("TRAILER!!!", b"")), 1):
        data, name = entry.data or b"", entry.name.encode() + b"\0"
        kind = stat.S_IFDIR if entry.data is None else stat.S_IFREG
        rights = 0o755 if entry.executable or entry.data is None else 0o644
        fields = (number, kind | rights, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        made += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        made += bytes(-len(made) % 4) + data
        made += bytes(-len(made) % 4)
    return bytes(made)
