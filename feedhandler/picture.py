"""Pictures for people, by matplotlib, which is an extra of its own. `command` is who asks, as errors name it."""

from pathlib import Path
from typing import Any

from feedhandler.errors import ConfigError

OPTION = "--plot"


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


def save(figure: Any, path: str | Path, command: str, option: str = OPTION) -> None:
    """Write it. Raises ConfigError when matplotlib does not know the ending of `path`, or it cannot be written."""
    try:
        figure.savefig(path, dpi=120)
    except ValueError as error:
        raise ConfigError(f"{command}: {option} {path}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{command}: {option} {path}: cannot be written: {error.strerror}") from None
