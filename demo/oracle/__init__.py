"""The independent check: legacy tables by SQL against cidaas's users by HTTP. Imports nothing of `streams`.

report = await check(environment)                  one look
report = await await_equal(environment, seconds)   looks again until nothing is missing, stale or resurrected
"""

from demo.oracle.check import await_equal, check
from demo.oracle.report import OracleError, Report

__all__ = ["OracleError", "Report", "await_equal", "check"]
