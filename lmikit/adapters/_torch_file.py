"""torch's files as plain data: an own reader of the pickle inside, which calls nothing that the file names.

`torch.save` writes a zip archive with `data.pkl` and one member per storage, or (before 1.6) pickles one
after the other and the storages behind them; a TorchScript archive is of the first kind. A pickle names
functions and classes; here every name but those that put tensors together stands for an inert object.
"""

import dataclasses
import io
import pickle
import zipfile
from typing import Any

import numpy as np

from .._errors import InputError
from .._files import FREE, RATIO
from ._steps import size_of

__all__ = ["Foreign", "is_torch_archive", "read_torch"]

_LARGEST_PICKLE = 2**26  # bytes of data.pkl, which holds no numbers
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "u2",
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "u1",
}  # fmt: skip


class Foreign:
    """An object of the file that is neither a tensor nor a container; it does nothing and keeps its state."""

    name = ""
    entries: dict[Any, Any]

    def __new__(cls, *arguments: Any, **named: Any) -> "Foreign":
        made = super().__new__(cls)
        made.entries = {}
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Arguments are dropped: what matters comes as the state."""

    def __setstate__(self, state: Any) -> None:
        self.entries |= state if isinstance(state, dict) else {"": state}

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, value: Any) -> None:
        """Of a list's subclass; dropped."""

    extend = add = append


class _Dict(dict[Any, Any]):
    """An OrderedDict; the attributes that a state dict has beside its entries are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class _Kind:
    """The class of a storage."""

    dtype: str
    bfloat: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
    key: str
    kind: _Kind
    size: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Tensor:
    storage: Any
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Maker:
    """Stands for one of torch's functions that put a tensor together."""

    __slots__ = ("_which",)

    def __init__(self, which: str) -> None:
        self._which = which

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a function is given a state")

    def __call__(self, *arguments: Any) -> Any:
        if self._which == "tensor":
            storage, offset, shape, strides = arguments[:4]
            return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
        if self._which == "typed":  # function, type, arguments, state
            made = arguments[0] if isinstance(arguments[0], _Maker) else Foreign
            return made(*arguments[2])
        return arguments[0] if self._which in ("first", "parameter") else list(arguments[0])


_MAKERS = {
    ("torch._utils", "_rebuild_tensor"): "tensor",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_parameter"): "parameter",
    ("torch._utils", "_rebuild_parameter_with_state"): "parameter",
    ("torch._tensor", "_rebuild_from_type_v2"): "typed",
    ("torch.jit._pickle", "restore_type_tag"): "first",
    ("torch.jit._pickle", "build_intlist"): "list",
    ("torch.jit._pickle", "build_boollist"): "list",
    ("torch.jit._pickle", "build_doublelist"): "list",
    ("torch.jit._pickle", "build_tensorlist"): "list",
}


class _Unpickler(pickle._Unpickler):  # the one in Python: its memo is a dict
    """Names of the file stand for inert classes, except for the few that put tensors together.

    `kinds` remembers those of the storages, whose numbers may come later.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.kinds: dict[str, _Kind] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if (module, name) in _MAKERS:
            return _Maker(_MAKERS[module, name])
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _Kind(_DTYPES[name], name == "BFloat16Storage")
        return type("Foreign", (Foreign,), {"name": f"{module}.{name}"[:200]})

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage":
            if len(pid) > 5 and pid[5] is not None:
                raise ValueError("a storage is a view of another")
            kind = pid[1] if isinstance(pid[1], _Kind) else None
            if kind is None:
                return Foreign(*pid)
            self.kinds[str(pid[2])] = kind
            return _Storage(str(pid[2]), kind, int(pid[4]))
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":
            return pid[1]
        raise ValueError("a persistent object is no storage")


class _Storages:
    """The numbers of each storage, read once."""

    def __init__(self, parts: dict[str, bytes], order: str) -> None:
        self._parts, self._order = parts, order

    def array(self, where: str, tensor: _Tensor) -> Any:
        """A copy of the tensor; one that states more numbers than its storage holds is refused."""
        storage = tensor.storage
        if not isinstance(storage, _Storage):
            return Foreign(tensor)
        flat = np.frombuffer(self._parts[storage.key], self._order + storage.kind.dtype)
        shape, strides = tensor.shape, tensor.strides
        if len(shape) != len(strides) or min((*shape, *strides, tensor.offset), default=0) < 0:
            raise ValueError(f"{where} has the shape {shape} and the strides {strides}")
        last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if size_of(shape) > flat.size or (size_of(shape) and last >= flat.size):
            raise InputError(f"{where} has shape {shape}, which its storage does not fill.")
        if not size_of(shape):
            return np.zeros(shape, flat.dtype)
        steps = [s * flat.itemsize for s in strides]
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], shape, steps, writeable=False)
        values = np.array(view, dtype=view.dtype.newbyteorder("="))
        if storage.kind.bfloat:  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values


def is_torch_archive(names: list[str]) -> bool:
    """Whether a zip archive with these members is one of torch."""
    return any(name.rpartition("/")[2] == "data.pkl" for name in names)


def read_torch(data: bytes) -> Any:
    """What `torch.save` wrote: mappings, lists, numbers, arrays for tensors, `Foreign` for the rest.

    Raises InputError, ValueError and whatever a broken pickle or archive gives.
    """
    content, storages = _of_archive(data) if data[:2] == b"PK" else _of_stream(data)
    return _Resolver(storages).value("", content, 0)


class _Resolver:
    """Puts arrays in the place of tensors, each object once."""

    _DEEPEST, _MOST = 64, 2**20

    def __init__(self, storages: _Storages) -> None:
        self._storages = storages
        self._done: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no id is used twice

    def value(self, where: str, content: Any, depth: int) -> Any:
        if id(content) in self._done:
            return self._done[id(content)]
        if depth > self._DEEPEST or len(self._done) > self._MOST:
            raise ValueError("it is nested too deep, or holds too many objects")
        result = content
        if isinstance(content, _Tensor):
            result = self._storages.array(where or "a tensor", content)
        elif isinstance(content, dict):
            result = self._done[id(content)] = {}
            for key, value in content.items():
                result[key] = self.value(str(key)[:80], value, depth + 1)
        elif isinstance(content, (list, tuple)):
            result = [self.value(where, value, depth + 1) for value in content]
        elif isinstance(content, Foreign):
            self._done[id(content)] = content
            content.entries = {k: self.value(str(k)[:80], v, depth + 1) for k, v in content.entries.items()}
        self._done[id(content)] = result
        self._kept.append(content)
        return result


def _of_archive(data: bytes) -> tuple[Any, _Storages]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if sum(m.file_size for m in members.values()) > max(FREE, RATIO * len(data)):
            raise InputError("it unpacks to more than a file of its length may hold.")
        found = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
        if len(found) != 1 or len(members) != len(archive.infolist()):
            raise ValueError("it is no archive of torch")
        if members[found[0]].file_size > _LARGEST_PICKLE:
            raise ValueError("its description of the tensors is too long")
        root = found[0].removesuffix("data.pkl")
        content = _Unpickler(io.BytesIO(archive.read(found[0]))).load()
        order = archive.read(root + "byteorder") if root + "byteorder" in members else b"little"
        folder = root + "data/"
        parts = {n.removeprefix(folder): archive.read(n) for n in members if n.startswith(folder)}
    return content, _Storages(parts, "<" if order == b"little" else ">")


def _of_stream(data: bytes) -> tuple[Any, _Storages]:
    """The format before torch 1.6: magic, protocol, machine, content, keys, then the storages."""
    stream = io.BytesIO(data)
    magic, protocol, machine = (_Unpickler(stream).load() for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL or not isinstance(machine, dict):
        raise ValueError("it is no file of torch")
    unpickler = _Unpickler(stream)
    content = unpickler.load()
    keys = _Unpickler(stream).load()
    order = "<" if machine.get("little_endian", True) else ">"
    parts = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little" if order == "<" else "big")
        size = count * np.dtype(unpickler.kinds[str(key)].dtype).itemsize
        parts[str(key)] = stream.read(size)
        if len(parts[str(key)]) != size:
            raise ValueError("a storage is cut off")
    return content, _Storages(parts, order)
