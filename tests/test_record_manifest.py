"""The manifest of a recorded day: strict when read, whole when written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from feedhandler.errors import RecordingError
from feedhandler.recording import manifest
from feedhandler.recording.manifest import Acknowledged, Channel, File, FileLine, Gap, Line, Manifest

LINES = (Line("A", "239.192.0.1", 26400, "", "", "lo", False), Line("B", "239.192.0.2", 26400, "", "", "lo", False))
GAP = Gap(101, 5, 1_700_000_000_000_000_000, None, "S1", 5, ("B",))
DAY = Manifest(
    "nasdaq",
    "2026-11-22",
    "UTC",
    1_700_000_000_000_000_000,
    (Channel("itch", "itch50", "moldudp64", "XNAS", None, LINES, ("S1",), 1, 200, (GAP,), 5),),
    (
        File("nasdaq-0001.pcapng", 1, 300, "00" * 32, True, 5, 5, (FileLine("itch", "A", 1, 20, 5, 5, 1, 2, "S1"),)),
        File("nasdaq-0002.pcapng", 0, 0, None, False, None, None, ()),
    ),
    damage=("something – was cut",),
    acknowledged=Acknowledged("nasdaq-0002.pcapng", 0, 0),
)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    manifest.save(DAY, tmp_path)
    assert manifest.load(tmp_path) == DAY == manifest.load(tmp_path / "manifest.json")
    again = replace(DAY, complete=True, damage=())
    manifest.save(again, tmp_path, sync=False)
    assert manifest.load(tmp_path) == again
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert DAY.line("itch", "B") is LINES[1]
    with pytest.raises(KeyError, match="itch/C"):
        DAY.line("itch", "C")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("day"), "day: missing"),
        (lambda v: v.update(dya=1), "dya: unknown key; known are name, day"),
        (lambda v: v.update(version=9), "version: expected 1, found 9"),
        (lambda v: v["files"][1].update(packets="7"), r'files\[1\].packets: expected an integer, found "7"'),
        (lambda v: v["files"][1].update(complete=0), r"files\[1\].complete: expected true or false, found 0"),
        (lambda v: v["channels"][0]["lines"][1].pop("port"), r"channels\[0\].lines\[1\].port: missing"),
        (lambda v: v["channels"][0].update(gaps={}), r"channels\[0\].gaps: expected a list, found {}"),
        (lambda v: v.update(acknowledged=[1] * 99), r"acknowledged: expected an object, found \[1, 1, .*\.\.\.$"),
        (lambda v: v.update(name=None), "name: expected text, found null"),
        (lambda v: v.update(removed=1 << 64), "removed: expected an integer of 64 bits, found 18446744073709551616"),
        (lambda v: v["files"][0].update(first_ts=1 << 63), r"files\[0\].first_ts: expected an integer of 64 bits"),
        (
            lambda v: v["files"][1].update(name="../x"),
            r'files\[1\].name: expected a name of a file in .*, found "../x"',
        ),
    ],
)
def test_each_mistake_names_its_key(tmp_path: Path, change: object, said: str) -> None:
    value = json.loads(manifest.text(DAY))
    change(value)  # type: ignore[operator]
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(RecordingError, match="manifest.json: " + said):
        manifest.load(tmp_path)


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        manifest.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "x"')
    with pytest.raises(RecordingError, match="expected JSON"):
        manifest.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(RecordingError, match=r"the file: expected an object, found \[\]"):
        manifest.load(tmp_path)


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    manifest.save(DAY, tmp_path)
    (tmp_path / ".manifest.json.new").mkdir()
    with pytest.raises(OSError):
        manifest.save(replace(DAY, complete=True), tmp_path)
    assert manifest.load(tmp_path) == DAY
