"""Every receiver's rig, by name; imported when it is used, since a guest cannot import them all."""

from importlib import import_module

from tests.conformance.rig import Rig

RIGS = {
    "sockets": "network:Sockets",
    "af_xdp native": "network:AfXdpNative",
    "af_xdp generic": "network:AfXdpGeneric",
    "stream": "files:Stream",
    "capture": "files:Capture",
    "capture, zstd": "files:PackedCapture",
    "binaryfile": "files:BinaryFile",
}
"""Name, as the columns of the table have it → module:class."""


def load(name: str) -> type[Rig]:
    """The rig of that name."""
    module, _, found = RIGS[name].partition(":")
    rig: type[Rig] = getattr(import_module(f"tests.conformance.{module}"), found)
    assert rig.name == name
    return rig
