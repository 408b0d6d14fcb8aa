"""Kernel, Python, packages."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from feedhandler.doctor.findings import Host, Row


def system(host: Host) -> Iterator[Row]:
    """Kernel, Python, packages."""
    kernel = host.text("proc/sys/kernel/osrelease") or platform.release()
    linux = sys.platform == "linux"
    yield Row("system", "kernel", "yes" if linux else "no", f"{platform.system()} {kernel} {platform.machine()}")
    python = platform.python_version()
    yield Row("system", "python", "yes" if sys.version_info >= (3, 11) else "no", f"{python} ({sys.executable})")
    for name in ("feedhandler", "numpy", "zstandard", "typer", "rich"):
        try:
            yield Row("system", name, "yes", metadata.version(name))
        except metadata.PackageNotFoundError:
            here = name == "feedhandler"
            found = "run from its source tree, not installed" if here else "not installed"
            yield Row("system", name, "yes" if here else "no", found, "" if here else f"pip install {name}")
