"""Who gets which packets: flows that put frames into a queue pair, and the groups it is attached to."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive._frame import Steering
from feedhandler.receive.joins import tags, vlan_of
from feedhandler.receive.rdma.device import multicast_mac
from feedhandler.receive.rdma.verbs import FLOW_SPEC_UDP, Verbs, error_number, is_refusal
from feedhandler.receive.sockets import LineSettings

UDP, IPV4 = 17, 0x0800
VLAN_ID = 0x0FFF


def table(lines: Sequence[tuple[int, LineSettings]], raw: bool) -> Steering:
    """The look-up from packets to these (number, line). Raises ConfigError where packets could not tell two apart."""
    made = Steering()
    seen: dict[object, str] = {}
    for number, line in lines:
        key = (line.group, line.port, line.source, line.vlan) if raw else line.group
        if (other := seen.setdefault(key, line.name)) != line.name:
            if raw:
                raise ConfigError(f"lines {other} and {line.name} have the same group, port, source and VLAN")
            raise ConfigError(
                f"lines {other} and {line.name} both have the group {line.group}: a datagram of RoCE does not carry "
                "their ports, so lines on one interface must differ by group"
            )
        source = IPv4Address(line.source).packed if line.source else b""
        made.add(IPv4Address(line.group).packed, line.port if raw else 0, source, vlan_of(line) if raw else 0, number)
    return made


def specs(verbs: Verbs, line: LineSettings, exact: bool = True) -> list[Any]:
    """What a frame of the line looks like to the NIC; not `exact`: by Ethernet alone, for those that can do no more.

    Behind two tags NICs differ on where they look for the IP header, so such a line is matched by Ethernet alone too.
    """
    mac, vlan = multicast_mac(IPv4Address(line.group)), tags(line)
    outer = {"vlan_tag": vlan[0], "vlan_tag_mask": VLAN_ID} if vlan else {}
    if len(vlan) == 2 or not exact:
        return [verbs.EthSpec(dst_mac=mac, **outer)]
    source = {"src_ip": line.source} if line.source else {}
    return [
        verbs.EthSpec(dst_mac=mac, ether_type=IPV4, **outer),
        verbs.Ipv4ExtSpec(dst_ip=line.group, proto=UDP, **source),
        verbs.TcpUdpSpec(FLOW_SPEC_UDP, dst_port=line.port),
    ]


def steer(verbs: Verbs, qp: Any, port: int, line: LineSettings, notes: list[str]) -> Any:
    """A flow that brings the line's frames to the queue pair; it ends with its close(). Raises BackendError."""
    try:
        return _flow(verbs, qp, port, specs(verbs, line))
    except Exception as error:
        if not is_refusal(error):
            raise
        if error_number(error) not in (errno.EINVAL, errno.EOPNOTSUPP) or len(tags(line)) == 2:
            raise _no_flow(line, error) from error
    try:
        flow = _flow(verbs, qp, port, specs(verbs, line, exact=False))
    except Exception as error:
        if not is_refusal(error):
            raise
        raise _no_flow(line, error) from error
    notes.append(
        f"line {line.name}: the NIC matches Ethernet addresses alone; other groups and ports on "
        f"{multicast_mac(IPv4Address(line.group))} come too, and are dropped and counted as foreign"
    )
    return flow


def _flow(verbs: Verbs, qp: Any, port: int, wanted: list[Any]) -> Any:
    attributes = verbs.FlowAttr(num_of_specs=len(wanted), port=port)
    attributes.specs.extend(wanted)
    return verbs.Flow(qp, attributes)


def _no_flow(line: LineSettings, error: BaseException) -> BackendError:
    number = error_number(error)
    remedy = {
        errno.EPERM: "it needs CAP_NET_RAW: run as root, or setcap cap_net_raw+ep on the interpreter",
        errno.EOPNOTSUPP: "mlx4: options mlx4_core log_num_mgm_entry_size=-1; soft-RoCE has none at all",
        errno.ENOMEM: "the NIC's table of flows is full",
        errno.EEXIST: "another program has steered it to itself",
    }.get(number, "")
    reason = os.strerror(number) if number else str(error).rstrip(".")
    return BackendError(
        f"line {line.name}: the NIC does not steer {line.group}:{line.port}: {reason}{remedy and f' ({remedy})'}"
    )


class Attachment:
    """A queue pair's membership of a group. The interface must have joined it as well: that is what IGMP tells of."""

    def __init__(self, verbs: Verbs, queue_pair: int, line: LineSettings) -> None:
        self._library, self._queue_pair = verbs.library, ctypes.c_void_p(queue_pair)
        self._gid = bytes(10) + b"\xff\xff" + IPv4Address(line.group).packed
        number = self._call("ibv_attach_mcast")
        if number:
            remedy = {errno.ENOMEM: "the device's table of groups or of members is full"}.get(number, "")
            sentence = f"line {line.name}: cannot attach to {line.group}: {os.strerror(number)}"
            raise BackendError(f"{sentence}{remedy and f' ({remedy})'}")

    def close(self) -> None:
        """Leave the group."""
        number = self._call("ibv_detach_mcast")
        if number:
            raise OSError(number, f"ibv_detach_mcast: {os.strerror(number)}")

    def _call(self, name: str) -> int:
        """The errno of ibv_attach_mcast(qp, gid, lid) or its opposite; 0 when it was done."""
        function = self._library[name]
        function.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint16)
        function.restype = ctypes.c_int
        return abs(int(function(self._queue_pair, self._gid, 0)))
