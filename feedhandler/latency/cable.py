"""Two network namespaces joined by a veth pair, made by this process and gone with it: no packet leaves the host."""

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from feedhandler.closing import Closing
from feedhandler.errors import BackendError

CLONE_NEWNET = 0x40000000
OWN = "/proc/thread-self/ns/net"
SENDER, RECEIVER = "tx", "rx"
"""The interfaces at both ends."""
_libc = ctypes.CDLL(None, use_errno=True)


class Cable(Closing):
    """`sender` and `receiver` are the namespaces of its ends; use it as a context manager.

    Raises BackendError where namespaces cannot be made (root can), or ip (iproute2) is missing.
    """

    def __init__(self) -> None:
        if shutil.which("ip") is None:
            raise BackendError("a veth pair is made with ip, which is not installed: apt install iproute2")
        self._fds: list[int] = []
        try:
            self.sender, self.receiver = self._namespace(), self._namespace()
            end = f"/proc/{os.getpid()}/fd/{self.receiver}"
            self._ip(self.sender, f"link add name {SENDER} type veth peer name {RECEIVER} netns {end}")
            for namespace, name, host in ((self.sender, SENDER, 1), (self.receiver, RECEIVER, 2)):
                self._ip(namespace, f"addr add 10.77.0.{host}/24 dev {name}")
                self._ip(namespace, f"link set dev {name} addrgenmode none up")
                self._ip(namespace, f"route add 224.0.0.0/4 dev {name}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the namespaces up: with the last process in them they and the pair are gone."""
        while self._fds:
            os.close(self._fds.pop())

    def _namespace(self) -> int:
        try:
            self._fds.append(new_namespace())
        except OSError as error:
            raise BackendError(f"no network namespace can be made: {error.strerror} (root can)") from None
        return self._fds[-1]

    def _ip(self, namespace: int, arguments: str) -> None:
        with inside(namespace):
            done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BackendError(f"ip {arguments}: {done.stderr.strip()}")


def new_namespace() -> int:
    """The descriptor of a new network namespace, which lives as long as that, its sockets and its processes do.

    Raises OSError where the kernel refuses.
    """
    made: list[int] = []
    refused: list[int] = []

    def make() -> None:  # in a thread of its own, which ends in there
        if _libc.unshare(CLONE_NEWNET) != 0:
            refused.append(ctypes.get_errno())
        else:
            made.append(os.open(OWN, os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if refused:
        raise OSError(refused[0], os.strerror(refused[0]))
    return made[0]


@contextmanager
def inside(namespace: int | None) -> Iterator[None]:
    """This thread, and what it starts, is in the namespace while the block runs; None: nothing changes."""
    if namespace is None:
        yield
        return
    before = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
