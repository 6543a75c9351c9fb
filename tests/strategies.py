"""The strategies of `lmikit.testing` under the name that the tests import."""

from lmikit.testing._networks import *  # noqa: F403
