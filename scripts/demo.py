"""`make demo`: an exchange, a handler, a strategy, each a process of its own, and a live view of what they do.

FEED=crypto: four crypto venues instead, on loopback over TLS, each followed over two connections, of which one is cut
now and then.

On a terminal the view is redrawn in place; elsewhere it is a line a second. Ctrl-C, or --seconds, ends all of them in
order, and a summary follows. Exit code 0 when every process ended well and books were live.
"""

import argparse
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from feedhandler.read import Feed
    from feedhandler.scoreboard import LineView
    from feedhandler.top import View

STARTED = float(os.environ.get("FEEDHANDLER_STARTED") or time.time())
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a built checkout is enough
FOLDER = ROOT / "build" / "demo"
CONFIG = """
[shm]
name = "{name}"

[books]
instruments = 1024
orders = 400_000

[[channel]]
name = "itch"
protocol = "itch50"
session = "moldudp64"

[[channel.line]]
name = "A"
group = "{a}"
port = {port}
interface = "lo"

[[channel.line]]
name = "B"
group = "{b}"
port = {port}
interface = "lo"
"""
VENUES = ("binance", "coinbase", "kraken", "bitstamp")
FAULTS = """
[[fault]]
kind = "cut"
at = 2000
every = 4000
"""
COMMAND = (sys.executable, "-m", "feedhandler")
PR_SET_PDEATHSIG = 1


class Part:
    """A process of the demo. What it writes goes to build/demo/NAME.log; its last lines are kept."""

    def __init__(self, name: str, *command: str | Path) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=5)
        self.log = FOLDER / f"{name}.log"
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
            process_group=0,  # Ctrl-C at the terminal is ours to pass on, in order
            preexec_fn=_end_with_parent,
        )
        assert self.process.stdout
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with self.log.open("w") as log:
            for line in stream:
                log.write(line)
                log.flush()
                self.lines.append(line.rstrip())

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> int:
        """Ctrl-C, then SIGTERM, then SIGKILL; its exit code."""
        for number, patience in ((signal.SIGINT, 10.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            if self.alive:
                self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
                break
        self._reader.join(2)
        return int(self.process.returncode)


def _end_with_parent() -> None:
    """In the child: should this process be killed, end too, so that nothing of a demo stays behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class StopDemo(BaseException):
    """Ctrl-C or SIGTERM."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.0, help="end by itself; 0 = on Ctrl-C")
    parser.add_argument("--feed", choices=("itch", "crypto"), default="itch")
    parser.add_argument("--symbols", type=int, help="200; crypto: 3 of each venue")
    parser.add_argument("--rate", type=int, help="messages per second: 20,000; crypto: 200 of each venue")
    parser.add_argument("--name", default="demo", help="of the shared segment")
    options = parser.parse_args(arguments)

    signal.signal(signal.SIGTERM, _raise_stop)
    signal.signal(signal.SIGINT, _raise_stop)
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts: list[Part] = []
    last: View | None = None
    ended_well, stopped = True, False
    try:
        feed = (_crypto if options.feed == "crypto" else _itch)(options, parts)
        _first_book(feed, parts)
        for view in _views(feed, parts, options.seconds):
            last = view
    except StopDemo:
        stopped = True
    except RuntimeError as error:
        print(f"demo: {error}", file=sys.stderr)
        ended_well = False
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        codes = {part.name: part.stop() for part in reversed(parts)}
    for name, code in codes.items():
        if code and not (stopped and last is None):  # Ctrl-C may come before a process can take it well
            ended_well = False
            print(f"demo: {name} ended with code {code}; what it said: build/demo/{name}.log", file=sys.stderr)
    return 0 if (_summary(last, parts) or (stopped and last is None)) and ended_well else 1


def _itch(options: argparse.Namespace, parts: list[Part]) -> "Feed":
    """A handler of two multicast lines, a strategy, and the exchange last, so that nothing is missed."""
    pid = os.getpid()
    groups = [f"239.{192 + pid % 60}.{pid // 60 % 256}.{last}" for last in (1, 2)]
    config = FOLDER / f"{options.name}.toml"
    config.write_text(CONFIG.format(name=options.name, a=groups[0], b=groups[1], port=26400).lstrip())
    parts.append(Part("handler", *COMMAND, "run", config))
    feed = _attach(options.name, parts[0])
    parts.append(Part("strategy", sys.executable, "examples/strategy.py", options.name))
    symbols, rate = options.symbols or 200, options.rate or 20_000
    flow = ("--symbols", symbols, "--rate", rate, "--messages", 10**9, "--skew-us", 20)
    lines = [word for group in groups for word in ("--group", f"{group}:26400")]
    parts.append(Part("simulator", *COMMAND, "simulate", *map(str, flow), *lines))
    return feed


def _crypto(options: argparse.Namespace, parts: list[Part]) -> "Feed":
    """The venues first, for they say where they are; then one handler of all of them, and a strategy."""
    faults = FOLDER / f"{options.name}-faults.toml"
    faults.write_text(FAULTS)
    configs = {venue: FOLDER / f"{options.name}-{venue}.toml" for venue in VENUES}
    flow = ("--symbols", str(options.symbols or 3), "--rate", str(options.rate or 200), "--faults", str(faults))
    for venue, config in configs.items():
        config.unlink(missing_ok=True)
        there = ("--config", str(config), "--certificates", str(FOLDER / f"{options.name}-{venue}"))
        parts.append(Part(f"simulator-{venue}", *COMMAND, "simulate", "--venue", venue, *flow, *there))
    end = time.monotonic() + 30
    while not all(config.exists() for config in configs.values()):
        _dead(parts)
        if time.monotonic() > end:
            raise RuntimeError("no venue within 30 s; see build/demo/*.log")
        time.sleep(0.02)
    config = FOLDER / f"{options.name}.toml"
    channels = [one.read_text()[one.read_text().index("[[channel]]") :] for one in configs.values()]
    config.write_text("\n".join([f'[shm]\nname = "{options.name}"\n\n[books]\ninstruments = 64\n', *channels]))
    handler = Part("handler", *COMMAND, "run", config)
    parts.append(handler)
    feed = _attach(options.name, handler)
    parts.append(Part("strategy", sys.executable, "examples/strategy.py", options.name))
    return feed


def _raise_stop(number: int, frame: FrameType | None) -> None:
    raise StopDemo


def _attach(name: str, handler: Part) -> "Feed":
    """The handler's segment, as soon as it is there."""
    import feedhandler as fh

    end = time.monotonic() + 20
    while True:
        try:
            return fh.attach(name)
        except fh.FeedError as error:
            if not handler.alive or time.monotonic() > end:
                raise RuntimeError(f"no handler: {error}\n" + "\n".join(handler.lines)) from None
        time.sleep(0.01)


def _dead(parts: Sequence[Part]) -> None:
    """Raise RuntimeError with the last words of a process that ended by itself and badly."""
    for part in parts:
        if not part.alive and part.process.returncode:
            raise RuntimeError(f"{part.name} ended with code {part.process.returncode}:\n" + "\n".join(part.lines))


def _first_book(feed: "Feed", parts: Sequence[Part]) -> None:
    """Wait for a book with both sides and say how long it took from the command."""
    from feedhandler.top import take

    end = time.monotonic() + 30
    while not any(book.bid and book.ask for book in take(feed).books):
        _dead(parts)
        if time.monotonic() > end:
            raise RuntimeError("no book came within 30 s; see build/demo/*.log")
        time.sleep(0.02)
    print(f"demo: first book {time.time() - STARTED:.1f} s after the command", flush=True)


def _views(feed: "Feed", parts: Sequence[Part], seconds: float) -> Iterator["View"]:
    """Show and yield a view of the feed again and again: until the time is up or the simulator has ended."""
    from feedhandler.top import take

    strategy = next(part for part in parts if part.name == "strategy")
    simulators = [part for part in parts if part.name.startswith("simulator")]
    end = time.monotonic() + seconds if seconds else float("inf")
    before = take(feed)
    with _screen(strategy) as show:
        while time.monotonic() < end and all(part.alive for part in simulators):
            time.sleep(min(show.period, max(0.0, end - time.monotonic())))
            _dead(parts)
            view = take(feed)
            show(view, before)
            before = view
            yield view


class _Lines:
    """A line a second, for a log."""

    period = 1.0

    def __init__(self, strategy: Part) -> None:
        self._strategy = strategy

    def __call__(self, view: "View", before: "View") -> None:
        from feedhandler.figures import rate

        live = sum(book.state == "LIVE" for book in view.books)
        per_second = rate(view.events, before.events, view.taken - before.taken)
        health = ", ".join(f"{_named(line, view)} {line.state}" for line in view.lines)
        said = self._strategy.lines[-1] if self._strategy.lines else ""
        print(f"demo: {live} of {len(view.books)} books live, {per_second:,.0f} events/s, lines {health} | {said}")
        sys.stdout.flush()


class _Terminal:
    """The page of `feedhandler top`, and below it what the strategy says."""

    period = 0.25

    def __init__(self, strategy: Part) -> None:
        from rich.console import Console
        from rich.live import Live

        self._strategy = strategy
        self.console = Console()
        self.live = Live(console=self.console, screen=True, auto_refresh=False)

    def __call__(self, view: "View", before: "View") -> None:
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        from feedhandler.top import draw

        height = 5 if self.console.height < 30 else 7
        said = Text("\n".join([*self._strategy.lines][2 - height :]), overflow="ellipsis", no_wrap=True)
        panel = Panel(said, title="examples/strategy.py", height=height)
        page = draw(view, before, 0, self.console.width, self.console.height - height)
        self.live.update(Group(page, panel), refresh=True)


@contextlib.contextmanager
def _screen(strategy: Part) -> Iterator[_Lines | _Terminal]:
    """What to show views on."""
    if not sys.stdout.isatty():
        yield _Lines(strategy)
        return
    terminal = _Terminal(strategy)
    with terminal.live:
        yield terminal


def _named(line: "LineView", view: "View") -> str:
    """The line's name, behind its channel's where there are several."""
    return f"{line.channel}/{line.name}" if len(view.channels) > 1 else line.name


def _summary(view: "View | None", parts: Sequence[Part]) -> bool:
    """What the demo did, in a few lines; whether books were live."""
    if view is None:
        print("demo: ended before there was anything to see")
        return False
    live = sum(book.state == "LIVE" for book in view.books)
    print(f"demo: {view.events:,} events, {live} of {len(view.books)} books live")
    for channel in view.channels:
        said = {k: channel.counters.get(k, 0) for k in ("messages", "gaps", "missing", "lost")}
        print(f"demo: channel {channel.name} {channel.state}: " + ", ".join(f"{v:,} {k}" for k, v in said.items()))
    for line in view.lines:
        said = {k: line.counters.get(k, 0) for k in ("packets", "won", "duplicates", "kernel_drops")}
        print(f"demo: line {_named(line, view)} {line.state}: " + ", ".join(f"{v:,} {k}" for k, v in said.items()))
    for latency in view.latency:
        if latency.count:
            print(f"demo: {latency.name}: p50 {latency.p50 / 1000:.1f} µs, p99 {latency.p99 / 1000:.1f} µs")
    for part in parts:
        if part.name == "strategy" and part.lines:
            print(f"demo: the strategy's last words: {part.lines[-1]}")
    return live > 0


if __name__ == "__main__":
    sys.exit(main())
