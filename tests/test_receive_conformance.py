"""Every case of the one suite on every receiver that runs on this host (tests/conformance)."""

from pathlib import Path

import pytest

from tests.conformance.cases import CASES
from tests.conformance.rigs import RIGS, load
from tests.conformance.table import BEGIN, DOCUMENT, agrees, run, written

HERE = [(rig, case) for rig in RIGS for case in CASES if case not in load(rig).excused]


@pytest.mark.parametrize(("rig", "case"), HERE, ids=[f"{rig}-{case}" for rig, case in HERE])
def test_receiver(rig: str, case: str, tmp_path: Path) -> None:
    kind = load(rig)
    outcome = run(kind, CASES[case], tmp_path)
    assert agrees(outcome, kind, case), outcome


@pytest.mark.parametrize("rig", RIGS)
def test_what_does_not_apply_is_a_case_and_has_its_sentence(rig: str) -> None:
    kind = load(rig)
    assert not set(kind.excused) & set(kind.refuses)
    assert set(kind.excused) | set(kind.refuses) <= set(CASES)
    assert all(sentence.endswith(".") for sentence in kind.excused.values())


def test_the_table_in_the_docs_is_this_one() -> None:
    text = DOCUMENT.read_text()
    assert BEGIN in text
    assert text == written(text), "out of date: python -m tests.conformance --write"
