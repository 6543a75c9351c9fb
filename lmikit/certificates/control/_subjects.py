"""What claims are about, and its matrices in either arithmetic, built from the exact parts."""

import hashlib
from typing import Any

import numpy as np

from ..._errors import InputError
from ...graph import Graph
from ...network import Network
from ...systems import Feedback, NetworkLoop, System
from ..point import point_digest
from ._arithmetic import AbstractArithmetic, Matrix
from ._walk import Neurons, steps_of

__all__ = ["family", "one", "realised", "subject_digest"]

Linear = System | Feedback


def one(subject: Any) -> Linear:
    """The one linear system that a claim is about; raises InputError."""
    if isinstance(subject, (System, Feedback)):
        return subject
    raise InputError(f"the subject is a {type(subject).__name__}; expected a System or a Feedback.")


def family(subject: Any) -> tuple[Linear, ...]:
    """The systems of a claim about several with one state, all with the same kind of time."""
    members = tuple(subject) if isinstance(subject, (tuple, list)) else (subject,)
    systems = tuple(one(s) for s in members)
    if not systems:
        raise InputError("no systems are given; expected at least one.")
    if len({(order(s), s.discrete) for s in systems}) != 1:
        raise InputError("the systems have different orders or kinds of time; expected one state space.")
    return systems


def order(system: Linear) -> int:
    """The number of states."""
    if isinstance(system, Feedback):
        return system.plant.states + system.controller.states
    return system.states


def sizes(system: Linear) -> tuple[int, int, int]:
    """(n, m, p)."""
    if isinstance(system, Feedback):
        return order(system), system.free_inputs.size, system.free_outputs.size
    return system.states, system.inputs, system.outputs


def subject_digest(subject: Any) -> str:
    """The SHA-256 that ties a certificate to what it is about."""
    if isinstance(subject, (tuple, list)):
        text = "lmikit-family 1 " + " ".join(subject_digest(s) for s in subject)
        return hashlib.sha256(text.encode("ascii")).hexdigest()
    if isinstance(subject, NetworkLoop):
        network = f"{subject.network.digest} {_values_digest(subject.network)}"
        text = f"lmikit-loop 1 {subject.plant.digest} {network} {subject.control} {subject.measured}"
        return hashlib.sha256(text.encode("ascii")).hexdigest()
    if isinstance(subject, Network):  # its own digest leaves out the biases
        text = f"lmikit-network 1 {subject.digest} {point_digest(subject)}"
        return hashlib.sha256(text.encode("ascii")).hexdigest()
    digest = getattr(subject, "digest", None)
    if not isinstance(digest, str):
        raise InputError(f"the subject is a {type(subject).__name__}; expected a system or a loop.")
    return digest


def _values_digest(network: Network | Graph) -> str:
    """SHA-256 over the values too: biases, activations with their parameters."""
    if isinstance(network, Network):
        return point_digest(network)
    sha = hashlib.sha256(b"lmikit-loop-graph-1\n")
    for step in steps_of(network):
        if isinstance(step, Neurons):
            sha.update(f"{step.activation.name} ".encode())
            for name, value in sorted(step.activation.parameters().items()):
                given = value if isinstance(value, str) else np.asarray(value, dtype="<f8").tobytes().hex()
                sha.update(f"{name}={given} ".encode())
        else:
            sha.update(np.ascontiguousarray(step.bias, dtype="<f8").tobytes().hex().encode())
        sha.update(b"\n")
    return sha.hexdigest()


def realised(ops: AbstractArithmetic[Matrix], system: Linear) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """(A, B, C, D), for a Feedback those of the closed loop."""
    if isinstance(system, System):
        return ops.of(system.A), ops.of(system.B), ops.of(system.C), ops.of(system.D)
    P, u = system.plant, list(system.control)
    w, z = system.free_inputs, system.free_outputs
    seen, direct = (ops.of(a) for a in system.measurement())
    Ak, Bk, Ck, Dk = (ops.of(a) for a in _arrays(system.controller))
    B, Dz = ops.of(P.B[:, u]), ops.of(P.D[z][:, u])
    A = ops.block([[ops.of(P.A) + B @ Dk @ seen, B @ Ck], [Bk @ seen, Ak]])
    top = ops.block([[ops.of(P.B[:, w]) + B @ Dk @ direct], [Bk @ direct]])
    out = ops.block([[ops.of(P.C[z]) + Dz @ Dk @ seen, Dz @ Ck]])
    return A, top, out, ops.of(P.D[z][:, w]) + Dz @ Dk @ direct


def _arrays(system: System) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return system.A, system.B, system.C, system.D
