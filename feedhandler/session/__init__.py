"""The framings by name. Adding one is a line in FRAMINGS and its file in ext/."""

import importlib
from typing import Any

from feedhandler.errors import ConfigError
from feedhandler.session._framing import Framing

__all__ = ["Framing", "framing", "framings"]

FRAMINGS = {
    "moldudp64": "feedhandler.session._moldudp64:MoldUdp64Framing",
    "iextp": "feedhandler.session._iextp:IexTpFraming",
    "soupbintcp": "feedhandler.session._soupbintcp:SoupBinTcpFraming",
    "binaryfile": "feedhandler.session._binaryfile:BinaryFileFraming",
}


def framings() -> tuple[str, ...]:
    """The names that framing() knows."""
    return tuple(FRAMINGS)


def framing(name: str, **options: Any) -> Framing:
    """A new framing for one line: what cuts its packets, or its stream, into messages.

    Options: iextp takes `protocol_id` (0x8004, DEEP, unless told). Raises ConfigError for a name or option that is
    not known.
    """
    if name not in FRAMINGS:
        raise ConfigError(f"framing {name!r} is not known; choose one of: {', '.join(FRAMINGS)}")
    module, kind = FRAMINGS[name].split(":")
    try:
        made = getattr(importlib.import_module(module), kind)(**options)
    except (TypeError, OverflowError) as error:
        raise ConfigError(f"framing {name!r} does not take these options: {options} ({error})") from None
    assert isinstance(made, Framing)
    return made
