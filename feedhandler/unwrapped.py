"""The messages of a packet capture without their packets: each once, whatever the lines, in the order of the feed."""

from pathlib import Path
from typing import Any, Literal

from feedhandler.line import Arbiter
from feedhandler.recording import Recording
from feedhandler.session import framing

PACKETS_AT_ONCE = 64


def unwrapped(path: Path, protocol_name: str, byte_order: Literal["big", "little"]) -> tuple[bytes, str]:
    """Every message of the protocol in a capture, each behind its length (u16 of `byte_order`), and the file's damage.

    Copies on other lines are left out, and what came out of order is put in order, as in a handler; several channels
    follow each other packet by packet. "" for a file that is whole. Raises ConfigError when no stream of the protocol
    is in it, CaptureError when the file is no capture.
    """
    recording = Recording(path, protocol=protocol_name)
    config = recording.config()
    lines = [(number, channel, line) for number, channel in enumerate(config.channels) for line in channel.lines]
    firsts = [sum(len(channel.lines) for channel in config.channels[:number]) for number in range(len(config.channels))]
    framings = [framing(channel.session) for _, channel, _ in lines]
    arbiters = [
        Arbiter(
            len(channel.lines),
            first_line=first,
            reorder_us=channel.reorder_us,
            window_messages=channel.window_messages,
            skew_ms=channel.skew_ms,
            offline=True,
        )
        for channel, first in zip(config.channels, firsts, strict=True)
    ]
    blocks: list[bytes] = []

    def keep(taken: list[tuple[Any, ...]]) -> None:
        for what, *rest in taken:
            if what == "run":
                for message in rest[1]:
                    blocks.append(len(message).to_bytes(2, byte_order))
                    blocks.append(message)

    with recording.receiver(channels=[channel.name for channel in config.channels]) as receiver:
        while packets := receiver.drain(PACKETS_AT_ONCE):
            for line, ts_recv, payload in packets:
                arbiter = arbiters[lines[line][0]]
                for frame, messages in framings[line].feed(payload):
                    if frame["kind"] != "bad":
                        keep(
                            arbiter.feed(
                                frame["session"],
                                frame["first_seq"],
                                messages,
                                ts_recv,
                                line,
                                kind=frame["kind"],
                                send_time=frame["send_time"],
                            )
                        )
        for arbiter in arbiters:
            keep(arbiter.end_input())
        return b"".join(blocks), "" if receiver.error is None else str(receiver.error).removeprefix(f"{path}: ")
