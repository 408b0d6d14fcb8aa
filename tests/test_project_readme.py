"""The README tells the truth: its example runs, and the words it names are there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import feedhandler as fh
from feedhandler import simulate
from feedhandler.book import OrderBook
from feedhandler.publish import Segment

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]


def python_of_the_readme() -> list[str]:
    """Its examples: a day through the handler; AF_XDP alone, which runs in test_receive_af_xdp.py; a recording."""
    return re.findall(r"^```python\n(.*?)^```", ROOT.joinpath("README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    code, _, _ = python_of_the_readme()
    name = f"readme-{tmp_path.name}"
    done = subprocess.run(
        [sys.executable, "-c", code.replace("readme-example", name)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"LIVE", done.stdout)) == 3, done.stdout


def test_the_example_of_a_recording_runs(tmp_path: Path) -> None:
    day = tmp_path / "day.pcapng"
    simulate.write(day, simulate.Exchange(symbols=3, messages=2000, seed=1))
    *_, code = python_of_the_readme()
    found: dict[str, Any] = {}
    exec(code.replace("days/20261122", str(day)), found)
    assert found["book"].symbol == "AAPL" and len(found["frame"]) > 100 and found["ask"] > found["bid"]


def test_every_word_of_make_that_the_pages_name_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", ROOT.joinpath("Makefile").read_text(), re.MULTILINE))
    named = {w for page in PAGES[:2] for w in re.findall(r"make ([a-z]+)`", ROOT.joinpath(page).read_text())}
    assert named and named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert path.parent.joinpath(target).exists(), f"{page} links to {target}"


def test_the_manual_names_every_field_flag_and_state_of_an_event() -> None:
    page = ROOT.joinpath("docs/strategies.md").read_text()
    table = page[page.index("## An event") : page.index("## Being told")]
    fields = [
        name for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    ]
    assert fields == [name for name in fh.EVENT.names or () if name]
    assert {flag: int(number) for flag, number in re.findall(r"\b([A-Z_]+)=(\d+)", table)} == {
        flag.name: flag.value for flag in fh.Flag
    }
    for action in fh.Action:
        assert f"`{chr(action)}`{action.name.lower()[1:]}" in table
    for reason in fh.Reason:
        assert reason in (fh.Reason.NONE, fh.Reason.START) or reason.name in page


def test_the_memory_that_the_readme_states_is_what_the_defaults_take() -> None:
    """Two million orders and 16,384 instruments: books and segment together."""
    with Segment.anonymous(depth=10, instruments=16384, ring_events=65536) as segment:
        taken = OrderBook(segment.books, depth=10, orders=2_000_000).memory_bytes
        total = len(segment.memory) + taken["orders"] + taken["levels"] + taken["sides"]  # the slots are the segment's
    assert f"take {total / 1e6:.0f} MB" in " ".join(ROOT.joinpath("README.md").read_text().split())
