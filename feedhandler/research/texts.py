"""JSON texts of crypto venues, one by one, for people: what each is by its decoder's own word, its values by name."""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from feedhandler import decode
from feedhandler._instruments import Instruments
from feedhandler.decode._text import TextDecoder
from feedhandler.decode.spec import TEXT_TYPES, Protocol

if TYPE_CHECKING:
    from feedhandler.research.conditions import Condition

INSTRUMENTS = 1 << 14
DEEPEST = 64  # of nested values that are looked into
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Texts:
    """Reads the texts of one protocol; instruments are known from their first text on."""

    def __init__(self, protocol: Protocol) -> None:
        assert protocol.text is not None
        self._names = TEXT_TYPES | dict(protocol.text.types)
        self._instruments = Instruments.standalone(INSTRUMENTS)
        made = decode.decoder(protocol.name, self._instruments)
        assert isinstance(made, TextDecoder)
        self._decoder = made

    def look(self, wire: bytes) -> tuple[str, str, int]:
        """Type, symbol and number (of the text's last change) of a text; the type is "" where it is malformed."""
        found = self._decoder.look_bytes(wire)
        if found is None:
            return "", "", 0
        index = int(found["instrument"])
        symbol = self._instruments.symbol(index) if index else ""
        return str(found["type"]), symbol, int(found["last"]) if found["numbered"] else 0

    def name(self, kind: str) -> str:
        """What the venue calls texts of this type."""
        return self._names.get(kind, "malformed")

    def fault(self, wire: bytes) -> str:
        """Why a text is refused; "": it is not."""
        if self._decoder.accepts(wire):
            return ""
        return "it does not say what it should" if _parsed(wire) is not None else "it is no JSON"


def fields(wire: bytes) -> dict[str, int | str]:
    """The plain values of a text by name, outer ones first; of lists of levels their length, as `[20]`."""
    found: dict[str, int | str] = {}
    value = _parsed(wire)
    if isinstance(value, dict):
        _collect(value, found, 0)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _collect(item if isinstance(item, dict) else {str(place): item}, found, 0)
    return found


def _parsed(wire: bytes) -> Any:
    try:
        return json.loads(wire, parse_float=str)
    except (ValueError, RecursionError):
        return None


def _collect(value: dict[str, Any], found: dict[str, int | str], depth: int) -> None:
    for name, item in value.items():
        if isinstance(item, dict) and depth < DEEPEST:
            _collect(item, found, depth + 1)
        elif name not in found:
            found[name] = f"[{len(item)}]" if isinstance(item, list | dict) else _plain(item)


def _plain(item: Any) -> int | str:
    if isinstance(item, bool) or item is None:
        return json.dumps(item)
    return item if isinstance(item, int | str) else str(item)


def holds(conditions: Sequence[Condition], values: dict[str, int | str]) -> bool:
    """Whether all conditions hold; a text without the field does not pass. Numbers are compared as numbers."""
    for condition in conditions:
        value = values.get(condition.field)
        if value is None:
            return False
        compare = OPERATORS[condition.operator]
        try:
            left, right = Decimal(str(value)), Decimal(condition.value.replace("_", "").replace(",", ""))
        except InvalidOperation:
            if condition.operator not in ("==", "!=") or not compare(str(value), condition.value):
                return False
        else:
            if not compare(left, right):
                return False
    return True
