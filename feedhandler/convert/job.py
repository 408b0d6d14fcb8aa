"""One conversion, in one process: a recording through the handler into a sink, reading and writing side by side.

recording ─► handler ─► collector ═ blocks, two at most ═► sink ─► files
           this thread, no GIL                            another thread
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedhandler.convert._books import BarCollector, BookCollector
from feedhandler.convert._collector import Collector, EventCollector
from feedhandler.convert._messages import MessageCollector
from feedhandler.convert.columns import SIZE_EXPONENT, Block, Names
from feedhandler.convert.files import Sink, Stopped
from feedhandler.convert.report import Report
from feedhandler.decode import protocol
from feedhandler.handler import Handler, open_recording, play
from feedhandler.news import complaints
from feedhandler.recording import Recording, Window

if TYPE_CHECKING:
    from feedhandler.convert.options import Options

BLOCKS_WAITING = 2
DEPTH = 10  # of books that nobody asked for: the hot path's own
RING_EVENTS = 1024  # nobody attaches: a ring that stays in the cache
Progress = Callable[[int], None]


class Pump:
    """Blocks into a sink, on a thread of its own: at most two wait, then the one who brings them does."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(BLOCKS_WAITING)
        self._error: BaseException | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name="feedhandler-convert", daemon=True)
        self._thread.start()

    def put(self, write: Callable[[], None]) -> None:
        """Hand over the writing of a block. Raises what the sink has raised."""
        self._check()
        self._waiting.put(write)

    def finish(self) -> None:
        """Wait until all is written. Raises what the sink has raised."""
        self.stop()
        self._check()

    def stop(self) -> None:
        """End the thread, after what waits. Stopping twice is harmless."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def cancel(self) -> None:
        """End the thread after the block that it is at; those that wait are dropped."""
        self._cancelled = True
        self.stop()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (write := self._waiting.get()) is not None:
            if self._error is None and not self._cancelled:
                try:
                    write()
                except BaseException as error:
                    self._error = error
            del write  # its block is free before the next one is waited for


def open_inputs(inputs: Sequence[str | Path], options: Options) -> Handler:
    """A handler that plays the inputs, merged in time order, not yet started.

    It begins at the beginning, whatever the rows asked for: a book is the sum of all that came before.
    """
    recording = Recording(*inputs, protocol=options.protocol)
    sizes: dict[str, Any] = {"ring_events": RING_EVENTS, "orders": options.orders, "instruments": options.instruments}
    depth = options.depth if options.kind == "book" else DEPTH
    window = Window(end=options.end) if options.end is not None and recording.first_ts else Window()
    return open_recording(recording, window, day=options.day, depth=depth, **sizes)


def collector(options: Options, handler: Handler, sink: Callable[[Block], Any]) -> Collector:
    """The collector of a kind of rows."""
    common: dict[str, Any] = {"symbols": options.symbols, "start": options.start, "end": options.end}
    common["rows"] = options.rows
    sampled, segment = options.sampled, handler.segment
    if options.kind == "book":
        return BookCollector(
            sink,
            segment,
            depth=options.depth,
            count=sampled.count,
            step=sampled.step,
            fill=options.fill,
            by_event=options.dbn > 0,
            **common,
        )
    if options.kind == "bars":
        return BarCollector(sink, segment, step=sampled.step, fill=options.fill, **common)
    if options.kind == "messages":
        del common["symbols"]  # what a message is about is known where its fields are read
        return MessageCollector(sink, segment, handler.decoders, **common)
    return EventCollector(sink, segment, trades=options.kind == "trades", **common)


def convert_one(
    inputs: Sequence[str | Path],
    make_sink: Callable[[Names, Handler], Sink],
    options: Options,
    *,
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Play `inputs` into the sink that `make_sink` makes; the sink's files appear whole at the end, or not at all.

    `progress` is called now and then with the bytes read so far; `stopping` is asked as often: True raises Stopped.
    Damage in the middle of an input is a note: all that was whole before it has been converted.
    """
    begin = time.perf_counter()
    report = Report([str(path) for path in inputs])
    names = Names()
    with open_inputs(inputs, options) as handler, contextlib.ExitStack() as stack:
        report.read = size_of(inputs)
        names.channels = [channel.name for channel in handler.config.channels]
        if any(protocol(channel.protocol).text is not None for channel in handler.config.channels):
            names.size_exponent = SIZE_EXPONENT
        sink = make_sink(names, handler)
        stack.callback(sink.abort)
        sink.stopping = stopping
        pump = Pump()
        stack.callback(pump.cancel)

        segment = handler.segment  # and not the handler: its shard has what calls put(), and must not keep itself alive

        def put(block: Block) -> None:
            if stopping():  # a slow format has many blocks between two looks at the input
                raise Stopped
            names.update(segment)
            pump.put(sink.prepare(names.in_one_unit(block)))

        collects = collector(options, handler, put)
        handler.shard.watch(collects)

        def look(offset: int) -> None:
            collects.check()
            if stopping():
                raise Stopped
            if progress is not None:
                progress(offset)

        damage = play(handler, look)
        collects.finish()
        pump.finish()
        report.files = sink.close()
        stack.pop_all()
        report.messages = sum(handler.types.values())
        report.events = collects.events
        report.rows = sum(file.rows for file in report.files) if report.files else collects.total
        report.stepped_back, report.first_valid = collects.stepped_back, collects.first_valid
        if broken := getattr(collects, "broken", 0):
            report.notes.append(f"{broken:,} trades were taken back later; bars have them, --kind trades says which")
        report.count(handler.segment)
        names.update(handler.segment)
        known = {f"{symbol}@{venue}" for symbol, venue in names.by_index} | {symbol for symbol, _ in names.by_index}
        for symbol in options.symbols or ():
            if symbol not in known:
                report.notes.append(
                    f"there is no {symbol!r} among the {names.used - 1:,} instruments of {report.inputs[0]}"
                )
        if names.unfit:
            report.notes.append(f"{names.unfit:,} prices do not fit int64 in 1e-9, and are nulls")
        if names.unfit_sizes:
            report.notes.append(
                f"{names.unfit_sizes:,} sizes do not fit uint64 in 1e{names.size_exponent}, and are nulls"
            )
        report.notes += complaints(handler.segment) + list(sink.notes)
        if damage is not None:
            report.notes.append(f"damaged: {damage}; everything before that was converted")
    report.written = sum(file.bytes for file in report.files)
    report.seconds = time.perf_counter() - begin
    return report


def size_of(inputs: Sequence[str | Path]) -> int:
    """Bytes of the inputs on the disk."""
    return Recording(*inputs).size
