"""What a simulated venue does wrong, kind by kind, seen by a plain client."""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from feedhandler.decode.venue import Heard
from feedhandler.errors import ConfigError
from feedhandler.simulate.venues import Limits, VenueFault, VenueFaults, serve
from feedhandler.simulate.venues.faults import HANDSHAKE_KINDS, KINDS, MESSAGE_KINDS, REST_KINDS
from tests.venue_follower import Follower, LostError

ONE = {
    "binance": "BTCUSDT",
    "binance_usdm": "BTCUSDT",
    "coinbase": "BTC-USD",
    "kraken": "XBT/USD",
    "bitstamp": "btcusd",
}
BOOK = {"coinbase": ("level2",)}


def script(*faults, **limits):
    return VenueFaults(fault=tuple(VenueFault(**fault) for fault in faults), limits=Limits(**limits))


def served(name, *faults, compress=True, limits=None, **options):
    made = script(*faults, **(limits or {}))
    return serve(name, [ONE[name]], rate=0, levels=20, faults=made, compress=compress, **options)


def following(name, venue, **options):
    depth = 10 if name == "kraken" else 0
    return Follower(venue, BOOK.get(name, ()), depth, **options)


def after(steps, venue, follower):
    """What the follower says of all that comes of so many steps."""
    for _ in range(steps):
        venue.step()
    while True:
        follower.take(2)


def told(venue, follower, steps=20):
    """What ends the connection while the venue goes on."""
    with pytest.raises(ConnectionClosed) as caught:
        after(steps, venue, follower)
    return caught.value


@pytest.mark.parametrize("name", ONE)
def test_cut_in_the_middle_of_a_frame(name):
    with served(name, {"kind": "cut", "at": 5}) as venue, following(name, venue) as follower:
        error = told(venue, follower)
        assert error.rcvd is None  # no close frame came
        assert venue.faults == {"cut": 1}
        with following(name, venue) as again:  # the next connection is whole
            venue.step(5)
            again.until_equal(ONE[name])


def test_half_open_silence():
    fault = {"kind": "silence", "at": 3, "for_s": 30.0}
    with served("binance", fault) as venue, following("binance", venue) as follower:
        venue.step(1)
        venue.step(1)
        follower.until_equal("BTCUSDT")
        venue.step(1)
        with pytest.raises(AssertionError, match="did not say"):
            follower.until_equal("BTCUSDT", timeout=0.2)
        assert not follower.client.ping().wait(0.1)
        assert follower.client.state.name == "OPEN"
        follower.client.close_timeout = 0.1


def test_a_stall_ends():
    fault = {"kind": "stall", "at": 2, "for_s": 0.2}
    with served("bitstamp", fault) as venue, following("bitstamp", venue) as follower:
        for _ in range(5):
            venue.step()
        begun = time.monotonic()
        follower.until_equal("btcusd")
        assert time.monotonic() - begun < 5


def test_close_with_code_and_reason():
    fault = {"kind": "close", "at": 2, "code": 1012, "reason": "service restart"}
    with served("coinbase", fault) as venue, following("coinbase", venue) as follower:
        error = told(venue, follower)
        assert error.rcvd is not None
        assert (error.rcvd.code, error.rcvd.reason) == (1012, "service restart")


@pytest.mark.parametrize("kind", ["drop", "swap"])
@pytest.mark.parametrize("name", ["binance", "binance_usdm", "kraken"])
def test_updates_missing_or_out_of_order_are_noticed(name, kind):
    with served(name, {"kind": kind, "at": 3, "every": 5}) as venue, following(name, venue) as follower:
        with pytest.raises(LostError):
            after(40, venue, follower)
        assert venue.faults[kind] >= 1


@pytest.mark.parametrize("name", ONE)
def test_updates_sent_twice_change_nothing(name):
    with served(name, {"kind": "duplicate", "share": 0.5}) as venue, following(name, venue) as follower:
        for _ in range(30):
            venue.step()
        follower.until_equal(ONE[name])
        assert venue.faults["duplicate"] > 5


def test_a_wrong_checksum_is_wrong():
    made = served("kraken", {"kind": "checksum", "at": 4})
    with made as venue, following("kraken", venue) as follower, pytest.raises(LostError):
        after(40, venue, follower)


@pytest.mark.parametrize("name", ONE)
def test_malformed_json(name):
    made = served(name, {"kind": "malformed", "at": 2})
    with made as venue, following(name, venue) as follower, pytest.raises(json.JSONDecodeError):
        after(40, venue, follower)


@pytest.mark.parametrize("compress", [True, False])
def test_fragments_with_a_ping_between_are_a_message(compress):
    fault = {"kind": "fragments", "share": 0.5}
    with served("kraken", fault, compress=compress) as venue, following("kraken", venue) as follower:
        for _ in range(30):
            venue.step()
        follower.until_equal("XBT/USD")
        assert venue.faults["fragments"] > 5
        assert venue.stats["pongs"] > 5


@pytest.mark.parametrize(
    ("kind", "code"),
    [("reserved", 1002), ("masked", 1002), ("bad_utf8", 1007), ("oversized", 1009), ("bad_deflate", 1002)],
)
def test_what_no_client_may_take(kind, code):
    fault = {"kind": kind, "at": 3, "bytes": 2 << 20}
    with served("binance", fault) as venue, following("binance", venue) as follower:
        error = told(venue, follower)
        assert error.sent is not None
        assert error.sent.code == code


def test_a_venue_that_wants_to_be_connected_to_again():
    with served("bitstamp", {"kind": "reconnect", "at": 2, "for_s": 0.1}) as venue:
        with following("bitstamp", venue) as follower:
            error = told(venue, follower)
        assert error.rcvd is not None
        assert error.rcvd.code == 1001
        assert [said.what for said in follower.heard].count(Heard.RECONNECT) == 1


def test_frames_are_compressed_where_that_was_agreed_on():
    sizes = []
    for compress in (True, False):
        with served("coinbase", compress=compress) as venue, following("coinbase", venue) as follower:
            for _ in range(50):
                venue.step()
            follower.until_equal("BTC-USD")
            sizes.append(venue.stats["bytes"])
            extensions = follower.client.protocol.extensions
            assert bool(extensions) == compress
    assert sizes[0] < sizes[1] / 2


# -- REST and handshakes


def answered(venue):
    context = ssl.create_default_context(cafile=venue.ca)
    with urllib.request.urlopen(venue.rest + "/api/v3/depth?symbol=BTCUSDT&limit=10", context=context) as answer:
        return answer.read()


def test_a_slow_answer_is_whole_and_of_then():
    with served("binance", {"kind": "rest_slow", "at": 1, "for_s": 0.2}) as venue:
        before = venue.reference("BTCUSDT").number
        assert json.loads(answered(venue))["lastUpdateId"] == before


def test_an_old_answer_is_older():
    with served("binance", {"kind": "rest_old", "at": 1, "for_s": 600.0}) as venue:
        until(lambda: venue.stats["turns"] > 100)
        before = venue.reference("BTCUSDT").number
        venue.step(50)
        assert json.loads(answered(venue))["lastUpdateId"] == before
        assert json.loads(answered(venue))["lastUpdateId"] > before


def test_an_answer_of_429_says_when_to_come_again():
    with served("binance", {"kind": "rest_status", "at": 1, "status": 429, "for_s": 7.0}) as venue:
        with pytest.raises(urllib.error.HTTPError) as caught:
            answered(venue)
        assert (caught.value.code, caught.value.headers["retry-after"]) == (429, "7")
        assert json.loads(answered(venue))


def test_too_many_requests():
    with served("binance", limits={"rest_per_s": 0.01, "burst": 3.0}) as venue:
        for _ in range(3):
            answered(venue)
        with pytest.raises(urllib.error.HTTPError, match="429"):
            answered(venue)
        assert venue.stats["limited"] == 1


def test_half_an_answer_and_one_that_is_no_json():
    with served("binance", {"kind": "rest_cut", "at": 1}, {"kind": "rest_garbage", "at": 2}) as venue:
        with pytest.raises(http.client.IncompleteRead):
            answered(venue)
        with pytest.raises(json.JSONDecodeError):
            json.loads(answered(venue))
        assert json.loads(answered(venue))


def test_a_refused_upgrade():
    with served("kraken", {"kind": "refuse", "at": 1, "status": 503}) as venue:
        with pytest.raises(InvalidStatus, match="503"):
            following("kraken", venue)
        with following("kraken", venue) as follower:
            follower.until_equal("XBT/USD")


def test_too_many_connections_and_too_many_texts():
    with served("kraken", limits={"connects_per_s": 0.01, "burst": 2.0}) as venue:
        refused = pytest.raises(InvalidStatus, match="429")
        with following("kraken", venue), following("kraken", venue), refused:
            following("kraken", venue)
        assert venue.stats["refused"] == 1
    with served("binance", limits={"messages_per_s": 0.01, "burst": 3.0}) as venue:
        with following("binance", venue) as follower, pytest.raises(ConnectionClosed) as caught:
            for _ in range(10):
                follower.client.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
            while True:
                follower.take(2)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008


# -- scripts


def test_a_script_is_read_and_the_example_has_every_kind():
    text = VenueFaults.example()
    assert VenueFaults.parse(text).fault[0].kind == "cut"
    assert all(kind in text for kind in KINDS)
    assert {*MESSAGE_KINDS, *REST_KINDS, *HANDSHAKE_KINDS} == set(KINDS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[fault]]\nkind = "cutt"\nat = 1', r"fault\[0\].kind: expected one of"),
        ('[[fault]]\nkind = "cut"', r"at or share over 0.*found neither"),
        ('[[fault]]\nkind = "cut"\nat = 1\nshare = 0.5', r"at or share over 0.*found both"),
        ('[[fault]]\nkind = "cut"\nshare = 0.5\nevery = 3', r"every only beside at"),
        ("[fault]\nat = 1", r"tables \[\[fault\]\]"),
        ("[limit]\n", r"did you mean limits"),
        ("[limits]\nburst = 0", r"limits.burst: expected a number from 1"),
        ("fault = ", r"expected TOML"),
    ],
)
def test_a_script_that_is_wrong_is_told_in_a_sentence(text, said):
    with pytest.raises(ConfigError, match=said):
        VenueFaults.parse(text)


def test_faults_that_nobody_could_notice_are_refused():
    with pytest.raises(ConfigError, match="'drop' is of binance, binance_usdm, kraken, not of coinbase"):
        served("coinbase", {"kind": "drop", "at": 1})


def until(done, timeout=5.0):
    end = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
