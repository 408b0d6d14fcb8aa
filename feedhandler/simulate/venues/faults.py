"""A script of what a simulated venue does wrong, from a TOML file and a seed.

    [limits]                    # what it allows; 0 = as much as anyone likes
    rest_per_s = 5.0
    [[fault]]                   # each by itself
    kind = "cut"
    at = 100                    # the hundredth update that is sent, on whatever connection
    every = 500                 # and again after so many
    [[fault]]
    kind = "rest_slow"
    share = 0.2                 # of the answers, by chance
    for_s = 3.0

Faults of messages count the updates that are sent; faults of REST (`rest_…`) its requests; faults of the handshake
(`refuse`, `slow_handshake`) the connections.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from feedhandler.errors import ConfigError
from feedhandler.recovery.pace import TokenBucket
from feedhandler.settings import (
    Place,
    check_keys,
    choice,
    example_lines,
    integer,
    read_table,
    setting,
    shown,
    text,
)
from feedhandler.simulate.script import document_of, number, tables_of

MESSAGE_KINDS = {
    "cut": "half of the update's frame, then the connection is gone without a word",
    "silence": "half-open: the connection stays, nothing is said or answered any more; after for_s it is cut",
    "stall": "nothing is sent for for_s, then all that waited",
    "close": "a close frame with code and reason, then the end",
    "drop": "the update is not sent (where updates are numbered or checked; elsewhere nobody could know)",
    "swap": "the update is sent after the next one of its symbol (the same venues)",
    "duplicate": "the update is sent twice",
    "checksum": "the update's checksum is wrong (Kraken)",
    "malformed": "the update's JSON ends in the middle",
    "oversized": "before the update a message of `bytes` bytes",
    "fragments": "the update in three fragments with a ping between; this is allowed",
    "reserved": "the update's frame with a reserved bit that nobody agreed on",
    "masked": "the update's frame masked, as only clients may",
    "bad_utf8": "before the update a text that is no UTF-8",
    "bad_deflate": "before the update a compressed message that does not inflate (where compression was agreed on)",
    "reconnect": "the venue asks for a new connection and closes this one after for_s (Bitstamp says so; others close)",
}
REST_KINDS = {
    "rest_slow": "the answer, whole and of the time of the request, comes after for_s",
    "rest_old": "the answer is for_s old, as from a cache",
    "rest_status": "the answer is `status`, 429 with Retry-After: for_s",
    "rest_cut": "half of the answer, then the connection is gone",
    "rest_garbage": "the answer is no JSON",
}
HANDSHAKE_KINDS = {
    "refuse": "the upgrade is answered with `status`",
    "slow_handshake": "the upgrade is answered after for_s",
}
KINDS = {**MESSAGE_KINDS, **REST_KINDS, **HANDSHAKE_KINDS}
# Faults that a follower of any other venue could not notice: it would be wrong in silence. Kraken's checksum is of the
# ten best levels of each side, so with a depth over 10 it may miss them, too.
POSSIBLE = {
    "drop": ("binance", "binance_usdm", "kraken"),
    "swap": ("binance", "binance_usdm", "kraken"),
    "checksum": ("kraken",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may do; beyond it the venue refuses. 0: no limit."""

    rest_per_s: float = setting(0.0, number(0, 1e6), "REST requests; beyond: 429 with Retry-After")
    connects_per_s: float = setting(0.0, number(0, 1e6), "new connections; beyond: the upgrade is answered with 429")
    messages_per_s: float = setting(0.0, number(0, 1e6), "texts of a client; beyond: close 1008")
    burst: float = setting(5.0, number(1, 1e6), "so many at once")

    def bucket(self, per_s: float) -> TokenBucket:
        """What holds somebody to one of these limits."""
        return TokenBucket(per_s, self.burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFault:
    """One thing that goes wrong, at a place or by chance."""

    kind: str = setting(MISSING, choice(*KINDS), "what", "cut")
    at: int = setting(0, integer(0, 1 << 40), "at the n-th one, from 1", 100)
    every: int = setting(0, integer(0, 1 << 40), "and again after so many; 0 = once")
    share: float = setting(0.0, number(0, 1), "instead: this share of them, by chance")
    times: int = setting(0, integer(0, 1 << 40), "at most so often; 0 = no bound")
    connection: int = setting(0, integer(0, 1 << 40), "only on the n-th connection; 0 = any")
    symbol: str = setting("", text(r"\S*", "a symbol"), "only of this symbol")
    for_s: float = setting(1.0, number(0, 3600), "how long, where time matters")
    code: int = setting(1001, integer(1000, 4999), "close code")
    reason: str = setting("", text(r".{0,100}", "at most 100 characters"), "close reason")
    status: int = setting(429, integer(300, 599), "HTTP status")
    bytes: int = setting(8 << 20, integer(1, 1 << 28), "length of an oversized message")


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFaults:
    """The whole script."""

    limits: Limits = field(default_factory=Limits)
    fault: tuple[VenueFault, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> VenueFaults:
        """The script in a TOML file. Raises ConfigError."""
        path = Path(path)
        return cls.parse(document_of(path), str(path))

    @classmethod
    def parse(cls, document: str, source: str = "<faults>") -> VenueFaults:
        """The script in a TOML text; `source` names it in errors. Raises ConfigError."""
        tables, place = tables_of(document, source)
        check_keys(tables, ["limits", "fault"], place)
        listed = tables.get("fault", [])
        if not isinstance(listed, list):
            raise place.at("fault").error("tables [[fault]]", shown(listed))
        return cls(
            limits=read_table(Limits, tables.get("limits", {}), place.at("limits")),
            fault=tuple(_fault(table, place.at("fault", i)) for i, table in enumerate(listed)),
        )

    @staticmethod
    def example() -> str:
        """Every key and every kind there is, with what it means."""
        kinds = [f"# {kind.ljust(15)} {meaning}" for kind, meaning in KINDS.items()]
        limits = ["# What the venue allows.", "[limits]", *example_lines(Limits)]
        fault = ["# One thing that goes wrong. Kinds:", *kinds, "[[fault]]", *example_lines(VenueFault)]
        return "\n".join([*limits, "", *fault]) + "\n"

    def check(self, venue: str) -> None:
        """Raise ConfigError for faults that this venue cannot have."""
        for fault in self.fault:
            possible = POSSIBLE.get(fault.kind)
            if possible is not None and venue not in possible:
                raise ConfigError(
                    f"faults: {fault.kind!r} is of {', '.join(possible)}, not of {venue}: "
                    "its updates have nothing by which a follower could tell"
                )


def _fault(table: Any, place: Place) -> VenueFault:
    fault = read_table(VenueFault, table, place)
    if bool(fault.at) == bool(fault.share):
        raise place.error("at or share over 0: when it happens", "both" if fault.at else "neither")
    if fault.every and not fault.at:
        raise place.error("every only beside at", "every beside share")
    return fault


class Dice:
    """What of a script is due: asked once for each message, request or connection. The same seed, the same answers."""

    def __init__(self, script: VenueFaults, seed: int) -> None:
        self._faults = [(fault, random.Random(f"{seed}/{i}")) for i, fault in enumerate(script.fault)]
        self._seen = [0] * len(self._faults)
        self._done = [0] * len(self._faults)
        self.counts: dict[str, int] = {}

    def due(self, kinds: Mapping[str, str], connection: int = 0, symbol: str = "") -> list[VenueFault]:
        """The faults of these kinds that befall this one."""
        found = []
        for i, (fault, chance) in enumerate(self._faults):
            if fault.kind not in kinds or (fault.connection and fault.connection != connection):
                continue
            if fault.symbol and fault.symbol != symbol:
                continue
            self._seen[i] += 1
            place = self._seen[i] - fault.at
            if fault.at:
                hit = place == 0 or (place > 0 and fault.every > 0 and place % fault.every == 0)
            else:
                hit = chance.random() < fault.share
            if hit and not (fault.times and self._done[i] >= fault.times):
                self._done[i] += 1
                self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
                found.append(fault)
        return found
