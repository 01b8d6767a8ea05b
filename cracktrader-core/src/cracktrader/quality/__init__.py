"""Quality: checks, repairs, the pipeline that runs them, and the report of what they saw."""

from cracktrader.quality.gaps import Gap
from cracktrader.quality.pipeline import validate
from cracktrader.quality.report import Finding, QualityReport, Quarantine
from cracktrader.quality.validation import CHECKS, Check, CheckInfo, CustomCheck, Validation, check

__all__ = [
    "CHECKS",
    "Check",
    "CheckInfo",
    "CustomCheck",
    "Finding",
    "Gap",
    "QualityReport",
    "Quarantine",
    "Validation",
    "check",
    "validate",
]
