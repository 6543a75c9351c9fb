"""Convolutional networks on a torus: images embedded so that zero padding becomes circular."""

from ._form import TorusForm, torus_form, torus_work
from ._witness import TorusWitness

__all__ = ["TorusForm", "TorusWitness", "torus_form", "torus_work"]
