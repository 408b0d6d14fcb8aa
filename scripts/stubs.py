"""Checks the hand-kept stub of every compiled module against the module itself (mypy.stubtest)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def compiled_modules() -> Iterator[str]:
    """Every compiled module written by hand; rendered decoders add nothing to the stub of their base class."""
    root = ROOT / "ext"
    for source in sorted(root.rglob("*.pyx")):
        yield ".".join(source.relative_to(root).with_suffix("").parts)


def main() -> int:
    modules = list(compiled_modules())
    absent = [m for m in modules if not ROOT.joinpath(*m.split(".")).with_suffix(".pyi").exists()]
    for module in absent:
        print(f"{module} has no stub: write {module.replace('.', '/')}.pyi", file=sys.stderr)
    present = [m for m in modules if m not in absent]
    allowlist = ROOT / "scripts" / "stubtest-allowlist.txt"
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", "--allowlist", str(allowlist)]
    command += [
        "--ignore-unused-allowlist",
        "--ignore-disjoint-bases",
        "--mypy-config-file",
        str(ROOT / "pyproject.toml"),
        *present,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    checked = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode if present else 0
    return int(bool(absent) or checked != 0)


if __name__ == "__main__":
    sys.exit(main())
