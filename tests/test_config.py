"""The configuration: what is read, and that every mistake names file, line, key, what was expected and found."""

import contextlib
import datetime
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler import config
from feedhandler.errors import ConfigError
from feedhandler.settings import find_line

EXAMPLE = config.example()
TABLES = (
    config.Shm, config.Books, config.Ring, config.Run, config.AfXdp, config.Rdma, config.Channel, config.Line,
    config.RecoverySettings,
)  # fmt: skip
HEAD, MIDDLE, REST = EXAMPLE.partition("# [channel.recovery]")
TABLE, _, TAIL = REST.partition("\n\n")
RECOVERING = HEAD + (MIDDLE + TABLE).replace("# ", "", 1).replace("\n# ", "\n") + "\n\n" + TAIL
"""The example with its commented table of recovery in force."""


def test_the_example_is_a_configuration() -> None:
    feed = config.parse(EXAMPLE, "feed.toml")
    assert feed.shm == config.Shm("nasdaq")
    assert (feed.books, feed.ring, feed.handler) == (config.Books(), config.Ring(), config.Run())
    assert (feed.af_xdp, feed.rdma) == (config.AfXdp(), config.Rdma())
    [channel] = feed.channels
    assert (channel.name, channel.protocol, channel.session, channel.venue) == ("itch", "itch50", "moldudp64", "XNAS")
    assert [(line.name, line.group, line.port, line.interface) for line in channel.lines] == [
        ("A", "239.192.0.1", 26400, "lo"),
        ("B", "239.192.0.2", 26400, "lo"),
    ]


def test_the_example_shows_every_key() -> None:
    for cls in TABLES:
        for field in fields(cls):
            assert field.name in ("lines", "recovery", "credentials") or f"{field.name} = " in EXAMPLE


def test_load_names_the_file(tmp_path) -> None:
    path = tmp_path / "feed.toml"
    path.write_text(EXAMPLE)
    assert config.load(path) == config.parse(EXAMPLE)
    path.write_text(EXAMPLE.replace("depth = 10 ", "depth = 0 "))
    with pytest.raises(ConfigError, match=rf"{path}:\d+: books.depth: expected .* found 0"):
        config.load(path)
    with pytest.raises(ConfigError, match=r"absent.toml: cannot be read: No such file"):
        config.load(tmp_path / "absent.toml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="expected UTF-8"):
        config.load(path)


def test_only_what_must_be_said() -> None:
    feed = config.parse(
        """
        shm = {name = "x"}
        [[channel]]
        name = "c"
        protocol = "itch50"
        session = "soupbintcp"
        date = 2026-11-22
        line = [{name = "A", host = "feed.example", port = 1234, password = "secret"}]
        """
    )
    [channel] = feed.channels
    assert (channel.venue, channel.date) == ("XNAS", datetime.date(2026, 11, 22))
    assert channel.lines == (config.Line(name="A", host="feed.example", port=1234, password="secret"),)
    assert "secret" not in repr(feed)


MISTAKES = {
    "wrong type": ("depth = 10", 'depth = "ten"', "books.depth", "an integer from 1 to 64", '"ten"'),
    "bool is no integer": ("depth = 10", "depth = true", "books.depth", "an integer", "true"),
    "out of range": ("depth = 10", "depth = 1000", "books.depth", "an integer from 1 to 64", "1000"),
    "not a power of two": ("events = 65536", "events = 65537", "ring.events", "a power of two", "65537"),
    "near miss": ("depth = 10", "dept = 10", "books.dept", "one of depth,", "unknown key dept (did you mean depth?)"),
    "unknown key": ("depth = 10", "zzz = 10", "books.zzz", "one of depth,", "the unknown key zzz"),
    "unknown table": ("[ring]", "[rings]", "rings", "one of shm, books", "(did you mean ring?)"),
    "key of another session": ('interface = "lo"', 'host = "x"', "channel[0].line[0].host", "one of name", "key host"),
    "a table is wanted": ("[ring]", "[[ring]]", "ring", "a table", "[{events = 65536}]"),
    "a list of tables is wanted": ("[[channel]]", "[channel]", "channel", "at least one [[channel]]", "a table"),
    "missing name": ('name = "nasdaq"', "", "shm.name", "a name of letters", "nothing, and the key is required"),
    "missing interface": ('interface = "lo"', "", "channel[0].line[0].interface", "a network interface", "nothing"),
    "missing group": ('group = "239.192.0.1"', "", "channel[0].line[0].group", "multicast", "nothing"),
    "a path in the name": ('"nasdaq"', '"../x"', "shm.name", "a name of letters", '"../x"'),
    "decimal mode": ("mode = 0o640", "mode = 640", "shm.mode", "permission bits, written 0o640", "640"),
    "unknown choice": ('"adaptive"', '"sleep"', "handler.wait", 'one of "spin", "adaptive", "block"', '"sleep"'),
    "unknown fault": ('"full"', '"fool"', "books.stale_on", 'one of "unknown_order"', '"fool"'),
    "priority": ("priority = 0", "priority = 100", "handler.priority", "an integer from 0 to 99", "100"),
    "mode of af_xdp": ('mode = "native"', 'mode = "skb"', "af_xdp.mode", 'one of "native", "generic"', '"skb"'),
    "frame of af_xdp": ("frame_bytes = 2048", "frame_bytes = 3000", "af_xdp.frame_bytes", "one of 2048, 4096", "3000"),
    "mode of rdma": ('"raw-eth"', '"roce"', "rdma.mode", 'one of "raw-eth", "roce-ud"', '"roce"'),
    "queue key": ("0x01234567", "0x100000000", "rdma.queue_key", "an integer from 0x0 to 0xffffffff", "4_294_967_296"),
    "VLAN 0": ('vlan = ""', 'vlan = "0"', "channel[0].line[0].vlan", '"" for no VLAN, its number', '"0"'),
    "three VLAN tags": ('vlan = ""', 'vlan = "1.2.3"', "channel[0].line[0].vlan", 'outer and inner ("200', '"1.2.3"'),
    "VLAN as a number": ('vlan = ""', "vlan = 100", "channel[0].line[0].vlan", '"" for no VLAN', "100"),
    "cpu twice": ("cpu = []", "cpu = [1, 1]", "handler.cpu", "none twice", "[1, 1]"),
    "no multicast": ("239.192.0.1", "10.0.0.1", "channel[0].line[0].group", "224.0.0.0 to 239.255.255.255", "10.0.0.1"),
    "no address": ("239.192.0.1", "nowhere", "channel[0].line[0].group", "an IPv4 multicast address", "nowhere"),
    "source is a group": ('source = ""', 'source = "239.1.1.1"', "channel[0].line[0].source", "sender", "239.1.1.1"),
    "port": ("port = 26400", "port = 0", "channel[0].line[0].port", "1 to 65535", "0"),
    "line twice": ('"B"', '"A"', "channel[0].line[1].name", "a line name of its own", "A a second time"),
    "address twice": (
        "192.0.2",
        "192.0.1",
        "channel[0].line[1].group",
        "an address of its own",
        "239.192.0.1:26400 on lo",
    ),
    "long name": ('"itch"', '"a-name-that-is-too-long"', "channel[0].name", "1 to 15", "a-name-that"),
    "unknown protocol": ('"itch50"', '"itch41"', "channel[0].protocol", '"iex_deep", "itch50"', '"itch41"'),
    "unknown session": ('"moldudp64"', '"mold"', "channel[0].session", 'one of "moldudp64"', '"mold"'),
    "no live session": ('"moldudp64"', '"binaryfile"', "channel[0].session", 'one of "moldudp64"', '"binaryfile"'),
    "missing session": ('session = "moldudp64"', "", "channel[0].session", 'one of "moldudp64"', "nothing"),
    "date in quotes": (
        "# date = 2026-11-22",
        'date = "2026-11-22"',
        "channel[0].date",
        "a date without quotes",
        '"2026',
    ),
}


RECOVERY_MISTAKES = {
    "no server": ('["127.0.0.1:26410"]', '["127.0.0.1"]', "recovery.servers", 'server as "host:port"', '["127.0.0.1"]'),
    "no list": ('["127.0.0.1:26410"]', '"127.0.0.1:26410"', "recovery.servers", "a list", '"127.0.0.1:26410"'),
    "server twice": ("26410", '26410", "127.0.0.1:26410', "recovery.servers", "none twice", "26410"),
    "port of a snapshot": ("127.0.0.1:26420", "127.0.0.1:99999", "recovery.snapshot", "or", "127.0.0.1:99999"),
    "two colons": ("127.0.0.1:26420", "::1:26600", "recovery.snapshot", "host:port", "::1:26600"),
    "wrong join": ('"at"', '"on"', "recovery.join", 'one of "at", "after"', '"on"'),
    "long password": (
        'password = ""',
        'password = "opensesames"',
        "recovery.password",
        "at most 10",
        "a text of 11 characters, not shown",
    ),
    "timeout": ("request_timeout_ms = 50", "request_timeout_ms = 0", "recovery.request_timeout_ms", "from 1", "0"),
    "too many asked for": (
        "messages = 1000",
        "messages = 65535",
        "recovery.request_messages",
        "an integer from 1 to 65534",
        "65535",
    ),
    "window": ("window_messages = 262_144", "window_messages = 5000", "recovery.window_messages", "power of", "5000"),
    "near miss": ("attempts = 3", "attemps = 3", "recovery.attemps", "one of servers,", "(did you mean attempts?)"),
    "another protocol": ('"itch50"', '"iex_deep"', "recovery.snapshot", 'protocol = "itch50" (GLIMPSE)', '"iex_deep"'),
    "another session": ('"moldudp64"', '"iextp"', "recovery", 'session = "moldudp64"', 'session = "iextp"'),
}


def test_recovery_is_off_unless_it_is_configured() -> None:
    assert config.parse(EXAMPLE).channels[0].recovery is None
    [channel] = config.parse(RECOVERING).channels
    assert channel.recovery == config.RecoverySettings(servers=("127.0.0.1:26410",), snapshot="127.0.0.1:26420")
    assert "secret" not in repr(config.RecoverySettings(password="secret"))


def test_recovery_needs_a_way_to_recover() -> None:
    nowhere = RECOVERING.replace('["127.0.0.1:26410"]', "[]").replace('"127.0.0.1:26420"', '""')
    with pytest.raises(ConfigError, match=r"channel\[0\].recovery: expected servers = .* found neither"):
        config.parse(nowhere, "feed.toml")


def test_streams_recover_by_themselves() -> None:
    channel = """
        [shm]
        name = "x"
        [[channel]]
        name = "c"
        protocol = "itch50"
        session = "soupbintcp"
        recovery = {servers = ["127.0.0.1:1"]}
        line = [{name = "A", host = "feed.example", port = 1234}]
    """
    with pytest.raises(ConfigError, match=r"recovery: expected none, but with .* by logging in again\), found"):
        config.parse(channel)


@pytest.mark.parametrize("old, new, key, expected, found", RECOVERY_MISTAKES.values(), ids=RECOVERY_MISTAKES)
def test_a_mistake_in_recovery_is_named(old: str, new: str, key: str, expected: str, found: str) -> None:
    test_a_mistake_is_named(old, new, f"channel[0].{key}", expected, found, RECOVERING)


@pytest.mark.parametrize("old, new, key, expected, found", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(old: str, new: str, key: str, expected: str, found: str, example: str = EXAMPLE) -> None:
    assert old in example
    document = example.replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        config.parse(document, "feed.toml")
    message = str(caught.value)
    assert "\n" not in message
    where, _, rest = message.partition(": ")
    file, _, line = where.partition(":")
    assert file == "feed.toml"
    assert rest.startswith(f"{key}: expected ")
    before, _, after = rest.partition(", found ")
    assert expected in before
    assert found in after
    written = document.splitlines()[int(line) - 1]
    assert key.split(".")[-1].split("[")[0] in written or (not new and "[" in written)


def test_channels_have_their_own_names_and_addresses() -> None:
    channel = EXAMPLE[EXAMPLE.index("[[channel]]") :]
    with pytest.raises(ConfigError, match=r"feed.toml:\d+: channel\[1\].name: expected a channel name of its own"):
        config.parse(EXAMPLE + channel, "feed.toml")
    with pytest.raises(ConfigError, match=r"channel\[1\].line\[0\].group: expected an address of its own"):
        config.parse(EXAMPLE + channel.replace('"itch"', '"other"'), "feed.toml")


def test_one_group_on_two_vlans_is_two_lines() -> None:
    twice = EXAMPLE.replace("239.192.0.2", "239.192.0.1")
    with pytest.raises(ConfigError, match=r"an address of its own, found 239.192.0.1:26400 on lo a second time"):
        config.parse(twice)
    [channel] = config.parse(twice.replace('vlan = "" ', 'vlan = "200.100"', 1)).channels
    assert [line.vlan for line in channel.lines] == ["200.100", ""]


def test_a_line_of_any_source_beside_one_of_a_source_is_refused() -> None:
    twice = EXAMPLE.replace("239.192.0.2", "239.192.0.1")
    one = twice.replace('source = "" ', 'source = "10.0.0.1"', 1)
    with pytest.raises(
        ConfigError, match=r"line\[1\].group: expected a flow of its own, or a source for each .* 10.0.0.1"
    ):
        config.parse(one)
    before, interface, after = one.rpartition('interface = "lo"')
    [channel] = config.parse(f'{before}{interface}\nsource = "10.0.0.2"{after}').channels
    assert [line.source for line in channel.lines] == ["10.0.0.1", "10.0.0.2"]


def test_a_name_that_the_segment_takes_is_one_that_the_configuration_takes() -> None:
    longest = "n" * 63
    assert config.parse(EXAMPLE.replace('name = "nasdaq"', f'name = "{longest}"')).shm.name == longest
    with pytest.raises(ConfigError, match="at most 63 of them"):
        config.parse(EXAMPLE.replace('name = "nasdaq"', f'name = "{longest}n"'))


def test_no_channel_and_too_many_lines() -> None:
    with pytest.raises(ConfigError, match=r"expected at least one \[\[channel\]\] .* found nothing"):
        config.parse('[shm]\nname = "x"')
    line = '\n[[channel.line]]\nname = "L{0}"\nport = {1}\ngroup = "239.1.1.1"\ninterface = "lo"\n'
    lines = "".join(line.format(i, 1000 + i) for i in range(config.LINES_MAX))
    with pytest.raises(ConfigError, match="expected at most 64 lines in all, found 66"):
        config.parse(EXAMPLE + lines)
    channel = '\n[[channel]]\nname = "c{0}"\nprotocol = "itch50"\nsession = "moldudp64"\nvenue = "XNAS"'
    channels = "".join((channel + line).format(i, 1000 + i) for i in range(config.CHANNELS_MAX))
    with pytest.raises(ConfigError, match=r"channel\[32\]: expected at most 32 channels, found 33"):
        config.parse(EXAMPLE + channels)


def test_broken_toml_names_the_line() -> None:
    with pytest.raises(ConfigError, match=r"feed.toml: expected TOML, found: .*line 2"):
        config.parse("[shm]\nname = \n", "feed.toml")


def test_find_line() -> None:
    document = 'a = 1\n[t]\nb = 2\n[[u]]\nc = 3\n[[u.v]]\nd = 4\n[[u]]\n[[u.v]]\n[[u.v]]\n"d" = 5 # x\n'
    assert find_line(document, ("a",)) == 1
    assert find_line(document, ("t", "b")) == 3
    assert find_line(document, ("u", 0, "c")) == 5
    assert find_line(document, ("u", 0, "v", 0, "d")) == 7
    assert find_line(document, ("u", 1, "v", 1, "d")) == 11
    assert find_line(document, ("u", 1, "v", 0, "absent")) == 9
    assert find_line(document, ("absent",)) == 0


@given(st.text())
def test_any_text_is_a_configuration_or_a_config_error(document: str) -> None:
    with contextlib.suppress(ConfigError):
        config.parse(document)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("cls", TABLES)
@given(value=VALUES)
def test_a_setting_takes_a_value_or_refuses_it(cls, value) -> None:
    for field in fields(cls):
        if "kind" in field.metadata:
            try:
                read = field.metadata["kind"].read(value)
            except ValueError:
                continue
            assert type(read) in (str, int, bool, tuple, datetime.date)


def test_a_configuration_is_frozen_and_replaceable() -> None:
    feed = config.parse(EXAMPLE)
    other = replace(feed, books=replace(feed.books, depth=5))
    assert (feed.books.depth, other.books.depth) == (10, 5)
    with pytest.raises(AttributeError):
        feed.books.depth = 5  # type: ignore[misc]
    assert tomllib.loads(EXAMPLE)["books"]["depth"] == 10


def test_the_page_on_recovery_shows_a_configuration() -> None:
    page = (Path(__file__).parent.parent / "docs/recovery.md").read_text()
    table = page[page.index("[channel.recovery]\n") : page.index("```\n`feedhandler run --example`")]
    [channel] = config.parse(HEAD + table + TAIL).channels
    assert channel.recovery == config.parse(RECOVERING).channels[0].recovery
