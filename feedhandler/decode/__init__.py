"""Protocols: one folder each, found by being there. A folder that defines PROTOCOL is one; nothing else is edited.

The decoders of tables are compiled from them when the package is built (`render`); those of JSON texts are written by
hand. `decoder()` makes one of either.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from feedhandler.decode.spec import Protocol

if TYPE_CHECKING:
    from feedhandler._instruments import Instruments
    from feedhandler.decode._decoder import Decoder

__all__ = ["Protocol", "decoder", "protocol", "protocols", "tabled"]


@cache
def _found() -> dict[str, Protocol]:
    found = {}
    for folder in sorted(Path(__file__).parent.iterdir()):
        if not (folder / "__init__.py").is_file():
            continue
        table = getattr(import_module(f"{__name__}.{folder.name}"), "PROTOCOL", None)
        if isinstance(table, Protocol):
            if table.name != folder.name:
                raise ValueError(f"{folder}: PROTOCOL is named {table.name!r}; it must bear its folder's name")
            found[folder.name] = table
    return found


def protocols() -> dict[str, Protocol]:
    """Every protocol there is, by name."""
    return dict(_found())


def tabled() -> dict[str, Protocol]:
    """The protocols whose messages a table describes, by name: all but those of JSON texts."""
    return {name: found for name, found in _found().items() if found.text is None}


def protocol(name: str) -> Protocol:
    """The table of one protocol. Raises ConfigError that names the known ones."""
    if name not in _found():
        from feedhandler.errors import ConfigError

        raise ConfigError(f"unknown protocol {name!r}; known are {', '.join(_found())}")
    return _found()[name]


def decoder(name: str, instruments: Instruments, channel: int = 0, venue: str | None = None) -> Decoder:
    """A compiled decoder of this protocol that writes into `instruments`; `venue` None is the protocol's own."""
    table = protocol(name)
    module = import_module(f"{__name__}.{name}._decoder")
    return module.ProtocolDecoder(instruments, channel, venue or table.venue)  # type: ignore[no-any-return]
