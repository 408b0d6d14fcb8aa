"""The instrument directory: idempotent, bounded, found by (venue, symbol)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler._instruments import Instruments
from feedhandler.records import INSTRUMENT, PART

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=32)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["XNAS", "IEXG"])), max_size=60))
def test_directory_agrees_with_a_dict(pairs):
    directory = Instruments.standalone(40)
    model: dict[tuple[str, str], int] = {}
    refused = 0
    for symbol, venue in pairs:
        expected = model.get((symbol, venue), 0)
        assert directory.lookup(symbol, venue) == expected
        if not expected and len(model) < 40:
            expected = model[symbol, venue] = len(model) + 1
        refused += expected == 0
        assert directory.add(symbol, venue) == expected
    assert len(directory) == len(model)
    assert directory.refused == refused
    for (symbol, venue), index in model.items():
        assert directory.symbol(index) == symbol
        assert directory.record(index)["venue"] == venue.encode()


def test_blanks_on_the_right_do_not_count_and_names_must_be_printable():
    directory = Instruments.standalone(4)
    assert directory.add("AAPL    ", "XNAS", 3) == 1
    assert directory.lookup("AAPL", "XNAS") == 1
    assert directory.record(1)["channel"] == 3
    assert directory.record(1)["price_exponent"] == -9
    assert [directory.add(bad, "XNAS") for bad in ("", "   ", "A\0B", "A\x01", "\x7f")] == [0] * 5
    assert len(directory) == 1
    assert directory.refused == 0
    with pytest.raises(IndexError, match="instrument 2 is not in use"):
        directory.symbol(2)
    with pytest.raises(ValueError, match="at most 8"):
        directory.add("A", "NINECHARS")


def test_two_writers_in_turn_find_what_the_memory_holds():
    memory = np.zeros(5, INSTRUMENT), np.zeros(8, np.uint32), np.zeros(1, PART)
    assert Instruments(*memory).add("MSFT", "XNAS") == 1
    later = Instruments(*memory)
    assert later.lookup("MSFT", "XNAS") == 1
    assert later.add("IBM", "XNYS") == 2
    assert memory[2]["used"][0] == 3


@pytest.mark.parametrize(
    ("records", "places", "message"),
    [(1, 8, "records must hold 2"), (9, 8, "power of two of places, at least 9"), (4, 6, "power of two")],
)
def test_sizes_that_do_not_fit_are_refused(records, places, message):
    with pytest.raises(ValueError, match=message):
        Instruments(np.zeros(records, INSTRUMENT), np.zeros(places, np.uint32), np.zeros(1, PART))
