"""The script of faults: each does what it says and no more, and the same seed gives the same bytes."""

import struct
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.errors import ConfigError
from feedhandler.session import framing
from feedhandler.simulate._faults import WrongChecksum, spoiled
from feedhandler.simulate.faults import (
    End,
    Faults,
    GlimpseFault,
    LineFault,
    Midnight,
    Outage,
    RequestFault,
    SessionFault,
    Upstream,
)

MICROSECOND, SECOND = 1_000, 1_000_000_000
START = 1_767_625_200 * SECOND  # 2026-01-05 10:00 in New York
STEP = 100 * MICROSECOND
MOLD, IEX = struct.Struct(">10sQH"), struct.Struct("<BBHIIHHqqq")


def feed(count: int, *, step: int = STEP, per_packet: int = 2, end: bool = True) -> list[tuple[int, bytes]]:
    """A MoldUDP64 session: a heartbeat behind every hundredth packet of data, and the end."""
    out, number, time = [], 1, START
    for n in range(count):
        blocks = b"".join(struct.pack(">HQ", 8 + n % 5, number + i) + bytes(n % 5) for i in range(per_packet))
        out.append((time, MOLD.pack(b"FEED      ", number, per_packet) + blocks))
        number, time = number + per_packet, time + step
        if n % 100 == 99:
            out.append((time, MOLD.pack(b"FEED      ", number, 0)))
            time += step
    if end:
        out.append((time, MOLD.pack(b"FEED      ", number, 0xFFFF)))
    return out


def iex_feed(count: int) -> list[tuple[int, bytes]]:
    """An IEX-TP session of two messages a packet."""
    out, offset = [], 0
    for n in range(count):
        body = struct.pack("<H", 10) + bytes(10) + struct.pack("<H", 6) + bytes(6)
        time = START + n * STEP
        out.append((time, IEX.pack(1, 0, 0x8004, 1, 77, len(body), 2, offset, 1 + 2 * n, time) + body))
        offset += len(body)
    return out


def on_line(arrivals, line: int) -> list[tuple[int, bytes]]:
    return [(time, payload) for time, at, payload in arrivals if at == line]


def numbers(packets) -> list[int]:
    return [MOLD.unpack_from(payload)[1] for _, payload in packets]


FEED = feed(20_000)
BOTH = [(time, line, payload) for time, payload in FEED for line in (0, 1)]


def test_without_faults_every_line_carries_the_feed():
    assert list(Faults().apply(FEED, lines=2, seed=9)) == BOTH
    assert list(Faults().apply(iter(FEED), lines=1)) == [(time, 0, payload) for time, payload in FEED]
    assert list(Faults().apply([])) == []


def test_a_seed_is_a_run_and_another_seed_another():
    once = list(Faults.default().apply(FEED[:3000], seed=1))
    assert once == list(Faults.default().apply(iter(FEED[:3000]), seed=1))
    assert once != list(Faults.default().apply(FEED[:3000], seed=2))
    assert on_line(once, 0) != on_line(once, 1)
    assert [time for time, _, _ in once] == sorted(time for time, _, _ in once)


def test_independent_loss_has_its_rate_on_each_line():
    got = list(Faults(all=LineFault(loss=0.05)).apply(FEED))
    left = [{payload for _, payload in on_line(got, line)} for line in (0, 1)]
    for packets in left:
        assert 0.045 < 1 - len(packets) / len(FEED) < 0.055  # six standard deviations are 0.0092, and the seed is fixed
    both = len(FEED) - len(left[0] | left[1])
    assert 20 < both < 90  # 50 expected: the lines know nothing of each other


def test_bursts_have_their_share_and_their_length():
    got = on_line(Faults(all=LineFault(burst_loss=0.1, burst_packets=20)).apply(FEED), 0)
    there = {payload for _, payload in got}
    runs, run = [], 0
    for _, payload in FEED:
        if payload not in there:
            run += 1
        elif run:
            runs.append(run)
            run = 0
    assert 0.06 < sum(runs) / len(FEED) < 0.14
    assert 13 < sum(runs) / len(runs) < 27


def test_upstream_loss_takes_the_same_packets_from_every_line():
    got = list(Faults(upstream=Upstream(loss=0.02, burst_loss=0.02)).apply(FEED, lines=3))
    first = on_line(got, 0)
    assert first == on_line(got, 1) == on_line(got, 2)
    assert 0.02 < 1 - len(first) / len(FEED) < 0.06


def test_adding_a_fault_leaves_the_others_as_they_were():
    loss = LineFault(loss=0.03)
    more = LineFault(loss=0.03, duplicate=0.2, corrupt=0.1)
    there = set(numbers(on_line(Faults(all=loss).apply(FEED), 1)))
    assert there == set(numbers(on_line(Faults(all=more).apply(FEED), 1)))


def test_duplicates_come_later_by_no_more_than_said():
    got = on_line(Faults(all=LineFault(duplicate=0.1, duplicate_us=250)).apply(FEED), 0)
    times = {}
    for time, payload in got:
        times.setdefault(payload, []).append(time)
    doubles = [seen for seen in times.values() if len(seen) == 2]
    assert len(times) == len(FEED) and 0.09 < len(doubles) / len(FEED) < 0.11
    late = [second - first for first, second in doubles]
    assert 0 <= min(late) < 5 * MICROSECOND and 245 * MICROSECOND < max(late) <= 250 * MICROSECOND


@pytest.mark.parametrize("distance", [1, 3, 64])
def test_reordered_packets_are_overtaken_by_so_many(distance):
    got = on_line(Faults(all=LineFault(reorder=0.02, reorder_packets=distance)).apply(FEED), 0)
    place = {payload: n for n, (_, payload) in enumerate(FEED)}
    order = [place[payload] for _, payload in got]
    late = [(i, n) for i, n in enumerate(order) if i > n]
    assert sorted(order) == list(range(len(FEED)))
    assert max(i - n for i, n in late) <= distance
    assert 0.015 < len(late) / len(FEED) < 0.025


def test_reordering_by_time():
    got = on_line(Faults(all=LineFault(reorder=0.05, reorder_us=450)).apply(FEED), 0)
    assert len(got) == len(FEED)
    sent = {payload: time for time, payload in FEED}
    late = [time - sent[payload] for time, payload in got]
    assert max(late) <= 450 * MICROSECOND and 0.03 < sum(x > 0 for x in late) / len(late) < 0.07


def test_delay_jitter_and_skew():
    script = Faults(
        all=LineFault(delay_us=30), line=(LineFault(delay_us=5), LineFault(delay_us=40, jitter_us=300)), skew_us=100
    )
    got = list(script.apply(FEED, lines=3))
    assert on_line(got, 0) == [(time + 5 * MICROSECOND, payload) for time, payload in FEED]
    assert on_line(got, 2) == [(time + 230 * MICROSECOND, payload) for time, payload in FEED]
    jittered = on_line(got, 1)
    assert [payload for _, payload in jittered] == [payload for _, payload in FEED]  # never out of order
    late = [b[0] - a[0] for a, b in zip(FEED, jittered, strict=True)]
    assert min(late) >= 140 * MICROSECOND and 400 * MICROSECOND < max(late) <= 440 * MICROSECOND


def test_outages_by_time_and_by_packets_of_one_line_and_of_all():
    script = Faults(outage=(Outage(lines=(1,), from_s=0.1, for_s=0.2), Outage(from_packet=10_000, for_packets=500)))
    got = list(script.apply(FEED))
    gone = [{payload for _, payload in FEED} - {payload for _, payload in on_line(got, line)} for line in (0, 1)]
    both = {payload for _, payload in FEED[10_000:10_500]}
    assert gone[0] == both
    assert gone[1] == both | {p for t, p in FEED if START + SECOND // 10 <= t < START + 3 * SECOND // 10}
    again = Faults(outage=(Outage(from_packet=100, for_packets=5, every_packets=1000),))
    assert len(on_line(again.apply(FEED), 0)) == len(FEED) - 5 * 21


def test_missing_heartbeats():
    got = list(Faults(line=(LineFault(heartbeat_loss=1.0),)).apply(FEED))
    beats = [packet for packet in FEED if packet[1][18:20] == b"\0\0"]
    assert [p for p in on_line(got, 0) if p[1][18:20] == b"\0\0"] == []
    assert [p for p in on_line(got, 1) if p[1][18:20] == b"\0\0"] == beats and len(beats) == 200
    assert len(on_line(got, 0)) == len(FEED) - 200


@pytest.mark.parametrize("name, packets", [("moldudp64", FEED[:3000]), ("iextp", iex_feed(3000))])
def test_truncated_and_corrupted_packets_are_refused_by_the_framing(name, packets):
    judge = framing(name)
    for fault, longest in ((LineFault(truncate=1.0), -1), (LineFault(corrupt=1.0), 8)):
        got = list(Faults(all=fault).apply(packets, lines=1, framing=name))
        assert len(got) == len(packets)
        for (_, before), (_, _, after) in zip(packets, got, strict=True):
            assert after != before and 1 <= len(after) <= len(before) + longest
            assert is_bad(judge, after)
    few = Faults(all=LineFault(truncate=0.05, corrupt=0.05)).apply(packets, lines=1, framing=name)
    bad = sum(is_bad(judge, payload) for _, _, payload in few)
    assert 0.07 < bad / len(packets) < 0.13


def test_frames_with_a_wrong_checksum_are_lost_over_sockets_and_kept_in_frames():
    script = Faults(all=LineFault(wrong_checksum=0.2, duplicate=0.1))
    whole = list(Faults(all=LineFault(duplicate=0.1)).apply(FEED))
    frames = list(script.apply(FEED, frames=True))
    assert frames == whole  # the content is as it was sent
    wrong = [isinstance(payload, WrongChecksum) for _, _, payload in frames]
    assert 0.15 < sum(wrong) / len(wrong) < 0.2
    assert list(script.apply(FEED)) == [item for item, bad in zip(frames, wrong, strict=True) if not bad]


def is_bad(judge, payload: bytes) -> bool:
    return [frame["kind"] for frame, _ in judge.feed(payload)] == ["bad"]


@pytest.mark.wire
@given(st.integers(0, 2**64 - 1), st.integers(0, 400), st.sampled_from(["moldudp64", "iextp"]))
def test_no_draw_spoils_a_packet_into_a_good_one(draw, n, name):
    packet = (feed(400) if name == "moldudp64" else iex_feed(401))[n][1]
    assert is_bad(framing(name), spoiled(packet, draw, framing=name))


def test_a_new_session_is_seen_by_the_run_without_loss_too():
    script = Faults(session=(SessionFault(kind="new", at_packet=500, repeat_packets=3),))
    got = list(script.stream(FEED[:1000]))
    heads = [MOLD.unpack_from(payload) for _, payload in got]
    closing, beat, *rest = heads[500:]
    assert got[:500] == FEED[:500]
    assert closing == (b"FEED      ", MOLD.unpack_from(FEED[500][1])[1], 0xFFFF)
    assert beat == (b"FEED01    ", 1, 0)
    assert {name for name, _, _ in rest} == {b"FEED01    "}
    assert [number for _, number, _ in rest[:5]] == [1, 3, 5, 7, 9]
    assert [payload[20:] for _, payload in got[502:505]] == [payload[20:] for _, payload in FEED[:3]]
    assert [payload[20:] for _, payload in got[505:]] == [payload[20:] for _, payload in FEED[500:1000]]
    assert list(script.apply(FEED[:1000], lines=1)) == [(time, 0, payload) for time, payload in got]


def test_a_restart_keeps_the_session_id():
    got = list(Faults(session=(SessionFault(kind="restart", at_s=0.05, first=11),)).stream(FEED[:1000]))
    heads = [MOLD.unpack_from(payload) for _, payload in got]
    assert {name for name, _, _ in heads} == {b"FEED      "}
    at = next(i for i, (_, number, _) in enumerate(heads) if i and number < heads[i - 1][1])
    assert heads[at] == (b"FEED      ", 11, 0) and heads[at + 1][1:] == (11, 2) and heads[at + 2][1:] == (13, 2)
    assert got[at][0] == START + SECOND // 20


def test_iex_sessions_restart_with_their_offsets_and_send_times():
    faults = (SessionFault(kind="restart", at_packet=50), SessionFault(kind="new", at_packet=80, heartbeat=False))
    got = list(Faults(session=faults).stream(iex_feed(100), framing="iextp"))
    heads = [IEX.unpack_from(payload) for _, payload in got]
    assert [(h[4], h[5], h[6], h[7], h[8]) for h in heads[50:53]] == [
        (77, 0, 0, 0, 1), (77, 20, 2, 0, 1), (77, 20, 2, 20, 3)
    ]  # fmt: skip
    assert (heads[81][4], heads[81][7], heads[81][8]) == (78, 0, 1)
    assert [h[9] for h in heads] == [time for time, _ in got]
    assert not any(is_bad(framing("iextp"), payload) for _, payload in got)


def test_a_source_that_changes_its_own_session_goes_on_with_its_own_numbers():
    second = [(time + SECOND, b"NEXT      " + payload[10:]) for time, payload in feed(50)]
    got = list(Faults(session=(SessionFault(kind="restart", at_packet=20),)).stream(feed(50, end=False) + second))
    assert got[-len(second) :] == second


def test_the_end_is_repeated_and_the_last_packets_are_lost():
    script = Faults(end=End(lost_packets=10, repeats=3, interval_ms=500))
    whole = list(script.stream(FEED))
    assert whole[:-3] == FEED[:-1]
    assert [payload for _, payload in whole[-3:]] == [FEED[-1][1]] * 3
    assert [time - whole[-3][0] for time, _ in whole[-3:]] == [0, SECOND // 2, SECOND]
    got = on_line(script.apply(FEED), 1)
    data = [payload for _, payload in FEED if payload[18:20] not in (b"\0\0", b"\xff\xff")]
    assert [payload for _, payload in got if payload[18:20] not in (b"\0\0", b"\xff\xff")] == data[:-10]
    assert [payload for _, payload in got[-3:]] == [FEED[-1][1]] * 3
    # so is the end of each session of a feed
    second = [(time + SECOND, b"NEXT      " + payload[10:]) for time, payload in FEED]
    both = [payload for _, payload in script.stream(FEED + second) if payload[18:20] == b"\xff\xff"]
    assert both == [FEED[-1][1]] * 3 + [second[-1][1]] * 3
    # a feed that never says it is given an end
    made = list(script.stream(FEED[:-1]))
    assert made[-1][1] == FEED[-1][1] and len(made) == len(FEED) + 2


def test_midnight_comes_while_packets_flow_and_brings_a_new_session():
    script = Faults(midnight=Midnight(after_s=0.05))
    got = list(script.stream(FEED[:1000]))
    midnight = 1_767_675_600 * SECOND  # 2026-01-06 00:00 in New York
    before = [payload for time, payload in got if time < midnight]
    assert got[0][0] == midnight - SECOND // 20
    assert before == [payload for time, payload in FEED if time < START + SECOND // 20]
    later = [MOLD.unpack_from(payload) for time, payload in got if time >= midnight]
    assert later[1:3] == [(b"FEED01    ", 1, 0), (b"FEED01    ", 1, 2)]
    quiet = list(Faults(midnight=Midnight(after_s=0.05, new_session=False)).stream(FEED[:1000]))
    assert [payload for _, payload in quiet] == [payload for _, payload in FEED[:1000]]


def test_the_default_is_hard_enough():
    script = Faults.default()
    assert script.all.loss == 0.01 and script.all.burst_loss and script.all.duplicate and script.all.reorder
    assert script.skew_us and script.outage[0].lines == ()
    got = list(script.apply(FEED))
    seen = Counter(payload for _, _, payload in got)
    assert len([payload for _, payload in FEED if payload not in seen]) > 100


@pytest.mark.parametrize("script", [Faults(), Faults.default(), Faults(
    upstream=Upstream(loss=0.5), all=LineFault(loss=0.1, delay_us=2.5), line=(LineFault(loss=0.1), LineFault()),
    outage=(Outage(lines=(0, 2), from_s=1.5, for_s=2.0),), session=(SessionFault(kind="restart", at_packet=7),),
    end=End(), midnight=Midnight(after_s=3.0, zone="UTC"), requests=RequestFault(age=10, silence=0.5), skew_us=1.0,
)])  # fmt: skip
def test_a_script_written_is_the_script_read(script, tmp_path):
    path = tmp_path / "faults.toml"
    path.write_text(script.toml())
    assert Faults.load(path) == script


def test_the_example_has_every_key_and_stands_in_the_documents():
    script = Faults.parse(Faults.example())
    assert script.outage[0].for_s == 2.0 and script.session[0].kind == "restart" and script.midnight is not None
    for kind in (Upstream, LineFault, Outage, SessionFault, End, Midnight, RequestFault, GlimpseFault):
        assert all(f"{field.name} = " in Faults.example() for field in fields(kind))
    document = (Path(__file__).parent.parent / "docs" / "faults.md").read_text()
    assert Faults.example() in document
    assert Faults.parse(document.split("```toml\n")[1].split("```")[0]) == Faults.default()


@pytest.mark.parametrize("text, words", [
    ("[all]\nloss = 2", r"<faults>:2: all.loss: expected a number from 0 to 1, found 2"),
    ("[all]\nloss = true", "all.loss: expected a number from 0 to 1, found true"),
    ("[all]\nlos = 0.1", r"all.los: .*unknown key los \(did you mean loss\?\)"),
    ("[every]", "unknown key every"),
    ("skew_us = -1", "skew_us: expected a number from 0 to 1e.06, found -1"),
    ("[[line]]\n[[line]]\nburst_packets = 0", r"<faults>:3: line\[1\].burst_packets: expected a number from 1"),
    ("[line]\nloss = 0.1", r"line: expected tables \[\[line\]\], found a table"),
    ("[[outage]]\nfrom_s = 1", "outage.0.: expected for_s or for_packets over 0.*found neither"),
    ("[[outage]]\nfrom_s = 1\nfor_packets = 2", "expected one of for_s and for_packets"),
    ("[[outage]]\nfor_s = 2\nevery_s = 1", "over before it comes again"),
    ("[[outage]]\nfor_s = 2\nlines = [1, 1]", "outage.0..lines: expected a list of line numbers"),
    ("[[session]]\nat_packet = 1", "session.0..kind: .*the key is required"),
    ('[[session]]\nkind = "new"', "expected at_packet or at_s over 0, found neither"),
    ('[[session]]\nkind = "restart"\nat_s = 1\nname = "X"', "name: expected no name"),
    ("[midnight]", "midnight.after_s: .*required"),
    ("[requests]\nmtu = 1", "requests.mtu: expected an integer from 64 to 65507, found 1"),
    ("loss 0.1", "expected TOML"),
])  # fmt: skip
def test_a_wrong_script_is_refused_with_the_key_and_what_was_expected(text, words):
    with pytest.raises(ConfigError, match=words):
        Faults.parse(text)


def test_what_cannot_be_is_said_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.toml: cannot be read: No such file"):
        Faults.load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="IEX-TP has no packet that says the end"):
        Faults(end=End()).apply([], framing="iextp")
    with pytest.raises(ConfigError, match="not of 'soupbintcp'"):
        Faults().apply([], framing="soupbintcp")
    with pytest.raises(ConfigError, match="names 3 lines of 2"):
        Faults(outage=(Outage(lines=(2,), for_s=1.0),)).apply([], lines=2)
    with pytest.raises(ConfigError, match="seed must be"):
        Faults().apply([], seed=-1)
    with pytest.raises(ConfigError, match=r"midnight.* not for a live sender"):
        Faults(midnight=Midnight(after_s=1.0)).check_live()
