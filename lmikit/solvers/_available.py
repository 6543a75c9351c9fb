"""What is installed, licensed and ready here."""

import dataclasses
import importlib
import inspect

from ._base import AbstractSolver

__all__ = ["SolverInfo", "available", "concrete_solvers"]


@dataclasses.dataclass(frozen=True)
class SolverInfo:
    """One row of the table of solvers; `ready` means that `solve` can be called here."""

    name: str
    installed: bool
    version: str | None
    licensed: bool
    ready: bool
    extra: str  # pip install 'lmikit[extra]'; "" when it comes with lmikit
    note: str  # what to do where it is not ready


def concrete_solvers() -> tuple[type[AbstractSolver], ...]:
    """Every solver class that `lmikit.solvers` names, in alphabetical order."""
    room = importlib.import_module(__package__ or "lmikit.solvers")
    found = [getattr(room, name) for name in sorted(room.__all__)]
    return tuple(
        item
        for item in found
        if inspect.isclass(item) and issubclass(item, AbstractSolver) and not inspect.isabstract(item)
    )


def available() -> tuple[SolverInfo, ...]:
    """The table of solvers; looks for modules and licences now, and imports only what needs a licence."""
    return tuple(_info(solver) for solver in concrete_solvers())


def _info(solver: type[AbstractSolver]) -> SolverInfo:
    installed = solver.installed()
    licensed = installed and solver.licensed()
    note = "" if licensed else "no licence found" if installed else f"pip install 'lmikit[{solver.extra}]'"
    return SolverInfo(
        name=solver.__name__,
        installed=installed,
        version=solver.version() if installed else None,
        licensed=licensed,
        ready=installed and licensed,
        extra=solver.extra,
        note=note,
    )
