"""Where a WebSocket's texts spend their time in a handler, stage by stage: `feedhandler bench websocket`.

from feedhandler.stages import measure
report = measure(messages=20_000)
print(report.loads["heavy"].percentiles("JSON"))        # p25, p50, p99 in ns
"""

from feedhandler.stages.report import STAGES, Load, Report, measure

__all__ = ["STAGES", "Load", "Report", "measure"]
