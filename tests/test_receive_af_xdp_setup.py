"""Opening AF_XDP where somebody was before, where a driver says no, and what is left when nobody closes."""

import errno
import gc
import os
from dataclasses import replace
from pathlib import Path

import pytest

from feedhandler.errors import BackendError
from feedhandler.receive import af_xdp, joins
from feedhandler.receive.af_xdp import setup
from feedhandler.receive.sockets import UdpLine
from tests.namespaces import Veth, veth

LINE = UdpLine("A", "239.1.2.3", 26400, "rx")
NATIVE = af_xdp.Options(ring=64, huge_pages=False, stall_ms=0)
GENERIC = replace(NATIVE, mode="generic")


def opened(cable: Veth, options: af_xdp.Options, notes: list[str] | None = None) -> af_xdp.AfXdpReceiver:
    with cable.receiver.inside():
        return af_xdp.receiver([LINE], options, notes)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the join sockets, and rightly
def test_what_nobody_has_any_more_gives_the_interface_back() -> None:
    with veth() as cable:
        opened(cable, NATIVE).close()
        files = len(list(Path("/proc/self/fd").iterdir()))
        opened(cable, NATIVE)
        gc.collect()
        assert len(list(Path("/proc/self/fd").iterdir())) == files
        opened(cable, NATIVE).close()


@pytest.mark.parametrize("first", [NATIVE, GENERIC], ids=["native", "generic"])
@pytest.mark.parametrize("second", [NATIVE, GENERIC], ids=["native", "generic"])
def test_a_program_that_was_there_before_is_named_with_what_removes_it(
    first: af_xdp.Options, second: af_xdp.Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "BUSY_SECONDS", 0.01)
    remedy = f"ip link set dev rx {'xdp' if first is NATIVE else 'xdpgeneric'} off$"
    with veth() as cable, opened(cable, first), pytest.raises(BackendError, match=remedy) as refusal:
        opened(cable, second)
    assert "another XDP program is on rx (id " in str(refusal.value)


class Driver(setup.Queue):
    """A queue of a driver that refuses zero-copy in its own way, and the second queue, if that is asked of it."""

    refusal = errno.EINVAL

    def bind(self, interface: int, queue: int, zero_copy: bool) -> None:
        if zero_copy:
            raise OSError(self.refusal, os.strerror(self.refusal))
        super().bind(interface, queue, False)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOMEM, 524])  # 524: ENOTSUPP, of drivers
def test_a_driver_that_refuses_zero_copy_copies(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "Queue", Driver)
    monkeypatch.setattr(Driver, "refusal", number)
    notes: list[str] = []
    with veth(queues=2) as cable, opened(cable, NATIVE, notes) as receiver:
        assert receiver.describe() == "native copy" and receiver.queues == 2
    said = [note for note in notes if "zero-copy" in note]
    assert len(said) == 1 and said[0].endswith("frames are copied")


class SecondQueue(setup.Queue):
    """A driver whose first queue alone has zero-copy; here both copy."""

    def bind(self, interface: int, queue: int, zero_copy: bool) -> None:
        if zero_copy and queue > 0:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        super().bind(interface, queue, False)


def test_a_later_queue_without_zero_copy_is_a_refusal_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "Queue", SecondQueue)
    with veth(queues=2) as cable:
        with pytest.raises(BackendError, match=r"queue 1 of rx.*zero_copy = false"):
            opened(cable, NATIVE)
        opened(cable, replace(NATIVE, zero_copy=False)).close()


TITLE = "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"


def test_where_tags_are_taken_off_an_untagged_line_is_not_mixed_with_vlans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "config"
    listed.write_text(TITLE + "feed | 100 | rx\n")
    monkeypatch.setattr(joins, "VLANS", listed)
    with veth() as cable:
        with pytest.raises(BackendError, match=r"has VLANs \(feed\).*: ethtool -K rx rxvlan off"):
            opened(cable, NATIVE)
        cable.receiver.run("ethtool", "-K", "rx", "rxvlan", "off")
        opened(cable, NATIVE).close()
        cable.receiver.run("ethtool", "-K", "rx", "rxvlan", "on")
        listed.write_text(TITLE + "feed | 100 | other\n")
        opened(cable, NATIVE).close()
