"""Networks and file systems of a test's own, in namespaces without names: the kernel takes them away with the process.

`in_namespace` tells a story in a thread of its own namespace. `Veth` is two networks and a cable between them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from feedhandler.latency.cable import inside, new_namespace
from tests.required import unavailable

NETWORK, MOUNTS = 0x40000000, 0x00020000  # CLONE_NEWNET, CLONE_NEWNS
_PRIVATE = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
_libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(kind: int, story: Callable[[], None]) -> None:
    """Run `story`, and what it starts, in a new namespace; `unavailable` without root."""
    refused: list[int] = []
    raised: list[BaseException] = []

    def tell() -> None:
        if _libc.unshare(kind) != 0:
            refused.append(ctypes.get_errno())
            return
        try:
            if kind == MOUNTS:  # what is mounted here stays here
                _mount(b"none", b"/", None, _PRIVATE, None)
            story()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()
    if refused:
        what = "network" if kind == NETWORK else "mount"
        unavailable(f"no {what} namespace can be made here: {os.strerror(refused[0])}; root, or CAP_SYS_ADMIN, can")
    if raised:
        raise raised[0]


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int, options: bytes | None) -> None:
    if _libc.mount(source, target, kind, ctypes.c_ulong(flags), options) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount {target.decode()}: {os.strerror(error)}")


def mount_tmpfs(target: str | Path, size: int) -> None:
    """A file system in memory of so many bytes, in this mount namespace alone."""
    _mount(b"tmpfs", str(target).encode(), b"tmpfs", 0, b"size=%d" % size)


def set_interface(name: str, up: bool) -> None:
    """Bring a network interface of this namespace up or down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, _GET_FLAGS, struct.pack("16sH14x", name.encode(), 0))
        flags = struct.unpack_from("H", request, 16)[0]
        flags = flags | _UP if up else flags & ~_UP
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", name.encode(), flags))


class Network:
    """A network namespace. It has no name: it lives as long as this, its sockets and its processes do."""

    def __init__(self) -> None:
        self.fd = new_namespace()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in the network while the block runs, and so is what it starts: sockets, threads, processes."""
        with inside(self.fd):
            yield

    def run(self, *command: str, text: str | None = None) -> str:
        """What a command says that is run in the network, `text` its input; AssertionError when it fails."""
        environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}  # a sanitizer's
        with self.inside():
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return done.stdout


class Veth:
    """Two networks joined by a cable: `sender` has the interface "tx", `receiver` "rx"; as many at once as one likes.

    Made new and gone when it is closed, when the process ends, and when it is killed. Both ends are up, with IPv4
    addresses (SENDER, RECEIVER) and the route of multicast through them; without IPv6, so that the cable is quiet.
    The receiving end has a NAPI of its own (GRO is on), as live frames of an XDP program need, and looks at checksums;
    the sender's end writes every checksum itself and sends no super-packets. `queues`: receive queues of "rx".

    Raises OSError when the kernel refuses. Needs root, ip (iproute2) and ethtool.
    """

    SENDER, RECEIVER, OTHER = "10.77.0.1", "10.77.0.2", "10.77.0.3"

    def __init__(self, *, mtu: int = 1500, queues: int = 1) -> None:
        self.sender = Network()
        self.receiver = Network()
        self.mtu = mtu
        try:
            here = f"/proc/{os.getpid()}/fd/{self.receiver.fd}"
            shape = f"numrxqueues {queues} numtxqueues {queues}"
            self.sender.run("ip", "link", "add", "name", "tx", *shape.split(), "type", "veth",
                            "peer", "name", "rx", *shape.split(), "netns", here)  # fmt: skip
            for network, name, addresses in (
                (self.sender, "tx", (self.SENDER, self.OTHER)),
                (self.receiver, "rx", (self.RECEIVER,)),
            ):
                with network.inside():
                    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
                lines = [f"addr add {address}/24 dev {name}" for address in addresses]
                lines += [
                    f"link set dev {name} mtu {mtu} up",
                    "link set dev lo up",
                    f"route add 224.0.0.0/4 dev {name}",
                ]
                network.run("ip", "-batch", "-", text="\n".join(lines))
            self.sender.run("ethtool", "-K", "tx", "tx", "off", "tso", "off", "gso", "off")
            self.receiver.run("ethtool", "-K", "rx", "gro", "on", "rx", "off")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def statistics(self) -> dict[str, int]:
        """Of "rx": packets, bytes, errors and drops received, as the interface counts them."""
        with self.receiver.inside():
            for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
                name, _, numbers = line.partition(":")
                if name.strip() == "rx":
                    words = ("bytes", "packets", "errors", "drops")
                    return dict(zip(words, map(int, numbers.split()), strict=False))
        raise AssertionError("there is no interface rx")

    def drop_at_egress(self, rule: str) -> None:
        """Let nftables drop what the sender sends and `rule` matches ("numgen random mod 1000 < 50"); "": no more.

        Before the cable, so that no way of receiving sees it; what an XDP program of the sender sends passes it by.
        """
        rules = ["table netdev loss", "delete table netdev loss"]
        if rule:
            hook = "type filter hook egress device tx priority 0; policy accept;"
            rules.append(f"table netdev loss {{\n chain out {{\n {hook}\n {rule} drop\n }}\n}}")
        self.sender.run("nft", "-f", "-", text="\n".join(rules) + "\n")


def veth(tools: Sequence[str] = (), **options: int) -> Veth:
    """A `Veth`, or `unavailable` with the reason where none can be made; `tools`: further programs that are needed."""
    missing = [tool for tool in ("ip", "ethtool", *tools) if shutil.which(tool) is None]
    if missing:
        packages = {"ip": "iproute2", "nft": "nftables"}
        wanted = " ".join(packages.get(tool, tool) for tool in missing)
        unavailable(f"no {', '.join(missing)} here; they come with: apt-get install {wanted}")
    try:
        return Veth(**options)
    except OSError as error:
        unavailable(f"no network namespace can be made here: {error.strerror}; root, or CAP_SYS_ADMIN, can")
