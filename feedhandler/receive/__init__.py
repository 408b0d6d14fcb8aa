"""The ways to the wire: a backend by name, imported when it is chosen and not before."""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive.cpu import pin
from feedhandler.receive.probe import choose, probe

if TYPE_CHECKING:
    from feedhandler.receive._receiver import Receiver

__all__ = ["BACKENDS", "open", "pin"]

BACKENDS = {"sockets": "feedhandler.receive.sockets:receiver"}
"""Name → "module:function" that makes the receiver of UDP lines; others by name say what they lack (`probe`)."""


def open(
    lines: Sequence[Any], backend: str = "auto", options: Any = None, notes: list[str] | None = None
) -> "Receiver":
    """A receiver of UDP lines (`feedhandler.config.Line`, `sockets.UdpLine`), one per shard, joined and listening.

    "auto" takes the first of rdma, af_xdp, sockets that works here. `options` are those of the backend
    (`sockets.Options`). Sentences for people (which backend and why not the others, what was granted less than asked)
    are appended to `notes`. Raises BackendError, with the reason, when a backend asked for by name cannot be had.
    """
    notes = [] if notes is None else notes
    interface = str(lines[0].interface) if lines else ""
    if backend == "auto":
        backend, sentence = choose(interface)
        notes.append(sentence)
    elif backend not in ("sockets", "af_xdp", "rdma"):
        raise ConfigError(f"backend must be auto, sockets, af_xdp or rdma, not {backend!r}")
    elif backend not in BACKENDS:
        raise BackendError(f"{backend}: {probe(backend, interface).reason}; choose sockets or auto")
    module, _, function = BACKENDS[backend].partition(":")
    return cast("Receiver", getattr(import_module(module), function)(lines, options, notes))
