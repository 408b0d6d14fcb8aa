"""What this host drops between a sender on loopback and every socket: its backlog of packets, one per CPU."""

from __future__ import annotations

from pathlib import Path

SOFTNET = Path("/proc/net/softnet_stat")


def drops(path: Path = SOFTNET) -> int:
    """Packets that found the backlog full since the host started, of all traffic; 0 where the kernel does not tell."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1], 16) for line in lines)


def sentence(dropped: int) -> str:
    """What to make of it."""
    return (
        f"this host dropped {dropped:,} packets before any socket saw them (its backlog was full; all its traffic is "
        "counted): sysctl -w net.core.netdev_max_backlog=100000, and leave the kernel's network thread a CPU"
    )
