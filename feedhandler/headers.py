"""Where the public .pxd files and C headers are, for strategies written in Cython."""

from pathlib import Path


def get_include() -> str:
    """The folder to give a build as both Cython's `include_path` and the compiler's `include_dirs`.

    It holds the `.pxd` files (`from feedhandler._records cimport Event`) and the C headers that they name, and is found
    the same way in a wheel, an editable install and a built checkout.
    """
    return str(Path(__file__).parent / "include")
