"""Packets past the kernel by RDMA: set up through pyverbs, received by a compiled loop on libibverbs' own queues.

Two modes share everything but what a queue pair is and what stands before a payload:

- `raw-eth`: ordinary UDP multicast as exchanges send it, in whole frames that the NIC steers into our memory by group,
  port, source and VLAN. For NICs with flow steering (ConnectX). Not run by us on hardware.
- `roce-ud`: datagrams of RoCE version 2, for senders that speak it. Runs on soft-RoCE too.

Both keep ordinary multicast joins open: they are what switches hear of.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Literal

from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive import sockets
from feedhandler.receive._rdma import RdmaReceiver
from feedhandler.receive.joins import join, tags
from feedhandler.receive.rdma import device, verbs
from feedhandler.receive.rdma.port import open_port
from feedhandler.receive.rdma.steering import table
from feedhandler.receive.sockets import LineSettings, SocketReceiver

__all__ = ["LineSettings", "Options", "RdmaReceiver", "receiver"]


@dataclass(frozen=True)
class Options:
    """How a receiver takes packets from its devices: the table [rdma] of the configuration."""

    mode: Literal["raw-eth", "roce-ud"] = "raw-eth"
    device: str = ""
    """The name of the device; "" = the interface's own."""
    ring: int = 4096
    """Packets that may wait in a device, a power of two. One that finds no room is dropped without a word."""
    queue_key: int = 0x01234567
    """roce-ud: the Q_Key that senders have to give; datagrams with another are dropped by the device."""
    slot_bytes: int = 2048
    """Memory of one packet, headers or the 40 bytes before a datagram included; more where the MTU needs it."""
    loop: Literal["auto", "compiled", "pyverbs"] = "auto"
    """"auto": compiled where pyverbs is laid out as expected."""


def receiver(
    lines: Sequence[LineSettings], options: Options | None = None, notes: list[str] | None = None
) -> RdmaReceiver:
    """A receiver with one queue for each device port that the lines' interfaces belong to, joined and listening.

    Sentences for people are appended to `notes`. Raises BackendError, one clause with the reason and the remedy, when
    pyverbs, the kernel or a device refuses, everything undone; ConfigError when a line is wrong whoever receives it.
    """
    options = options or Options()
    notes = [] if notes is None else notes
    _check(lines, options)
    loaded = verbs.load()
    verbs.devices(loaded)
    places: dict[device.DevicePort, list[tuple[int, LineSettings]]] = {}
    for number, line in enumerate(lines):
        place = device.find(line.interface, options.device)
        places.setdefault(place, []).append((number, line))
    with contextlib.ExitStack() as stack:
        raw = options.mode == "raw-eth"
        joined = stack.enter_context(_join(lines, raw, notes))
        opened = [
            stack.enter_context(contextlib.closing(open_port(loaded, place, own, options, notes)))
            for place, own in places.items()
        ]
        made = RdmaReceiver(len(lines), opened, joined, raw=raw, mode=options.mode)
        for place, own in places.items():
            if error := made.line_status(own[0][0])["error"]:
                raise BackendError(f"{place} takes no slots: {os.strerror(error)} (a smaller ring: [rdma] ring)")
        stack.pop_all()
    return made


def _check(lines: Sequence[LineSettings], options: Options) -> None:
    """Raises ConfigError for what no device could receive."""
    if not 1 <= len(lines) <= 64:
        raise ConfigError(f"a receiver has 1 to 64 lines, not {len(lines)}")
    if not 16 <= options.ring <= 1 << 20:
        raise ConfigError(f"rdma: ring must be 16 to {1 << 20}, not {options.ring}")
    if not 256 <= options.slot_bytes <= 65536:
        raise ConfigError(f"rdma: slot_bytes must be 256 to 65536, not {options.slot_bytes}")
    if options.mode not in ("raw-eth", "roce-ud") or options.loop not in ("auto", "compiled", "pyverbs"):
        raise ConfigError(f"rdma: no mode {options.mode!r} with loop {options.loop!r}")
    for line in lines:
        try:
            group = IPv4Address(line.group)
        except AddressValueError:
            raise ConfigError(f"line {line.name}: group must be an IPv4 address, not {line.group!r}") from None
        if not group.is_multicast:
            raise BackendError(f"line {line.name}: rdma takes multicast groups only, not {line.group}")
        tags(line)
        if line.vlan and options.mode == "roce-ud":
            raise ConfigError(
                f"line {line.name}: roce-ud sees no tags: give VLAN {line.vlan} an interface of its own "
                f"(ip link add link {line.interface} name {line.interface}.{line.vlan} type vlan id {line.vlan}) and "
                "name that, without vlan"
            )
    for interface in {line.interface for line in lines}:
        own = [(number, line) for number, line in enumerate(lines) if line.interface == interface]
        table(own, options.mode == "raw-eth")


def _join(lines: Sequence[LineSettings], raw: bool, notes: list[str]) -> SocketReceiver:
    """Ordinary sockets that have joined the groups, by which switches know of us.

    Of raw-eth they also take what was not steered: fragments first of all. In roce-ud they are never read: what comes
    to the lines' own ports there is no RoCE, and no packet of the feed.
    """
    if raw:
        return join(lines, notes)
    return sockets.receiver(lines, sockets.Options(receive_buffer=4096, timestamps="clock"), [])
