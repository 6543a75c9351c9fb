"""One network in one page: what it is, every method's proven bound, its data certified and attacked."""

from ._report import MethodResult, Report, report

__all__ = ["MethodResult", "Report", "report"]
