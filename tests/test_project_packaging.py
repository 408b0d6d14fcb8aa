"""What a user installs: sdist, wheel, editable; in environments that hold the dependencies and nothing of ours."""

import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.packaging

CACHE = ROOT / "build" / "cache"


def quick() -> dict[str, str]:
    """A build that does not take minutes: what the checkout's own compiled is taken again, where its text is the same.

    Without those caches (scripts/setup test fills them) the optimizer, which would be most of the time, is left out.
    """
    ccache, asked = shutil.which("ccache"), {"FEEDHANDLER_STRICT": "0"}
    if ccache is None or not CACHE.is_dir():
        return asked | {"FEEDHANDLER_CFLAGS": "-O0"}
    compiler = os.environ.get("CC") or "gcc"
    return asked | {
        "CC": compiler if "ccache" in compiler else f"{ccache} {compiler}",
        "CCACHE_DIR": str(CACHE / "ccache"),
        "CCACHE_NOHASHDIR": "1",  # the sources of the sdist are in another folder
        "FEEDHANDLER_CYTHON_CACHE": str(CACHE / "cython"),
    }


QUICK = quick()

# A compiler that only says what it was asked for, and where the archives are.
COMPILER = """#!/bin/sh
case "$1" in
-print-file-name=*) echo "$ARCHIVES/${1#*=}"; exit ;;
esac
echo "$@" >>"$ARCHIVES/calls"
while [ $# -gt 0 ]; do
    [ "$1" != -o ] || { mkdir -p "$(dirname "$2")"; : >"$2"; }
    shift
done
"""

STRATEGY = '''
# cython: language_level=3
"""A strategy of a user, away from the checkout: cimports the public records and the wire's loads."""
from feedhandler._records cimport ACTION_ADD, Event, PRICE_NONE
from feedhandler._wire cimport fh_be32

def first_price(const Event[::1] events, const unsigned char[::1] wire):
    cdef Event event = events[0]
    assert event.action == ACTION_ADD and event.price != PRICE_NONE
    return event.price + fh_be32(&wire[0])
'''
BUILD = """
from setuptools import Extension, setup
from Cython.Build import cythonize
import feedhandler
include = feedhandler.get_include()
mine = Extension("mine", ["mine.pyx"], include_dirs=include, extra_compile_args=["-O0"])
setup(name="mine", ext_modules=cythonize([mine], include_path=include))
"""
USE = """
import mine, numpy as np, feedhandler, feedhandler.records as records
events = np.zeros(1, records.EVENT)
events["action"], events["price"] = ord("A"), 41
print(mine.first_price(events, b"\\0\\0\\0\\1"), feedhandler.__file__)
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command that has to succeed; the checkout is not on its path."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "FEEDHANDLER_TEST_REPORT")}
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def environment(folder: Path) -> Path:
    """The interpreter of a fresh virtual environment: our dependencies linked in from this one, and no feedhandler."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    target = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("feedhandler", "__editable__", "__pycache__")) and entry.suffix != ".pth":
            target.joinpath(entry.name).symlink_to(entry)
    return python


def install(python: Path, *what: str | Path, cwd: Path, **variables: str) -> None:
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", *what, cwd=cwd, **(QUICK | variables))


def is_editable_here() -> bool:
    """Whether the environment of these tests is an editable install of this tree, as scripts/setup makes it."""
    # all of that name: the build leaves an egg-info in the tree, which says nothing of how it was installed
    origins = (found.read_text("direct_url.json") for found in metadata.distributions(name="feedhandler"))
    about = [json.loads(origin) for origin in origins if origin]
    return any(one.get("dir_info", {}).get("editable") and one.get("url") == ROOT.as_uri() for one in about)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, ROOT, cwd=folder)
    (made,) = folder.glob("feedhandler-*.tar.gz")
    return made


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as they are in the sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)  # made by ourselves a moment ago; `filter` is newer than Debian 12's Python
    (tree,) = folder.iterdir()
    return tree


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, unpacked, cwd=folder, **QUICK)
    (made,) = folder.glob("feedhandler-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a clean environment with the wheel; there is no compiler on the path of its installation."""
    folder = tmp_path_factory.mktemp("clean")
    python = environment(folder / "venv")
    install(python, wheel, cwd=folder, CC="/nonexistent/cc", PATH=str(python.parent))
    return python


def use_in_cython(python: Path, folder: Path) -> str:
    """Compile and run the example strategy; the first word is its result, the second where feedhandler was found."""
    folder.joinpath("mine.pyx").write_text(STRATEGY)
    folder.joinpath("setup.py").write_text(BUILD)
    run(python, "setup.py", "-q", "build_ext", "--inplace", cwd=folder)
    return run(python, "-c", USE, cwd=folder)


def test_the_sdist_holds_the_sources_and_nothing_that_was_made(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    assert {
        "setup.py",
        "LICENSE",
        "LICENSE.ipsec-mb",
        "README.md",
        "ext/include/wire.h",
        "tests/conftest.py",
        "tests/step_clock.c",
        "make",
    } <= names
    assert not [n for n in names if n.endswith((".so", ".pyc")) or n.startswith(("build/", "feedhandler/include/"))]


def test_an_archive_that_is_new_or_another_is_linked_again_whatever_its_time(tmp_path: Path) -> None:
    """An installed file has the time of the day on which its package was made, which may be before the last build."""
    tree, archives = tmp_path / "tree", tmp_path / "archives"
    for source in ("feedhandler/receive/_tls.pyx", "feedhandler/other.pyx"):
        tree.joinpath("ext", source).parent.mkdir(parents=True, exist_ok=True)
        tree.joinpath("ext", source).write_text("x = 1\n")
    tree.joinpath("feedhandler", "receive").mkdir(parents=True)
    tree.joinpath("feedhandler", "decode").mkdir()
    tree.joinpath("feedhandler", "decode", "render.py").write_text("def render_all(target): pass\n")
    shutil.copy(ROOT / "setup.py", tree)
    archives.mkdir()
    compiler = tmp_path / "cc"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)

    def install_archive(name: str, text: str) -> None:
        archives.joinpath(name).write_text(text)
        os.utime(archives / name, (1e9, 1e9))

    def linked() -> dict[str, str]:
        """Build; the modules that were linked, each with the command."""
        calls = archives / "calls"
        calls.write_text("")
        switches = dict.fromkeys(("CFLAGS", "FEEDHANDLER_OPENSSL", "FEEDHANDLER_GCM"), "")
        switches |= {"CC": str(compiler), "ARCHIVES": str(archives), "FEEDHANDLER_JOBS": "1"}
        run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=tree, **switches)
        shared = (line for line in calls.read_text().splitlines() if line.startswith("-shared"))
        return {line.rpartition("/")[2].split(".")[0]: line for line in shared}

    for name in ("libssl.a", "libcrypto.a"):
        install_archive(name, "3.0.18")
    assert set(linked()) == {"_shared", "_tls", "other"}
    install_archive("libssl.a", "3.0.19, and of another size")
    assert set(linked()) == {"_tls"}
    install_archive("libIPSec_MB.a", "1.3.0")
    (command,) = linked().values()
    assert "_tls" in command and "libIPSec_MB.a" in command


def test_the_wheel_holds_stubs_headers_and_honest_metadata(wheel: Path, unpacked: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (described,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(described))
    headers = {f"feedhandler/include/{h.name}" for h in unpacked.glob("ext/include/*.h")}
    pxds = {f"feedhandler/include/{p.relative_to(unpacked / 'ext')}" for p in unpacked.glob("ext/feedhandler/**/*.pxd")}
    stubs = {str(p.relative_to(unpacked)) for p in unpacked.glob("feedhandler/**/*.pyi")}
    assert {"feedhandler/py.typed", *headers, *pxds, *stubs} <= names
    compiled = {n.split(".")[0] for n in names if n.endswith(".so")}
    assert compiled >= {str(p.relative_to(unpacked / "ext").with_suffix("")) for p in unpacked.glob("ext/**/*.pyx")}
    assert {n.split("/")[0] for n in names} == {"feedhandler", described.split("/")[0]}
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == "Apache-2.0"
    assert about.get_all("License-File") == ["LICENSE", "LICENSE.ipsec-mb"], "the second: what may be linked into _tls"
    licences = described.replace("METADATA", "licenses")
    assert {f"{licences}/LICENSE", f"{licences}/LICENSE.ipsec-mb"} <= names
    versions = [c for c in about.get_all("Classifier", []) if c.startswith("Programming Language :: Python :: 3.")]
    assert versions == ["Programming Language :: Python :: 3.11"]


def test_a_cython_strategy_compiles_against_the_wheel(installed: Path, tmp_path: Path) -> None:
    value, where = use_in_cython(installed, tmp_path).split()
    assert value == "42"
    assert Path(where).is_relative_to(installed.parent.parent)


def test_a_cython_strategy_compiles_against_an_editable_install(unpacked: Path, tmp_path: Path) -> None:
    python, tree = Path(sys.executable), ROOT
    if not is_editable_here():
        python, tree = environment(tmp_path / "venv"), unpacked
        install(python, "-e", unpacked, cwd=tmp_path)
    value, where = use_in_cython(python, tmp_path).split()
    assert value == "42"
    assert Path(where).is_relative_to(tree)


def test_the_command_of_the_wheel_runs_without_a_compiler(installed: Path, tmp_path: Path) -> None:
    """The demo's parts, away from the checkout: a simulated day, and the books that the handler makes of it."""
    command, path = installed.parent / "feedhandler", str(installed.parent)
    assert "Usage" in run(command, "--help", cwd=tmp_path, PATH=path)
    run(command, "simulate", "day.itch", "--symbols", "5", "--messages", "4000", cwd=tmp_path, PATH=path)
    found = json.loads(run(command, "books", "day.itch", "--json", cwd=tmp_path, PATH=path))
    assert found["messages"] == 4000
    assert {book["state"] for book in found["books"].values()} == {"LIVE"}
