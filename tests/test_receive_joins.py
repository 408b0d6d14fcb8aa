"""The sockets beside a backend past the kernel: what they take is the line's, or nothing."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from feedhandler.receive import joins
from feedhandler.receive._sockets import SocketReceiver
from feedhandler.receive.sockets import UdpLine
from tests.frames import Frame, Wire
from tests.namespaces import veth

UNTAGGED = UdpLine("untagged", "239.1.2.3", 26400, "rx")
TAGGED = replace(UNTAGGED, name="tagged", vlan="100")
FRAME = Frame(payload=b"data", group="239.1.2.3", port=26400)


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's list of VLANs; that of the build machines knows none."""
    path = tmp_path / "config"
    path.write_text("VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n")
    monkeypatch.setattr(joins, "VLANS", path)
    return path


def taken(receiver: SocketReceiver) -> list[int]:
    """The lines of what came, when the untagged line's packet has."""
    lines, end = [], time.monotonic() + 10
    while 0 not in lines:
        lines += [line for line, _, _ in receiver.drain()]
        receiver.wait_for(0.01)
        assert time.monotonic() < end
    return sorted(lines + [line for line, _, _ in receiver.drain()])


def test_a_vlan_without_an_interface_gives_nothing_of_another(listed: Path) -> None:
    notes: list[str] = []
    with veth() as cable, Wire(cable.sender) as wire:
        with cable.receiver.inside():
            receiver = joins.join([UNTAGGED, TAGGED], notes)
        with receiver:
            wire.send([FRAME])
            assert taken(receiver) == [0]
    assert "line tagged: VLAN 100 has no interface rx.100 here" in notes[0]


def test_a_vlans_interface_is_told_by_what_it_lies_on_and_not_by_its_name(listed: Path) -> None:
    rows = ("vlan100  | 100  | other", "feed | 100 | rx", "outer | 200 | rx", "vlan300 | 300 | outer", "rx.7 | 8 | rx")
    listed.write_text(listed.read_text() + "\n".join(rows) + "\n")
    assert joins.vlan_interface("rx", [100]) == "feed"
    assert joins.vlan_interface("other", [100]) == "vlan100"
    assert joins.vlan_interface("rx", [200, 300]) == "vlan300"
    assert [joins.vlan_interface("rx", ids) for ids in ([300], [200, 100], [7], [1])] == [""] * 4


@pytest.mark.parametrize(("name", "mine"), [("rx.100", True), ("vlan100", False)])
def test_an_interface_that_the_kernel_does_not_list_goes_by_its_whole_name(listed: Path, name: str, mine: bool) -> None:
    with veth() as cable, cable.receiver.inside():
        cable.receiver.run("ip", "link", "add", "name", name, "type", "veth", "peer", "name", "far")
        assert joins.vlan_interface("rx", [100]) == (name if mine else "")
