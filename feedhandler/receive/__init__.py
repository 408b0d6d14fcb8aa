"""The ways to the wire: a backend by name, imported when it is chosen and not before."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from feedhandler.receive import choose
from feedhandler.receive.cpu import lock_memory, pin, prioritise, starved

if TYPE_CHECKING:
    from feedhandler.receive._receiver import Receiver

__all__ = ["choose", "lock_memory", "open", "pin", "prioritise", "starved"]


def open(
    lines: Sequence[Any], backend: str = "auto", options: Any = None, notes: list[str] | None = None
) -> "Receiver":
    """A receiver of UDP lines (`feedhandler.config.Line`, `sockets.UdpLine`), one per shard, joined and listening.

    "auto" takes the first of rdma, af_xdp, sockets that opens here. `options` are those of the backend
    (`sockets.Options`), or a mapping from names to options. Sentences for people (which backend and why not the others,
    what was granted less than asked) are appended to `notes`. Raises BackendError, with the reason, when a backend
    asked for by name cannot be had, ConfigError when a line is wrong.
    """
    said: list[str] = []
    choice = choose.choose(lines, backend, options, said)
    if notes is not None:
        notes += [*([choice.sentence] if backend == "auto" else []), *said]
    return choice.receiver
