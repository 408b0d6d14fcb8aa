"""Recordings into columns and files: events, books, trades, bars, messages to Parquet, Arrow, DBN, CSV and NumPy."""

from feedhandler.convert.files import Stopped
from feedhandler.convert.loading import load
from feedhandler.convert.options import FORMATS, KINDS, Options
from feedhandler.convert.report import Report
from feedhandler.convert.run import convert

__all__ = ["FORMATS", "KINDS", "Options", "Report", "Stopped", "convert", "load"]
