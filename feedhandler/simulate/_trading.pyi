from typing_extensions import disjoint_base

from feedhandler.simulate._feed import BlockSource

@disjoint_base
class TradingFloor(BlockSource):
    """What an Exchange stands on; made by it alone."""
