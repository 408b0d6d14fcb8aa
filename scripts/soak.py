"""Everything at once, for as long as told: loss, outages, new sessions, wrong answers, stopped readers, kill -9.

An exchange sends one day after the other over loopback, under a script of faults, with a request server and a GLIMPSE
server that answer wrong now and then. `feedhandler run` is killed with -9 every so often, and started again; so are
readers, which are slow, or stopped for seconds. A checker attached to the segment compares every book that claims to be
LIVE with a lossless run, all the time. Beside it all, random fault scripts run through the rehearsal.
Exit code 1 when a book was wrong, memory grew, or books did not come back.

    python scripts/soak.py --minutes 5 --report docs/soak.md
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEPTH, SYMBOLS, DAYS = 10, 60, 4  # so many different days, sent again and again in sessions of their own
KILL_HANDLER_S, KILL_READER_S, STOP_READER_S = (25.0, 50.0), (4.0, 9.0), (5.0, 11.0)
STOPPED_S = 2.5
SAMPLE_S = 0.5
WARM_S = 10.0  # of a process's life, before its memory counts
GROWTH = 0.10  # of its memory, that a process may gain
BACK_S = 15.0  # after which a handler that was started again must be LIVE, as long as nothing else happened

SCRIPT = """
[upstream]
burst_loss = 0.0005
burst_packets = 6
[all]
loss = 0.01
burst_loss = 0.002
burst_packets = 10
duplicate = 0.005
duplicate_us = 300.0
reorder = 0.005
jitter_us = 20.0
truncate = 0.0005
corrupt = 0.0005
[[outage]]
from_s = 7.0
for_s = 1.0
every_s = 17.0
[requests]
silence = 0.05
other_session = 0.02
other_sequence = 0.02
more = 0.02
fewer = 0.1
malformed = 0.02
[glimpse]
cut = 0.1
refuse = 0.05
"""

FEED = """
[shm]
name = "{name}"
[books]
depth = {depth}
instruments = 1024
orders = 400000
[handler]
wait = "block"
receive_buffer = 16777216
[[channel]]
name = "itch"
protocol = "itch50"
session = "moldudp64"
venue = "XNAS"
silence_ms = 1000
[channel.recovery]
servers = ["127.0.0.1:{requests}"]
snapshot = "127.0.0.1:{glimpse}"
gap_limit = 20000
snapshot_retry_ms = 1000
[[channel.line]]
name = "A"
group = "{group}.1"
port = {port}
interface = "lo"
[[channel.line]]
name = "B"
group = "{group}.2"
port = {port}
interface = "lo"
"""


def session_of(day: int) -> str:
    return f"S{day:05}"


def seed_of(session: str) -> int:
    """Which of the DAYS a session is."""
    return int(session[1:]) % DAYS + 1


# -- the exchange ------------------------------------------------------------------------------------------------------


def exchange(given: argparse.Namespace) -> None:
    """One day after the other, until it is told to stop; its servers live through all of them."""
    from feedhandler.simulate import (
        Exchange,
        Faults,
        GlimpseServer,
        MessageStore,
        MulticastSender,
        RequestServer,
        SnapshotSource,
    )

    faults = Faults.parse(SCRIPT)
    state, stop = SnapshotSource(), threading.Event()
    store = MessageStore(1 << 21)
    lines = [(f"{given.group}.1", given.port), (f"{given.group}.2", given.port)]
    sender: MulticastSender | None = None

    def end(*_: object) -> None:
        stop.set()
        if sender is not None:
            sender.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    messages = round(given.rate * given.day_s)
    requests = RequestServer(store, session=session_of(0), faults=faults.requests, seed=given.seed)
    with requests, GlimpseServer(state, session=session_of(0), faults=faults.glimpse, seed=given.seed) as glimpse:
        say({"requests": requests.port, "glimpse": glimpse.port})
        day = 0
        while not stop.is_set():
            session = session_of(day)
            if day:
                store = MessageStore(1 << 21)
                state.clear()
                requests.answerer.add_session(session, store)
                requests.answerer.sessions.pop(session_of(day - 2).ljust(10).encode(), None)
                glimpse.answerer.account = replace(glimpse.answerer.account, session=session)
            sender = MulticastSender(
                lines,
                rate=given.rate,
                session=session,
                flush_us=200.0,
                heartbeat_s=0.2,
                end_repeats=5,
                taps=(store, state),
                faults=faults,
                seed=given.seed + day,
            )
            say({"session": session})
            sender.run(Exchange(symbols=SYMBOLS, messages=messages, seed=seed_of(session)))
            day += 1
        say({"days": day, "requests": requests.stats, "glimpse": glimpse.stats})


# -- the readers -------------------------------------------------------------------------------------------------------


class Checker:
    """Compares whatever is LIVE with the truth, and says how it went twice a second."""

    def __init__(self, given: argparse.Namespace) -> None:
        import feedhandler as fh
        from feedhandler.rehearse import from_simulation
        from feedhandler.rehearse.truth import Truth

        messages = round(given.rate * given.day_s)
        self.truths = {
            seed: Truth(from_simulation(symbols=SYMBOLS, messages=messages, seed=seed), depth=DEPTH)
            for seed in range(1, DAYS + 1)
        }
        say({"ready": messages})
        self.feed = wait_for(lambda: attach(given.name))
        self.Quality = fh.Quality
        self.compared = self.wrong = self.live = self.looks = 0
        self.known: tuple[Any, bytes, int] | None = None
        self.sessions: set[str] = set()
        self.first_wrong = ""

    def run(self) -> None:
        """Until it is killed."""
        next_word = time.monotonic()
        while True:
            self.look()
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + SAMPLE_S
                say(self.word())
            time.sleep(0.01)

    def word(self) -> dict[str, Any]:
        channel = self.feed.channels[0]
        quality = int(channel["quality"]) if self.feed.status == "running" else 9
        return {
            "live": quality == self.Quality.LIVE,
            "pid": int(self.feed.header["pid"]),
            "session": channel["session"].decode().strip("\0 "),
            "compared": self.compared,
            "wrong": self.wrong,
            "first_wrong": self.first_wrong,
            "share": self.live / max(1, self.looks),
            "sessions": len(self.sessions),
        }

    def look(self) -> None:
        """Every book once; not while a session begins, whose name is told a moment before the books are cleared."""
        self.feed.follow()
        now = self.feed.channels[0]
        known, self.known = self.known, (self.feed.reader, bytes(now["session"]), int(now["epoch"]))
        if known != self.known:
            return
        for index in range(1, self.feed.reader.used):
            before = self.feed.channels[0]
            book = self.feed.book(index)
            bids, asks = book.snapshot()
            after = self.feed.channels[0]
            session = before["session"].decode().strip("\0 ")
            if any((self.feed.reader, bytes(at["session"]), int(at["epoch"])) != known for at in (before, after)):
                return
            self.looks += 1
            if book.seen_codes()[0] != self.Quality.LIVE or not session:
                continue
            self.live += 1
            self.sessions.add(session)
            truth, number, whole_to = self.truths[seed_of(session)], book.seen_channel_seq, int(before["next_seq"]) - 1
            fresh = truth.last(session_name(truth), book.symbol, whole_to) <= number
            if fresh and truth.holds(session_name(truth), book.symbol, number, bids, asks):
                self.compared += 1
            else:
                self.wrong += 1
                last = truth.last(session_name(truth), book.symbol, whole_to)
                where = (
                    f"{book.symbol} of {session} at {number}, when {whole_to} had been handed out; last change {last}"
                )
                self.first_wrong = self.first_wrong or where


def session_name(truth: Any) -> str:
    """The truths were made under one name."""
    return "REHEARSAL"


def slow_reader(given: argparse.Namespace) -> None:
    """Reads events with long naps: it is lapped again and again, and nobody waits for it."""
    feed = wait_for(lambda: attach(given.name))
    while True:
        with contextlib.suppress(Exception):
            for _ in feed.events(timeout=1.0):
                time.sleep(0.3)
        feed.follow()
        time.sleep(0.1)


def attach(name: str) -> Any:
    import feedhandler as fh

    try:
        return fh.attach(name)
    except fh.FeedError:
        return None


def wait_for(what: Any, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise SystemExit("soak: nothing came to attach to")
        time.sleep(0.05)
    return found


def scripts(given: argparse.Namespace) -> None:
    """Random fault scripts through the rehearsal, one after the other; says how many, and the first that failed."""
    from tests.fault_scripts import random_case

    os.nice(10)
    dice, done, failed = random.Random(given.seed), 0, ""
    while True:
        case = random_case(dice.getrandbits(32))
        problem = case.problem()
        done += 1
        failed = failed or problem
        if done % 20 == 0 or problem:
            say({"scripts": done, "failed": failed})


def say(word: dict[str, Any]) -> None:
    print(json.dumps(word), flush=True)


# -- the parent --------------------------------------------------------------------------------------------------------


class Child:
    """A process that says what it has to say in lines of JSON."""

    def __init__(self, role: str, command: list[str], *, talks: bool = True, warm_s: float = WARM_S) -> None:
        self.role, self.command, self.talks, self.warm = role, command, talks, warm_s
        self.words: deque[dict[str, Any]] = deque(maxlen=64)
        self.lives = 0
        self.memory: list[list[int]] = []  # KiB, of each life
        self.errors = ""
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self.talks else subprocess.DEVNULL,
            stderr=subprocess.PIPE if self.talks else subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self.begun = time.monotonic()
        self.lives += 1
        self.memory.append([])
        if self.talks:
            threading.Thread(target=self._hear, args=(self.process,), daemon=True).start()
            threading.Thread(target=self._complaints, args=(self.process,), daemon=True).start()

    def _hear(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                self.words.append(json.loads(line))

    def _complaints(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.errors = (self.errors + line)[-4000:]

    def last(self, key: str) -> Any:
        return next((word[key] for word in reversed(list(self.words)) if key in word), None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()

    def sample(self) -> None:
        """Its memory now, once it is warm."""
        if time.monotonic() - self.begun < self.warm or self.process.poll() is not None:
            return
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self.memory[-1].append(int(next(row for row in status.splitlines() if row.startswith("VmRSS")).split()[1]))

    def growth(self) -> float:
        """The most that one life gained, as a share: its last fifth against its first."""
        found = 0.0
        for life in self.memory:
            part = len(life) // 5
            if part >= 4:
                first, last = sorted(life[:part])[part // 2], sorted(life[-part:])[part // 2]
                found = max(found, last / first - 1)
        return found


def end_all(children: list[Child]) -> None:
    for child in children:
        child.end()


@dataclass
class Story:
    """What happened."""

    handler_kills: int = 0
    reader_kills: int = 0
    reader_stops: int = 0
    back: list[float] = field(default_factory=list)  # seconds from a kill to LIVE
    never_back: int = 0
    compared: int = 0
    wrong: int = 0
    first_wrong: str = ""
    share: list[float] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)


def soak(given: argparse.Namespace) -> dict[str, Any]:
    dice = random.Random(given.seed)
    name, group = f"soak-{os.getpid()}", f"239.{192 + os.getpid() % 60}.{os.getpid() // 60 % 256}"
    here = [sys.executable, str(Path(__file__).resolve())]
    options = [
        *("--name", name, "--group", group, "--rate", str(given.rate), "--day-s", str(given.day_s)),
        *("--port", str(given.port), "--seed", str(given.seed)),
    ]
    story = Story()
    children: list[Child] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(end_all, children)
        stack.callback(lambda: (Path("/dev/shm") / name).unlink(missing_ok=True))
        checker = Child("checker", [*here, "--role", "checker", *options])
        children.append(checker)
        wait_for(lambda: checker.last("ready") or checker.process.poll() is not None, 240.0)
        market = Child("exchange", [*here, "--role", "exchange", *options], warm_s=3 * given.day_s)  # its stores fill
        children.append(market)
        wait_for(lambda: market.last("glimpse") or market.process.poll() is not None)
        feed = Path(folder) / "feed.toml"
        ports = {"requests": market.last("requests"), "glimpse": market.last("glimpse")}
        feed.write_text(FEED.format(name=name, depth=DEPTH, group=group, port=given.port, **ports))
        handler = Child("handler", [sys.executable, "-m", "feedhandler", "run", str(feed)], talks=False)
        readers = [Child("slow reader", [*here, "--role", "slow", *options], talks=False) for _ in range(2)]
        rehearsals = Child("rehearsals", [*here, "--role", "scripts", *options])
        children += [handler, *readers, rehearsals]
        _go_on(given, dice, story, checker, market, handler, readers, children)
        market.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            market.process.wait(10.0)
        return _outcome(given, story, checker, market, handler, rehearsals, children)


def _go_on(
    given: argparse.Namespace,
    dice: random.Random,
    story: Story,
    checker: Child,
    market: Child,
    handler: Child,
    readers: list[Child],
    children: list[Child],
) -> None:
    """Until the time is up: kill, stop, start again, sample, listen."""
    now = begun = time.monotonic()
    end = begun + given.minutes * 60
    kill_handler, kill_reader, stop_reader = (
        now + dice.uniform(*span) for span in (KILL_HANDLER_S, KILL_READER_S, STOP_READER_S)
    )
    waiting_since = 0.0
    while now < end:
        time.sleep(SAMPLE_S / 2)
        now = time.monotonic()
        for child in children:
            child.sample()
        word = checker.words[-1] if checker.words else {}
        story.compared, story.wrong = word.get("compared", 0), word.get("wrong", 0)
        story.first_wrong = word.get("first_wrong", "")
        if word.get("session"):
            story.sessions.add(word["session"])
        if waiting_since and word.get("live") and word.get("pid") == handler.process.pid:
            story.back.append(now - waiting_since)
            waiting_since = 0.0
        elif waiting_since and now - waiting_since > BACK_S:
            story.never_back += 1
            waiting_since = 0.0
        if now >= kill_handler and end - now > BACK_S:
            kill_handler = now + dice.uniform(*KILL_HANDLER_S)
            handler.kill()
            handler.start()
            story.handler_kills += 1
            waiting_since = now
        if now >= kill_reader:
            kill_reader = now + dice.uniform(*KILL_READER_S)
            victim = dice.choice(readers)
            victim.kill()
            victim.start()
            story.reader_kills += 1
        if now >= stop_reader:
            stop_reader = now + dice.uniform(*STOP_READER_S)
            victim = dice.choice(readers)
            victim.process.send_signal(signal.SIGSTOP)
            threading.Timer(STOPPED_S, _go, (victim.process,)).start()
            story.reader_stops += 1
        for child in (checker, market):
            if child.process.poll() is not None:
                raise SystemExit(f"soak: the {child.role} has ended: {child.errors or child.process.returncode}")
        if sys.stderr.isatty():
            print(f"\r{now - begun:6.0f} s  {story.compared:,} compared, {story.wrong} wrong", end="", file=sys.stderr)


def _go(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        process.send_signal(signal.SIGCONT)


def _outcome(
    given: argparse.Namespace,
    story: Story,
    checker: Child,
    market: Child,
    handler: Child,
    rehearsals: Child,
    children: list[Child],
) -> dict[str, Any]:
    growths = {child.role: child.growth() for child in (handler, market, checker)}
    memory = {
        child.role: [life[len(life) // 2] // 1024 for life in child.memory if len(life) > 4]
        for child in (handler, market, checker)
    }
    failed = rehearsals.last("failed") or ""
    good = (
        not story.wrong
        and not failed
        and not story.never_back
        and story.compared > 0
        and all(growth <= GROWTH for growth in growths.values())
    )
    return {
        "good": good,
        "minutes": given.minutes,
        "seed": given.seed,
        "rate": given.rate,
        "sessions": len(story.sessions),
        "handler_kills": story.handler_kills,
        "reader_kills": story.reader_kills,
        "reader_stops": story.reader_stops,
        "seconds_to_live": {
            "median": round(sorted(story.back)[len(story.back) // 2], 2) if story.back else None,
            "max": round(max(story.back), 2) if story.back else None,
        },
        "never_back": story.never_back,
        "compared": story.compared,
        "live_share": round(checker.last("share") or 0.0, 4),
        "wrong": story.wrong,
        "first_wrong": story.first_wrong,
        "fault_scripts": rehearsals.last("scripts"),
        "fault_script_failed": failed,
        "memory_growth": {role: round(growth, 4) for role, growth in growths.items()},
        "memory_mib": memory,
        "servers": {"requests": market.last("requests"), "glimpse": market.last("glimpse")},
    }


ROLES = {"exchange": exchange, "checker": lambda given: Checker(given).run(), "slow": slow_reader, "scripts": scripts}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=5.0)
    options.add_argument("--rate", type=float, default=40_000.0, help="messages a second")
    options.add_argument("--day-s", type=float, default=20.0, help="seconds of one session")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--port", type=int, default=26480)
    options.add_argument("--report", type=Path, help="write the figures there, as Markdown, below the heading 'Soak'")
    for hidden in ("--role", "--name", "--group"):
        options.add_argument(hidden, default="", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.role:
        ROLES[given.role](given)
        return 0
    found = soak(given)
    for key, value in found.items():
        print(f"{key:20} {value}")
    if given.report:
        write_report(given.report, found)
    return 0 if found["good"] else 1


def write_report(path: Path, found: dict[str, Any]) -> None:
    """Replace what stands below the last heading that begins with `## Soak`."""
    text = path.read_text() if path.exists() else "# Soak\n\n"
    head = text[: text.index("## Soak: ")] if "## Soak: " in text else text.rstrip() + "\n\n"
    rows = "\n".join(f"| {key.replace('_', ' ')} | {json.dumps(value)} |" for key, value in found.items())
    title = f"## Soak: `make soak MINUTES={found['minutes']:g}`"
    path.write_text(f"{head}{title}\n\n| what | found |\n| --- | --- |\n{rows}\n")


if __name__ == "__main__":
    sys.exit(main())
