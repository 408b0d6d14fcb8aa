"""Starts the guest under QEMU, runs one command in it, and brings back its output and exit code.

`python -m tests.guest.boot COMMAND` does that by hand, with all that the guest says.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guest import packages
from tests.guest.image import cpio, entries

QEMU = "qemu-system-x86_64"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
PYVERBS = "usr/lib/python3/dist-packages"
KERNEL_LINE = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"
MEGABYTES = 768


@dataclass(frozen=True)
class Run:
    """What became of a guest."""

    code: int | None
    """Of the command; None when the guest did not get as far, which is no fault of the command."""
    output: list[str]
    seconds: float


def absence() -> str | None:
    """Why there can be no guest here, with the remedy; None when there can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the guest is an x86-64 Linux; this is {platform.machine()} {sys.platform}"
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not here: apt-get install qemu-system-x86 (or: scripts/setup test)"
    if not packages.fetched():
        return f"the guest's kernel and packages are not in {packages.CACHE}: scripts/setup test fetches them"
    tag = f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    if not any(tag in path.name for path in packages.TREE.joinpath(PYVERBS, "pyverbs").glob("device.*.so")):
        return f"the guest's pyverbs is not for this interpreter ({tag})"
    return None


def accelerator() -> list[str]:
    """KVM where the processor has it. /dev/kvm alone proves nothing: a nested one can hang the guest at its start."""
    flags = Path("/proc/cpuinfo").read_text().split()
    if ("vmx" in flags or "svm" in flags) and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max"]


def environment() -> dict[str, str]:
    """What a command in the guest sees: the fetched packages, used from where they were unpacked."""
    tree = packages.TREE
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": str(tree / LIBRARIES),
        "RDMAV_DRIVERS": str(tree / LIBRARIES / "libibverbs" / "librxe"),  # libibverbs adds -rdmav34.so
        "PYTHONPATH": f"{packages.ROOT}:{tree / PYVERBS}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def boot(command: Sequence[str], seconds: float, tell: Callable[[str], None] = lambda line: None) -> Run:
    """Run `command` in a guest that is ended after `seconds`; `tell` hears each line. absence() was None."""
    begin = time.monotonic()
    settings = environment() | {"FOLDER": str(packages.ROOT), "COMMAND": shlex.join(command)}
    disk = packages.CACHE / f"disk-{os.getpid()}.cpio"
    disk.write_bytes(cpio(entries(packages.TREE, settings)))
    (kernel,) = packages.TREE.glob("boot/vmlinuz-*")
    arguments = [QEMU, "-machine", "q35", *accelerator(), "-smp", "2", "-m", str(MEGABYTES)]
    arguments += ["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot", "-monitor", "none"]
    arguments += ["-serial", "stdio", "-nic", "none", "-kernel", str(kernel), "-initrd", str(disk)]
    arguments += ["-append", KERNEL_LINE, "-virtfs"]
    arguments += ["local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap"]
    lines: list[str] = []
    code = None
    try:
        with subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as guest:
            watch = threading.Timer(seconds, guest.kill)
            watch.start()
            assert guest.stdout is not None
            try:
                for raw in guest.stdout:
                    line = raw.decode(errors="replace").rstrip("\r\n")
                    lines.append(line)
                    tell(line)
                    if line.startswith("GUEST-CODE "):
                        code = int(line.split()[1])
            finally:
                watch.cancel()
                guest.kill()
    finally:
        disk.unlink(missing_ok=True)
    return Run(code, lines, time.monotonic() - begin)


if __name__ == "__main__":
    if (reason := absence()) is not None:
        raise SystemExit(reason)
    done = boot(sys.argv[1:], 600, lambda line: print(line, flush=True))
    print(f"code {done.code}, {done.seconds:.1f} s")
