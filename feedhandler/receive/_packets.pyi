from collections.abc import Callable, Sequence
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from feedhandler.receive._capture import PacketFile
from feedhandler.receive.capture import Destination

_Batch = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64], NDArray[np.uint32]]

@final
class Packets:
    """The UDP payloads of a capture, one by one or in batches; made by `capture.packets`."""

    lines: list[Destination]
    """Where the packets of each line go; it grows as destinations appear, unless lines were chosen."""
    def __init__(self, file: PacketFile, lines: Sequence[Destination] | None, text: Callable[[bytes], str]) -> None: ...
    @property
    def statistics(self) -> dict[str, int]:
        """What the packets of the file were so far, by name."""
    @property
    def offset(self) -> int:
        """Bytes of the file (unpacked) that have been read."""
    def close(self) -> None:
        """Close the file. Arrays and buffers that were given out keep their memory."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[int, int, bytes]: ...
    def batches(self, most: int = 4096) -> Batches:
        """Batches of at most `most` packets, each as (data, times, lines, offsets, lengths)."""

@final
class Batches:
    """An iterator over the batches of `Packets`."""

    def __init__(self, packets: Packets, most: int) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _Batch: ...
