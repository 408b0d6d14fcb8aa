"""`make asan`: builds a copy of the tree with ASan, UBSan and bounds checks, and runs the tests on it.

`--wire` runs only the tests that feed hostile bytes to compiled code, as `make test` does.
Further arguments go to pytest: `scripts/asan.py -k moldudp64`. The copy is build/asan; it is built again only where
sources changed.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from inputs import build_inputs

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "asan"
SOURCES = (
    *("feedhandler", "ext", "tests", "examples", "scripts", "benchmarks", "tools", "docs"),
    *("setup.py", "pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("LICENSE", "LICENSE.ipsec-mb"),
)
SWITCHES = {
    "FEEDHANDLER_DEBUG": "1",
    "FEEDHANDLER_SANITIZE": "address,undefined",
    "FEEDHANDLER_CFLAGS": "-fsanitize-coverage=trace-pc",  # for tests/fuzz, which shares this build
}
COVERAGE = COPY / "build" / "coverage.so"
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:strict_string_checks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "PYTHONMALLOC": "malloc",
}


def sources(root: Path) -> Iterator[Path]:
    """Every source file below `root`, relative to it; nothing that a build makes."""
    for name in SOURCES:
        top = root / name
        for path in [top] if top.is_file() else top.rglob("*"):
            relative = path.relative_to(root)
            made = path.suffix in (".so", ".pyc") or relative.parts[:2] == ("feedhandler", "include")
            if path.is_file() and not made:
                yield relative


def copy_tree() -> None:
    """Give build/asan the sources of the checkout, touching only what changed."""
    wanted = set(sources(ROOT))
    for gone in set(sources(COPY)) - wanted:
        COPY.joinpath(gone).unlink()
    for relative in wanted:
        source, target = ROOT / relative, COPY / relative
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def build() -> None:
    """Build the copy in place where its sources or switches changed; raises CalledProcessError."""
    os.environ.update(SWITCHES)
    stamp = COPY / "build" / ".built"
    if stamp.exists() and stamp.read_text() == build_inputs(COPY):
        return
    begin = time.monotonic()
    print("asan: building with AddressSanitizer, UBSan and bounds checks", flush=True)
    log = COPY / "build" / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        done = subprocess.run(command, cwd=COPY, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(log.read_text()[-8000:], file=sys.stderr)
        raise SystemExit("asan: the build failed; see above")
    flags = ["-shared", "-fPIC", "-O2", "-fno-strict-aliasing"]
    subprocess.run([*compiler(), *flags, "-o", str(COVERAGE), "tests/fuzz/coverage.c"], cwd=COPY, check=True)
    stamp.write_text(build_inputs(COPY))
    print(f"asan: built in {time.monotonic() - begin:.0f} s", flush=True)


def compiler() -> list[str]:
    """The compiler as words."""
    return os.environ.get("CC", "gcc").split()


def runtimes() -> str:
    """The libraries to be loaded before the interpreter, which was not built with sanitizers: theirs and coverage.c."""
    found = []
    for name in ("libasan.so", "libubsan.so", "libstdc++.so.6"):
        path = subprocess.run([*compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        if Path(path.stdout.strip()).is_absolute():
            found.append(path.stdout.strip())
    if not any("asan" in path for path in found):
        raise SystemExit(f"asan: {compiler()[-1]} has no libasan.so; with Debian's gcc: apt-get install libgcc-12-dev")
    return " ".join([*found, str(COVERAGE)])


def environment() -> dict[str, str]:
    """The environment in which an interpreter runs the copy."""
    made = os.environ | OPTIONS | {"LD_PRELOAD": runtimes(), "FEEDHANDLER_ASAN": "1"}
    made["PYTHONPATH"] = str(COPY)  # before the editable install of the checkout
    made.pop("FEEDHANDLER_DEBUG", None)  # a switch of the build; of the command, it shows tracebacks
    data = Path(os.environ.get("FEEDHANDLER_DATA") or ROOT.parent / "shared" / "data")
    return made | {"FEEDHANDLER_DATA": str(data)} if data.is_dir() else made


def main(arguments: Sequence[str]) -> int:
    copy_tree()
    build()
    chosen = "wire and not packaging" if "--wire" in arguments else "not packaging"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", chosen]
    command += [a for a in arguments if a != "--wire"]
    return subprocess.run(command, cwd=COPY, env=environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
