"""Research on recordings: the events and books of a day in one process, in its order, with its times."""

from feedhandler.research.runs import Backtest, backtest

__all__ = ["Backtest", "backtest"]
