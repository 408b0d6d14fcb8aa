from typing import NamedTuple, final

RESYNC_SNAPSHOT: int
RESYNC_SUBSCRIBE: int
RESYNC_OVER: int
RESYNC_CONNECT: int

class Resync(NamedTuple):
    """What the hot thread wants for one instrument's sake: `kind` is one of RESYNC_..., see `_resyncs.pxd`."""

    kind: int
    instrument: int
    line: int
    reason: int
    number: int
    since: int

@final
class Resyncs:
    """The ring of wishes from the hot thread to the control path of one channel."""

    def __init__(self, wishes: int = 4096) -> None: ...
    def take(self) -> list[Resync]:
        """All wishes that wait, oldest first."""
