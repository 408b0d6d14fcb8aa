"""A day of ITCH into Parquet, with books kept on the way, beside itch-book's own path to Parquet on the same file.

Both read one BinaryFILE and write zstd with statistics; an operation is a message of the file, `events_per_s` (ours)
counts the events that these came to, and `cpu_ns` is the processor time of a message, all threads together, which says
more on a busy machine. itch-book (`itch2parquet convert`) has a table for each kind: `messages` is what we call events,
`depth` a book of ten levels at each change, `trades` trades. Its checksum of the input is switched off, since we make
none. The pairs stand one below the other: ours, then the peer's.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

DAY = "2026-01-05"


def make_day(messages: int) -> Path:
    """A BinaryFILE of a simulated day, kept for the next contestant."""
    from feedhandler.simulate import Exchange, write

    path = Path(tempfile.gettempdir()) / f"feedhandler-bench-{messages}.itch"
    if not path.exists():
        partial = path.with_name(f"partial-{path.name}")
        write(partial, Exchange(symbols=500, seed=1, messages=messages))
        partial.rename(path)
    return path


contest = harness.Contest(
    "convert_parquet",
    unit="message",
    rounds=5,
    floor="itch-book messages (its events)",
    options={"messages": 1_000_000},
)


def ours(messages: int, out: str, **options: Any) -> harness.Round:
    import datetime

    from feedhandler import convert

    source, folder = make_day(messages), Path(tempfile.mkdtemp(prefix="feedhandler-bench-"))
    chosen = convert.Options(day=datetime.date.fromisoformat(DAY), **options)

    def one_round() -> harness.Sample:
        begin, cpu = time.perf_counter_ns(), time.process_time_ns()
        report = convert.convert([source], folder / out, chosen)
        took, cpu = time.perf_counter_ns() - begin, time.process_time_ns() - cpu
        shutil.rmtree(folder)
        folder.mkdir()
        figures = {"cpu_ns": cpu / messages, "rows": report.rows, "MB": report.written / 1e6}
        figures["events_per_s"] = report.events / took * 1e9
        return harness.Sample(report.messages, took, figures)

    return one_round


def theirs(messages: int, table: str) -> harness.Round:
    from itch_book.cli import main

    source, folder = make_day(messages), Path(tempfile.mkdtemp(prefix="feedhandler-bench-"))

    def one_round() -> harness.Sample:
        import pyarrow.parquet as pq

        begin, cpu = time.perf_counter_ns(), time.process_time_ns()
        failed = main(["convert", str(source), str(folder), "--tables", table, "--date", DAY, "--no-md5"])
        took, cpu = time.perf_counter_ns() - begin, time.process_time_ns() - cpu
        assert not failed
        rows = pq.read_metadata(folder / f"{table}.parquet").num_rows
        size = sum(file.stat().st_size for file in folder.iterdir())
        return harness.Sample(messages, took, {"cpu_ns": cpu / messages, "rows": rows, "MB": size / 1e6})

    return one_round


@contest.contestant("feedhandler events")
def events(messages: int) -> harness.Round:
    return ours(messages, "events.parquet")


@contest.contestant("itch-book messages (its events)", package="itch-book")
def their_events(messages: int) -> harness.Round:
    return theirs(messages, "messages")


@contest.contestant("feedhandler book, every change")
def book(messages: int) -> harness.Round:
    return ours(messages, "book.parquet", kind="book")


@contest.contestant("itch-book depth (ten levels)", package="itch-book")
def their_depth(messages: int) -> harness.Round:
    return theirs(messages, "depth")


@contest.contestant("feedhandler trades")
def trades(messages: int) -> harness.Round:
    return ours(messages, "trades.parquet", kind="trades")


@contest.contestant("itch-book trades", package="itch-book")
def their_trades(messages: int) -> harness.Round:
    return theirs(messages, "trades")


@contest.contestant("feedhandler events, by date and symbol")
def partitioned(messages: int) -> harness.Round:
    return ours(messages, "lake")


@contest.contestant("feedhandler messages, a table a type")
def by_type(messages: int) -> harness.Round:
    return ours(messages, "messages", kind="messages")


@contest.contestant("feedhandler bars of a minute")
def bars(messages: int) -> harness.Round:
    return ours(messages, "bars.parquet", kind="bars")


@contest.contestant("feedhandler events to DBN")
def dbn(messages: int) -> harness.Round:
    return ours(messages, "events.dbn")


test_convert = contest.test()

if __name__ == "__main__":
    contest.main()
