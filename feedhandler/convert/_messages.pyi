from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

from numpy.typing import NDArray

from feedhandler.convert._collector import Collector
from feedhandler.decode._decoder import Decoder
from feedhandler.publish import Segment

MESSAGE_COLUMNS: list[tuple[str, Any]]

@final
class MessageCollector(Collector):
    """Whole messages, as bytes."""

    def __init__(
        self,
        sink: Callable[[dict[str, NDArray[Any]]], Any],
        segment: Segment,
        decoders: Sequence[Decoder],
        *,
        symbols: Iterable[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        rows: int = 0,
    ) -> None: ...
