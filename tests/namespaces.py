"""Stories that need a network or a file system of their own: told in a thread with namespaces that go when it ends."""

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

NETWORK, MOUNTS = 0x40000000, 0x00020000  # CLONE_NEWNET, CLONE_NEWNS
_PRIVATE = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
_libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(kind: int, story: Callable[[], None]) -> None:
    """Run `story`, and what it starts, in a new namespace; skips without root."""
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
        pytest.skip(f"no {what} namespace can be made here: {os.strerror(refused[0])}; root, or CAP_SYS_ADMIN, can")
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
