"""Conditions on the fields of messages, as `inspect --where` takes them: `shares>=1000`, `price<189.50`, `side==B`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from feedhandler.decode.spec import Field, Message, Protocol
from feedhandler.errors import ConfigError

_CONDITION = re.compile(r"\s*(\w+)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*")
_NEVER = (1, 0)
TEXT_MAX = 8  # bytes of a text that is compared as one number


class Rule(NamedTuple):
    """What a number in a message must be: at `offset`, within lo..hi, or outside of it; see `Sieve.rule`."""

    offset: int
    size: int
    signed: bool
    lo: int
    hi: int
    outside: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """A field, how it is compared (==, !=, <, <=, >, >=), and with what, as it was written."""

    field: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """`shares>=1000` taken apart. Raises ConfigError."""
        found = _CONDITION.fullmatch(text)
        if not found or not found[3]:
            raise ConfigError(f"{text!r} is no condition: a field, one of == != < <= > >=, a value: shares>=1000")
        return cls(found[1], "==" if found[2] == "=" else found[2], found[3].strip("'\""))

    def rules(self, tables: Sequence[Protocol]) -> Iterator[tuple[int, Message, Rule]]:
        """The rule for each message that has the field, with the number of its table.

        Raises ConfigError when no message has it, or its values are not to be compared so.
        """
        found = False
        for number, table in enumerate(tables):
            for message in table.messages:
                if (field := message.layout.get(self.field)) is not None:
                    found = True
                    yield number, message, self._rule(table, field)
        if not found:
            names = sorted({name for table in tables for message in table.messages for name in message.layout})
            near = difflib.get_close_matches(self.field, names, 3, 0.5)
            hint = f"the nearest are {', '.join(near)}" if near else f"there are {', '.join(names)}"
            which = " or ".join(dict.fromkeys(table.name for table in tables))
            raise ConfigError(f"no message of {which} has a field {self.field!r}; {hint}")

    def _rule(self, table: Protocol, field: Field) -> Rule:
        kind = field.type
        if kind.kind in ("char", "alpha"):
            return self._text(table, field)
        try:
            value = Fraction(self.value.replace("_", "").replace(",", ""))
        except ValueError:
            raise ConfigError(f"{self.field} is a number; {self.value!r} is none") from None
        if kind.kind == "price":
            value = value * 10**9 / kind.scale  # in units of the wire
        bits = 8 * kind.size
        bias = 2 ** (bits - 1) if kind.signed else 0
        least, greatest = -bias, 2**bits - 1 - bias
        lo, hi = least, greatest
        match self.operator:
            case "==" | "!=":
                lo, hi = math.ceil(value), math.floor(value)
            case "<":
                hi = math.ceil(value) - 1
            case "<=":
                hi = math.floor(value)
            case ">":
                lo = math.floor(value) + 1
            case _:
                lo = math.ceil(value)
        lo, hi = max(lo, least), min(hi, greatest)
        lo, hi = (lo + bias, hi + bias) if lo <= hi else _NEVER
        return Rule(field.offset, kind.size, kind.signed, lo, hi, self.operator == "!=")

    def _text(self, table: Protocol, field: Field) -> Rule:
        if self.operator not in ("==", "!="):
            raise ConfigError(f"{self.field} is text: compare it with == or !=, not {self.operator}")
        size = field.type.size
        text = self.value.encode("latin-1", "replace")
        if size > TEXT_MAX:
            raise ConfigError(f"{self.field} is text of {size} bytes; at most {TEXT_MAX} are compared")
        lo, hi = _NEVER
        if len(text) <= size:
            lo = hi = int.from_bytes(text.ljust(size), table.byte_order)
        return Rule(field.offset, size, False, lo, hi, self.operator == "!=")
