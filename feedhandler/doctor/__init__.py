"""What this host can do for a feed, and the command that would mend each "no".

Reads /proc and /sys, asks the kernel, and tries socket options on sockets of its own; it changes nothing, needs no
root, and says what it could not see. `examine()` gives the rows, the command `feedhandler doctor` prints them.
"""

from collections.abc import Sequence

from feedhandler.config import Run, Shm
from feedhandler.doctor.backends import backends
from feedhandler.doctor.clock import clock
from feedhandler.doctor.encryption import encryption
from feedhandler.doctor.findings import Host, Row
from feedhandler.doctor.interfaces import interfaces
from feedhandler.doctor.memory import memory
from feedhandler.doctor.privileges import privileges
from feedhandler.doctor.processor import processor
from feedhandler.doctor.sockets import sockets
from feedhandler.doctor.system import system

__all__ = ["Host", "Row", "examine"]


def examine(
    host: Host | None = None, receive_buffer: int = 0, shm_dir: str = "", only: Sequence[str] = (), probe: bool = False
) -> list[Row]:
    """All rows, in the order in which a person would mend them. The defaults are those of the configuration.

    `only`: these interfaces, else all. `probe` opens AF_XDP on each for a moment, where this process may; that is the
    one thing here that touches an interface, and a NIC may lose packets meanwhile.
    """
    host = host or Host()
    names = [name for name in host.names("sys/class/net") if not only or name in only]
    missing = [name for name in only if name not in names]
    return [
        *system(host),
        *processor(host),
        *clock(host),
        *encryption(host),
        *sockets(host, receive_buffer or Run().receive_buffer),
        *interfaces(host, names, missing),
        *memory(host, shm_dir or Shm("doctor").dir),
        *privileges(host),
        *backends(host, names, probe),
    ]
