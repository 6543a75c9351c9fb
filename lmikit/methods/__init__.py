"""What a user asks for: methods that propose witnesses."""

from ._base import AbstractMethod

__all__ = ["AbstractMethod"]
