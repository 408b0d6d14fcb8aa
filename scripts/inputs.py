"""Prints a hash of everything that the build of the extensions depends on, and of which of them are there."""

import hashlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build_inputs(root: Path) -> str:
    """A hash over the sources of the extensions, the tables, the build's switches, and the names of what was built."""
    digest = hashlib.sha256(sys.version.encode())
    for name in (
        "CC",
        "CFLAGS",
        "LDFLAGS",
        "FEEDHANDLER_DEBUG",
        "FEEDHANDLER_SANITIZE",
        "FEEDHANDLER_CFLAGS",
        "FEEDHANDLER_OPENSSL",
        "FEEDHANDLER_GCM",
    ):
        digest.update(f"{name}={os.environ.get(name, '')}\n".encode())
    # linked into a module: when the system's update brings another one, or one at all, that is built again
    archives = [f"{folder}/{name}.a" for folder in ("lib*", "lib*/*") for name in ("libcrypto", "libIPSec_MB")]
    for archive in sorted(path for pattern in archives for path in Path("/usr").glob(pattern)):
        digest.update(f"{archive} {archive.stat().st_mtime_ns} {archive.stat().st_size}\n".encode())
    sources = [root / "setup.py", root / "pyproject.toml"]
    sources += [path for path in root.joinpath("ext").rglob("*") if path.suffix in (".pyx", ".pxd", ".h", ".c")]
    sources += root.joinpath("feedhandler", "decode").rglob("*.py")
    for path in sorted(sources):
        digest.update(f"{path.relative_to(root)}\n".encode())
        digest.update(path.read_bytes())
    for path in sorted(root.joinpath("feedhandler").rglob("*.so")):
        digest.update(f"{path.relative_to(root)}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    print(build_inputs(ROOT))
