"""What becomes of each case on each receiver: run, declared, and as a table for people."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from feedhandler.errors import BackendError, ConfigError
from tests.conformance.cases import CASES, Case
from tests.conformance.rig import Rig
from tests.conformance.rigs import RIGS, load

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "backends.md"
BEGIN, END = "<!-- the table of tests/conformance: written by python -m tests.conformance --write -->", "<!-- end -->"


def declared(kind: type[Rig], case: str) -> str:
    """What should become of a case: passes, refuses: what, or does not apply: why."""
    if case in kind.excused:
        return f"does not apply: {kind.excused[case]}"
    return f"refuses: {kind.refuses[case]}" if case in kind.refuses else "passes"


def run(kind: type[Rig], case: Case, folder: Path) -> str:
    """Run a case: passes, or refuses: with this error. Raises what is wrong."""
    rig = kind(folder)
    try:
        case.run(rig)
    except (BackendError, ConfigError) as error:
        return f"refuses: {error}"
    finally:
        rig.finish()
    return "passes"


def agrees(outcome: str, kind: type[Rig], case: str) -> bool:
    """Whether that is what the rig declares; of an error's words a part is declared."""
    if case in kind.refuses:
        return outcome.startswith("refuses: ") and kind.refuses[case] in outcome
    return outcome == declared(kind, case)


def outcomes(kind: type[Rig], tell: Callable[[str, str], None] = lambda name, outcome: None) -> dict[str, str]:
    """Case → outcome of all that applies to this receiver; "fails: ..." with a traceback."""
    found: dict[str, str] = {}
    for name, case in CASES.items():
        if name in kind.excused:
            found[name] = declared(kind, name)
        else:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found[name] = run(kind, case, Path(folder))
                except Exception:
                    found[name] = f"fails: {traceback.format_exc()}"
        tell(name, found[name])
    return found


def table() -> str:
    """Every case on every receiver, as Markdown, with the sentences below."""
    rigs = {name: load(name) for name in (*RIGS, "rdma roce-ud")}
    notes: dict[str, int] = {}

    def cell(kind: type[Rig], case: str) -> str:
        said = declared(kind, case)
        if said == "passes":
            return "✓"
        return f"{'refused' if case in kind.refuses else '–'} [{notes.setdefault(said, len(notes) + 1)}]"

    lines = ["| | " + " | ".join(rigs) + " |", "| --- |" + " --- |" * len(rigs)]
    for name, case in CASES.items():
        lines.append(f"| {case.sentence} | " + " | ".join(cell(kind, name) for kind in rigs.values()) + " |")
    lines.append("")
    for said, number in notes.items():
        kind, _, words = said.partition(": ")
        lines.append(f"{number}. {'Refused with: ' + words if kind == 'refuses' else words}")
    return "\n".join(lines)


def written(document: str) -> str:
    """The document with the present table between its marks."""
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    assert rest and tail, f"no marks in {DOCUMENT}"
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"
