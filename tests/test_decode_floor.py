"""The yardsticks count what they read and stay within their buffer."""

import pytest

from feedhandler._floor import chase, decode_floor


def test_floor_counts_messages():
    message = b"\0\x13D" + bytes(18)
    for count in (0, 1, 2, 3, 100):
        messages, nanoseconds = decode_floor(message * count)
        assert messages == count
        assert nanoseconds >= 0


@pytest.mark.wire
def test_floor_stays_inside_a_hostile_buffer():
    for length in range(0, 200, 3):
        decode_floor(b"\xff" * length)
        decode_floor(b"\0\1I" * length)


def test_chase_measures_something():
    assert chase(1 << 16, 1000) >= 0
    with pytest.raises(ValueError, match="length must be"):
        chase(64)
