"""The WebSocket framing: views and copies, answers, limits, the response head; and the frames that are sent."""

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol

from feedhandler.errors import ConfigError
from feedhandler.session import frames, framing
from feedhandler.session._outbox import Outbox
from feedhandler.session._websocket import CAUSES, WebSocketFraming, client_frame
from tests.conftest import ROOT

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def made(*, answers: bool = True, **options: int) -> WebSocketFraming:
    machine = framing("websocket", **options)
    assert isinstance(machine, WebSocketFraming)
    if answers:
        machine.answer_with(Outbox())
    return machine


def story(machine: WebSocketFraming, *runs: bytes) -> list[object]:
    """Messages as bytes, the rest as (kind, detail), however they were grouped."""
    said: list[object] = []
    for run in runs:
        for fields, messages in machine.feed(run):
            said += messages if messages else [(fields["kind"], fields["detail"])]
    return said


def waiting(machine: WebSocketFraming) -> bytes:
    """What waits to be sent, taken out."""
    found = machine.replies.waiting
    machine.replies.sent(len(found))
    return found


def answers(machine: WebSocketFraming) -> list[tuple[int, object]]:
    """What the framing has to say to the server, read by wsproto: (opcode, payload)."""
    reader = FrameProtocol(client=False, extensions=[])
    reader.receive_bytes(waiting(machine))
    return [(int(f.opcode), f.payload) for f in reader.received_frames()]


def server(opcode: int, payload: bytes | str = b"", *, fin: bool = True) -> bytes:
    return frames.frame(opcode, payload, fin=fin, masked=False)


def everything() -> bytes:
    """A connection with a bit of all: short, long, fragmented, control frames between, a close."""
    return b"".join(
        [
            server(1, '{"a":1}' * 30),
            server(1, "grüße €"),
            server(9, b"x"),
            server(1, "gr\u00fc\u00df".encode()[:3], fin=False),
            server(9, b"y"),
            server(0, "gr\u00fc\u00df".encode()[3:]),
            server(2, b"\xff" * 70000),
            server(10, b""),
            server(2, b""),
            server(8, b"\x03\xe8bye"),
            b"ignored",
        ]
    )


STORY = [
    b'{"a":1}' * 30,
    "grüße €".encode(),
    ("heartbeat", 9),
    ("heartbeat", 9),
    "grüß".encode(),
    b"\xff" * 70000,
    ("heartbeat", 10),
    b"",
    ("end", 1000),
]


def test_a_connection_is_told_and_answered() -> None:
    machine = made()
    assert story(machine, everything()) == STORY
    assert answers(machine) == [(9 + 1, b"x"), (10, b"y"), (8, (1000, ""))]
    assert (machine.close_code, machine.close_reason, machine.violation) == (1000, "bye", "")
    assert machine.counts["frames"] == 10
    assert machine.counts["copied"] == 1  # all but the one in fragments were views


@pytest.mark.wire
def test_cuts_change_nothing() -> None:
    stream = everything()
    short = stream[:300]
    for cut in range(1, len(short)):
        machine = made()
        assert story(machine, short[:cut], short[cut:], stream[300:]) == STORY
    machine = made()
    assert story(machine, *[stream[i : i + 1] for i in range(len(stream))]) == STORY
    assert answers(machine) == [(10, b"x"), (10, b"y"), (8, (1000, ""))]


def test_nobody_is_answered_where_nobody_listens() -> None:
    machine = made(answers=False)
    assert story(machine, everything()) == STORY
    assert machine.counts["answers"] == 0
    assert machine.replies.waiting == b""  # it is there from now on
    machine.begin_connection()
    assert story(machine, everything()) == STORY
    assert [opcode for opcode, _ in answers(machine)] == [10, 10, 8]


def test_a_violation_is_told_once_answered_once_and_over_with_the_connection() -> None:
    machine = made()
    assert story(machine, server(1, "good") + b"\x83\x00", b"\x81\x00") == [b"good", ("bad", 1002), ("bad", 1002)]
    assert machine.violation == "the opcode is reserved (RFC 6455 5.2)"
    assert answers(machine) == [(8, (1002, ""))]
    assert machine.counts["violations"] == {machine.violation: 1}
    machine.begin_connection()
    assert machine.violation == ""
    assert story(machine, server(1, "again"), b"\x83\x00") == [b"again", ("bad", 1002)]
    assert answers(machine) == [(8, (1002, ""))]


def test_every_cause_has_its_section() -> None:
    assert all("RFC 6455" in cause or "RFC 7692" in cause for cause in CAUSES[1:])


def test_more_is_waiting() -> None:
    """Where control frames stand between messages, these come by turns, and `pending` says what is behind."""
    machine = made()
    run = server(1, "a") + server(9) + server(1, "b")
    machine.feed(run)
    assert machine.pending == 0
    assert len(machine.feed(run)) == 3


def test_messages_that_do_not_fit_beside_each_other_come_one_by_one() -> None:
    """Memory holds two messages of the largest size; more of them that were put together wait for the next call."""
    machine = made(max_message_bytes=20000)
    half = os.urandom(10000)
    run = (server(2, half, fin=False) + server(0, half)) * 7
    assert story(machine, run) == [half + half] * 7
    assert machine.counts["copied"] == 7


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70001])
@pytest.mark.parametrize("masked", [False, True])
def test_frames_are_as_wsproto_reads_them(size: int, masked: bool) -> None:
    data = os.urandom(size)
    reader = FrameProtocol(client=not masked, extensions=[])
    reader.receive_bytes(frames.binary(data, masked=masked))
    assert b"".join(bytes(f.payload) for f in reader.received_frames()) == data


def test_masks_are_fresh() -> None:
    assert len({frames.ping(b"1234") for _ in range(50)}) == 50
    machine, seen = made(), set()
    for _ in range(50):
        machine.feed(server(9, b"1234"))
        seen.add(waiting(machine))
    assert len(seen) == 50


@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4))
def test_masking_is_the_xor_of_the_rfc(data: bytes, mask: bytes) -> None:
    header = 6
    assert client_frame(0x82, data, mask)[header:] == bytes(b ^ mask[i % 4] for i, b in enumerate(data))


def test_frames_that_may_not_be_sent() -> None:
    with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
        frames.ping(b"x" * 126)
    with pytest.raises(ValueError, match="not fragmented"):
        frames.frame(9, b"", fin=False)
    with pytest.raises(ValueError, match="0 to 15, not 16"):
        frames.frame(16)
    for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
        with pytest.raises(ValueError, match=f"{code} may not be sent"):
            frames.close(code)
    with pytest.raises(ValueError, match="at most 123 bytes, not 124"):
        frames.close(1000, "x" * 124)
    with pytest.raises(ValueError, match="behind a code"):
        frames.close(None, "why")
    with pytest.raises(ValueError, match="4 bytes, not 3"):
        client_frame(0x81, b"", b"abc")
    with pytest.raises(ValueError, match="0 to 255"):
        client_frame(256, b"", None)
    assert frames.close(None)[:2] == b"\x88\x80"
    assert story(made(), frames.close(3000, "ü", masked=False)) == [("end", 3000)]


def test_options_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match="max_message_bytes must be 1 to 1073741824, not 0"):
        framing("websocket", max_message_bytes=0)
    with pytest.raises(ConfigError, match="max_ratio must be at least 1, not 0"):
        framing("websocket", max_ratio=0)
    with pytest.raises(ConfigError, match="websocket"):
        framing("websocket", max_message_bytes=-1)


def test_pings_that_nobody_reads_the_answers_of_are_dropped_and_a_close_still_fits() -> None:
    machine = made(answers=False)
    machine.answer_with(Outbox(400))
    machine.feed(server(9, b"x" * 125) * 5 + server(8, b"\x03\xe8"))
    assert (machine.counts["answers"], machine.counts["dropped"]) == (3, 3)
    assert [opcode for opcode, _ in answers(machine)] == [10, 10, 8]


def test_after_our_own_close_nothing_is_answered() -> None:
    machine = made()
    machine.closing()
    machine.feed(server(9, b"x") + server(8, b"\x03\xe8"))
    assert waiting(machine) == b""
    machine.begin_connection()
    machine.feed(server(9, b"x"))
    assert answers(machine) == [(10, b"x")]


@pytest.mark.wire
@settings(max_examples=200)
@given(st.text(max_size=40), st.binary(max_size=4), st.integers(0, 40), st.integers(0, 60))
def test_utf8_is_what_python_takes_for_it(text: str, wrong: bytes, at: int, cut: int) -> None:
    """Between ASCII, so that the quick way has room for it; whole, and cut in two."""
    data = ("x" * (at % 17) + text).encode()
    data = data[:at] + wrong + data[at:] + b"." * 40
    try:
        data.decode()
        expected: list[object] = [data]
    except UnicodeDecodeError:
        expected = [("bad", 1007)]
    stream = server(1, data)
    assert story(made(), stream) == expected
    machine = made()
    assert story(machine, stream[:cut], stream[cut:])[:1] == expected


@pytest.mark.wire
@pytest.mark.parametrize("size", [17, 63, 64, 100, 255, 256, 287, 288, 383, 384, 400])
def test_one_byte_that_is_no_ascii_is_seen_wherever_it_stands(size: int) -> None:
    """By vectors of either width, in their loops of several and of one, and in what is looked at twice."""
    assert story(made(), server(1, b"x" * size)) == [b"x" * size]
    for at in range(size):
        wrong = b"x" * at + b"\x80" + b"x" * (size - 1 - at)
        assert story(made(answers=False), server(1, wrong)) == [("bad", 1007)], at


@pytest.mark.wire
def test_every_character_is_one_and_nothing_near_it() -> None:
    """Each kind of lead byte with each second byte and some thirds and fourths; the quick way and the slow one."""
    machine = made(answers=False)
    for lead in (
        0x80,
        0xBF,
        0xC0,
        0xC1,
        0xC2,
        0xDF,
        0xE0,
        0xE1,
        0xEC,
        0xED,
        0xEE,
        0xEF,
        0xF0,
        0xF1,
        0xF3,
        0xF4,
        0xF5,
        0xFF,
    ):
        for second in range(0x100):
            for rest in (b"", b"\x80", b"\xbf", b"\x80\x80", b"\xbf\xbf", b"a"):
                data = bytes((lead, second)) + rest
                try:
                    data.decode()
                    right = True
                except UnicodeDecodeError:
                    right = False
                for behind in (b"", b"." * 16):
                    machine.begin_connection()
                    assert bool(machine.read(server(1, data + behind))) == right, data.hex()


# ---- the response head, and compression ------------------------------------------------------------------------------


def with_head(value: str) -> bytes:
    return HEAD + f"Sec-WebSocket-Extensions: {value}\r\n\r\n".encode()


@pytest.mark.wire
def test_a_connection_may_begin_with_its_response_head() -> None:
    stream = HEAD + b"\r\n" + everything()
    for cut in range(len(HEAD) + 40):
        machine = made()
        assert story(machine, stream[:cut], stream[cut:]) == STORY
        assert not machine.deflate


@pytest.mark.wire
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.0 101 OK\r\n\r\n",
        b"HELLO",
        HEAD + b"X: " + b"x" * 33000,
    ],
)
def test_another_head_is_refused_and_nobody_is_told(head: bytes) -> None:
    machine = made()
    assert story(machine, head)[:1] == [("bad", 1002)]
    assert "HTTP/1.1 101" in machine.violation
    assert answers(machine) == []


@pytest.mark.parametrize(
    ("value", "bits", "alone"),
    [
        ("permessage-deflate", 15, False),
        ("Permessage-Deflate ; Server_Max_Window_Bits = 9", 9, False),
        ('permessage-deflate; server_max_window_bits="10";client_max_window_bits=8', 10, False),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", 15, True),
        ("permessage-deflate;server_max_window_bits=8\r\nX: y", 8, False),
    ],
)
def test_what_the_head_agrees_to(value: str, bits: int, alone: bool) -> None:
    found = frames.agreed(value.split("\r")[0])
    assert found is not None
    assert (found.server_max_window_bits, found.server_no_context_takeover) == (bits, alone)
    machine = made()
    texts = [b"a text that comes again " * 5] * 3
    sender = frames.Deflate(frames.Agreement(alone, alone, bits, max(bits, 9)))
    sent = [sender.frame(text, masked=False) for text in texts]
    assert (len(sent[1]) == len(sent[0])) == alone  # context takeover makes the second one shorter
    assert story(machine, with_head(value) + b"".join(sent) + server(1, "plain")) == [*texts, b"plain"]
    assert machine.deflate
    assert machine.counts["inflated"] == 3


@pytest.mark.parametrize(
    "value",
    [
        "x-unknown",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; unheard_of",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate;",
        'permessage-deflate; server_max_window_bits="9',
        "permessage-deflate permessage-deflate",
    ],
)
def test_what_was_not_offered_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="Sec-WebSocket-Extensions"):
        frames.agreed(value)
    machine = made()
    assert story(machine, with_head(value)) == [("bad", 1002)]
    assert "RFC 7692 7.1" in machine.violation


def test_agreed_without_an_extension_is_none() -> None:
    assert frames.agreed("") is None


def test_compression_can_be_told_where_there_is_no_head() -> None:
    machine = made()
    machine.negotiated()
    sender = frames.Deflate(frames.Agreement(client_max_window_bits=12))
    assert story(machine, sender.frame("squeezed", masked=False)) == [b"squeezed"]
    with pytest.raises(ValueError, match="before the first frame"):
        machine.negotiated()
    machine.begin_connection()
    assert not machine.deflate
    with pytest.raises(ValueError, match=r"no window of 2\^8"):
        frames.Deflate(frames.Agreement(client_max_window_bits=8))


def test_what_is_sent_compressed_can_be_read() -> None:
    """Compressed client frames, inflated as RFC 7692 7.2.2 says."""
    for alone in (False, True):
        sender = frames.Deflate(frames.Agreement(client_no_context_takeover=alone))
        state = zlib.decompressobj(-15)
        for text in ("again and again", "again and again", "", "again"):
            raw = sender.frame(text, masked=False)
            assert raw[0] == 0xC1
            if alone:
                state = zlib.decompressobj(-15)
            assert state.decompress(raw[2:] + b"\0\0\xff\xff") == text.encode()


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({c % (len(data) + 1) for c in cuts} | {0, len(data)})
    yield from (data[a:b] for a, b in pairwise(places))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6),
    st.lists(st.integers(0, 4000), max_size=12),
    st.booleans(),
    st.integers(9, 15),
)
def test_compressed_or_not_and_however_cut_messages_arrive(
    messages: list[tuple[bytes, bool]], cuts: list[int], alone: bool, bits: int
) -> None:
    machine = made()
    machine.negotiated(server_no_context_takeover=alone)
    sender = frames.Deflate(frames.Agreement(client_no_context_takeover=alone, client_max_window_bits=bits))
    stream = b"".join(
        sender.frame(data, frames.Opcode.BINARY, masked=False) if squeezed else frames.binary(data, masked=False)
        for data, squeezed in messages
    )
    assert story(machine, *pieces(stream, cuts)) == [data for data, _ in messages]


ALLOCATIONS = """
import ctypes, os, zlib
from feedhandler.session import frames, framing
count = ctypes.CDLL(None).allocations_of_this_thread
machine, state = framing("websocket", max_message_bytes=1 << 24), zlib.compressobj(6, zlib.DEFLATED, -15)
parts = [state.compress(os.urandom(300) + bytes(3000)) + state.flush(zlib.Z_SYNC_FLUSH) for _ in range(200)]
runs = [frames.frame(0 if i else 2, part, fin=False, rsv1=i == 0, masked=False) for i, part in enumerate(parts)]
def connection():
    machine.begin_connection()
    machine.negotiated()
    for run in runs:
        machine.read(run)
connection()
before = count()
for _ in range(50):
    connection()
print(count() - before, machine.counts["fragments"])
"""


@pytest.mark.skipif("FEEDHANDLER_SANITIZE" in os.environ, reason="the sanitizer has an allocator of its own")
def test_connections_fragments_and_compression_allocate_nothing(tmp_path: Path) -> None:
    """10,000 compressed frames on 50 connections; what little there is comes from the loop in Python."""
    library = tmp_path / "count_allocations.so"
    source = ROOT / "tests" / "count_allocations.c"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ALLOCATIONS]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    allocations, fragments = map(int, done.stdout.split())
    assert fragments == 51 * 200, "a message that does not end"
    assert allocations < 10
