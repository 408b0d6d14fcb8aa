from typing import NamedTuple, final

ASK_MISSING: int
ASK_SNAPSHOT: int
ASK_OVER: int

class Ask(NamedTuple):
    """What an arbiter wants: `kind` is ASK_MISSING, ASK_SNAPSHOT or ASK_OVER."""

    kind: int
    epoch: int
    session: bytes
    first: int
    count: int  # type: ignore[assignment]
    ts: int

@final
class Recovery:
    """What one channel's arbiter and its control path have between them."""

    snapshots: bool
    gap_limit: int
    def __init__(
        self, *, asks: int = ..., answer_bytes: int = ..., snapshot: bool = ..., gap_limit: int = ...
    ) -> None: ...
    def asks(self) -> list[Ask]:
        """All asks that wait, oldest first; they are taken."""
    def packet(self, epoch: int, data: bytes) -> bool:
        """Hand over a retransmission, as it came. False: no room now, offer it again later."""
    def freeze(self, epoch: int) -> bool:
        """From now on hand nothing out and keep everything: a snapshot is being fetched."""
    def frozen(self) -> bool:
        """Is the arbiter frozen: by freeze(), or of itself."""
    def give_up(self, epoch: int) -> bool:
        """No rung is left: the channel goes STALE and flows on."""
    def snapshot(self, epoch: int, number: int, messages: bytes) -> bool:
        """Hand over a whole snapshot; False: call again with the same arguments."""
    def tell(self, kind: int, epoch: int, session: bytes, first: int = ..., count: int = ..., ts: int = ...) -> bool:
        """Ask as an arbiter does (for tests)."""
    def answers(self) -> list[tuple[str, int, int, bytes, bool, bool]]:
        """All answers that wait, as the arbiter would take them (for tests)."""
