from typing import Any

import numpy as np

EVENT: np.dtype[Any]
LEVEL: np.dtype[Any]
BOOK: np.dtype[Any]
LAST_TRADE: np.dtype[Any]
VOLUME: np.dtype[Any]
INSTRUMENT: np.dtype[Any]
CHANNEL: np.dtype[Any]
LINE: np.dtype[Any]
PART: np.dtype[Any]
RING: np.dtype[Any]
HISTOGRAM: np.dtype[Any]
HEADER: np.dtype[Any]
RECORDS: dict[str, np.dtype[Any]]
LAYOUT_HASH: int
CONSTANTS: dict[str, int]
