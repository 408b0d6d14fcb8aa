"""The choice of a backend: the first that opens, one line that says why not the others, nothing left behind."""

import errno
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from feedhandler import receive
from feedhandler.config import AfXdp
from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive import sockets
from feedhandler.receive._receiver import Receiver
from feedhandler.receive.af_xdp.refusals import Attempt, Step
from feedhandler.receive.choose import ORDER, choose, load
from feedhandler.receive.sockets import UdpLine


class Opened(Receiver):
    """A receiver of a backend that is not there."""

    mode = ""

    def describe(self) -> str:
        return self.mode


class Backends:
    """Stands in for the backends: `refusals` by name, each opens otherwise; `tried` with which options."""

    def __init__(self) -> None:
        self.refusals: dict[str, Exception] = {}
        self.modes: dict[str, str] = {}
        self.tried: list[tuple[str, Any]] = []

    def module(self, name: str) -> ModuleType:
        @dataclass(frozen=True)
        class Options:
            ring: int = 7
            receive_buffer: int = 0

        def receiver(lines: Sequence[Any], options: Any = None, notes: list[str] | None = None) -> Receiver:
            self.tried.append((name, options))
            if notes is not None:
                notes.append(f"{name} has said this")
            if name in self.refusals:
                raise self.refusals[name]
            opened = Opened(len(lines))
            opened.mode = self.modes.get(name, "")
            return opened

        module = ModuleType(f"feedhandler.receive.{name}")
        module.Options, module.receiver = Options, receiver  # type: ignore[attr-defined]
        return module


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backends]:
    made = Backends()
    for name in ORDER:
        monkeypatch.setitem(sys.modules, f"feedhandler.receive.{name}", made.module(name))
    yield made


LINE = UdpLine("A", "239.1.1.1", 1, "lo")


def test_auto_takes_the_first_that_opens(backends: Backends) -> None:
    backends.refusals["rdma"] = BackendError("no RDMA device belongs to lo")
    backends.modes["af_xdp"] = "native copy"
    notes: list[str] = []
    choice = choose([LINE], notes=notes)
    assert choice.backend == "af_xdp native copy"
    assert choice.sentence == "backend af_xdp native copy (rdma: no RDMA device belongs to lo)"
    assert [name for name, _ in backends.tried] == ["rdma", "af_xdp"]
    assert notes == ["af_xdp has said this"]
    notes.clear()
    with receive.open([LINE], notes=notes):
        assert notes == [choice.sentence, "af_xdp has said this"]


def test_auto_with_nothing_that_opens_says_all_reasons(backends: Backends) -> None:
    for name in ORDER:
        backends.refusals[name] = BackendError(f"{name}: broken.")
    with pytest.raises(BackendError, match=r"^no way to the wire here: rdma: broken; af_xdp: broken; sockets: broken$"):
        choose([LINE])


def test_by_name_there_is_no_other(backends: Backends) -> None:
    backends.refusals["af_xdp"] = BackendError("the driver of lo has no native XDP")
    with pytest.raises(BackendError, match=r"^af_xdp: the driver of lo has no native XDP; or choose sockets or auto$"):
        choose([LINE], "af_xdp")
    assert [name for name, _ in backends.tried] == ["af_xdp"]
    assert choose([LINE], "sockets").sentence == "backend sockets"
    with pytest.raises(ConfigError, match="backend must be auto, sockets, af_xdp, rdma, not 'dpdk'"):
        choose([LINE], "dpdk")


def test_a_wrong_line_is_wrong_for_all(backends: Backends) -> None:
    backends.refusals = {name: ConfigError("line A: no interface") for name in ORDER}
    with pytest.raises(ConfigError, match=r"^line A: no interface$"):
        choose([LINE])
    with pytest.raises(ConfigError, match=r"^line A: no interface$"):
        choose([LINE], "rdma")
    del backends.refusals["af_xdp"]  # a line that is wrong for one may be right for the next
    assert choose([LINE]).sentence == "backend af_xdp (rdma: line A: no interface)"
    backends.refusals = {"rdma": BackendError("no device"), "af_xdp": BackendError("no right")}
    backends.refusals["sockets"] = ConfigError("line A: sockets cannot take a VLAN")
    with pytest.raises(ConfigError, match=r"sockets cannot take a VLAN \(rdma: no device; af_xdp: no right\)$"):
        choose([LINE])


def test_what_is_no_refusal_is_not_hidden(backends: Backends) -> None:
    backends.refusals["rdma"] = RuntimeError("a fault of ours")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        choose([LINE])


def test_options_reach_the_backend_they_are_for(backends: Backends) -> None:
    module = sys.modules["feedhandler.receive.af_xdp"]
    backends.refusals["rdma"] = BackendError("none")
    choose([LINE], options={"af_xdp": {"ring": 9}})
    choose([LINE], options={"sockets": {"receive_buffer": 5}})
    choose([LINE], "af_xdp", module.Options(ring=11))
    choose([LINE], "sockets", {"sockets": {"receive_buffer": 5}})
    taken = [(name, options and (options.ring, options.receive_buffer)) for name, options in backends.tried]
    assert [entry for entry in taken if entry[0] != "rdma"] == [
        ("af_xdp", (9, 0)), ("af_xdp", None), ("af_xdp", (11, 0)), ("sockets", (7, 5)),
    ]  # fmt: skip


def test_a_backend_that_is_not_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedhandler.receive.choose.ORDER", ("absent", "sockets"))
    line = UdpLine("A", "127.0.0.1", 0)
    choice = choose([line])
    with choice.receiver:
        assert isinstance(choice.receiver, sockets.SocketReceiver)
    assert (choice.backend, choice.sentence) == ("sockets", "backend sockets (absent: not built into this version)")
    with pytest.raises(BackendError, match="absent: not built into this version; or choose"):
        choose([line], "absent")


@pytest.mark.parametrize("name", ORDER)
def test_the_settings_of_a_backend_are_its_options(name: str) -> None:
    """What the configuration says fits what the backend takes, name for name, default for default."""
    from feedhandler import config

    module = load(name)
    tables: dict[str, Any] = {"af_xdp": AfXdp, "rdma": config.Rdma}
    if name in tables:
        ours = {f.name: f.default for f in tables[name].__dataclass_fields__.values()}
        theirs = {f.name: f.default for f in module.Options.__dataclass_fields__.values()}
        assert ours == theirs


STEPS: dict[str, Step] = {
    "AF_XDP socket": "socket", "map or program": "map", "program": "program", "attaching": "attach", "binding": "bind",
    "registering memory": "register",
}  # fmt: skip


def test_the_page_has_the_sentences_that_are_said() -> None:
    page = (Path(__file__).parent.parent / "docs/backends.md").read_text()
    row = r"^\| (E[A-Z]+(?:, E[A-Z]+)*), ([^|]+?) \| ([^|]+?)(?: \(with[^|]*| \(after[^|]*)? \|$"
    rows = re.findall(row, page, re.MULTILINE)
    attempt = Attempt("eth0", 1 << 30, memory=128 << 20)  # an interface that is not there has no MTU to name
    seen = 0
    for numbers, where, sentence in rows:
        for number in numbers.split(", ") if where in STEPS else ():
            error = OSError(getattr(errno, number), "refused")
            assert sentence in str(attempt.refused(STEPS[where], error))
            seen += 1
    assert seen == 12
