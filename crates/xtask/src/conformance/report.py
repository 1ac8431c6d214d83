"""Tells what became of each test, one JSON object a line, as it happens: a run that is cut off keeps what it found."""

import json
import os
import unittest.mock  # noqa: F401 - some tests rely on a neighbour in another file to have imported it


def _tell(line):
    with open(os.environ["CONFORMANCE_REPORT"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _reason(report):
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr)


def pytest_collection_finish(session):
    if session.config.option.collectonly:
        for item in session.items:
            _tell({"name": item.nodeid})


def pytest_runtest_logstart(nodeid):
    _tell({"name": nodeid, "outcome": "begun"})


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        reason = "" if report.outcome == "passed" else _reason(report)
        _tell({"name": report.nodeid, "outcome": report.outcome, "reason": reason, "seconds": report.duration})
