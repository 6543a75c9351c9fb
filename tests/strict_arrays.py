"""A host double of CuPy, as strict as it is: `StrictModule` is an array module on NumPy for tests.

Its arrays never become NumPy arrays by themselves and do not mix with them; reductions give arrays of
dimension 0; only names exist that CuPy has (`cupy_names.txt`, from CuPy 14.2). Host arrays may index, as
there. Where CuPy is more lenient (NumPy's functions on its arrays), this is not.
"""

import operator
import pathlib
import types

import numpy as np
import scipy.sparse as sp

from lmikit._arrays import ArrayModule, array_module

NAMES = frozenset((pathlib.Path(__file__).parent / "cupy_names.txt").read_text(encoding="utf-8").split())
SCALARS = (int, float, complex, np.generic)
CREATORS = {"zeros", "ones", "empty", "full", "eye", "identity", "arange", "linspace", "fft.fftfreq", "tri"}
CREATORS |= {"finfo", "iinfo", "dtype", "promote_types", "result_type"}


def host(value, where):
    """The NumPy value behind device arrays and scalars; anything else is refused."""
    if isinstance(value, StrictArray):
        return value._a
    if value is None or isinstance(value, (*SCALARS, str, slice, np.dtype, type, types.EllipsisType)):
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(host(item, where) for item in value)
    raise TypeError(f"{where}: unsupported type {type(value)}")


def index(value):
    if isinstance(value, tuple):
        return tuple(index(item) for item in value)
    return value._a if isinstance(value, StrictArray) else value


def device(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return StrictArray(np.asarray(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(device, value))
    return type(value)(map(device, value)) if isinstance(value, (list, tuple)) else value


class StrictArray:
    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, a):
        self._a = a

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed; use ArrayModule.to_numpy")

    def __getattr__(self, name):
        if f"ndarray.{name}" not in NAMES:
            raise AttributeError(f"arrays of CuPy have no {name!r}")
        found = getattr(self._a, name)
        if not callable(found):
            return device(found) if isinstance(found, np.ndarray) else found

        def method(*args, **kwargs):
            given = [host(a, name) for a in args]
            return device(found(*given, **{k: host(v, name) for k, v in kwargs.items()}))

        return method

    def __setattr__(self, name, value):
        if name == "_a":
            object.__setattr__(self, name, value)
        elif name == "shape":
            self._a.shape = value
        else:
            raise AttributeError(f"arrays have no {name!r} to set")

    def get(self):
        return self._a.copy()

    def __getitem__(self, key):
        return device(self._a[index(key)])

    def __setitem__(self, key, value):
        self._a[index(key)] = host(value, "assignment")

    def __iter__(self):
        return (device(item) for item in self._a)

    def __len__(self):
        return len(self._a)

    def __repr__(self):
        return f"strict {self._a!r}"


def _operation(name, function):
    def apply(self, other):
        return device(function(self._a, host(other, name)))

    def reflected(self, other):
        return device(function(host(other, name), self._a))

    def in_place(self, other):
        self._a = getattr(operator, f"i{name.strip('_')}")(self._a, host(other, name))
        return self

    return apply, reflected, in_place


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    _made = _operation(_name, getattr(operator, _name))
    for _prefix, _method in zip(("", "r", "i"), _made, strict=True):
        setattr(StrictArray, f"__{_prefix}{_name}__", _method)
for _name in ("and_", "or_", "xor"):
    _made = _operation(_name, getattr(operator, _name))
    for _prefix, _method in zip(("", "r", "i"), _made, strict=True):
        setattr(StrictArray, f"__{_prefix}{_name.strip('_')}__", _method)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(StrictArray, f"__{_name}__", _operation(_name, getattr(operator, _name))[0])


def _unary(function):
    return lambda self: device(function(self._a))


def _scalar(kind):
    return lambda self: kind(self._a)


for _name in ("neg", "abs", "invert", "pos"):
    setattr(StrictArray, f"__{_name}__", _unary(getattr(operator, _name)))
for _kind in (float, int, bool, complex, operator.index):
    setattr(StrictArray, f"__{_kind.__name__}__", _scalar(_kind))


class _Namespace:
    """NumPy with the names of CuPy, on device arrays."""

    def __init__(self, base, path):
        self._base, self._path = base, path

    def __getattr__(self, name):
        full = f"{self._path}{name}"
        if full not in NAMES:
            raise AttributeError(f"CuPy has no {full}")
        found = getattr(self._base, name)
        if isinstance(found, types.ModuleType):
            return _Namespace(found, f"{full}.")
        if isinstance(found, type) or not callable(found):
            return found
        return _function(found, full)


def _function(found, full):
    def call(*args, **kwargs):
        if full in ("asarray", "array", "ascontiguousarray", "asfortranarray"):
            given = args[0]
            if isinstance(given, (list, tuple)):
                given = [item._a if isinstance(item, StrictArray) else item for item in given]
            given = given._a if isinstance(given, StrictArray) else given
            fresh = isinstance(args[0], np.ndarray)  # host data is copied
            result = found(given, *args[1:], **kwargs)
            return StrictArray(result.copy() if fresh else result)
        held = _devices(args) or _devices(tuple(kwargs.values()))
        if not held and full not in CREATORS:
            raise TypeError(f"{full}: expected an array of the device, got {[type(a) for a in args]}")
        return device(found(*(host(a, full) for a in args), **{k: host(v, full) for k, v in kwargs.items()}))

    return call


def _devices(values):
    return any(
        isinstance(v, StrictArray) or (isinstance(v, (list, tuple)) and _devices(tuple(v))) for v in values
    )


class StrictSparse:
    """Compressed rows: products with arrays of the device, and what `ArrayModule` reads."""

    def __init__(self, matrix):
        self._m = sp.csr_matrix(matrix)
        self.shape, self.dtype, self.nnz = self._m.shape, self._m.dtype, self._m.nnz

    @property
    def T(self):
        return StrictSparse(self._m.T)

    @property
    def data(self):
        return StrictArray(self._m.data)

    def tocsr(self):
        return self

    def __matmul__(self, other):
        if not isinstance(other, StrictArray):
            raise TypeError(f"sparse product with {type(other)}")
        return StrictArray(np.asarray(self._m @ other._a))


class StrictModule(ArrayModule):
    """`ArrayModule` on strict arrays; each kernel is NumPy's, given device arrays only."""

    name = "strict"

    @property
    def xp(self):
        return _Namespace(np, "")

    def asarray(self, values, dtype=np.float64):
        return self.xp.asarray(values, dtype=dtype)

    def to_numpy(self, values):
        return values.get() if isinstance(values, StrictArray) else np.asarray(values)

    def sparse(self, matrix):
        return StrictSparse(matrix)

    def add_gram(self, matrix, weights, out):
        array_module().add_gram(sp.csr_array(matrix._m), weights._a, out._a)

    def add_at(self, a, index, values):
        array_module().add_at(a._a, tuple(i._a for i in index), host(values, "add_at"))


def _kernel(name):
    def call(self, *args, **kwargs):
        if not all(isinstance(a, StrictArray) for a in args):
            raise TypeError(f"{name} got {[type(a) for a in args]}")
        return device(getattr(array_module(), name)(*(a._a for a in args), **kwargs))

    return call


for _name in (
    "product", "less_gram", "cholesky", "inverse_from_cholesky", "cholesky_solve", "solve_triangular",
    "cholesky_in_place", "solve_in_place_factor", "eigvalsh",
):  # fmt: skip
    setattr(StrictModule, _name, _kernel(_name))


class _Entry:
    name = "strict"

    @staticmethod
    def load():
        return StrictModule


def registered(monkeypatch):
    """Makes array_module("strict") the double, as an installed package would."""
    import importlib.metadata

    real = importlib.metadata.entry_points

    def entry_points(**selection):
        found = real(**selection)
        return [*found, _Entry] if selection.get("group") == "lmikit.array_modules" else found

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
