"""The command `feedhandler`: one module per subcommand, each calling the package; heavy imports wait until it runs."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from feedhandler.cli import (
    bench,
    books,
    check,
    common,
    convert,
    doctor,
    imports,
    inspect,
    lines,
    plot,
    record,
    rehearse,
    replay,
    run,
    simulate,
    top,
)
from feedhandler.errors import FeedError

app = typer.Typer(
    name="feedhandler",
    help="Exchange market data from the wire to order books in shared memory.",
    epilog=common.examples(
        "feedhandler run --example > feed.toml", "feedhandler run feed.toml", "feedhandler top nasdaq"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for module in (
    run,
    record,
    imports,
    replay,
    check,
    convert,
    inspect,
    plot,
    top,
    lines,
    books,
    simulate,
    rehearse,
    bench,
    doctor,
):
    module.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, sys.argv unless `arguments` are given, and exit: 0 done, 1 failed, 2 wrong usage.

    An error of the package is one sentence on stderr; FEEDHANDLER_DEBUG=1 shows where it came from.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    common.open_closed()
    try:
        try:
            app(args=arguments, prog_name="feedhandler")
        finally:
            sys.stdout.flush()  # what fails here fails below, not when Python ends
    except OSError as error:
        if error.errno != errno.ENOSPC or os.environ.get("FEEDHANDLER_DEBUG") == "1":
            raise
        common.leave_stdout()
        common.talk(
            f"feedhandler: {error.filename or 'the output'}: no space left on the device; free some, or write elsewhere"
        )
        sys.exit(1)
    except FeedError as error:
        if os.environ.get("FEEDHANDLER_DEBUG") == "1":
            raise
        common.talk(f"feedhandler: {error}")
        sys.exit(1)
    except MemoryError as error:
        if os.environ.get("FEEDHANDLER_DEBUG") == "1":
            raise
        common.talk(f"feedhandler: {str(error) or 'not enough memory'}")
        sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does."""
    raise KeyboardInterrupt
