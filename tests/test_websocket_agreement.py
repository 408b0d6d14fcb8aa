"""Any bytes, cut anywhere: our client, the model, and two libraries; where these differ a row of the table says why."""

import os
import tomllib
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedhandler.session import frames
from tests.websocket_cases import cases, spell
from tests.websocket_peers import PEERS
from tests.websocket_story import Model, Story, begin, client, ours

pytestmark = pytest.mark.wire
TABLE = tomllib.loads(Path(__file__).with_name("websocket_cases").joinpath("disagreements", "table.toml").read_text())
ROWS = {(row["library"], row["ours"], row["theirs"]) for row in TABLE["row"]}
TRAITS = {(row["library"], row["trait"]) for row in TABLE["row"] if "trait" in row}
MACHINE = client()
DEFLATE, ALONE = "permessage-deflate", "permessage-deflate; server_no_context_takeover"


def told(agreed: str, data: bytes, *runs: bytes) -> Story:
    begin(MACHINE, agreed)
    return ours(MACHINE, runs or [data])[0]


def decided(agreed: str, data: bytes) -> int:
    """How many bytes it takes until our client fails the connection; all, where it does not."""
    begin(MACHINE, agreed)
    for at in range(len(data)):
        MACHINE.read(data[at : at + 1])
        if MACHINE.failed:
            return at + 1
    return len(data)


def label(story: Story, other: Story) -> str:
    """What a row of the table says of a story beside the other one: the verdict, and of ours the cause."""
    if story.verdict == other.verdict and story.fails is None:
        return f"{story.verdict.split()[0]}, other messages"
    return "ends" if story.ends is not None else story.verdict


def disagreements(agreed: str, data: bytes) -> list[tuple[str, str, str]]:
    """Each as (library, ours, theirs), where our client decides; a trait stands for what follows from it."""
    mine = told(agreed, data)
    until = data[: decided(agreed, data)] if mine.fails is not None else data
    model, found = Model(agreed), []
    model.read(until)
    for name, read in PEERS.items():
        theirs = read(agreed, until)
        if theirs == mine:
            continue
        trait = next((trait for trait in model.traits if (name, trait) in TRAITS), None)
        if trait is not None:
            found.append((name, f"trait: {trait}", "any"))
        else:
            found.append((name, mine.cause.partition(" (")[0] or label(mine, theirs), label(theirs, mine)))
    return found


# ---- streams ---------------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=12).map(str.encode), st.binary(max_size=12), st.just(b"\xe2\x82\xac\xf0\x9f\x98\x80")
)
PAYLOADS = st.one_of(TEXTS, st.integers(120, 140).map(lambda n: b"x" * n), st.just(b"y" * 70000))
CODES = st.sampled_from([b"", b"\3\xe8", b"\3\xe8bye", b"\3", b"\3\xed", b"\x0b\xb8", b"\3\xe8\xff", b"\x13\x88"])


@st.composite
def good_messages(draw: st.DrawFn, agreed: str) -> bytes:
    """A text or binary message, in one to four frames, perhaps compressed, pings between."""
    payload, opcode = draw(PAYLOADS), draw(st.sampled_from([1, 1, 2]))
    squeezed = agreed != "" and draw(st.booleans())
    if squeezed:
        state = zlib.compressobj(draw(st.sampled_from([0, 6])), zlib.DEFLATED, -15)
        payload = (state.compress(payload) + state.flush(zlib.Z_SYNC_FLUSH))[:-4] or b"\0"
    places = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    made = b""
    for i, (a, b) in enumerate(zip([0, *places], [*places, len(payload)], strict=True)):
        made += frames.frame(
            0 if i else opcode, payload[a:b], fin=i == len(places), rsv1=squeezed and i == 0, masked=False
        )
        if draw(st.integers(0, 5)) == 0:
            made += frames.ping(b"p", masked=False)
    return made


def any_frame(first: int, length: int, wide: int, payload: bytes) -> bytes:
    """A header with nothing checked."""
    if wide == 1:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    if wide == 2:
        return bytes((first, 127)) + length.to_bytes(8, "big") + payload
    return bytes((first, length & 255)) + payload


WILD = st.one_of(
    st.builds(any_frame, st.integers(0, 255), st.integers(0, 140), st.integers(0, 2), st.binary(max_size=8)),
    st.builds(lambda code: bytes((0x88, len(code))) + code, CODES),
    st.builds(lambda p, op: bytes((op, len(p))) + p, st.binary(max_size=12), st.sampled_from([0xC1, 0xC2, 0x41, 0])),
    st.binary(max_size=20),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, bytes]:
    """What was agreed on, and bytes: good messages, then perhaps something wild, a changed byte, a sudden end."""
    agreed = draw(st.sampled_from(["", "", DEFLATE, ALONE]))
    data = b"".join(draw(st.lists(good_messages(agreed), max_size=4)))
    data += b"".join(draw(st.lists(WILD, max_size=2)))
    data += b"".join(draw(st.lists(good_messages(agreed), max_size=1)))
    if data and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, min(len(data), 300) - 1))
        data = data[:at] + bytes((data[at] ^ 1 << draw(st.integers(0, 7)),)) + data[at + 1 :]
    if draw(st.integers(0, 5)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    return agreed, data if data[:1] != b"H" else b""  # an H begins a response head


@settings(max_examples=60 if "FEEDHANDLER_SANITIZE" in os.environ else 250)
@given(streams())
def test_any_stream_at_every_boundary(stream: tuple[str, bytes]) -> None:
    agreed, data = stream
    mine = told(agreed, data)
    assert Model(agreed).read(data) == mine, mine.cause
    steps = range(1, min(len(data), 250))
    for cut in steps:
        assert told(agreed, data, data[:cut], data[cut:]) == mine
    if len(data) < 2000:
        assert told(agreed, data, *(data[i : i + 1] for i in range(len(data)))) == mine
    for found in disagreements(agreed, data):
        assert found in ROWS, f"{found} is no row of the table: {agreed!r} {data[:200].hex()}"


def test_the_cases_disagree_with_the_libraries_only_where_the_table_says_so() -> None:
    for case in cases():
        if case.file != "head" and not case.options and "bits" not in case.agreed:
            for found in disagreements(case.agreed, case.server):
                assert found in ROWS, f"{found} is no row of the table: {case.name} ({case.section})"


@pytest.mark.parametrize("row", TABLE["row"], ids=lambda row: f"{row['library']}: {row['ours']} / {row['theirs']}"[:90])
def test_every_row_of_the_table_is_so(row: dict[str, str]) -> None:
    found = disagreements(row["agreed"], spell(row["bytes"]))
    assert (row["library"], row["ours"], row["theirs"]) in found
    assert row["section"].startswith("RFC ") and row["why"]
