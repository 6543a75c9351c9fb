"""What kind of network file some bytes are: their content decides, the name only where content cannot."""

import io
import os
import zipfile

from ._errors import InputError

__all__ = ["KINDS", "kind_of", "suffix_of"]

KINDS = {
    ".npz": "npz", ".mat": "mat", ".onnx": "onnx", ".nnet": "nnet", ".safetensors": "safetensors",
    ".h5": "keras", ".hdf5": "keras", ".keras": "keras",
    ".pt": "torch", ".pth": "torch", ".zip": "torch",
}  # fmt: skip

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_TORCH_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # after the two bytes of a pickle's protocol
_TF2ONNX = (
    "convert it where TensorFlow is, python -m tf2onnx.convert {} --output net.onnx, and load net.onnx; "
    "no code or graph of TensorFlow is run here"
)
_PACKED = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"(\xb5/\xfd": "zstandard", b"7z\xbc\xaf": "7z"}


def suffix_of(name: str) -> str:
    """The suffix in lower case, without a .gz after it."""
    stem, suffix = os.path.splitext(name)
    return (os.path.splitext(stem)[1] if suffix.lower() == ".gz" else suffix).lower()


def kind_of(name: str, data: bytes) -> str:
    """One of `KINDS`'s values for a file of this name that holds `data` (unpacked).

    Raises InputError with what to do for files of other tools and for what is no network at all.
    """
    suffix = suffix_of(name)
    _refuse_foreign(name, suffix, data)
    if data[:4] == b"PK\x03\x04":
        return _of_archive(data, KINDS.get(suffix, ""))
    if data[:8] == _HDF5:
        return "keras"
    if data[:6] == b"MATLAB":
        return "mat"
    if data[:2] in _PICKLES:
        return "torch"
    if _is_safetensors(data):
        return "safetensors"
    if data[:1] == b"\x08" and data[2:3] in (b"\x12", b"\x1a", b"\x3a"):
        return "onnx"  # ir_version, then a text or the graph
    if data[:2] == b"//":
        return "nnet"
    if suffix in KINDS:
        return KINDS[suffix]
    raise InputError(f"{name[:200]} has suffix {suffix[:40]!r}; expected one of {', '.join(KINDS)}.")


def _of_archive(data: bytes, otherwise: str) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except Exception:  # a broken archive: the reader of its suffix says so
        return otherwise or "npz"
    if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
        return "keras"
    if "policy.pth" in names or any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return otherwise or "npz"


def _is_safetensors(data: bytes) -> bool:
    """A length of 8 bytes and a JSON text of that length."""
    length = int.from_bytes(data[:8], "little")
    return data[8:9] == b"{" and 2 <= length <= len(data) - 8 and data[8 : 8 + length].rstrip()[-1:] == b"}"


def _refuse_foreign(name: str, suffix: str, data: bytes) -> None:
    shown = name[:200]
    if data[4:8] == b"TFL3":
        raise InputError(f"{shown} is a TensorFlow Lite model; {_TF2ONNX.format('--tflite ' + shown)}.")
    saved = data[:1] == b"\x08" and data[2:3] == b"\x12" and _payload(data, 3) == b"\n"
    if (saved and suffix != ".onnx") or suffix == ".pb":
        flag = "--saved-model FOLDER" if saved else f"--graphdef {shown} --inputs X:0 --outputs Y:0"
        raise InputError(f"{shown} is a TensorFlow graph; {_TF2ONNX.format(flag)}.")
    packed = next((tool for magic, tool in _PACKED.items() if data.startswith(magic)), None)
    if packed is not None:
        raise InputError(
            f"{shown} is packed with {packed}; expected the file itself, or one packed with gzip."
        )
    torch = data[2:15] == _TORCH_LEGACY or suffix in (".pt", ".pth", ".bin", ".ckpt", ".model")
    if suffix in (".pkl", ".pickle", ".joblib") or (data[:2] in _PICKLES and not torch):
        raise InputError(
            f"{shown} holds pickled objects, whose reading runs code of the file; write the network where "
            "its objects are: lmikit.adapters.from_sklearn(model).save('net.npz') for scikit-learn "
            "(and alike), torch.save(model.state_dict(), 'net.pt') for torch."
        )


def _payload(data: bytes, start: int) -> bytes:
    """The first byte of a protobuf field whose length begins at `start`."""
    while start < min(len(data), 13) and data[start] & 0x80:
        start += 1
    return data[start + 1 : start + 2]
