"""What the subcommands share: results to stdout, talk to stderr, progress on a terminal."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from feedhandler.recording import Recording, Window

Recorded = Annotated[
    list[Path],
    typer.Argument(
        metavar="DAY…",
        exists=True,
        readable=True,
        help="Folders of `feedhandler record`, or captures: pcap, pcapng, BinaryFILE (.itch); plain, .gz or .zst.",
        show_default=False,
    ),
]
_WHEN = "ISO time, HH:MM[:SS] at the exchange, +90s, seq:12345, open, close"
From = Annotated[str, typer.Option("--from", metavar="WHEN", help=f"Begin there: {_WHEN}.", show_default=False)]
To = Annotated[str, typer.Option("--to", metavar="WHEN", help="End before it: as --from.", show_default=False)]
Channels = Annotated[str, typer.Option("--channels", metavar="A,B,…", help="Only these channels.", show_default=False)]
Symbols = Annotated[
    str, typer.Option("--symbols", "--symbol", metavar="A,B,…", help="Only these symbols.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Protocol = Annotated[
    str,
    typer.Option(metavar="NAME", help="itch50, iex_deep, …; recognised where it can be.", show_default=False),
]


def examples(*commands: str) -> str:
    """The end of a help page: commands that work as they stand."""
    head = "Example:" if len(commands) == 1 else "Examples:"
    return "\n\n".join([head, *(f"  [bold]{command.replace('[', chr(92) + '[')}[/bold]" for command in commands)])


def talk(message: str) -> None:
    """A line for the person at the terminal: never part of the result."""
    print(message, file=sys.stderr, flush=True)


def emit(value: Any) -> None:
    """A result as one line of JSON on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")) + "\n")


@contextmanager
def progress(title: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr while the block runs; its value is called with the amount done so far.

    Beside the bar: the amount, the rate, and the time left. Nothing is drawn when stderr is no terminal. `total` None
    shows amount, rate and the time so far; `unit` "bytes" shows bytes.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    from feedhandler.figures import amount

    suffix = "B" if unit == "bytes" else ""

    class Amount(ProgressColumn):
        """How much of how much, and how fast: 1.20M/3.00M  412k/s."""

        def render(self, task: Task) -> Text:
            """The column's text."""
            of = "" if task.total is None else f"/{amount(task.total)}"
            speed = task.finished_speed or task.speed
            rate = "" if speed is None else f"  {amount(speed)}{suffix}/s"
            return Text(f"{amount(task.completed)}{of}{suffix}{rate}")

    bar = (BarColumn(bar_width=24),) if total is not None else ()
    clock = (TimeRemainingColumn(), TextColumn("left")) if total is not None else (TimeElapsedColumn(),)
    columns = (TextColumn("{task.description}"), *bar, Amount(), *clock)
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(title, total=total)
        yield lambda done: drawn.update(task, completed=done)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM have `stop` called while the block runs; a second one interrupts whatever hangs.

    By a thread of its own: a signal's handler runs in the middle of what the main thread is at, which may hold the very
    lock that `stop`, or a thread that it waits for, has to take.
    """
    asked, ask = os.pipe()

    def when_asked() -> None:
        word = os.read(asked, 1)
        os.close(asked)
        if word:
            stop()

    def handle(number: int, frame: FrameType | None) -> None:
        os.write(ask, b"!")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    stopper = threading.Thread(target=when_asked, name="feedhandler-stopper", daemon=True)
    stopper.start()
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    interrupted = True
    try:
        yield
        interrupted = False
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(ask)
        if not interrupted:
            stopper.join()


@contextmanager
def reading(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """progress() of what compiled code reads on this thread; Ctrl-C and SIGTERM interrupt at the next call of it.

    Not before: where compiled code calls Python (to unpack, to open the next file), a KeyboardInterrupt would be
    swallowed, and the recording seem to end there. A second Ctrl-C interrupts whatever hangs.
    """
    asked = threading.Event()
    with stopped_by_signals(asked.set), progress(title, total, "bytes") as done:

        def look(offset: int) -> None:
            if asked.is_set():
                raise KeyboardInterrupt
            done(offset)

        yield look


@contextmanager
def stop_after(seconds: float, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` once, after so many seconds, if the block still runs then; 0 = never."""
    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    if seconds:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def named(text: str) -> list[str] | None:
    """A,B,… taken apart; None where nothing is named: all."""
    return [word.strip() for word in text.split(",") if word.strip()] or None


def window(recording: "Recording", begin: str, end: str) -> "Window":
    """The window that --from and --to name. Raises RecordingError when one of them is nowhere in the recording."""
    from feedhandler.recording import Window

    if not begin and not end:
        return Window()
    with reading("looking", max(file.size for file in recording.files)) as done:
        recording.indexing = done
        found = Window(recording.find(begin) if begin else None, recording.find(end) if end else None)
        recording.indexing = None
    return found


def known_protocol(given: str) -> str | None:
    """The protocol that was given, which must be known; None where it is to be recognised."""
    from feedhandler.decode import protocols

    if given and given not in protocols():
        raise typer.BadParameter(f"{given!r} is not one of {', '.join(protocols())}", param_hint="--protocol")
    return given or None


def address_and_port(text: str) -> tuple[str, int]:
    """ADDRESS:PORT, taken apart."""
    address, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"expected ADDRESS:PORT, as 239.192.0.1:26400, found {text!r}", param_hint="--group")
    return address, int(port)


def open_closed() -> None:
    """What the shell has closed (`>&-`) is there, and goes nowhere: nothing needs to ask whether it is."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 (as long as we run)


def leave_stdout() -> None:
    """Let what is still to be written to stdout go nowhere: its reader has gone away, or there is no room for it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
