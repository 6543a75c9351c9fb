"""lmikit: Lipschitz bounds of neural networks that are tight, fast and proven.

Names are looked up when they are first used (PEP 562), so that `import lmikit` reads no numerical
package: those of `_public` all at once, submodules such as `lmikit.training` one by one.
"""

import importlib
import logging
import pkgutil
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:  # what type checkers see; `__getattr__` gives the same when the program runs
    from . import adapters as adapters
    from . import attacks as attacks
    from . import certificates as certificates
    from . import claims as claims
    from . import control as control
    from . import formulations as formulations
    from . import graph as graph
    from . import intervals as intervals
    from . import lmi as lmi
    from . import maps as maps
    from . import margins as margins
    from . import methods as methods
    from . import network as network
    from . import nonlinear as nonlinear
    from . import plots as plots
    from . import proving as proving
    from . import reductions as reductions
    from . import reports as reports
    from . import rs_lmi as rs_lmi
    from . import sketching as sketching
    from . import solvers as solvers
    from . import systems as systems
    from . import testing as testing
    from . import torus as torus
    from . import training as training
    from ._public import *  # noqa: F403
else:
    _SUBMODULES = frozenset(
        m.name for m in pkgutil.iter_modules(globals()["__path__"]) if not m.name.startswith("_")
    )
    _NOT_LISTED = {"cli", "testing"}  # a program, and what needs the extra `testing`

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name == "__all__":
            return [*__dir__(), "__version__"]
        if not name.startswith("_"):
            public = vars(importlib.import_module(f"{__name__}._public"))
            if name in public:
                globals()[name] = public[name]
                return public[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        public = vars(importlib.import_module(f"{__name__}._public"))
        names = {name for name in public if not name.startswith("_")}
        return sorted(names | (_SUBMODULES - _NOT_LISTED))


logging.getLogger("lmikit").addHandler(logging.NullHandler())
