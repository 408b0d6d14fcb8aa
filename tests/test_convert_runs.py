"""Whole runs: folders, several inputs, processes, a cluster; interrupted, killed, with libraries missing."""

import builtins
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow.parquet as pq
import pytest

import feedhandler
from feedhandler import convert
from feedhandler.cli import main
from feedhandler.convert import dataset as datasets
from feedhandler.convert.run import plan
from feedhandler.errors import BackendError, CaptureError, ConfigError
from feedhandler.simulate import Exchange, write
from feedhandler.simulate.files import DATE

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two days that follow each other."""
    folder = tmp_path_factory.mktemp("days")
    for number in range(2):
        date = DATE.replace(day=DATE.day + number)
        write(folder / f"day{number}.pcapng", Exchange(symbols=6, seed=number, messages=3000), date=date)
    return sorted(folder.iterdir())


def everything(root: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def in_order(table: Any) -> list[Any]:
    names = ["symbol", "sequence", "action", "price", "size", "order_id", "quality"]
    columns = [table["ts_event"].cast("int64"), *(table[name] for name in names)]
    return sorted(zip(*(column.to_pylist() for column in columns), strict=True), key=str)


def test_a_folder_is_by_date_and_symbol(days: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = convert.convert(days, tmp_path / "whole")
    monkeypatch.setattr(datasets, "KEPT", 50_000)  # many spills, many row groups: the same rows
    monkeypatch.setattr(datasets, "ROW_GROUP", 10_000)
    convert.convert(days, tmp_path / "small", convert.Options())
    found = [feedhandler.load(tmp_path / name) for name in ("whole", "small")]
    alone = [feedhandler.load(day) for day in days]
    rows = sum(table.num_rows for table in alone)
    assert report.rows == rows == found[0].num_rows and len(report.files) == 2 * 7
    assert in_order(found[0]) == in_order(found[1])
    expected = [row for table in alone for row in in_order(table)]
    assert in_order(found[0]) == sorted(expected, key=str)
    one = tmp_path / "whole/date=2026-01-05/symbol=AAPL/day0-XNAS.parquet"
    aapl = polars.read_parquet(one, hive_partitioning=False)
    assert "symbol" not in aapl.columns and aapl["sequence"].is_sorted()
    small = pq.read_metadata(tmp_path / "small/date=2026-01-05/symbol=AAPL/day0-XNAS.parquet")
    assert small.num_row_groups > 1 and small.num_rows == len(aapl)


def test_polars_and_duckdb_see_the_partitions(days: list[Path], tmp_path: Path) -> None:
    convert.convert(days, tmp_path / "lake")
    table = feedhandler.load(tmp_path / "lake", symbols="AAPL", engine="polars")
    mine = len(table.filter(table["symbol"] == "AAPL"))
    files = f"{tmp_path}/lake/**/*.parquet"
    read = polars.read_parquet(files, hive_partitioning=True)
    assert len(read.filter(read["symbol"] == "AAPL")) == mine
    count = f"select count(*) from read_parquet('{files}', hive_partitioning=true) where symbol = 'AAPL'"
    assert duckdb.sql(count).fetchall() == [(mine,)]
    by_date = duckdb.sql(f"select distinct date from read_parquet('{files}', hive_partitioning=true) order by 1")
    assert [str(day) for (day,) in by_date.fetchall()] == ["2026-01-05", "2026-01-06"]


def test_by_date_alone_a_file_is_sorted_by_symbol(days: list[Path], tmp_path: Path) -> None:
    report = convert.convert(days, tmp_path, partition=["date"])
    assert sorted(file.path for file in report.files) == [
        str(tmp_path / f"date=2026-01-0{5 + n}/day{n}.parquet") for n in range(2)
    ]
    symbols = polars.read_parquet(report.files[0].path)["symbol"].cast(polars.String).to_list()
    assert symbols == sorted(symbols, key=lambda symbol: symbol or "")
    plain = convert.convert(days, tmp_path / "plain", partition=[])
    assert sorted(Path(file.path).name for file in plain.files) == ["day0.parquet", "day1.parquet"]


def test_a_day_that_is_not_known_is_said(tmp_path: Path) -> None:
    write(tmp_path / "day.itch", Exchange(symbols=2, seed=1, messages=1000))
    report = convert.convert([tmp_path / "day.itch"], tmp_path / "lake", partition=["date"])
    assert [Path(file.path).parent.name for file in report.files] == ["date=1970-01-01"]
    assert any("--date" in note for note in report.notes)
    dated = convert.convert([tmp_path / "day.itch"], tmp_path / "dated", convert.Options(day=DATE), partition=["date"])
    assert [Path(file.path).parent.name for file in dated.files] == ["date=2026-01-05"] and not dated.notes


def test_one_file_of_several_inputs_is_in_time_order(days: list[Path], tmp_path: Path) -> None:
    convert.convert(days[::-1], tmp_path / "both.parquet")
    both = polars.read_parquet(tmp_path / "both.parquet")
    assert len(both) == sum(feedhandler.load(day).num_rows for day in days)
    assert both["ts_recv"].is_sorted()


def test_processes_write_the_same_bytes(days: list[Path], tmp_path: Path) -> None:
    seen: list[int] = []
    one = convert.convert(days, tmp_path / "one", convert.Options(kind="trades"))
    two = convert.convert(days, tmp_path / "two", convert.Options(kind="trades"), jobs=2, progress=seen.append)
    assert everything(tmp_path / "one") == everything(tmp_path / "two")
    assert (one.rows, one.messages, one.first_valid) == (two.rows, two.messages, two.first_valid)
    assert seen and seen[-1] <= two.read == sum(day.stat().st_size for day in days)


def test_a_cluster_writes_the_same_bytes(days: list[Path], tmp_path: Path) -> None:
    import distributed

    convert.convert(days, tmp_path / "one", convert.Options(kind="trades"))
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(host="127.0.0.1", **options) as cluster:
        report = convert.convert(days, tmp_path / "far", convert.Options(kind="trades"), dask=cluster.scheduler_address)
        assert everything(tmp_path / "one") == everything(tmp_path / "far")
        assert report.rows > 0
        (tmp_path / "no.itch").write_text("this is no capture, whatever its name says")
        with pytest.raises(CaptureError, match="neither pcap"):
            convert.convert([*days, tmp_path / "no.itch"], tmp_path / "x", dask=cluster.scheduler_address)


def test_no_cluster_there_is_one_sentence(days: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feedhandler.convert import parallel

    monkeypatch.setattr(parallel, "CONNECT_SECONDS", "0.2s")
    with pytest.raises(BackendError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        convert.convert(days, tmp_path / "x", dask="tcp://127.0.0.1:9")


def stop_after(count: int) -> Callable[[], bool]:
    asked: Iterator[int] = iter(range(count))
    return lambda: next(asked, None) is None


@pytest.mark.parametrize("out", ["x.parquet", "x.arrow", "x.csv", "x.npz", "x.npy", "x.dbn", "x.dbn.zst", "lake"])
def test_stopped_in_the_middle_nothing_is_left(days: list[Path], tmp_path: Path, out: str) -> None:
    with pytest.raises(convert.Stopped):
        convert.convert(days[:1], tmp_path / out, stopping=stop_after(2))
    assert everything(tmp_path) == {}


def test_stopped_processes_leave_nothing(days: list[Path], tmp_path: Path) -> None:
    with pytest.raises(convert.Stopped):
        convert.convert(days, tmp_path / "lake", jobs=2, stopping=lambda: True)
    assert everything(tmp_path) == {}


def test_a_failure_on_the_writing_side_is_raised_and_leaves_nothing(
    days: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feedhandler.convert import arrow_files

    def full(self: Any, batch: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrow_files.ParquetFile, "write_batch", full)
    with pytest.raises(OSError, match="No space"):
        convert.convert(days[:1], tmp_path / "x.parquet")
    assert everything(tmp_path) == {}


def test_what_stood_there_stays_until_the_new_one_is_whole(days: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    out.write_bytes(b"before")
    with pytest.raises(convert.Stopped):
        convert.convert(days[:1], out, stopping=stop_after(1))
    assert everything(tmp_path) == {"x.parquet": b"before"}
    convert.convert(days[:1], out)
    assert pq.read_metadata(out).num_rows > 0


def test_what_a_killed_run_left_is_removed(days: list[Path], tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".x.parquet.{dead.pid}.partial").write_bytes(b"half")
    (tmp_path / f".day0.{dead.pid}.partial").mkdir()
    convert.convert(days[:1], tmp_path / "x.parquet")
    convert.convert(days[:1], tmp_path, partition=["date"])
    assert not list(tmp_path.glob(".*"))


def test_stopping_is_asked_with_each_block(days: list[Path], tmp_path: Path) -> None:
    asked: list[int] = []
    with pytest.raises(convert.Stopped):
        options = convert.Options(kind="book", rows=100)
        convert.convert(days[:1], tmp_path / "x.csv", options, stopping=lambda: asked.append(1) or len(asked) > 12)  # type: ignore[func-returns-value]
    assert len(asked) < 16 and everything(tmp_path) == {}


def test_ctrl_c_of_the_command(tmp_path: Path, processes: Any, wait_for: Any) -> None:
    """Whenever it comes: nothing, or nothing but whole files."""
    source = tmp_path / "day.itch"
    write(source, Exchange(symbols=50, seed=1, messages=200_000))
    (tmp_path / "out").mkdir()
    child = processes.feedhandler("convert", source, tmp_path / "out" / "x.csv.gz", "--kind", "book", "--rows", "2000")
    wait_for(lambda: list((tmp_path / "out").iterdir()) or child.poll() is not None, what="the partial file")
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 1 and "stopped" in said, said
    assert everything(tmp_path / "out") == {}


def test_the_command(days: list[Path], tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "feedhandler", "convert", *words]
        environment = os.environ | {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = run(*map(str, days), str(tmp_path / "lake"), "--kind", "bars", "--sample", "1h", "--jobs", "2", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == sum(file["rows"] for file in told["files"]) > 50
    assert told["gaps"] == 0 and told["first_valid"] > 0 and told["messages"] == 6000
    assert "rows in" in done.stderr and "first valid 2026-01-05T" in done.stderr and "events a second" in done.stderr
    part = run(str(days[0]), str(tmp_path / "part.csv"), "--from", "10:00", "--to", "11:00", "--symbols", "AAPL")
    assert part.returncode == 0, part.stderr
    read = polars.read_csv(tmp_path / "part.csv", try_parse_dates=True)
    assert len(read) > 0 and set(read["symbol"]) <= {"AAPL", None}
    assert str(read["ts_recv"].min()) >= "2026-01-05 15:00" and str(read["ts_recv"].max()) < "2026-01-05 16:00"
    shown = run("--help")
    assert shown.returncode == 0 and "feedhandler convert day.pcapng day.parquet" in shown.stdout


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("DAY", 2, "at least one input"),
        ("DAY OUT/x.xlsx", 1, "no format of ours ends so"),
        ("DAY OUT/x.parquet --kind books", 2, "events, book, trades, bars, messages"),
        ("DAY OUT/x.parquet --kind messages", 1, "name a folder"),
        ("DAY OUT/x.csv --partition date", 1, "name a folder"),
        ("DAY OUT/x --partition day", 1, "date, symbol or none; found 'day'"),
        ("DAY OUT/x --format excel", 1, "parquet, arrow, dbn"),
        ("DAY OUT/x.parquet --prices euro", 2, "nano, decimal, float"),
        ("DAY OUT/x.parquet --kind bars --sample 10", 2, "bars are of a time"),
        ("DAY OUT/x.parquet --fill --kind book", 2, "sampled by time"),
        ("DAY DAY OUT/y", 1, "named twice"),
        ("OUT/none.pcap OUT/x.parquet", 1, "none.pcap"),
    ],
)
def test_what_the_command_refuses(
    days: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, code: int, sentence: str
) -> None:
    places = {"DAY": str(days[0]), "OUT": str(tmp_path)}
    arguments = [places.get(word, word.replace("OUT/", f"{tmp_path}/")) for word in words.split()]
    with pytest.raises(SystemExit) as ended:
        main(["convert", *arguments])
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert ended.value.code == code and sentence in said
    assert everything(tmp_path) == {}


def test_numpy_files(days: list[Path], tmp_path: Path) -> None:
    table = feedhandler.load(days[0])
    convert.convert(days[:1], tmp_path / "x.npy")
    convert.convert(days[:1], tmp_path / "x.npz", convert.Options(prices="float"))
    rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert rows["symbol"].astype(str).tolist() == [s or "" for s in table["symbol"].to_pylist()]
    assert rows["order_id"].tolist() == table["order_id"].to_pylist()
    assert rows["ts_event"].dtype == np.dtype("M8[ns]") and np.isnat(rows["ts_event"][0])
    assert rows["ts_event"][1:].astype(np.int64).tolist() == table["ts_event"].cast("int64").to_pylist()[1:]
    with np.load(tmp_path / "x.npz") as columns:
        assert columns["symbols"][columns["instrument"]].tolist() == [s or "" for s in table["symbol"].to_pylist()]
        known = ~np.isnan(columns["price"])
        prices = [price / 1e9 for price in table["price"].to_pylist() if price is not None]
        assert columns["price"][known].tolist() == prices and known.sum() == len(prices)
    with pytest.raises(ConfigError, match="nano or float"):
        convert.convert(days[:1], tmp_path / "y.npy", convert.Options(prices="decimal"))


def test_a_damaged_input_gives_what_was_whole(days: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(days[0].read_bytes()[:-1001])
    report = convert.convert([cut], tmp_path / "x.parquet")
    assert 0 < report.rows < feedhandler.load(days[0]).num_rows
    assert any("damaged" in note for note in report.notes)


@pytest.mark.wire
@pytest.mark.parametrize("kind", ["events", "book", "bars", "messages"])
def test_hostile_bytes_are_rows_or_nothing(days: list[Path], tmp_path: Path, kind: Any) -> None:
    """Bytes of a capture changed at random places: whatever the handler makes of it, the collectors take it."""
    data = bytearray(days[0].read_bytes())
    dice = np.random.default_rng(5)
    for place in dice.integers(4096, len(data), 400).tolist():  # behind the head: it stays a capture
        data[place] = int(dice.integers(256))
    (tmp_path / "spoiled.pcapng").write_bytes(data)
    report = convert.convert([tmp_path / "spoiled.pcapng"], tmp_path / "out", convert.Options(kind=kind), format="csv")
    assert report.rows == sum(len(polars.read_csv(f.path, infer_schema=False)) for f in report.files)


def test_names_of_files_are_told_apart(tmp_path: Path) -> None:
    inputs = [tmp_path / place / "20260105" for place in ("nasdaq", "iex")] + [tmp_path / "other.pcap.gz"]
    for folder in inputs[:2]:
        folder.mkdir(parents=True)
    jobs = plan(inputs, tmp_path / "out", convert.Options())
    assert [job.name for job in jobs] == ["nasdaq-20260105", "iex-20260105", "other"]


@pytest.mark.parametrize(
    ("missing", "call", "words"),
    [
        ("pyarrow", lambda day, out: convert.convert([day], out / "x.parquet"), "pip install 'feedhandler[convert]'"),
        ("pyarrow", lambda day, out: feedhandler.load(day), "pip install 'feedhandler[convert]'"),
        ("polars", lambda day, out: feedhandler.load(day, engine="polars"), "feedhandler[convert,polars]"),
        ("pandas", lambda day, out: feedhandler.load(day, engine="pandas"), "feedhandler[convert,pandas]"),
        ("distributed", lambda day, out: convert.convert([day], out, dask="tcp://x:1"), "feedhandler[dask]"),
    ],
)
def test_a_missing_library_is_one_sentence(
    days: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, call: Any, words: str
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BackendError) as raised:
        call(days[0], tmp_path)
    assert words in str(raised.value) and missing in str(raised.value) and "\n" not in str(raised.value)
    assert everything(tmp_path) == {}


def test_dbn_and_numpy_need_no_pyarrow(days: list[Path], tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['pyarrow'] = None; from feedhandler import convert;"
        f"print([convert.convert([{str(days[0])!r}], {str(tmp_path)!r} + '/x' + e).rows for e in ('.dbn', '.npy')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(int(rows) > 3000 for rows in done.stdout.strip(" []\n").split(","))


MEMORY = """
import sys
from feedhandler import convert
taken = []
def look(done):
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    taken.append((done, int(fields["RssAnon"].split()[0])))
convert.convert(sys.argv[1:2], sys.argv[2], convert.Options(kind=sys.argv[3], rows=2000, orders=10_000), progress=look)
half = taken[-1][0] / 2
print(max(kb for done, kb in taken if done <= half), max(kb for done, kb in taken if done > half))
"""


@pytest.mark.parametrize("kind", ["events", "book"])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, kind: str) -> None:
    """The second half of an input needs no more than the first did: what waits is bounded."""
    source = tmp_path / "day.itch"
    write(source, Exchange(symbols=20, seed=1, messages=300_000, live_orders=2000))
    command = [sys.executable, "-c", MEMORY, str(source), str(tmp_path / "x.parquet"), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    assert second < first + 8192, (first, second)  # KiB; the rows of the second half alone are more


def test_events_are_cheap_to_begin_and_to_encode(days: list[Path], tmp_path: Path) -> None:
    """pandas takes longer to import than many a conversion; dictionaries of order ids are only thrown away."""
    code = "import sys; from feedhandler import convert as c; c.convert([sys.argv[1]], sys.argv[2])"
    out = tmp_path / "a.parquet"
    command = [sys.executable, "-c", f"{code}; print('pandas' in sys.modules)", str(days[0]), str(out)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
    group = pq.read_metadata(out).row_group(0)
    columns = {one.path_in_schema: one for one in (group.column(i) for i in range(group.num_columns))}
    for name in ("ts_event", "sequence", "order_id"):
        assert "DELTA_BINARY_PACKED" in columns[name].encodings and "RLE_DICTIONARY" not in columns[name].encodings
    assert all(column.statistics is not None for column in columns.values())


def test_a_symbol_that_is_not_there_is_said_and_a_blank_is_none(days: list[Path], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from feedhandler.cli import app

    out = tmp_path / "some.parquet"
    first, second = sorted(set(feedhandler.load(days[0], kind="trades")["symbol"].to_pylist()))[:2]
    asked = ["convert", str(days[0]), str(out), "--kind", "trades", "--symbol"]
    done = CliRunner().invoke(app, [*asked, f"{first}, {second},NOPE"])
    assert done.exit_code == 0 and "there is no 'NOPE' among the" in done.stderr and f"{second!r}" not in done.stderr
    assert set(feedhandler.load(out)["symbol"].to_pylist()) == {first, second}
    for wrong in (["--kind", "nope"], ["--prices", "nope"], ["--sample", "banana"]):
        assert CliRunner().invoke(app, [*asked[:3], *wrong]).exit_code == 2
