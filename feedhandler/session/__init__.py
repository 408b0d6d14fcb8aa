"""The framings by name. Adding one is a line in FRAMINGS and its file in ext/."""

import importlib

from feedhandler.errors import ConfigError
from feedhandler.session._framing import Framing

__all__ = ["Framing", "framing", "framings"]

FRAMINGS: dict[str, tuple[str, tuple[str, ...]]] = {  # name: where it is, the options it takes
    "moldudp64": ("feedhandler.session._moldudp64:MoldUdp64Framing", ()),
    "iextp": ("feedhandler.session._iextp:IexTpFraming", ("protocol_id",)),
    "soupbintcp": ("feedhandler.session._soupbintcp:SoupBinTcpFraming", ()),
    "binaryfile": ("feedhandler.session._binaryfile:BinaryFileFraming", ()),
    "websocket": ("feedhandler.session._websocket:WebSocketFraming", ("max_message_bytes", "max_ratio")),
}


def framings() -> tuple[str, ...]:
    """The names that framing() knows."""
    return tuple(FRAMINGS)


def framing(name: str, **options: int) -> Framing:
    """A new framing for one line: what cuts its packets, or its stream, into messages.

    Options: iextp takes `protocol_id` (0x8004, DEEP, unless told); websocket `max_message_bytes` (4 MiB) and
    `max_ratio` (256: so many times its bytes on the wire a compressed message above 64 KiB may inflate to). Raises
    ConfigError for a name or option that is not known, or a value out of range.
    """
    if name not in FRAMINGS:
        raise ConfigError(f"framing {name!r} is not known; choose one of: {', '.join(FRAMINGS)}")
    place, known = FRAMINGS[name]
    for option in options:
        if option not in known:
            raise ConfigError(f"framing {name!r} has no option {option!r}; it takes: {', '.join(known) or 'none'}")
    module, kind = place.split(":")
    try:
        made = getattr(importlib.import_module(module), kind)(**options)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"framing {name!r}: {error}") from None
    assert isinstance(made, Framing)
    return made
