"""Fetches the parts of the guest into build/guest: Debian's kernel, pyverbs and its libraries. Nothing is installed.

`python tests/guest/packages.py` is what `scripts/setup test` calls; it does nothing where all is there already. The
standard library is enough for it. Exit code 1 and one sentence when the parts cannot be had.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("FEEDHANDLER_GUEST") or ROOT / "build" / "guest")
TREE = CACHE / "root"
KERNEL = "linux-image-amd64"
PACKAGES = (
    "busybox-static",
    "python3-pyverbs",
    "libibverbs1",
    "ibverbs-providers",
    "librdmacm1",
    "libnl-3-200",
    "libnl-route-3-200",
    "libibverbs-dev",  # its header is what the receiver's own declarations are compared with
)
RECIPE = "1"  # goes up when this file wants other parts; the cache is then made anew
KERNEL_PARTS = (
    "./boot/vmlinuz-*",
    *(
        f"*/kernel/{part}"
        for part in (
            *("drivers/infiniband/core/*", "drivers/infiniband/sw/rxe/*", "drivers/virtio/*", "fs/9p/*", "net/9p/*"),
            *("fs/netfs/*", "fs/fscache/*", "fs/overlayfs/*", "fs/configfs/*", "net/ipv4/udp_tunnel.ko"),
            *("net/ipv6/ip6_udp_tunnel.ko", "drivers/net/dummy.ko", "crypto/crc32_generic.ko"),
        )
    ),
)


class FetchError(Exception):
    """The parts cannot be had; the message is one sentence."""


def fetched() -> bool:
    """Whether the cache holds what this recipe wants."""
    stamp = CACHE / "recipe"
    return stamp.exists() and stamp.read_text() == RECIPE


def fetch() -> None:
    """Fill the cache. Raises FetchError."""
    for command in ("apt-get", "apt-cache", "dpkg-deb", "tar"):
        if shutil.which(command) is None:
            raise FetchError(f"the guest is made of Debian's packages, and there is no {command} here")
    shutil.rmtree(CACHE, ignore_errors=True)
    debs = CACHE / "debs"
    debs.mkdir(parents=True)
    TREE.mkdir()
    wanted = [_kernel(), *PACKAGES]
    if _quiet("apt-get", "download", *wanted, cwd=debs) != 0:
        raise FetchError(f"apt-get download {' '.join(wanted)} failed: is the package mirror reachable?")
    for deb in sorted(debs.glob("*.deb")):
        if deb.name.startswith("linux-image"):
            _unpack_kernel(deb)
        else:
            _run("dpkg-deb", "-x", str(deb), str(TREE))
    shutil.rmtree(debs)
    (CACHE / "recipe").write_text(RECIPE)


def _kernel() -> str:
    """The package behind the name that always means the newest kernel."""
    for attempt in (1, 2):
        said = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=False).stdout
        if found := re.search(r"Depends: (linux-image-\S+)", said):
            return found[1]
        if attempt == 1 and os.geteuid() == 0:
            _quiet("apt-get", "-qq", "update")
    raise FetchError(f"apt knows no package {KERNEL}: the guest needs Debian's (apt-get update)")


def _unpack_kernel(deb: Path) -> None:
    """The image and the modules we load, of the 400 MB that the package holds."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as archive:
        _run("tar", "-x", "-C", str(TREE), "--wildcards", *KERNEL_PARTS, stdin=archive.stdout)


def _run(*command: str, **options: object) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise FetchError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")


def _quiet(*command: str, cwd: Path | None = None) -> int:
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode


def main() -> int:
    if fetched():
        return 0
    print("setup: fetching the parts of the RDMA guest into build/guest (75 MB)", file=sys.stderr)
    try:
        fetch()
    except FetchError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
