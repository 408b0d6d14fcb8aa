"""The client against every section of RFC 6455 and RFC 7692: cases as data, cut everywhere, and the model."""

from itertools import pairwise

import pytest

from feedhandler.session._websocket import WebSocketFraming
from tests.websocket_cases import Case, cases, spell
from tests.websocket_story import Model, Story, answered, begin, client, ours

CASES = list(cases())
FILES = sorted({case.file for case in CASES})
CUT_EVERYWHERE = 400  # bytes; of longer streams the beginning and the end are cut
pytestmark = pytest.mark.wire


def machine_of(case: Case, made: dict[tuple[tuple[str, int], ...], WebSocketFraming]) -> WebSocketFraming:
    """One framing for all cases of the same options: it must forget the one before."""
    key = tuple(sorted(case.options.items()))
    if key not in made:
        made[key] = client(**case.options)
    machine = made[key]
    begin(machine, case.agreed)
    answered(machine)
    return machine


def expected(case: Case) -> tuple[Story, list[tuple[str, bytes]]]:
    answers = list(case.answers)
    if case.fails is not None and not case.silent:
        answers.append(("close", case.fails.to_bytes(2, "big")))
    return Story(list(case.gives), case.ends, case.fails), answers


def cuts_of(length: int) -> list[int]:
    near = range(1, min(length, CUT_EVERYWHERE // 2))
    return sorted({*near, *(length - n for n in near)})


def in_steps(data: bytes, step: int) -> list[bytes]:
    places = [*range(0, len(data), step), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


@pytest.mark.parametrize("file", FILES)
def test_cases(file: str) -> None:
    made: dict[tuple[tuple[str, int], ...], WebSocketFraming] = {}
    for case in (c for c in CASES if c.file == file):
        story, answers = expected(case)
        found, said = ours(machine_of(case, made), [case.server])
        assert (found, said) == (story, answers), f"{case.name} ({case.section}): {found}, {found.cause}"
        if found.cause:
            sections = case.section.replace("RFC", "").replace(",", "").split()
            assert set(sections) & set(found.cause.replace(")", " ").split()), f"{case.name}: {found.cause}"


@pytest.mark.parametrize("file", FILES)
def test_cases_cut_in_two_everywhere(file: str) -> None:
    made: dict[tuple[tuple[str, int], ...], WebSocketFraming] = {}
    for case in (c for c in CASES if c.file == file):
        story, answers = expected(case)
        for cut in cuts_of(len(case.server)):
            found, said = ours(machine_of(case, made), [case.server[:cut], case.server[cut:]])
            assert (found, said) == (story, answers), f"{case.name} cut at {cut}: {found}, {found.cause}"


@pytest.mark.parametrize("file", FILES)
def test_cases_in_small_pieces(file: str) -> None:
    made: dict[tuple[tuple[str, int], ...], WebSocketFraming] = {}
    for case in (c for c in CASES if c.file == file):
        story, answers = expected(case)
        for step in (1, 3, 7):
            if len(case.server) // step < 3000:
                found, said = ours(machine_of(case, made), in_steps(case.server, step))
                assert (found, said) == (story, answers), f"{case.name} by {step}: {found}, {found.cause}"


@pytest.mark.parametrize("file", [f for f in FILES if f != "head"])
def test_the_model_agrees_with_the_cases(file: str) -> None:
    for case in (c for c in CASES if c.file == file):
        assert Model(case.agreed, **case.options).read(case.server) == expected(case)[0], f"{case.name}"


def test_there_are_cases_for_every_section_and_no_two_of_a_name() -> None:
    named = {(case.file, case.name) for case in CASES}
    assert len(named) == len(CASES) >= 300
    sections = " ".join({case.section for case in CASES})
    for section in ("4.1", "5.1", "5.2", "5.4", "5.5.1", "5.5.2", "5.5.3", "7.1.1", "7.4", "8.1", "10.4", "7.2.3.4"):
        assert section in sections


def test_the_notation() -> None:
    assert spell('81 "ab"*2 00*3 (01 "x")*2') == b"\x81abab\0\0\0\x01x\x01x"
    with pytest.raises(ValueError, match="no notation: '8 1'"):
        spell("8 1")
