"""The control path of recovery: the ladder of each channel, and the ways to the servers it climbs by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from feedhandler.recovery.control import RecoveryControl, Sentences
from feedhandler.recovery.glimpse import GlimpseSnapshots
from feedhandler.recovery.ladder import Ladder, Rung
from feedhandler.recovery.transport import RequestTransport, Snapshot, SnapshotTransport, Transports
from feedhandler.recovery.udp import MoldUdp64Requests

if TYPE_CHECKING:
    from feedhandler.config import RecoverySettings

__all__ = [
    "GlimpseSnapshots",
    "Ladder",
    "MoldUdp64Requests",
    "RecoveryControl",
    "RequestTransport",
    "Rung",
    "Sentences",
    "Snapshot",
    "SnapshotTransport",
    "Transports",
    "transports",
]


def transports(settings: RecoverySettings) -> Transports:
    """The real ways that a configuration names. Raises ConfigError when one of them has no address."""
    snapshots = []
    if settings.snapshot:
        join = cast(Literal["at", "after"], settings.join)
        snapshots.append(
            GlimpseSnapshots(
                settings.snapshot,
                settings.username,
                settings.password,
                join=join,
                timeout_s=settings.snapshot_timeout_ms / 1000,
            )
        )
    return Transports([MoldUdp64Requests(server) for server in settings.servers], snapshots)
