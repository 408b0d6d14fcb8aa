"""The lines of a simulated or replayed feed: MoldUDP64 onto UDP multicast, on this host unless told otherwise."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import resource
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive import pin
from feedhandler.receive._receiver import Receiver
from feedhandler.simulate._feed import BlockSource, Feed
from feedhandler.simulate._multicast import PacketSender
from feedhandler.simulate._schedule import Schedule
from feedhandler.simulate._store import Tap
from feedhandler.simulate.faults import Faults

LINES = (("239.192.0.1", 26400), ("239.192.0.2", 26400))
LOOPBACK = "lo"
SEND_BUFFER = 4 << 20
MICROSECOND = 1000
LOOK_S = 0.05  # between two looks at a sender's progress


class MulticastSender:
    """Sends a source of messages, or a capture's packets, on one or more lines.

    `lines`: (address, port) of each. `interface`: by name; `lo` keeps all packets on this host, and then only multicast
    and loopback addresses are allowed. `ttl`: 0 keeps packets on this host whatever the interface. `skew_us`: how much
    later each line sends than the one before it, or one number for each line after the first. `rate`: messages per
    second; `speed`: times as fast as the messages' own times; neither: as fast as it goes. `session`: up to ten
    characters. `mtu`: bytes of UDP payload. `flush_us`: messages that fall due within so long share packets. Heartbeats
    come when nothing was sent for `heartbeat_s`; the end of the session is said `end_repeats` times, a tenth of a
    second apart.

    `taps`: at most two of MessageStore and SnapshotSource, which see every message before it is sent. `faults`: what
    goes wrong on the lines, by `seed`; its delays and skew come on top of `skew_us`, its times count from the first
    packet, and sessions, the end and midnight cannot be in it. `framing`: what a capture's packets are, for spoiling.

    `spin`: look at the clock without pause before something is due, for pacing to the microsecond at the price of a
    CPU; `cpu`: where the sending thread runs, anywhere if empty; `priority`: its SCHED_FIFO priority, 0 = none. A
    thread that has one should not spin: the kernel stops it for 50 ms in each second that it runs through; without
    `spin` it sleeps before each packet that is not due yet.

    `spinners`: 2 threads spin on two CPUs, and whichever is on its CPU when a packet is due sends it, so that it leaves
    on time though the host, or another program, has taken the other thread's; order and bytes are those of one. It
    costs a second CPU. `cpu` then names one for each; if empty each has half of those this process may use. It needs
    `spin`, and goes with no `priority`.

    run() sends from a thread of its own, or two, without the GIL, and waits for it; stop() ends it, from another thread
    or a signal handler, after what is under way and the end of the session were sent. Used once. Raises ConfigError for
    bad options, BackendError when the interface cannot be had, ReceiverError when sending fails.
    """

    def __init__(
        self,
        lines: Sequence[tuple[str, int]] = LINES,
        *,
        interface: str = LOOPBACK,
        ttl: int = 0,
        skew_us: float | Sequence[float] = 0.0,
        rate: float | None = None,
        speed: float | None = None,
        session: str = "SIMULATED",
        mtu: int = 1400,
        flush_us: float = 100.0,
        heartbeat_s: float = 1.0,
        end_repeats: int = 3,
        taps: Sequence[Tap] = (),
        faults: Faults | None = None,
        seed: int = 1,
        framing: str = "moldudp64",
        spin: bool = False,
        cpu: Sequence[int] = (),
        priority: int = 0,
        spinners: int = 1,
    ) -> None:
        if not 0 <= ttl <= 255:
            raise ConfigError(f"simulate: ttl must be 0 to 255, not {ttl}")
        if not 1 <= len(session) <= 10 or not session.isascii():
            raise ConfigError(f"simulate: a session is 1 to 10 ASCII characters, not {session!r}")
        if flush_us < 0 or heartbeat_s <= 0 or end_repeats < 0:
            raise ConfigError("simulate: flush_us and end_repeats must not be negative, heartbeat_s must be over 0")
        self.lines = list(lines)
        self.interface, self.ttl = interface, ttl
        self.rate, self.speed = rate, speed
        self.schedule = Schedule()
        """When packets are due (those of messages: the first of theirs), and how far from that they were sent."""
        self.preempted = 0
        """How often the kernel took the sending thread, or one of the two, off its CPU for another."""
        self._places = _places(spinners, tuple(cpu), spin, priority)
        self.spinners, self._priority = spinners, priority
        self._taps = tuple(taps)
        self._sockets: list[socket.socket] = []
        delays = _delays(skew_us, len(self.lines))
        machines = []
        if faults is not None:
            faults.check_live()
            machines = faults.line_faults(len(self.lines), seed, framing)
        try:
            for address, port in self.lines:
                self._sockets.append(self._connect(address, port))
            self._sender = PacketSender(
                [s.fileno() for s in self._sockets],
                delays,
                session.ljust(10).encode(),
                mtu=mtu,
                flush_ns=round(flush_us * MICROSECOND),
                heartbeat_ns=round(heartbeat_s * 1e9),
                end_repeats=end_repeats,
                taps=taps,
                faults=machines,
                spin=spin,
                real_time=priority > 0,
            )
        except BaseException:
            self.close()
            raise

    def _connect(self, address: str, port: int) -> socket.socket:
        """Where the datagrams of a line are written to; a subclass may take them another way."""
        return connected(address, port, self.interface, self.ttl)

    def run(
        self,
        source: BlockSource | Receiver,
        progress: Callable[[int], None] | None = None,
        *,
        schedule: Schedule | None = None,
    ) -> None:
        """Send all of `source`; returns when it is exhausted and sent, or after stop().

        An Exchange, or another source of messages, becomes MoldUDP64 packets. A receiver of a capture
        (`receive.capture.receiver`) gives its packets as they are, each on the line of its number, when `schedule`
        says; by default at `speed` times the pace of their times. `progress` is called about twenty times a second,
        and at the end, with the messages (packets) made so far, in the caller's thread. Raises CaptureError, after all
        that came before it, when the source is damaged.
        """
        if not self._sockets:
            raise ConfigError("simulate: this sender has run and closed its sockets; make another one")
        with contextlib.closing(self):
            if isinstance(source, Receiver):
                if self._taps:
                    raise ConfigError("simulate: servers need a source of messages, not the packets of a capture")
                if self.rate is not None:
                    raise ConfigError("simulate: packets of a capture are paced by speed, not by rate of messages")
                self.schedule = schedule if schedule is not None else Schedule(speed=self.speed)
                self._sender.take_packets(source, self.schedule)
            else:
                feed = Feed(source, rate=self.rate, speed=self.speed)
                self.schedule = feed.kept
                self._sender.take_feed(feed)
            self._send(progress)
        error = getattr(source, "error", None)
        if error is not None:
            raise error

    def _send(self, progress: Callable[[int], None] | None) -> None:
        """Send in threads that nothing of Python's disturbs; what one of them raised is raised here."""
        raised: list[BaseException] = []
        preempted: list[int] = []
        ready = threading.Barrier(len(self._places))  # nothing leaves before each has its CPU

        def send(cpus: tuple[int, ...]) -> None:
            try:
                pin(cpus)
                self._prioritise()
                ready.wait()
                before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
                self._sender.run()
                preempted.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before)
            except threading.BrokenBarrierError:
                pass  # the other one says why
            except BaseException as error:
                raised.append(error)
                ready.abort()

        threads = [
            threading.Thread(target=send, args=(cpus,), name="feedhandler-sender", daemon=True) for cpus in self._places
        ]
        try:
            for thread in threads:
                thread.start()
            going = True
            while going:
                for thread in threads:
                    thread.join(LOOK_S / len(threads))
                going = any(thread.is_alive() for thread in threads)
                if progress is not None:
                    progress(self._sender.made)
        finally:
            self.stop()
            ready.abort()
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.join()
            self.preempted = sum(preempted)
        if raised:
            raise raised[0]

    def _prioritise(self) -> None:
        """Give the calling thread its priority."""
        if not self._priority:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(self._priority))
        except OSError as error:
            raise BackendError(
                f"simulate: the sender cannot have SCHED_FIFO priority {self._priority}: {error.strerror}; run it as "
                f"root, or allow it with: setcap cap_sys_nice+ep {os.path.realpath(sys.executable)}"
            ) from None

    def stop(self) -> None:
        """End soon, in good order. From any thread or a signal handler, before or during run()."""
        self._sender.stop()

    @property
    def stats(self) -> dict[str, Any]:
        """messages, heartbeats, too_large, latest_ns (how late a message was made at worst), and counts per line.

        `starved`: how many packets were overdue when their source had them ready at last.
        """
        return self._sender.statistics

    def close(self) -> None:
        """Close the sockets; run() does so by itself."""
        while self._sockets:
            self._sockets.pop().close()

    def filenos(self) -> list[int]:
        """The descriptors of the lines' sockets, in order."""
        return [s.fileno() for s in self._sockets]


def _places(spinners: int, cpu: tuple[int, ...], spin: bool, priority: int) -> list[tuple[int, ...]]:
    """The CPUs of each sending thread; none = any."""
    if spinners == 1:
        return [cpu]
    if spinners != 2:
        raise ConfigError(f"simulate: spinners must be 1 or 2, not {spinners}")
    if priority:
        raise ConfigError(
            "simulate: 2 spinners have no priority, since threads with one that never sleep are stopped by the kernel: "
            "leave out priority, or keep to 1 spinner"
        )
    own = sorted(os.sched_getaffinity(0))
    if len(own) < 2:
        raise ConfigError(
            f"simulate: 2 spinners need 2 CPUs, and this process may use CPU {own[0]} only: allow another (taskset), "
            "or keep to 1 spinner"
        )
    if not spin:
        raise ConfigError("simulate: 2 spinners need spin: switch it on, or keep to 1 spinner")
    if not cpu:
        return [tuple(own[0::2]), tuple(own[1::2])]  # on one CPU the second would be in the first one's way
    if len(set(cpu)) != 2:
        raise ConfigError(f"simulate: cpu must name two CPUs, one for each spinner, not {', '.join(map(str, cpu))}")
    return [cpu[:1], cpu[1:]]


def _delays(skew_us: float | Sequence[float], lines: int) -> list[int]:
    """Delay of each line in ns; the first has none."""
    steps = list(skew_us) if isinstance(skew_us, Sequence) else [skew_us] * (lines - 1)
    if len(steps) != lines - 1 or any(not 0 <= step <= 1e7 for step in steps):
        raise ConfigError(f"simulate: skew_us must be one number, or {lines - 1} for {lines} lines, each 0 to 1e7")
    delays, total = [0], 0.0
    for step in steps:
        total += step * MICROSECOND
        delays.append(round(total))
    return delays


def connected(address: str, port: int, interface: str, ttl: int) -> socket.socket:
    """A UDP socket that sends to one place, through one interface, as far as `ttl` says."""
    try:
        target = ipaddress.IPv4Address(address)
    except ValueError:
        raise ConfigError(f"simulate: {address!r} is no IPv4 address") from None
    if not 1 <= port <= 65535:
        raise ConfigError(f"simulate: port must be 1 to 65535, not {port}")
    if interface == LOOPBACK and not target.is_multicast and not target.is_loopback:
        raise ConfigError(
            f"{address} is not on this host; name the interface that leads to it, or take a multicast group"
        )
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise BackendError(f"simulate: no interface {interface!r}; there are: {names}") from None
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        own = "127.0.0.1" if interface == LOOPBACK else "0.0.0.0"
        made.bind((own, 0))
        membership = struct.pack("4s4si", bytes(4), socket.inet_aton(own), index)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, membership)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        if ttl > 0:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        made.connect((address, port))
    except OSError as error:
        made.close()
        raise BackendError(f"simulate: cannot send to {address}:{port} on {interface}: {error.strerror}") from error
    return made
