"""Binance in plain Python: a text in, what was said out, as `crypto_oracles` has it. The slow obvious version."""

from __future__ import annotations

from typing import Any

from tests.crypto_oracles import (
    LAST,
    MBP,
    SNAPSHOT,
    Number,
    Said,
    ended,
    levels,
    loads,
    need,
    size,
    units,
    whole,
    word,
)

UNIT = -9
LATEST = (2**63 - 1) // 10**6
ONCE = ("e", "E", "s", "U", "u", "pu", "T", "t", "b", "a", "p", "q", "m")
NUMBERS = ("E", "U", "u", "pu", "T", "t")
NAMED = {"depthUpdate": "D", "trade": "T", "aggTrade": "A", "bookTicker": "B", "kline": "K"}


class Pairs(tuple[tuple[str, Any], ...]):
    """An object as its members stood in the text; no list, as arrays are."""


def _members(found: Pairs, *, answer: bool) -> list[tuple[str, Any]]:
    """The members of an event, out of the object that a combined stream wraps around it."""
    made: list[tuple[str, Any]] = []
    wrapped = False
    for key, value in found:
        if key == "data" and isinstance(value, Pairs) and not answer:
            need(not wrapped)
            wrapped = True
            made += value
        elif not wrapped and key != "stream":
            made.append((key, value))
    return made


def said(text: bytes, *, futures: bool, symbol: str = "") -> tuple[str, list[Said]]:
    """The type under which a text is counted, and its events; `symbol`: it is a REST answer about that one's depth."""
    found = loads(text, Pairs)
    if isinstance(found, list) and not symbol:
        return "?", []
    need(isinstance(found, Pairs))
    members = _members(found, answer=bool(symbol))
    if symbol:
        ours = {"bids": "b", "asks": "a", "lastUpdateId": "u", "b": "", "a": "", "u": ""}
        members = [(ours.get(key, key), value) for key, value in members]
    event: dict[str, Any] = {}
    for key, value in members:
        if key in NUMBERS and not (isinstance(value, Number) and not value.startswith("-")):
            continue
        if key == "e" and not word(value):
            continue
        need(key not in ONCE or key not in event)
        need(key != "s" or word(value))
        event[key] = whole(value) if key in NUMBERS else value
    return _judged(event, list(event), futures=futures, symbol=symbol)


def _judged(event: dict[str, Any], order: list[str], *, futures: bool, symbol: str) -> tuple[str, list[Said]]:
    kind = "S" if symbol else NAMED.get(event["e"], "?") if "e" in event else ""
    if not kind:
        kind = "B" if {"u", "s", "b", "a", "B", "A"} <= set(event) else "R" if {"id", "result"} & set(event) else "?"
    if kind in "BKR?":
        return kind, []
    if kind in "TA":
        return kind, [_trade(event, "t" if kind == "T" else "a")]
    if kind == "S":
        event = {**event, "s": symbol, "U": event.get("u")}
    else:
        need({"e", "E", "s", "U", "u"} <= set(event))
        need(not futures or "pu" in event)
    need({"u", "b", "a"} <= set(event) and event["U"] <= event["u"] and event["s"])
    need(event.get("E", 0) <= LATEST and event.get("T", 0) <= LATEST)
    ms = event.get("T", event.get("E", 0)) if futures else event["E"] if kind == "D" else 0
    base = Said("M", event["s"], channel_seq=event["u"], ts_event=ms * 10**6)
    flags = MBP | (SNAPSHOT if kind == "S" else 0)
    made = [base._replace(action="R", flags=SNAPSHOT)] if kind == "S" else []
    for key in sorted("ba", key=order.index):
        made += [
            base._replace(
                side={"b": "B", "a": "A"}[key], price=units(row[0], UNIT), size=size(row[1]), flags=flags,
                price_text=row[0], size_text=row[1],
            )
            for row in levels(event[key])
        ]  # fmt: skip
    return kind, ended(made or [base._replace(action="N")])


def _trade(event: dict[str, Any], number: str) -> Said:
    need({"s", "p", "q", "T", "m", number} <= set(event) and event["s"])
    need(event.get("E", 0) <= LATEST and event["T"] <= LATEST and isinstance(event["m"], bool))
    return Said(
        "T",
        event["s"],
        "A" if event["m"] else "B",
        units(event["p"], UNIT),
        size(event["q"]),
        LAST,
        event[number] if number == "t" else whole(event[number]),
        ts_event=event["T"] * 10**6,
    )
