"""Where each recorded line goes: to where it went, or elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from feedhandler.errors import ConfigError

if TYPE_CHECKING:
    from feedhandler.recording import RecordedLine

Destination = tuple[str, int]


class Rewrite:
    """Rules by which lines get other destinations, `FROM=ADDRESS:PORT` each.

    FROM is the recorded ADDRESS:PORT, a line's name (`A`), or `CHANNEL/NAME`. Raises ConfigError for a rule that cannot
    be read.
    """

    def __init__(self, rules: Iterable[str] = ()) -> None:
        self._rules: dict[str, Destination] = {}
        for rule in rules:
            source, equals, target = rule.partition("=")
            address, colon, port = target.rpartition(":")
            if not equals or not source or not colon or not address or not port.isdigit() or not 0 < int(port) < 65536:
                raise ConfigError(
                    f"replay: a rewrite is FROM=ADDRESS:PORT, as 233.54.12.111:26477=239.1.2.3:26400 or "
                    f"A=239.1.2.3:26400, not {rule!r}"
                )
            if source in self._rules:
                raise ConfigError(f"replay: two rewrites of {source}: a line goes to one place")
            self._rules[source] = address, int(port)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def names(self, line: RecordedLine) -> bool:
        """Whether a rule is of this line."""
        return any(name in self._rules for name in _names(line))

    def apply(self, lines: Sequence[RecordedLine]) -> list[Destination]:
        """The destination of each line. Raises ConfigError for a rule that is of none of them."""
        used: set[str] = set()
        found: list[Destination] = []
        for line in lines:
            address, port = (line.destination or ("", 0))[:2]
            target: Destination = (address, port)
            for name in _names(line):  # the closest one counts
                if name in self._rules:
                    used.add(name)
                    target = self._rules[name]
            found.append(target)
        for name in self._rules:
            if name not in used:
                there = ", ".join(sorted({text(line) for line in lines}))
                raise ConfigError(f"replay: no line {name!r} to rewrite; there are: {there}")
        return found


def _names(line: RecordedLine) -> tuple[str, ...]:
    """What a rule may call the line, the closest name last."""
    address, port = (line.destination or ("", 0))[:2]
    return line.name, f"{line.channel}/{line.name}", f"{address}:{port}"


def text(line: RecordedLine) -> str:
    """A line for people: itch/A (233.54.12.111:26477)."""
    place = ":".join(map(str, line.destination[:2])) if line.destination else ""
    name = f"{line.channel}/{line.name}" if line.channel else line.name
    return f"{name} ({place})" if place and place != name else name
