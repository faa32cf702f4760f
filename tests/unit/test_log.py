"""What the log looks like to a program that reads it."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging
import structlog
from dbos._logger import init_logger
from longtake.log import set_up
from longtake.workflows.client import quieten
set_up("json")
quieten()
init_logger()
structlog.get_logger("longtake.worker").info("step", step="splice")
logging.getLogger("dbos").warning("the database is %s", "away")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("somebody.elses").exception("a fault")
"""


def test_each_line_is_json_whoever_wrote_it() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    step, warning, fault = map(json.loads, ran.stderr.splitlines())
    assert step.items() >= {"event": "step", "level": "info", "step": "splice"}.items()
    assert warning.items() >= {"event": "the database is away", "level": "warning", "logger": "dbos"}.items()
    assert fault["logger"] == "somebody.elses"
    assert "ZeroDivisionError" in fault["exception"]
