"""A protocol's table into a Cython decoder, at build time."""

from pathlib import Path


def render_all(target: Path) -> None:
    """Write one decoder per protocol folder below `target`; a file is written only when its text changed."""
