"""Pictures for people, by matplotlib, which is an extra of its own. `command` is who asks, as errors name it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feedhandler.errors import ConfigError

OPTION = "--plot"
ENDINGS = (".png", ".svg", ".pdf")


def figures(command: str, option: str = OPTION) -> Any:
    """matplotlib's Figure, drawing to files only. Raises ConfigError when matplotlib is not installed.

    `option` is what asked for the picture.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(
            f"{command}: {option} needs matplotlib, which is not installed; "
            "install it with: pip install 'feedhandler[plot]'"
        ) from None
    return Figure


def writable(path: str | Path, asked: str, endings: Sequence[str] = ENDINGS) -> None:
    """Say before the long work what would stop save(): ConfigError for another ending, or where there is no folder.

    `asked` is who asks for it with what, as errors name it: "check: --plot".
    """
    path = Path(path)
    if path.suffix not in endings:
        raise ConfigError(f"{asked} {path}: name it {', '.join(endings[:-1])} or {endings[-1]}")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"{asked} {path}: there is no folder {path.parent}; make it first")


def save(figure: Any, path: str | Path, command: str, option: str = OPTION) -> None:
    """Write it. Raises ConfigError when matplotlib does not know the ending of `path`, or it cannot be written."""
    try:
        figure.savefig(path, dpi=120)
    except ValueError as error:
        raise ConfigError(f"{command}: {option} {path}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{command}: {option} {path}: cannot be written: {error.strerror}") from None
