"""The cases of this folder, read: README.md explains them."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
TOKEN = re.compile(r'\s*(?:"([^"]*)"|([0-9a-f]{2})(?![0-9a-f])|\(([^)]*)\))(?:\*(\d+))?')


def spell(text: str) -> bytes:
    """Bytes out of the notation. Raises ValueError for what is none."""
    made, place = bytearray(), 0
    text = text.rstrip()
    while place < len(text):
        token = TOKEN.match(text, place)
        if token is None:
            raise ValueError(f"no notation: {text[place : place + 40]!r}")
        ascii_text, pair, group, times = token.groups()
        one = ascii_text.encode() if ascii_text is not None else bytes.fromhex(pair) if pair else spell(group)
        made += one * int(times or 1)
        place = token.end()
    return bytes(made)


def told(entry: str) -> tuple[str, bytes]:
    """'text "a"' as ("text", b"a")."""
    kind, _, payload = entry.partition(" ")
    return kind, spell(payload)


@dataclass(frozen=True)
class Case:
    """One case; its fields are the keys of README.md."""

    file: str
    name: str
    section: str
    server: bytes
    gives: tuple[tuple[str, bytes], ...]
    answers: tuple[tuple[str, bytes], ...]
    ends: int | None
    fails: int | None
    silent: bool
    agreed: str
    options: dict[str, int]


def cases() -> Iterator[Case]:
    """All of them. Raises ValueError for a case with an unknown key."""
    for file in sorted(FOLDER.glob("*.toml")):
        for entry in tomllib.loads(file.read_text())["case"]:
            options = {key: entry.pop(key) for key in ("max_message_bytes", "max_ratio") if key in entry}
            case = Case(
                file.stem,
                entry.pop("name"),
                entry.pop("section"),
                b"".join(spell(piece) for piece in entry.pop("server")),
                tuple(told(e) for e in entry.pop("gives", [])),
                tuple(told(e) for e in entry.pop("answers", [])),
                entry.pop("ends", None),
                entry.pop("fails", None),
                entry.pop("silent", False),
                entry.pop("agreed", ""),
                options,
            )
            if entry:
                raise ValueError(f"{file.name}: {case.name}: unknown keys {', '.join(entry)}")
            yield case
