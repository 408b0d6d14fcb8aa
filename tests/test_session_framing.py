"""Framings: every block found, every length checked, whatever the cut."""

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.errors import ConfigError
from feedhandler.session import framing, framings

MESSAGES = st.lists(st.binary(max_size=60), max_size=8)
SESSION = b"000010059B"


def mold(first: int, messages: list[bytes], session: bytes = SESSION, count: int | None = None) -> bytes:
    blocks = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    return session + struct.pack(">QH", first, len(messages) if count is None else count) + blocks


def iextp(first: int, messages: list[bytes], send_time: int = 7, **header: int) -> bytes:
    blocks = b"".join(struct.pack("<H", len(m)) + m for m in messages)
    fields = {"version": 1, "protocol": 0x8004, "payload": len(blocks), "count": len(messages), "offset": 0} | header
    head = struct.pack(
        "<BxHIIHHqqq",
        fields["version"],
        fields["protocol"],
        1,
        0x5A1B2C3D,
        fields["payload"],
        fields["count"],
        fields["offset"],
        first,
        send_time,
    )
    return head + blocks


def soup(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">H", 1 + len(payload)) + kind + payload


def accepted(session: bytes = SESSION, number: int = 1) -> bytes:
    return soup(b"A", session.rjust(10) + str(number).encode().rjust(20))


def one(name: str, packet: bytes) -> tuple[str, int, list[bytes]]:
    ((fields, messages),) = framing(name).feed(packet)
    return fields["kind"], fields["first_seq"], messages


def test_every_framing_says_what_it_is() -> None:
    made = [framing(name) for name in framings()]
    assert [(f.name, f.stream, f.heartbeat_ms, f.has_send_time) for f in made] == [
        ("moldudp64", False, 1000, False),
        ("iextp", False, 1000, True),
        ("soupbintcp", True, 1000, False),
        ("binaryfile", True, 0, False),
        ("websocket", True, 0, False),
    ]


def test_an_unknown_name_or_option_names_the_choices() -> None:
    with pytest.raises(ConfigError, match="choose one of: moldudp64, iextp"):
        framing("mold")
    with pytest.raises(ConfigError, match="has no option 'protocol_id'"):
        framing("moldudp64", protocol_id=3)


@given(messages=MESSAGES.filter(bool), first=st.integers(1, 2**63 - 1))
def test_moldudp64_data(messages: list[bytes], first: int) -> None:
    assert one("moldudp64", mold(first, messages)) == ("data", first, messages)


def test_moldudp64_heartbeat_end_and_wrapper() -> None:
    assert one("moldudp64", mold(9, [])) == ("heartbeat", 9, [])
    assert one("moldudp64", mold(9, [], count=0xFFFF)) == ("end", 9, [])
    assert one("moldudp64", mold(0, [b"A"], session=bytes(10))) == ("unsequenced", 0, [b"A"])
    assert one("moldudp64", mold(0, [b"A"], session=b" " * 10)) == ("unsequenced", 0, [b"A"])
    assert one("moldudp64", mold(1, [b""], session=bytes(10))) == ("data", 1, [b""])


@pytest.mark.wire
def test_moldudp64_numbers_that_nobody_can_have_are_bad() -> None:
    assert one("moldudp64", mold(0, [b"A"]))[0] == "bad"
    assert one("moldudp64", mold(0, []))[0] == "bad"
    assert one("moldudp64", mold(2**64 - 1, [b"A", b"B"]))[0] == "bad"
    assert one("moldudp64", mold(1, [], count=1))[0] == "bad"
    assert one("moldudp64", mold(1, [b"A"], count=0xFFFE))[0] == "bad"
    assert one("moldudp64", mold(1, [b"A"]) + b"x")[0] == "bad"


@pytest.mark.wire
@pytest.mark.parametrize(("name", "make"), [("moldudp64", mold), ("iextp", iextp)])
@given(messages=MESSAGES.filter(bool))
def test_every_prefix_of_a_packet_is_bad(name: str, make: object, messages: list[bytes]) -> None:
    packet = make(1, messages)  # type: ignore[operator]
    assert {one(name, packet[:n])[0] for n in range(len(packet))} == {"bad"}


@pytest.mark.wire
@pytest.mark.parametrize("name", framings())
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_do_no_harm(name: str, data: bytes) -> None:
    for _, messages in framing(name).feed(data):
        assert all(m in data for m in messages)


def test_a_packet_of_very_many_empty_messages_fits() -> None:
    assert len(one("moldudp64", mold(1, [b""] * 32_000))[2]) == 32_000


@given(messages=MESSAGES, first=st.integers(1, 2**62), send_time=st.integers(0, 2**63 - 1))
def test_iextp(messages: list[bytes], first: int, send_time: int) -> None:
    ((fields, found),) = framing("iextp").feed(iextp(first, messages, send_time))
    assert (fields["kind"], fields["first_seq"], found) == ("data" if messages else "heartbeat", first, messages)
    assert (fields["send_time"], fields["session"]) == (send_time, b"5a1b2c3d00000001")


@pytest.mark.wire
@pytest.mark.parametrize("wrong", [{"version": 2}, {"protocol": 0x8003}, {"payload": 4}, {"count": 2}, {"count": 0}])
def test_iextp_header_that_does_not_add_up(wrong: dict[str, int]) -> None:
    assert one("iextp", iextp(1, [b"S"], **wrong))[0] == "bad"


def test_iextp_of_another_message_protocol() -> None:
    tops = iextp(1, [b"Q"], protocol=0x8003)
    assert framing("iextp", protocol_id=0x8003).feed(tops)[0][0]["kind"] == "data"


def test_soupbintcp_counts_from_the_login() -> None:
    stream = soup(b"+", b"hello") + accepted(b"TODAY", 41) + soup(b"S", b"one") + soup(b"S", b"") + soup(b"H")
    stream += soup(b"U", b"aside") + soup(b"+", b"x") + soup(b"S", b"three") + soup(b"Z")
    found = [(f["kind"], f["first_seq"], m) for f, m in framing("soupbintcp").feed(stream)]
    assert found == [
        ("login", 41, []),
        ("data", 41, [b"one", b""]),
        ("heartbeat", 43, []),
        ("unsequenced", 43, [b"aside"]),
        ("data", 43, [b"three"]),
        ("end", 44, []),
    ]
    assert framing("soupbintcp").feed(accepted(b"TODAY", 41))[0][0]["session"] == b"TODAY     " + bytes(6)


def test_soupbintcp_rejected_gives_the_reason() -> None:
    ((fields, _),) = framing("soupbintcp").feed(soup(b"J", b"S"))
    assert (fields["kind"], fields["detail"]) == ("rejected", ord("S"))


@pytest.mark.wire
@pytest.mark.parametrize(
    "junk",
    [
        soup(b"S", b"x"),
        soup(b"A", b"short"),
        soup(b"A", b"x" * 30),
        soup(b"A", b" " * 10 + b"9" * 20),
        accepted(number=0),
        soup(b"Q"),
        soup(b"J"),
        soup(b"H"),
        soup(b"Z"),
    ],
)
def test_soupbintcp_packet_that_cannot_be_is_bad_and_the_next_one_is_read(junk: bytes) -> None:
    kinds = [f["kind"] for f, _ in framing("soupbintcp").feed(junk + accepted() + soup(b"S", b"m"))]
    assert kinds == ["bad", "login", "data"]


@pytest.mark.wire
def test_soupbintcp_length_zero_breaks_the_stream_until_the_next_connection() -> None:
    line = framing("soupbintcp")
    assert [f["kind"] for f, _ in line.feed(accepted() + bytes(2) + soup(b"S", b"m"))] == ["login", "bad"]
    assert [f["kind"] for f, _ in line.feed(soup(b"S", b"m"))] == ["bad"]
    line.begin_connection()
    assert [f["kind"] for f, _ in line.feed(accepted() + soup(b"S", b"m"))] == ["login", "data"]


BLOCKS = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda m: soup(b"S", m)),
        st.binary(max_size=9).map(lambda m: soup(b"U", m)),
        st.binary(max_size=9).map(lambda m: soup(b"+", m)),
        st.sampled_from([soup(b"H"), soup(b"Z"), soup(b"J", b"A"), accepted(b"X", 7), soup(b"?")]),
    ),
    max_size=12,
)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


def told(name: str, pieces: list[bytes], capacity: int) -> list[tuple[str, int, bytes]]:
    """Every message and every frame without messages, one by one: what must not depend on the cuts."""
    line, out = framing(name), []
    for piece in pieces:
        for fields, messages in line.feed(piece, capacity):
            if messages:
                step = fields["kind"] == "data"
                out += [(fields["kind"], fields["first_seq"] + i * step, m) for i, m in enumerate(messages)]
            else:
                out.append((fields["kind"], fields["first_seq"], b""))
    return out


@pytest.mark.wire
@given(blocks=BLOCKS, cuts=st.lists(st.integers(0, 10_000), max_size=12), capacity=st.integers(1, 5))
def test_a_soupbintcp_stream_cut_anywhere_is_the_same_stream(
    blocks: list[bytes], cuts: list[int], capacity: int
) -> None:
    stream = accepted() + b"".join(blocks)
    assert told("soupbintcp", split(stream, cuts), capacity) == told("soupbintcp", [stream], 100)


@pytest.mark.wire
@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 10_000), max_size=12), capacity=st.integers(1, 5))
def test_a_binaryfile_cut_anywhere_is_the_same_file(messages: list[bytes], cuts: list[int], capacity: int) -> None:
    messages = [m or b"x" for m in messages]
    whole = b"".join(struct.pack(">H", len(m)) + m for m in messages) + bytes(2)
    expected = [("data", i + 1, m) for i, m in enumerate(messages)] + [("end", len(messages) + 1, b"")]
    assert told("binaryfile", split(whole, cuts), capacity) == expected


def test_a_binaryfile_without_its_end_is_incomplete() -> None:
    line = framing("binaryfile")
    line.feed(b"\0\1A\0\5AB")
    assert (line.ended, line.unfinished) == (False, 4)  # type: ignore[attr-defined]
    line.begin_connection()
    assert [f["kind"] for f, _ in line.feed(b"\0\1A\0\0")] == ["data", "end"]
    assert line.ended  # type: ignore[attr-defined]
    assert [f["kind"] for f, _ in line.feed(b"\0\1A")] == ["bad"]


def test_the_largest_block_is_put_together() -> None:
    message = bytes(range(256)) * 255 + b"x" * 255
    stream = struct.pack(">H", len(message)) + message
    assert told("binaryfile", [bytes([b]) for b in stream[:300]] + [stream[300:]] + [stream], 9) == [
        ("data", 1, message),
        ("data", 2, message),
    ]


@pytest.mark.real_data
def test_the_genium_packet_that_was_cut_is_refused_whole(shared_data: Path) -> None:
    data = shared_data.joinpath("moldudp64/genium-itch-3-packets.bin").read_bytes()
    starts = [0]
    for _ in range(2):
        place = starts[-1] + 20
        for _ in range(struct.unpack_from(">H", data, starts[-1] + 18)[0]):
            place += 2 + struct.unpack_from(">H", data, place)[0]
        starts.append(place)
    found = [one("moldudp64", data[a:b]) for a, b in pairwise([*starts, len(data)])]
    assert [(kind, first, len(messages)) for kind, first, messages in found] == [
        ("data", 1, 15),
        ("data", 16, 13),
        ("bad", 29, 0),
    ]
