"""How a table of a TOML file becomes a frozen dataclass, and how each mistake in it is named.

A field declared with `setting()` carries what it accepts, what it means and how it is shown in the documented example;
checking, error messages and example are all made from that one line.
"""

import dataclasses
import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass
from datetime import date
from typing import Any, TypeVar

from feedhandler.errors import ConfigError
from feedhandler.redact import redacted

T = TypeVar("T")
HEADER = re.compile(r"\s*(\[\[|\[)\s*([^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
KEY = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*=""")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a setting accepts: `read` gives the value to keep, or raises ValueError; `expected` completes the error."""

    expected: str
    read: Callable[[Any], Any]
    hexadecimal: bool = False
    """An integer that people write as 0x01234567."""


def setting(default: Any, kind: Kind, meaning: str, example: Any = None, repr: bool = True) -> Any:
    """A dataclass field that is a key of the file. A default of MISSING makes the key required."""
    metadata = {"kind": kind, "meaning": meaning, "example": example}
    return dataclasses.field(default=default, metadata=metadata, repr=repr)


def integer(low: int, high: int, power_of_two: bool = False, hexadecimal: bool = False) -> Kind:
    """A whole number, both bounds included."""

    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high or (power_of_two and value & (value - 1)):
            raise ValueError
        return value

    form = hex if hexadecimal else str
    return Kind(
        f"{'a power of two' if power_of_two else 'an integer'} from {form(low)} to {form(high)}", read, hexadecimal
    )


def mode() -> Kind:
    """Permission bits. 640 for 0o640 is the usual slip, so the expected form is spelled out."""
    return Kind("permission bits, written 0o640", integer(0, 0o777).read)


def boolean() -> Kind:
    def read(value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError
        return value

    return Kind("true or false", read)


def text(pattern: str, expected: str) -> Kind:
    """Text that the whole of `pattern` matches."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError
        return value

    return Kind(expected, read)


def choice(*names: str) -> Kind:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return Kind("one of " + ", ".join(json.dumps(name) for name in names), read)


def one_of(*numbers: int) -> Kind:
    def read(value: Any) -> int:
        if type(value) is not int or value not in numbers:
            raise ValueError
        return value

    return Kind("one of " + ", ".join(map(str, numbers)), read)


def several(of: Kind) -> Kind:
    """A list without repetitions, as a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(set(map(str, value))) != len(value):
            raise ValueError
        return tuple(of.read(item) for item in value)

    return Kind(f"a list, each item {of.expected}, none twice", read)


def address(multicast: bool) -> Kind:
    """An IPv4 address as text, or "" for none."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or (value and ipaddress.IPv4Address(value).is_multicast != multicast):
            raise ValueError
        return value

    if multicast:
        return Kind("an IPv4 multicast address, 224.0.0.0 to 239.255.255.255", read)
    return Kind("the IPv4 address of a sender", read)


def host_and_port(value: str) -> tuple[str, int]:
    """Both parts of "host:port", as in "127.0.0.1:26500" or "[::1]:26500". Raises ValueError for anything else."""
    host, colon, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    if not colon or not re.fullmatch(r"[^\s/\[\]]+", host) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError
    if not 1 <= int(port) <= 65535:
        raise ValueError
    return host, int(port)


def vlan() -> Kind:
    """The VLAN tags in front of a line's packets: "", "100", or "200.100" (outer, inner); tags are 1 to 4094."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        if value and not all(1 <= tag <= 4094 for tag in vlan_tags(value)):
            raise ValueError
        return value

    return Kind('"" for no VLAN, its number ("100"), or outer and inner ("200.100"), each 1 to 4094', read)


def vlan_tags(value: str) -> tuple[int, ...]:
    """The tags of a `vlan` setting, outer first; none of "". Raises ValueError for anything else than digits."""
    if not re.fullmatch(r"([0-9]{1,4}(\.[0-9]{1,4})?)?", value):
        raise ValueError
    return tuple(int(tag) for tag in value.split(".") if tag)


def endpoint(optional: bool = False) -> Kind:
    """A server as "host:port"; `optional` takes "" for none."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        if value or not optional:
            host_and_port(value)
        return str(value)

    return Kind('a server as "host:port"' + (' or ""' if optional else ""), read)


def day() -> Kind:
    def read(value: Any) -> date:
        if type(value) is not date:
            raise ValueError
        return value

    return Kind("a date without quotes, as 2026-11-22", read)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a document: a table or key by its path, e.g. ("channel", 0, "line", 1, "port")."""

    source: str
    document: str
    path: tuple[str | int, ...] = ()

    def at(self, *steps: str | int) -> "Place":
        """The place some steps further in."""
        return dataclasses.replace(self, path=self.path + steps)

    def error(self, expected: str, found: str) -> ConfigError:
        """The exception that says what was expected here and what was found."""
        line = find_line(self.document, self.path)
        where = f"{self.source}:{line}" if line else self.source
        return ConfigError(f"{where}: {dotted(self.path)}: expected {expected}, found {found}")


def dotted(path: Iterable[str | int]) -> str:
    """The path as people write it: channel[0].line[1].port."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".") or "the file"


def find_line(document: str, path: tuple[str | int, ...]) -> int:
    """The line, from 1, on which `path` or the nearest thing around it is written; 0 when that is nowhere.

    Reads headers and keys only: what stands in inline tables is found as the key that holds it.
    """
    counts: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    best, best_depth = 0, 0
    for number, line in enumerate(document.splitlines(), 1):
        if header := HEADER.match(line):
            names = [name.strip().strip("\"'") for name in header[2].split(".")]
            table = _open_table(names, header[1] == "[[", counts)
            here = table
        elif key := KEY.match(line):
            here = (*table, key[1] or key[2] or key[3])
        else:
            continue
        if here == (*path, 0):
            return number
        if len(here) > best_depth and path[: len(here)] == here:
            best, best_depth = number, len(here)
    return best


def _open_table(names: list[str], array: bool, counts: dict[tuple[str | int, ...], int]) -> tuple[str | int, ...]:
    path: tuple[str | int, ...] = ()
    for name in names[:-1]:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path])
    path = (*path, names[-1])
    if not array:
        return path
    counts[path] = counts.get(path, -1) + 1
    return (*path, counts[path])


def shown(value: Any) -> str:
    """A value of the file as it would be written there, cut when long, without what is secret in a URL."""
    words = "a table" if isinstance(value, Mapping) else redacted(toml(value))
    return words if len(words) <= 160 else words[:157] + "..."


def kept(value: Any) -> str:
    """A value of the file that may be a secret."""
    return f"a text of {len(value)} characters, not shown" if isinstance(value, str) else "another kind of value"


def toml(value: Any) -> str:
    """A plain value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, int) and value >= 100_000:
        return f"{value:_}"
    return str(value)


def check_keys(table: Any, known: Iterable[str], place: Place) -> None:
    """Raise ConfigError unless `table` is a table whose keys are all known; a near miss is named."""
    if not isinstance(table, Mapping):
        raise place.error("a table", shown(table))
    names = list(known)
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise place.at(key).error("one of " + ", ".join(names), f"the unknown key {key}{hint}")


def read_table(
    cls: type[T],
    table: Any,
    place: Place,
    nested: Mapping[str, tuple[str, Any]] | None = None,
    without: Iterable[str] = (),
    required: Iterable[str] = (),
) -> T:
    """An instance of the dataclass `cls` from a table of the file.

    `nested` gives, per field, the key that has been read already and its value; `without` names settings that are
    unknown keys here, `required` those that must be written although they have a default.
    """
    nested = nested or {}
    settings = [f for f in dataclasses.fields(cls) if "kind" in f.metadata and f.name not in set(without)]  # type: ignore[arg-type]
    check_keys(table, [f.name for f in settings] + [key for key, _ in nested.values()], place)
    values = {name: value for name, (_, value) in nested.items()}
    for f in settings:
        kind: Kind = f.metadata["kind"]
        here = place.at(f.name)
        if f.name in table:
            try:
                values[f.name] = kind.read(table[f.name])
            except ValueError:
                found = shown(table[f.name]) if f.repr else kept(table[f.name])
                raise here.error(kind.expected, found) from None
        elif f.default is MISSING or f.name in set(required):
            raise here.error(f"{kind.expected} ({f.metadata['meaning']})", "nothing, and the key is required")
    return cls(**values)


def example_lines(cls: type, without: Iterable[str] = ()) -> list[str]:
    """The settings of a dataclass as commented lines of TOML: the example value, or the default."""
    lines = []
    for f in dataclasses.fields(cls):
        if "kind" not in f.metadata or f.name in set(without):
            continue
        value = f.default if f.metadata["example"] is None else f.metadata["example"]
        octal, hexadecimal = f.name == "mode" and isinstance(value, int), f.metadata["kind"].hexadecimal
        written = f"0o{value:o}" if octal else f"0x{value:08x}" if hexadecimal else toml(value)
        left = f"{'# ' if f.default is None else ''}{f.name} = {written}"
        meaning = f"# {f.metadata['meaning']}"
        lines += [f"{left.ljust(35)} {meaning}"] if len(left) <= 35 else [meaning, left]
    return lines
