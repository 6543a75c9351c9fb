"""`certify_many`: many networks on any `concurrent.futures.Executor`, and what is left if a worker dies."""

from ._certify import certify_many
from ._job import Job, JobResult

__all__ = ["Job", "JobResult", "certify_many"]
