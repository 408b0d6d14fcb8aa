"""Every case of the one suite on every receiver that runs on this host (tests/conformance)."""

from pathlib import Path

import pytest

from feedhandler.receive import choose
from tests.conformance.cases import CASES
from tests.conformance.network import JUMBO_MTU, AfXdpNative, Sockets
from tests.conformance.rigs import ELSEWHERE, EVERYWHERE, RIGS, load
from tests.conformance.table import BEGIN, DOCUMENT, agrees, run, written

HOSTILE = ("lengths", "untagged", "vlan", "ip_checksum", "udp_checksum", "fragments", "options", "runts", "jumbo")
HERE = [
    pytest.param(rig, case, id=f"{rig}-{case}", marks=[pytest.mark.wire] if case in HOSTILE else [])
    for rig in (*RIGS, *EVERYWHERE)
    for case in CASES
    if case not in load(rig).excused
]


@pytest.mark.parametrize(("rig", "case"), HERE)
def test_receiver(rig: str, case: str, tmp_path: Path) -> None:
    kind = load(rig)
    outcome = run(kind, CASES[case], tmp_path)
    assert agrees(outcome, kind, case), outcome


@pytest.mark.parametrize("rig", [*RIGS, *ELSEWHERE])
def test_what_does_not_apply_is_a_case_and_has_its_sentence(rig: str) -> None:
    kind = load(rig)
    assert not set(kind.excused) & set(kind.refuses)
    assert set(kind.excused) | set(kind.refuses) <= set(CASES)
    assert all(sentence.endswith(".") for sentence in kind.excused.values())


def test_the_table_in_the_docs_is_this_one() -> None:
    text = DOCUMENT.read_text()
    assert BEGIN in text
    assert text == written(text), "out of date: python -m tests.conformance --write"


def test_auto_falls_back_where_frames_are_too_large(tmp_path: Path) -> None:
    """An interface of jumbo frames: native XDP is refused with the reason, and the sockets take them."""
    rig = Sockets(tmp_path)
    try:
        rig.mtu(JUMBO_MTU)
        with rig.inside():
            chosen = choose.choose([rig.flow(0)], "auto", {"af_xdp": AfXdpNative(tmp_path).options(jumbo=True)})
        with chosen.receiver as receiver:
            assert chosen.backend == "sockets"
            assert f"af_xdp: {AfXdpNative.refuses['jumbo']}" in chosen.sentence
            rig.send([(0, b"A" * rig.jumbo)])
            assert receiver.wait_for(5)
            assert [len(data) for _, _, data in receiver.drain()] == [rig.jumbo]
    finally:
        rig.finish()
