"""What a machine may lack: told in a sentence where people work, a failure where nothing may be left out."""

import os
from typing import NoReturn


def required() -> bool:
    """Whether nothing may be left out: in CI, and with FEEDHANDLER_REQUIRE=1."""
    return os.environ.get("CI", "").lower() == "true" or os.environ.get("FEEDHANDLER_REQUIRE") == "1"


def unavailable(sentence: str) -> NoReturn:
    """Skip the test, saying what is missing and how to have it; fail it where it is `required`."""
    import pytest  # here: the guest of tests/guest imports this module, and has no seconds to spare for pytest

    if required():
        pytest.fail(f"required here (CI=true or FEEDHANDLER_REQUIRE=1): {sentence}")
    pytest.skip(sentence)
