"""Fixtures, hypothesis profiles and the count of real-data tests, for every test file."""

import builtins
import gc
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.conformance")

ROOT = Path(__file__).resolve().parent.parent

# "ci" gives the same examples on every run and every machine: a red suite is a fault of the code, not of the dice.
# HYPOTHESIS_PROFILE=explore looks for new ones.
_calm = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("ci", _calm, derandomize=True, max_examples=50, print_blob=True)
hypothesis.settings.register_profile("explore", _calm, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def data_folder() -> Path | None:
    """The folder of real captures: $FEEDHANDLER_DATA, else ../shared/data beside the checkout, else None."""
    named = os.environ.get("FEEDHANDLER_DATA")
    if named:
        return Path(named).resolve()
    beside = ROOT.parent / "shared" / "data"
    return beside if beside.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real captures; skips where there is none, fails where $FEEDHANDLER_DATA names none."""
    folder = data_folder()
    if folder is None:
        pytest.skip("no real captures here: set FEEDHANDLER_DATA to their folder, or put them in ../shared/data")
    if not folder.is_dir():
        pytest.fail(f"FEEDHANDLER_DATA is {folder}, which is no folder")
    return folder


@pytest.fixture
def free_udp_port() -> int:
    """A UDP port of 127.0.0.1 that nobody had bound a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_groups = itertools.count(1)


@pytest.fixture
def multicast_group() -> str:
    """An administratively scoped group that no other test of this run and, most likely, no other run uses."""
    return f"239.{192 + os.getpid() % 60}.{os.getpid() // 60 % 256}.{next(_groups) % 256}"


class Processes:
    """Child processes of one test, each ended by its own pid when the test is over."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, arguments: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
        """Start a program; stdout and stderr are pipes of text unless said otherwise."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        child = subprocess.Popen([str(a) for a in arguments], text=True, **options)
        self._started.append(child)
        return child

    def python(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start this interpreter with the checkout as working directory."""
        return self.start([sys.executable, *arguments], **({"cwd": ROOT} | options))

    def feedhandler(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start the `feedhandler` command."""
        return self.python("-m", "feedhandler", *arguments, **options)

    def stop(self, child: subprocess.Popen[str], seconds: float = 10.0) -> tuple[str, str]:
        """Ctrl-C, then SIGTERM, then SIGKILL, each after `seconds`; what the child wrote to stdout and stderr."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if child.poll() is None:
                child.send_signal(number)
            try:
                return child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"{child.args!r} did not end")

    def stop_all(self) -> None:
        for child in reversed(self._started):
            if child.returncode is None or (child.stdout and not child.stdout.closed):
                self.stop(child)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Starts child processes and ends them when the test is over: see `Processes`."""
    children = Processes()
    yield children
    children.stop_all()


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """wait_for(condition, seconds=20, what="..."): the first true value of condition(), else the test fails."""

    def wait(condition: Callable[[], Any], seconds: float = 20.0, what: str = "the condition") -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"{what} did not come within {seconds} s"
            time.sleep(0.002)
        return value

    return wait


# Big memory in cycles (the traceback of a refused command holds its books) counts little with the garbage collector,
# and beside all the objects of a test run it hardly looks at old ones: gigabytes stayed, and every fork copies the map.
_PAGES = 200 * 2**20 // os.sysconf("SC_PAGE_SIZE")
_resident = 0


def _resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def pytest_collection_finish(session: pytest.Session) -> None:
    if "FEEDHANDLER_SANITIZE" in os.environ:
        _fewer_examples(session.items)
    gc.collect()
    gc.freeze()  # what is imported now stays; looking at it again and again would be most of a collection


def _fewer_examples(items: list[pytest.Item]) -> None:
    """Under the sanitizers a third of each property's examples: they look for what the plain build cannot see."""
    for test in {getattr(item, "function", None) for item in items}:
        asked = getattr(test, "_hypothesis_internal_use_settings", None)
        if asked is not None:
            fewer = hypothesis.settings(asked, max_examples=max(asked.max_examples // 3, 10))
            vars(test)["_hypothesis_internal_use_settings"] = fewer


def pytest_unconfigure() -> None:
    gc.unfreeze()  # duckdb's bindings call what is not collected at exit leaked


def pytest_runtest_logfinish() -> None:
    global _resident
    if _resident_pages() > _resident + _PAGES:
        gc.collect()
        _resident = _resident_pages()


# How many tests read real captures, and how many could not: said at the end, and kept for `make test`.
_real_data: Counter[str] = Counter()
_all: Counter[str] = Counter()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = (yield).get_result()  # type: ignore[attr-defined]
    real = item.get_closest_marker("real_data") is not None
    if real and report.skipped and not hasattr(report, "wasxfail") and data_folder() is not None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"the captures are at {data_folder()}, so this must run: {reason}"
    if report.when == "call" or report.outcome != "passed":
        _all[report.outcome] += 1
        if real:
            _real_data[report.outcome] += 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    ran = _real_data["passed"] + _real_data["failed"]
    if _real_data:
        where = data_folder() or "no folder; set FEEDHANDLER_DATA or put them in ../shared/data"
        terminalreporter.write_line(f"real-data tests: {ran} ran, {_real_data['skipped']} skipped (captures: {where})")


def pytest_sessionfinish(session: pytest.Session) -> None:
    report = os.environ.get("FEEDHANDLER_TEST_REPORT")
    if report:
        Path(report).write_text(json.dumps({"all": _all, "real_data": _real_data}))


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without it."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
