"""Runs of ``fairseq-train``: what a run is, its log, its record, and a queue of many.

* ``process.py``: a run, its folder, its lock and its process
* ``log.py``: what the log says
* ``record.py``: ``run.json``, what came of the run
* ``queue.py``: many runs, some at a time, with one progress bar
"""

from rxf.lab.runs.log import Log, last_error, read_log, updates_so_far
from rxf.lab.runs.process import Run, prepare, start
from rxf.lab.runs.queue import (
    processors,
    progress_bar,
    run_all,
    sigterm_is_ctrl_c,
    updates_done,
)
from rxf.lab.runs.record import Usage, finish, record_of, versions

__all__ = [
    "Log",
    "Run",
    "Usage",
    "finish",
    "last_error",
    "prepare",
    "processors",
    "progress_bar",
    "read_log",
    "record_of",
    "run_all",
    "sigterm_is_ctrl_c",
    "start",
    "updates_done",
    "updates_so_far",
    "versions",
]
