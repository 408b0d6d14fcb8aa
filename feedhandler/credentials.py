"""Who we are to a venue: named in the configuration, read where it is needed, shown nowhere.

The configuration says where each credential stands, `Sources`; `read()` takes them from there each time, so a secret
that is changed in its file, or in the environment, is the one that the next connection signs with.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedhandler.errors import ConfigError
from feedhandler.redact import HIDDEN
from feedhandler.settings import Kind, setting

__all__ = ["Credentials", "Secret", "Sources", "read"]

BYTES_MAX = 65_536  # of a file
HIDDEN_LEAST = 4  # characters of a value that is looked for in sentences: a shorter one stands in every word
SOURCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s:](?:[^\x00-\x1f\x7f]*[^\s])?")


def _source() -> Kind:
    """Where a credential stands, or "" for nowhere."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or (value and not SOURCE.fullmatch(value)):
            raise ValueError
        return value

    return Kind('"env:NAME" or "file:/path": where it stands, never what it is', read)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where what a venue asks of its customers stands: the table [channel.credentials]."""

    key: str = setting(
        "", _source(), 'the venue\'s name of the key; "env:NAME" or "file:/path"', "env:VENUE_KEY", False
    )
    secret: str = setting("", _source(), "what is signed with", "file:/run/secrets/venue", False)
    passphrase: str = setting("", _source(), "chosen when the key was made", "env:VENUE_PASSPHRASE", False)

    def told(self, names: Iterable[str]) -> str:
        """Where these stand, for people."""
        return ", ".join(f"{name} ({getattr(self, name)})" for name in names)


class Secret(str):
    """A text that does not show in repr(): of a local variable, an exception's arguments, a container."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)


class Credentials(dict[str, Secret]):
    """Values by name."""

    def hidden(self, text: str) -> str:
        """The text with *** for each of the values."""
        for value in sorted(self.values(), key=len, reverse=True):
            if len(value) >= HIDDEN_LEAST:
                text = text.replace(str(value), HIDDEN)
        return text


def read(sources: Sources, names: Iterable[str]) -> Credentials:
    """What stands there now. Raises ConfigError where one is missing, or no credential can be like that."""
    return Credentials({name: _value(name, getattr(sources, name)) for name in names})


def _value(name: str, source: str) -> Secret:
    kind, _, where = source.partition(":")
    found = _variable(name, where) if kind == "env" else _file(name, where)
    place = f"the environment variable {where}" if kind == "env" else f"the file {where}"
    if not found:
        raise ConfigError(f"credentials: {name}: {place} is empty: put the {name} there")
    if not (found.isascii() and found.isprintable()):
        raise ConfigError(
            f"credentials: {name}: {place} holds more than one line of printable ASCII: put the {name} there, alone"
        )
    return found


def _variable(name: str, where: str) -> Secret:
    if where not in os.environ:
        raise ConfigError(
            f"credentials: {name}: the environment variable {where} is not set: export {where}=… before the start"
        )
    return Secret(os.environ[where].strip())


def _file(name: str, where: str) -> Secret:
    path = Path(where)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > BYTES_MAX:  # a pipe would be waited for, by all lines
            raise ConfigError(
                f"credentials: {name}: {where} is no regular file of at most {BYTES_MAX} bytes: put the {name} into "
                "one, which is read again for each subscription"
            )
        return Secret(path.read_bytes().decode("latin1").strip())
    except OSError as error:
        raise ConfigError(
            f"credentials: {name}: the file {where} cannot be read: {error.strerror}; "
            "put it there, readable by this user"
        ) from None
