"""Builds the extensions: renders the decoders from their tables, finds every .pyx, applies one set of directives."""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
os.chdir(ROOT)
EXT, GENERATED, CYTHONIZED, PUBLIC = (
    Path("ext"),
    Path("build/generated"),
    Path("build/cython"),
    Path("feedhandler/include"),
)
JOBS = int(os.environ.get("FEEDHANDLER_JOBS") or len(os.sched_getaffinity(0)))
DEBUG = os.environ.get("FEEDHANDLER_DEBUG") == "1"  # bounds checks, -O1 -g; used by the sanitizer build
SANITIZE = os.environ.get("FEEDHANDLER_SANITIZE", "")  # e.g. "address,undefined"

TRACED = ["-g1", "-fno-omit-frame-pointer"]
HOT, COLD = (["-O1", *TRACED], ["-O0", *TRACED]) if DEBUG else (["-O3", "-g0"], ["-O1", "-g0"])
FLAGS = ["-std=c11", "-fno-strict-aliasing", "-Wno-unused-function"]
# Off the way from receive to read, and off the way of every packet through a recording: the other end of the wire,
# rehearsals, snapshots of state, doors for tests. Optimised, they would take half of the build's time.
COLD_MODULES = re.compile(
    r"feedhandler\.(rehearse\.|simulate\.|replay\._(?!ahead)|(line|decode|session)\._state$|line\._splicer_state$|_records$|_marks$|line\._door$|decode\._json_door$|receive\._frame$"
    r"|record\._scan$|recording\._surveyor$|research\._measures$)"
)
SHARED = "feedhandler._shared"  # Cython's own code for memory views, once instead of in every module that has one ...
NOT_SHARED = ("feedhandler._records", "feedhandler.book._book")  # ... but where Cython 3.3 then forgets their types
LIBRARIES = {"feedhandler.session._websocket": ["z"], "feedhandler.session._state": ["z"]}
TLS = "feedhandler.receive._tls"
# private: OpenSSL's archives are linked into the one module that uses it, where its memory functions can be set
# whatever was imported first; shared: libssl.so, as the system keeps it; not said: private where there are archives
OPENSSL = os.environ.get("FEEDHANDLER_OPENSSL", "")
# openssl: OpenSSL's own AES-GCM alone; not said: Intel's beside it, where its archive is found
GCM = os.environ.get("FEEDHANDLER_GCM", "")
LINK: list[str] = []
if SANITIZE:
    FLAGS += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
    LINK += [f"-fsanitize={SANITIZE}"]
FLAGS += os.environ.get("FEEDHANDLER_CFLAGS", "").split()
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": False,
}
CYTHON_CACHE = os.environ.get("FEEDHANDLER_CYTHON_CACHE", "")  # a folder: translations are kept, found by content
CHOSEN = (OPENSSL and f" {OPENSSL}") + (GCM and f" gcm={GCM}")
SWITCHES, STAMP = f"{DEBUG} {HOT} {COLD} {FLAGS} {SHARED}{CHOSEN}\n", Path("build/.switches")
LINKED = Path("build/.linked")  # which archives of the system's were found for TLS


def render_decoders() -> None:
    """Write the decoders of all protocol tables below build/generated.

    The tables are read without the compiled package around them: `feedhandler/__init__.py` imports modules that are
    not built yet, so a bare package stands in for it.
    """
    package = types.ModuleType("feedhandler")
    package.__path__ = ["feedhandler"]
    sys.modules["feedhandler"] = package
    try:
        from feedhandler.decode.render import render_all

        render_all(GENERATED)
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] == "feedhandler"]:
            del sys.modules[name]


def compiler() -> list[str]:
    """The C compiler, as setuptools will call it."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def archive(name: str) -> list[str]:
    """Where the compiler finds this archive, if it does."""
    asked = subprocess.run([*compiler(), f"-print-file-name={name}"], text=True, capture_output=True, check=False)
    return [path for path in asked.stdout.split() if Path(path).is_file()]


@functools.cache
def openssl_archives() -> list[str]:
    """libssl.a and libcrypto.a, to be linked into one module; none where they are not wanted or not there."""
    if OPENSSL == "shared":
        return []
    found = archive("libssl.a") + archive("libcrypto.a")
    if len(found) == 2:
        return found
    if OPENSSL == "private":
        raise SystemExit("FEEDHANDLER_OPENSSL=private needs libssl.a and libcrypto.a: apt-get install libssl-dev")
    return []


@functools.cache
def gcm_archives() -> list[str]:
    """libIPSec_MB.a, where it and its header have what tls_gcm.h uses; else TLS has OpenSSL's own AES-GCM."""
    found = archive("libIPSec_MB.a") if openssl_archives() and GCM != "openssl" else []
    if not found:
        return []
    probe = '#include "tls_gcm.h"\nint main(void) { return fh_gcm_install() & 0; }\n'
    with tempfile.TemporaryDirectory() as folder:
        switches = ["-w", "-DFH_TLS_PRIVATE", "-DFH_TLS_IPSEC_MB", "-Iext/include", "-o", f"{folder}/probe"]
        archives = [*found, *openssl_archives(), "-ldl", "-lpthread"]
        command = [*compiler(), *switches, "-x", "c", "-", "-x", "none", *archives]
        done = subprocess.run(command, input=probe, text=True, capture_output=True, check=False)
    if done.returncode:
        print(f"{found[0]} is not what tls_gcm.h knows, so TLS does without: {done.stderr[-500:]}", file=sys.stderr)
        return []
    return found


def extension(name: str, source: Path) -> Extension:
    """One module."""
    cold = name == SHARED or COLD_MODULES.match(name) is not None
    archives = openssl_archives() if name == TLS else []
    gcm = gcm_archives() if name == TLS else []
    return Extension(
        name,
        [str(source)],
        include_dirs=["ext/include", np.get_include()],
        depends=[str(h) for h in sorted(Path("ext/include").glob("*.h"))],
        # FEEDHANDLER_CFLAGS, at the end of FLAGS, has the last word
        extra_compile_args=[*(COLD if cold else HOT), *FLAGS],
        extra_link_args=[*LINK, *(["-Wl,--exclude-libs,ALL"] if archives else [])],
        extra_objects=[*gcm, *archives],
        libraries=["ssl", "crypto"] if name == TLS and not archives else LIBRARIES.get(name, []),
        define_macros=[
            ("CYTHON_USE_TYPE_SPECS", "0"),
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            *([("FH_TLS_PRIVATE", "1")] if archives else []),
            *([("FH_TLS_IPSEC_MB", "1")] if gcm else []),
        ],
    )


def extensions() -> list[Extension]:
    """One extension for each .pyx below ext/ and build/generated/; its place is its module name. And Cython's own."""
    found = [extension(SHARED, Path("_shared.c"))]
    for root in (EXT, GENERATED):
        for pyx in sorted(root.rglob("*.pyx")):
            name = ".".join(pyx.relative_to(root).with_suffix("").parts)
            found.append(extension(name, pyx))
    return found


def need_openssl() -> None:
    """End with one sentence where OpenSSL's headers are missing, before the compiler says it in a hundred lines."""
    probe = "#include <openssl/ssl.h>\n#if OPENSSL_VERSION_NUMBER < 0x30000000L\n#error\n#endif\n"
    command = [*compiler(), *shlex.split(os.environ.get("CFLAGS", "")), "-fsyntax-only", "-x", "c", "-"]
    if subprocess.run(command, input=probe, text=True, capture_output=True, check=False).returncode:
        raise SystemExit(
            "feedhandler needs the headers of OpenSSL 3.0 or newer (openssl/ssl.h) to be built, and "
            f"{shlex.join(compiler())} does not find them: apt-get install libssl-dev (Debian) or "
            "dnf install openssl-devel (Fedora)"
        )


def changed_switches() -> bool:
    """Whether the switches differ from the last build's: neither Cython nor setuptools looks at them by itself."""
    return STAMP.exists() and STAMP.read_text() != SWITCHES


def note_archives() -> str:
    """A file that is as new as the last change of which archives there are, or of one of them.

    Their own times do not say it: an installed file has that of the day on which its package was made.
    """
    paths = sorted(Path(path).resolve() for path in (*gcm_archives(), *openssl_archives()))
    found = "".join(f"{path} {path.stat().st_mtime_ns} {path.stat().st_size}\n" for path in paths)
    if not LINKED.exists() or LINKED.read_text() != found:
        LINKED.parent.mkdir(parents=True, exist_ok=True)
        LINKED.write_text(found)
    return str(LINKED.resolve())  # what is named from the root would be put into an sdist


def copy_public_headers() -> None:
    """The .pxd files and C headers below feedhandler/include, where `feedhandler.get_include()` finds them.

    One folder for both, because Cython finds a .pxd beside its module in a wheel but not behind an editable install.
    """
    for root, suffix in ((EXT, "*.pxd"), (GENERATED, "*.pxd"), (EXT / "include", "*.h")):
        for source in root.rglob(suffix):
            target = PUBLIC / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target.read_bytes() != source.read_bytes():
                shutil.copyfile(source, target)


@contextmanager
def no_performance_hints() -> Iterator[None]:
    """Cython's "performance hint" lines are errors where FEEDHANDLER_STRICT=1 (as in `make build`).

    They show a hot method that takes the GIL after each call. Cython and its worker processes write them to file
    descriptor 2 and forget them, so that is where they are read, and the C file is removed to see them again.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            log.seek(0)
            said = log.read().decode(errors="replace")
            sys.stderr.write(said)
    hints = re.findall(r"^performance hint: ([^:]+):.*$", said, re.MULTILINE)
    if hints and os.environ.get("FEEDHANDLER_STRICT") == "1" and not DEBUG:
        for source in set(hints):
            CYTHONIZED.joinpath(source).with_suffix(".c").unlink(missing_ok=True)
        if CYTHON_CACHE:
            shutil.rmtree(CYTHON_CACHE, ignore_errors=True)
        raise SystemExit(f"performance hints in {', '.join(sorted(set(hints)))}: see above")


class BuildExt(build_ext):
    """Cython runs only where extensions are built; an sdist needs none. Notes the switches of a build that succeeds."""

    def finalize_options(self) -> None:
        need_openssl()
        with no_performance_hints():
            switches = {
                "include_path": ["ext", str(GENERATED)],
                "build_dir": str(CYTHONIZED),
                "annotate": DEBUG and not SANITIZE,
                "force": changed_switches(),
                "nthreads": JOBS,
                "cache": CYTHON_CACHE or False,
                "compiler_directives": DIRECTIVES,
            }
            made = extensions()
            alone = cythonize([e for e in made if e.name in NOT_SHARED], **switches)
            others = [e for e in made if e.name not in NOT_SHARED]
            self.distribution.ext_modules = alone + cythonize(others, shared_utility_qualified_name=SHARED, **switches)
        for made in self.distribution.ext_modules:
            if made.name == TLS:
                made.depends.append(note_archives())
        # the largest first, so that the last ones are short
        self.distribution.ext_modules.sort(key=lambda made: -Path(made.sources[0]).stat().st_size)
        self.force = self.force or changed_switches()
        super().finalize_options()

    def run(self) -> None:
        super().run()
        STAMP.parent.mkdir(parents=True, exist_ok=True)
        STAMP.write_text(SWITCHES)


render_decoders()
copy_public_headers()
setup(ext_modules=extensions(), options={"build_ext": {"parallel": JOBS}}, cmdclass={"build_ext": BuildExt})
