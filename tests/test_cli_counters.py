"""The counters' names are those of `_counters.pxd`, in its order."""

import re
from pathlib import Path

import numpy as np
import pytest

from feedhandler import counters, records

TEXT = (Path(__file__).parent.parent / "ext/feedhandler/_counters.pxd").read_text()


@pytest.mark.parametrize("prefix, table", [("CH", counters.CHANNEL), ("LN", counters.LINE)])
def test_every_counter_has_its_name(prefix: str, table: tuple[counters.Counter, ...]) -> None:
    declared = re.findall(rf"^    {prefix}_(\w+)", TEXT, re.MULTILINE)
    assert [counter.name for counter in table] == [name.lower() for name in declared]
    assert all(counter.unit and counter.meaning.endswith(".") for counter in table)


@pytest.mark.parametrize("dtype, table", [(records.CHANNEL, counters.CHANNEL), (records.LINE, counters.LINE)])
def test_a_record_by_name(dtype: np.dtype, table: tuple[counters.Counter, ...]) -> None:
    record = np.zeros(1, dtype)[0]
    record["counters"] = np.arange(len(record["counters"]))
    assert list(counters.by_name(table, record).items()) == [(c.name, i) for i, c in enumerate(table)]
