"""Builds the extensions: renders the decoders from their tables, finds every .pyx, applies one set of directives."""

import os
import shutil
import sys
import types
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
os.chdir(ROOT)
EXT, GENERATED = Path("ext"), Path("build/generated")
DEBUG = os.environ.get("FEEDHANDLER_DEBUG") == "1"  # bounds checks, -O1 -g; used by the sanitizer build
SANITIZE = os.environ.get("FEEDHANDLER_SANITIZE", "")  # e.g. "address,undefined"

FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer"] if DEBUG else ["-O3", "-g0"]
FLAGS += ["-std=c11", "-fno-strict-aliasing", "-Wno-unused-function"]
LINK: list[str] = []
if SANITIZE:
    FLAGS += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
    LINK += [f"-fsanitize={SANITIZE}"]
FLAGS += os.environ.get("FEEDHANDLER_CFLAGS", "").split()


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


def extensions() -> list[Extension]:
    """One extension for each .pyx below ext/ and build/generated/; its place is its module name."""
    found = []
    for root in (EXT, GENERATED):
        for pyx in sorted(root.rglob("*.pyx")):
            name = ".".join(pyx.relative_to(root).with_suffix("").parts)
            found.append(
                Extension(
                    name,
                    [str(pyx)],
                    include_dirs=["ext/include"],
                    depends=[str(h) for h in sorted(Path("ext/include").glob("*.h"))],
                    extra_compile_args=FLAGS,
                    extra_link_args=LINK,
                    define_macros=[("CYTHON_USE_TYPE_SPECS", "0")],
                )
            )
    return found


class BuildPy(build_py):
    """Copies the public .pxd files and C headers into the package, so that users can cimport from a wheel."""

    def run(self) -> None:
        copy_public_headers(Path("feedhandler"))
        super().run()


def copy_public_headers(package: Path) -> None:
    for pxd in EXT.joinpath("feedhandler").rglob("*.pxd"):
        _copy(pxd, package / pxd.relative_to(EXT / "feedhandler"))
    for header in Path("ext/include").glob("*.h"):
        _copy(header, package / "include" / header.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


render_decoders()
setup(
    ext_modules=cythonize(
        extensions(),
        include_path=["ext", str(GENERATED)],
        build_dir="build/cython",
        annotate=DEBUG and not SANITIZE,
        force=DEBUG,
        nthreads=int(os.environ.get("FEEDHANDLER_JOBS", os.cpu_count() or 1)),
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": False,
        },
    ),
    cmdclass={"build_py": BuildPy},
)
