"""What scripts of faults have in common, whatever befalls whom: where they are read from, and numbers within bounds."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from feedhandler.errors import ConfigError
from feedhandler.settings import Kind, Place


def number(low: float, high: float) -> Kind:
    """A number, both bounds included."""

    def read(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError
        return float(value)

    return Kind(f"a number from {low:g} to {high:g}", read)


def document_of(path: Path) -> str:
    """The text of a script's file. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text, found other bytes") from None


def tables_of(document: str, source: str) -> tuple[dict[str, Any], Place]:
    """The tables of a TOML text, and the place that names it in errors. Raises ConfigError."""
    try:
        return tomllib.loads(document), Place(source, document)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: expected TOML, found: {error}") from None
