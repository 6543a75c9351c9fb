"""The head's matrix in (w_1, .., w_H, s), where the arms of all frequencies meet.

Linear in its multipliers and d but for c G c, what eliminating the arms leaves; `rows` are those of its
neurons in the coordinates (root, v_1), v_1 what the images send to the first of them.
"""

import numpy as np

from ._model import TorusModel

__all__ = ["Root"]


class Root:
    """`first`: rows of the root that the arms are coupled to; `rest` holds mu of all neurons, then d."""

    def __init__(self, model: TorusModel) -> None:
        form = model.form
        assert form.head is not None
        self.outputs, self.first = form.graph.output_dim, form.head.width
        slopes = [form.slopes(k) for k in form.head_nodes]
        self.neurons = sum(len(a) for a, _ in slopes)
        self.order = self.neurons + self.outputs
        self.alpha = np.concatenate([np.zeros(0), *(a for a, _ in slopes)])
        self.beta = np.concatenate([np.zeros(0), *(b for _, b in slopes)])
        ends = np.cumsum([0, *(len(a) for a, _ in slopes), self.outputs])
        self._V, self._Y = np.zeros((self.neurons, self.order)), np.zeros((self.outputs, self.order))
        for index, linear in enumerate(form.head.maps):
            columns = slice(int(ends[index]), int(ends[index + 1]))
            if index + 1 < len(slopes):
                self._V[ends[index + 1] : ends[index + 2], columns] = linear.mid
            else:
                self._Y[:, columns] = linear.mid
        read = np.zeros((self.neurons, self.order + self.first))
        read[:, : self.order] = self._V
        if self.neurons:
            read[np.arange(self.first), self.order + np.arange(self.first)] = 1.0
        unit = np.eye(*read.shape)
        self.P, self.Q = (unit - a[:, None] * read for a in (self.alpha, self.beta))

    def coupling(self, rest: np.ndarray, unit: float = 1.0) -> np.ndarray:
        """c (r,): the arms are coupled by -c U; with unit 0 its linear part."""
        if not self.neurons:
            return np.full(self.outputs, unit)
        return np.asarray((self.alpha + self.beta)[: self.first] * rest[: self.first])

    def matrix(self, rest: np.ndarray, unit: float = 1.0) -> np.ndarray:
        """N_0; with unit 0 its linear part."""
        mu, n, o = rest[:-1], self.neurons, self.outputs
        N = self._V.T @ ((2.0 * self.alpha * self.beta * mu)[:, None] * self._V)
        N[np.diag_indices(self.order)] += np.concatenate([2.0 * mu, np.full(o, rest[-1])])
        side = ((self.alpha + self.beta) * mu)[:, None] * self._V
        N[:n] -= side
        N[:, :n] -= side.T
        N[n:] -= unit * self._Y
        N[:, n:] -= unit * self._Y.T
        return N
