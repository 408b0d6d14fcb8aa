"""books, replay, run, simulate on the wire, and top: the commands that have a handler or its segment."""

import json
import os
import re
import signal
import threading
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from test_cli import eighty_columns, run  # noqa: F401

from feedhandler import attach, bench, records
from feedhandler.cli.bench import table as bench_table
from feedhandler.errors import FeedError
from feedhandler.figures import amount, duration, price_text, shown_decimals, size_text
from feedhandler.handler import open_capture, play
from feedhandler.news import News
from feedhandler.publish import Segment
from feedhandler.records import Quality, Reason
from feedhandler.simulate import Exchange, Faults, SoupServer, write
from feedhandler.top import draw, draw_books, take
from tests.feeds import soup

MESSAGES = 6000


@pytest.fixture(scope="module")
def exchange() -> Exchange:
    return Exchange(symbols=4, messages=MESSAGES, seed=3)


@pytest.fixture(scope="module")
def day(exchange: Exchange, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.itch.gz"
    write(path, exchange)
    return path


@pytest.fixture
def name() -> str:
    return f"test-cli-{os.getpid()}"


# -- books ------------------------------------------------------------------------------------------------------------


def test_books_as_json_equal_the_exchange(exchange: Exchange, day: Path) -> None:
    done = run("books", day, "--protocol", "itch50", "--depth", "10", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert set(result) == {"messages", "types", "books"}
    assert result["messages"] == MESSAGES
    assert result["types"] == dict(sorted(exchange.types.items()))
    assert set(result["books"]) == set(exchange.symbols)
    for symbol in exchange.symbols:
        bids, asks = exchange.book(symbol)
        expected = {
            "state": "LIVE",
            "size_exponent": 0,
            "bids": [[price * 100_000, size, orders] for price, size, orders in bids[:10]],
            "asks": [[price * 100_000, size, orders] for price, size, orders in asks[:10]],
        }
        assert result["books"][symbol] == expected


def test_books_as_text_fit_80_columns(exchange: Exchange, day: Path) -> None:
    done = run("books", day)
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == set(exchange.symbols)
    assert done.stderr.startswith(f"{MESSAGES:,} messages: A×")
    one = run("books", day, "--symbol", exchange.symbols[0], "--depth", "3")
    assert one.stdout.splitlines()[0].startswith(f"{exchange.symbols[0]} on XNAS: LIVE, CLOSED")
    assert len(one.stdout.splitlines()) <= 5
    wrong = run("books", day, "--symbol", "NOPE")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("feedhandler: there is no 'NOPE'")


def test_books_of_a_recorded_day_at_its_end_and_at_a_moment(tmp_path: Path) -> None:
    """A folder, as every command that reads takes it; both spellings of --symbols; several symbols."""
    exchange = Exchange(symbols=3, messages=2000, seed=4)
    folder = tmp_path / "20261122"
    folder.mkdir()
    write(folder / "feed-0001.pcapng", exchange)
    first, second = exchange.symbols[:2]
    whole = json.loads(run("books", folder, "--json").stdout)
    assert set(whole["books"]) == set(exchange.symbols)
    for spelling in ("--symbols", "--symbol"):
        some = json.loads(run("books", folder, spelling, f"{first}, {second}", "--json").stdout)
        assert some["books"] == {name: whole["books"][name] for name in (first, second)}
    shown = run("books", folder, "--symbols", f"{first},{second}").stdout
    assert f"{first} on XNAS: " in shown and f"{second} on XNAS: " in shown
    early = json.loads(run("books", folder, "--to", "seq:1000", "--json").stdout)
    assert 0 < early["messages"] < whole["messages"] and early["books"] != whole["books"]
    wrong = run("books", folder, "--symbols", "NOPE", "--json")
    assert wrong.returncode == 1 and "there is no 'NOPE' among the 3 instruments" in wrong.stderr


def test_books_of_a_cut_file_are_given_and_then_the_error(day: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.itch.gz"
    cut.write_bytes(day.read_bytes()[: day.stat().st_size // 2])
    done = run("books", cut, "--json")
    assert done.returncode == 1
    assert 0 < json.loads(done.stdout)["messages"] < MESSAGES
    assert done.stderr.startswith("feedhandler: ")
    assert str(cut) in done.stderr


def test_books_of_another_protocol_are_an_error(day: Path) -> None:
    done = run("books", day, "--protocol", "iex_deep")
    assert done.returncode == 1
    assert "messages cannot be read as iex_deep: leave out --protocol, or name another" in done.stderr


@pytest.mark.real_data
@pytest.mark.parametrize("stem", ["esh4-20231225", "esh4-20231224", "bats-part1"])
def test_books_of_real_order_flow(shared_data: Path, stem: str) -> None:
    folder = shared_data / "itch50/derived"
    done = run("books", folder / f"{stem}.itch.gz", "--protocol", "itch50", "--depth", "10", "--json")
    assert done.returncode == 0
    result = json.loads(done.stdout)
    expected = json.loads((folder / f"{stem}.expected.json").read_text())["book"]
    for symbol, book in result["books"].items():
        sides = expected.get(symbol, {"B": [], "S": []})
        for side, key in (("bids", "B"), ("asks", "S")):
            assert book[side] == [[p * 100_000, size, orders] for p, size, orders in sides[key]]
    assert set(expected) <= set(result["books"])


# -- top --------------------------------------------------------------------------------------------------------------


def test_top_once(exchange: Exchange, day: Path, name: str) -> None:
    with open_capture(day, name=name, orders=10_000, instruments=64) as handler:
        assert play(handler) is None
        done = run("top", name, "--once", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        view = json.loads(done.stdout)
        assert (view["name"], view["writer"], view["instruments"]) == (name, "RUNNING", 4)
        assert view["channels"][0]["counters"]["messages"] == MESSAGES
        assert view["lines"][0]["counters"]["won"] == MESSAGES
        assert {book["symbol"] for book in view["books"]} == set(exchange.symbols)
        for book in view["books"]:
            bids, asks = exchange.book(book["symbol"])
            assert book["bid"] == ([bids[0][0] * 100_000, bids[0][1]] if bids else None)
            assert book["ask"] == ([asks[0][0] * 100_000, asks[0][1]] if asks else None)
        page = run("top", name, "--once")
        assert page.returncode == 0
        assert max(map(len, page.stdout.splitlines())) <= 80
        for word in (name, "RUNNING", "by capture, timestamps: file", "itch50", "LIVE", "won", *exchange.symbols):
            assert word in page.stdout


def test_the_faults_of_a_lossy_feed_are_counted_for_each_book(tmp_path: Path, name: str) -> None:
    day = tmp_path / "day.pcap"
    write(day, Exchange(symbols=4, messages=MESSAGES, seed=3), faults=Faults.parse("[upstream]\nloss = 0.05\n"), seed=2)
    with open_capture(day, name=name, orders=10_000, instruments=64) as handler:
        assert play(handler) is None
        with attach(name) as feed:
            books = [feed.book(symbol) for symbol in feed.symbols]
            view = take(feed)
            faults = [book.faults for book in books]
            assert faults == [dict(book.faults) for book in view.books]
            channel = view.channels[0].counters
            assert channel["unknown_order"] == sum(fault["unknown_orders"] for fault in faults) > 0
            assert channel["crossed"] == sum(fault["crossed"] for fault in faults)
            assert [int(feed.instrument(b.instrument)["unknown_orders"]) for b in books] == [
                fault["unknown_orders"] for fault in faults
            ]


def test_top_of_the_only_handler_needs_no_name(tmp_path: Path) -> None:
    with Segment.create("alone", dir=tmp_path, instruments=4, ring_events=64):
        done = run("top", "--dir", tmp_path, "--once")
    assert done.returncode == 0 and done.stdout.startswith("alone")
    done = run("top", "--dir", tmp_path, "--once")
    assert done.returncode == 1 and "no handler runs in" in done.stderr


def test_top_of_a_feed_that_is_not_there(name: str) -> None:
    done = run("top", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("feedhandler: segment /dev/shm/")
    assert len(done.stderr.splitlines()) == 1


def test_the_page_at_80_columns_with_rates_and_trouble(day: Path, name: str) -> None:
    with open_capture(day, name=name, orders=10_000, instruments=64) as handler:
        with attach(name) as feed:
            before = take(feed)
            play(handler)
            handler.segment.channels[0]["counters"][2] = 17
            handler.segment.directory[2]["unknown_orders"], handler.segment.directory[2]["crossed"] = 12_345, 2
            after = take(feed)
        out = StringIO()
        console = Console(file=out, width=80, height=12)
        console.print(draw(after, before, 0, console.width, 12))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert " events/s " in lines[0]
    assert any(line.startswith("file: gaps 17") for line in lines)
    faulty = after.books[1]
    assert faulty.faults == {"unknown_orders": 12_345, "over_executions": 0, "duplicate_orders": 0, "crossed": 2}
    assert lines[-1] == f"{faulty.symbol}: unknown orders 12.3k, crossed 2"
    assert 0 < faulty.channel_seq <= MESSAGES
    assert "3 more books" in out.getvalue()
    assert "won share" not in out.getvalue()


def test_books_in_units_of_their_own_are_shown_as_people_write_them(day: Path, name: str) -> None:
    with open_capture(day, name=name, orders=10_000, instruments=64) as handler, attach(name) as feed:
        play(handler)
        handler.segment.directory["price_exponent"][1:3] = -8
        handler.segment.directory["size_exponent"][1:3] = -8
        handler.segment.directory["tick"][1:3] = 1_000_000
        handler.segment.directory["price_decimals"][1:3] = 8
        view = take(feed)
    assert [(book.decimals, book.size_exponent) for book in view.books[:3]] == [(2, -8), (2, -8), (4, 0)]
    coin = replace(view.books[0], bid=(61_837_70000000, 13_989_000), ask=(61_838_25000000, 1), last=None, volume=10**13)
    other = replace(coin, venue="OTHER", bid=None, ask=None, volume=0)
    out = StringIO()
    Console(file=out, width=100).print(draw_books(replace(view, books=(coin, other, view.books[2])), 100))
    rows = [line.split() for line in out.getvalue().splitlines()[1:]]
    told = {row[0]: [word for word in row if word[0].isdigit()] for row in rows}
    assert told[f"{coin.symbol}@XNAS"] == ["0.14", "61837.70", "61838.25", "1e-08", "100k"]
    assert view.books[2].symbol in told and f"{coin.symbol}@OTHER" in told


def test_sizes_and_decimals() -> None:
    texts = [size_text(size, unit) for size, unit in [(0, 0), (950, 0), (12_345, 0), (25, -3), (1234, -8), (9_999, -2)]]
    assert texts == ["0", "950", "12.3k", "0.025", "1.23e-05", "100"]
    assert [shown_decimals(tick, -9, 4) for tick in (0, 1, 10_000_000, 5 * 10**8, 10**9, 10**10)] == [4, 9, 2, 1, 0, 0]


@pytest.mark.parametrize(
    ("height", "books", "scores", "latencies"),
    [(13, 1, False, False), (18, 6, False, False), (24, 8, False, True), (27, 8, True, True), (60, 40, True, True)],
)
def test_on_a_small_terminal_books_come_first(
    day: Path, name: str, height: int, books: int, scores: bool, latencies: bool
) -> None:
    with open_capture(day, name=name, orders=10_000, instruments=64) as handler, attach(name) as feed:
        play(handler)
        view = take(feed)
    spoken = tuple(replace(latency, count=5) for latency in view.latency[:2])
    view = replace(view, books=(view.books * 40)[:40], latency=spoken)
    out = StringIO()
    Console(file=out, width=80).print(draw(view, None, 0, 80, height))
    lines = out.getvalue().splitlines()
    assert len(lines) <= height
    assert sum(line.startswith(tuple(f"{book.symbol} " for book in view.books)) for line in lines) == books
    assert (" won " in out.getvalue(), "latency" in out.getvalue()) == (scores, latencies)


@pytest.mark.parametrize(
    "number, text",
    [(0, "0"), (9999, "9999"), (12345, "12.3k"), (999_999, "1.00M"), (4.56e9, "4.56G"), (99_950, "100k")],
)
def test_amounts(number: float, text: str) -> None:
    assert amount(number) == text


@pytest.mark.parametrize(
    "nanoseconds, text", [(0, "0ns"), (999, "999ns"), (999.9, "1.00µs"), (12_345, "12.3µs"), (9_999_999, "10.0ms")]
)
def test_durations(nanoseconds: float, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    "price, exponent, decimals, text",
    [
        (None, -9, 4, ""),
        (1_234_500_000_000, -9, 4, "1234.5000"),
        (1_234_567_890_000, -9, 4, "1234.56789"),
        (-5, -9, 4, "-0.000000005"),
        (7, 0, 0, "7"),
        (7, 2, 0, "700"),
        (5_000_000_000, -9, 0, "5"),
    ],
)
def test_prices(price: int | None, exponent: int, decimals: int, text: str) -> None:
    assert price_text(price, exponent, decimals) == text


# -- replay -----------------------------------------------------------------------------------------------------------


def test_replay_into_a_handler_that_others_attach_to(
    exchange: Exchange, day: Path, name: str, processes: Any, wait_for: Any
) -> None:
    said = day.with_name("said")
    with said.open("w") as log:
        child = processes.feedhandler("replay", day, "--name", name, "--orders", "10000", stderr=log)
    wait_for(lambda: "stays until Ctrl-C" in said.read_text(), what="the whole capture")
    with attach(name) as feed:
        bids, _ = exchange.book(exchange.symbols[0])
        assert feed.book(exchange.symbols[0]).top()[:2] == (bids[0][0] * 100_000, bids[0][1])
    out, _ = processes.stop(child)
    err = said.read_text()
    assert (child.returncode, out) == (0, "")
    assert f"stopped; {name} is gone" in err
    assert re.search(rf"{MESSAGES:,} messages in [\d.]+ s", err)
    assert not Path(f"/dev/shm/{name}").exists()


def test_replay_onto_the_wire(day: Path, multicast_group: str, free_udp_port: int) -> None:
    group = f"--group={multicast_group}:{free_udp_port}"
    sent = run("replay", day, "--onto", "multicast", group, "--rate", "1000000")
    assert (sent.returncode, sent.stdout) == (0, "")
    assert f"sent {MESSAGES:,} messages" in sent.stderr
    served = run("replay", day, "--onto", "soupbintcp", "--seconds", "0.05")
    assert (served.returncode, served.stdout) == (0, "")
    assert "messages to 0 logins" in served.stderr
    wrong = run("replay", day, "--onto", "multicast", "--group", "nowhere")
    assert wrong.returncode == 2


# -- run, fed by simulate and replay ----------------------------------------------------------------------------------


def test_run_is_fed_by_simulate_and_ends_on_ctrl_c(
    tmp_path: Path, name: str, multicast_group: str, free_udp_port: int, processes: Any, wait_for: Any
) -> None:
    example = run("run", "--example").stdout
    config = example.replace('"nasdaq"', f'"{name}"').replace("orders = 2_000_000", "orders = 20_000")
    config = config.replace("instruments = 16384", "instruments = 64").replace("26400", str(free_udp_port))
    second = multicast_group.replace("239.", "238.", 1)
    config = config.replace("239.192.0.1", multicast_group).replace("239.192.0.2", second)
    (tmp_path / "feed.toml").write_text(config)
    handler = processes.feedhandler("run", tmp_path / "feed.toml")

    def there() -> bool:
        try:
            attach(name).close()
        except FeedError:
            return False
        return True

    wait_for(there, what="the segment")
    groups = [f"--group={group}:{free_udp_port}" for group in (multicast_group, second)]
    sent = run("simulate", "--symbols", "3", "--messages", "2000", "--rate", "20000", *groups, "--json")
    assert sent.returncode == 0
    assert json.loads(sent.stdout)["messages"] == 2000
    with attach(name) as feed:
        wait_for(lambda: take(feed).channels[0].counters["messages"] == 2000, what="all messages")
        view = take(feed)
    assert {line.name: line.counters["packets"] > 0 for line in view.lines} == {"A": True, "B": True}
    assert sum(line.counters["won"] for line in view.lines) == 2000
    said = [handler.stderr.readline()]
    while said[-1] and not said[-1].startswith("packets on every line"):
        said.append(handler.stderr.readline())
    assert said[-1] == "packets on every line, timestamps: itch/A kernel, itch/B kernel\n"
    assert said[0].startswith(
        f"publishing {name}: sockets, lines itch/A, itch/B, wait adaptive, cpu any, receive buffers"
    )
    out, err = processes.stop(handler)
    assert (handler.returncode, out, err) == (0, "", f"stopped after 2,000 messages; {name} is gone\n")


def test_run_says_when_a_channel_is_not_whole_and_when_it_is_again() -> None:
    channels = np.zeros(2, records.CHANNEL)
    channels["name"], channels["quality"], channels["reason"] = [b"itch", b"deep"], Quality.INIT, Reason.START
    news = News(channels)
    heard = []
    for quality, reason in (
        (Quality.LIVE, Reason.NONE),
        (Quality.RECOVERING, Reason.GAP),
        (Quality.RECOVERING, Reason.GAP),
        (Quality.STALE, Reason.GAP),  # over before the next look
        (Quality.STALE, Reason.SILENT),
        (Quality.STALE, Reason.SILENT),
        (Quality.LIVE, Reason.NONE),
        (Quality.LIVE, Reason.NONE),
    ):
        channels["quality"][0], channels["reason"][0] = quality, reason
        heard += news.look()
    assert heard == ["channel itch: RECOVERING, GAP", "channel itch: STALE, SILENT", "channel itch: LIVE again"]


def test_run_says_why_a_server_refuses_it(tmp_path: Path, name: str, processes: Any, wait_for: Any) -> None:
    server = SoupServer(username="alice", password="right")
    books, alice = "[books]\ninstruments = 16\norders = 1000", 'username = "alice"\npassword = "wrong"\n'
    (tmp_path / "feed.toml").write_text(soup(server.port, books, name=name, line=alice))
    thread = threading.Thread(target=lambda: server.run(Exchange(symbols=1, messages=300)))
    thread.start()
    handler = processes.feedhandler("run", tmp_path / "feed.toml")
    said = [handler.stderr.readline()]
    while said[-1] and not said[-1].startswith("line A: "):
        said.append(handler.stderr.readline())
    server.stop()
    thread.join()
    assert re.search("reject|refus|not auth", said[-1], re.IGNORECASE), said


def test_simulate_ends_after_so_many_seconds_or_by_a_signal(
    multicast_group: str, free_udp_port: int, processes: Any
) -> None:
    group = f"--group={multicast_group}:{free_udp_port}"
    child = processes.feedhandler("simulate", group, "--symbols", "2", "--rate", "1000", "--messages", "1000000")
    assert "Ctrl-C ends it" in child.stderr.readline()
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out) == (0, "")
    assert re.match(r"sent [\d,]+ messages", err)
    done = run("simulate", group, "--symbols", "2", "--rate", "10000", "--messages", "1000000", "--seconds", "0.1")
    assert done.returncode == 0


# -- bench ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["decode", "hotpath", "read"])
def test_bench_as_json(day: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, small in {"ROUNDS": 1, "RING": 1 << 14, "ORDERS": 1 << 14, "INSTRUMENTS": 64, "CALLS": 100}.items():
        monkeypatch.setattr(bench, size, small)
    done = run("bench", what, day, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert set(figures) == {"messages", "ns_per_message", "floor_ns_per_message", "stages"}
    assert figures["messages"] >= MESSAGES
    assert figures["ns_per_message"] > 0
    assert figures["floor_ns_per_message"] > 0
    assert all(figure > 0 for figure in figures["stages"].values())
    page = Console(file=StringIO(), width=80)
    page.print(bench_table(what, figures))
    assert max(map(len, page.file.getvalue().splitlines())) <= 80  # type: ignore[attr-defined]
