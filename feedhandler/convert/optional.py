"""Libraries that a conversion needs and an installation may lack: asked for here, missed in one sentence."""

from importlib import import_module
from typing import Any

from feedhandler.errors import BackendError


def library(name: str, what: str, *, extra: str = "convert") -> Any:
    """The module `name`. Raises BackendError with the command that installs it; `what` needs it."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise BackendError(
            f"{what} needs {package}, which is not installed: pip install 'feedhandler[{extra}]'"
        ) from error
