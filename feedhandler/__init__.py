"""Exchange market data from the wire to order books in shared memory, read from Python."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedhandler.errors import (
    BackendError,
    CaptureError,
    ConfigError,
    FeedError,
    LayoutError,
    ReceiverError,
    RecordingError,
    SegmentError,
    SessionError,
    UnknownSymbolError,
    WriterDiedError,
)

if TYPE_CHECKING:
    from feedhandler.convert import load
    from feedhandler.read import Batch, Book, Feed, Strategy, attach
    from feedhandler.records import BOOK, EVENT, LEVEL, Action, Flag, Quality, Reason, Side, Trading
    from feedhandler.research import Backtest, backtest

__all__ = [
    "BOOK",
    "EVENT",
    "LEVEL",
    "Action",
    "BackendError",
    "Backtest",
    "Batch",
    "Book",
    "CaptureError",
    "ConfigError",
    "Feed",
    "FeedError",
    "Flag",
    "LayoutError",
    "Quality",
    "Reason",
    "ReceiverError",
    "RecordingError",
    "SegmentError",
    "SessionError",
    "Side",
    "Strategy",
    "Trading",
    "UnknownSymbolError",
    "WriterDiedError",
    "__version__",
    "attach",
    "backtest",
    "get_include",
    "load",
]

# Imported when first used: `feedhandler.decode` and the command's --help need no compiled module and no numpy.
_LATER = dict.fromkeys(("Batch", "Book", "Feed", "Strategy", "attach"), "feedhandler.read")
_RECORDS = ("BOOK", "EVENT", "LEVEL", "Action", "Flag", "Quality", "Reason", "Side", "Trading")
_LATER |= dict.fromkeys(_RECORDS, "feedhandler.records")
_LATER |= dict.fromkeys(("Backtest", "backtest"), "feedhandler.research")
_LATER["load"] = "feedhandler.convert"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("feedhandler")
        except PackageNotFoundError:
            return "0+checkout"
    if name in _LATER:
        value = globals()[name] = getattr(import_module(_LATER[name]), name)
        return value
    raise AttributeError(f"module 'feedhandler' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def get_include() -> list[str]:
    """Folders for a Cython build that cimports `feedhandler.read._reader` and the records.

    Give them to `cythonize(include_path=...)`, where the .pxd files are found, and to `Extension(include_dirs=...)`,
    where the C headers are. The build makes the folder; a wheel, an editable install and a built checkout all have it.
    """
    return [str(Path(__file__).resolve().parent / "include")]
