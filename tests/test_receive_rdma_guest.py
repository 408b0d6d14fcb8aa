"""RDMA for real: every case of the guest (tests/guest), from one boot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.cases import CASES
from tests.conformance.rig import until
from tests.conformance.rigs import load
from tests.conformance.table import agrees
from tests.guest import boot, packages
from tests.guest.image import Entry, cpio, modules
from tests.guest.inside import BY_PYVERBS
from tests.guest.nic import VARIABLE, RawEth
from tests.guest.outcomes import Outcomes, outcomes, unavailable
from tests.guest.roce import RoceUd, RoceUdByPyverbs
from tests.guest.verbs_cases import BEFORE
from tests.guest.verbs_cases import CASES as VERBS
from tests.namespaces import NETWORK, in_namespace
from tests.required import unavailable as left_out

ALL = [
    *((RoceUd.name, case) for case in CASES if case not in RoceUd.excused),
    *((RoceUdByPyverbs.name, case) for case in BY_PYVERBS),
    *(("verbs", case) for case in (*BEFORE, *VERBS)),
]
RIGS = {kind.name: kind for kind in (RoceUd, RoceUdByPyverbs)}


@pytest.fixture(scope="module")
def guest() -> Outcomes:
    reason = unavailable()
    if os.environ.get("FEEDHANDLER_ASAN"):
        pytest.skip(str(reason))
    if reason is not None:
        left_out(reason)
    return outcomes()


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "case"), ALL, ids=["-".join(one) for one in ALL])
def test_in_the_guest(guest: Outcomes, suite: str, case: str) -> None:
    outcome = guest.of(suite, case)
    if suite in RIGS:
        assert agrees(outcome, RIGS[suite], case), outcome
    else:
        assert outcome == "passes", outcome


# -- the guest itself, where there is none -------------------------------------------------------------------------


def test_absence_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(boot.shutil, "which", lambda name: None)
    assert boot.absence() == "qemu-system-x86_64 is not here: apt-get install qemu-system-x86 (or: scripts/setup test)"
    monkeypatch.setattr(boot.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(packages, "CACHE", tmp_path)
    assert f"are not in {tmp_path}: scripts/setup test fetches them" in str(boot.absence())
    monkeypatch.setattr(boot.platform, "machine", lambda: "aarch64")
    assert boot.absence() == "the guest is an x86-64 Linux; this is aarch64 linux"


def test_absence_of_a_pyverbs_for_this_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(boot.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(packages, "fetched", lambda: True)
    monkeypatch.setattr(packages, "TREE", tmp_path)
    assert str(boot.absence()).startswith("the guest's pyverbs is not for this interpreter (cpython-3")


def test_modules_stand_behind_those_they_need(tmp_path: Path) -> None:
    for name, depends in (("one", "two-b,three"), ("two-b", "three"), ("three", ""), ("other", "")):
        (tmp_path / f"{name}.ko").write_bytes(b"\x7fELF\0license=GPL\0depends=%s\0name=x\0" % depends.encode())
    assert [path.stem for path in modules(tmp_path, ("one", "built_in", "two_b"))] == ["three", "two-b", "one"]


def test_the_archive_is_one_the_kernel_reads() -> None:
    made = cpio([Entry("folder"), Entry("folder/file", b"data!", executable=True)])
    assert made[:6] == b"070701" and len(made) % 4 == 0
    fields = [int(made[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
    assert fields[1] == 0o40755 and fields[6] == 0 and fields[11] == len(b"folder\0")
    second = made.index(b"070701", 6)
    fields = [int(made[second + 6 + 8 * i : second + 14 + 8 * i], 16) for i in range(13)]
    assert fields[1] == 0o100755 and fields[6] == 5
    assert made[second + 110 :].startswith(b"folder/file\0") and b"TRAILER!!!" in made


def test_a_guest_that_says_nothing_is_told_from_a_case_that_fails() -> None:
    said = Outcomes({("verbs", "trust"): "passes"}, boot.Run(None, ["Kernel panic"], 1.0))
    assert said.of("verbs", "trust") == "passes"
    assert said.of("verbs", "numbers").startswith("fails: no outcome (code None)") and "panic" in said.of(
        "verbs", "numbers"
    )


# -- the rig for a NIC, as far as it goes without one --------------------------------------------------------------


class BySockets(RawEth):
    """Two ends of a cable that is none, received by sockets: the rig itself is under test."""

    backend = "sockets"

    def options(self, room: int = 0) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("case", ["order", "unjoined", "source", "ip_checksum", "kill", "feed"])
def test_the_rig_for_a_nic(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nic0,nic1")

    def story() -> None:
        for command in ("link add nic0 type veth peer name nic1", "link set nic0 up", "link set nic1 up"):
            subprocess.run(["ip", *command.split()], check=True)
        subprocess.run(["ip", "address", "add", "10.77.0.2/24", "dev", "nic0"], check=True)
        rig = BySockets(tmp_path)
        shown = ["ip", "link", "show", "nic0"]
        until(
            lambda: "LOWER_UP" in subprocess.run(shown, capture_output=True, text=True, check=True).stdout, "the cable"
        )
        try:
            CASES[case].run(rig)
        finally:
            rig.finish()

    in_namespace(NETWORK, story)


def test_the_rig_for_a_nic_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ValueError, match="FEEDHANDLER_NICS=RECEIVER,SENDER names two network interfaces"):
        RawEth(tmp_path)
    for kind in (RawEth, RoceUd):
        assert load(kind.name) is kind
