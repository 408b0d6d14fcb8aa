"""Every receiver's rig, by name; imported when it is used, since a guest cannot import them all."""

from importlib import import_module

from tests.conformance.rig import Rig

RIGS = {
    "sockets": "tests.conformance.network:Sockets",
    "af_xdp native": "tests.conformance.network:AfXdpNative",
    "af_xdp generic": "tests.conformance.network:AfXdpGeneric",
    "stream": "tests.conformance.files:Stream",
    "stream, TLS": "tests.conformance.tls:StreamTls",
    "capture": "tests.conformance.files:Capture",
    "capture, zstd": "tests.conformance.files:PackedCapture",
    "recording, followed": "tests.conformance.files:Followed",
    "binaryfile": "tests.conformance.files:BinaryFile",
}
"""Name, as the columns of the table have it → module:class."""
EVERYWHERE = {"sockets, loopback": "tests.conformance.network:Loopback"}
"""What needs no root, beside it: no column of the table, for it is the same receiver."""


ELSEWHERE = {
    "rdma roce-ud": "tests.guest.roce:RoceUd",  # in the guest, by tests/test_receive_rdma_guest.py
    "rdma raw-eth": "tests.guest.nic:RawEth",  # by hand, where there is a NIC for it: docs/backends.md
}
"""What this host cannot run by itself."""


def load(name: str) -> type[Rig]:
    """The rig of that name."""
    module, _, found = (RIGS | EVERYWHERE | ELSEWHERE)[name].partition(":")
    rig: type[Rig] = getattr(import_module(module), found)
    assert rig.name == name
    return rig
