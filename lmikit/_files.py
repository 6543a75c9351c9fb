"""The one way this package writes a file (whole or not at all) and reads one of limited size."""

import contextlib
import gzip
import io
import os
import pathlib
import stat
import tempfile
import zlib
from collections.abc import Iterator

from ._errors import InputError, LmikitError

__all__ = ["FREE", "RATIO", "read_bytes", "read_unpacked", "reading", "write_bytes"]

FREE, RATIO = 2**27, 64  # bytes that any file may unpack to; beyond, how many times its own length

_LONGEST = 600  # characters of a message, which may quote a file
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # absent on Windows


@contextlib.contextmanager
def reading(path: object, what: str) -> Iterator[None]:
    """Turn whatever a parser raises on a broken file into one InputError that names the file.

    The parsers of foreign bytes raise almost anything (key, index, value, memory, recursion and their
    own errors); all of them mean that the file cannot be read.
    """
    try:
        yield
    except InputError as error:
        if len(str(error)) <= _LONGEST:
            raise
        raise InputError(f"{str(error)[:_LONGEST]} ... (shortened)") from error
    except LmikitError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        why = "; the file is broken, or larger than this process may hold"
        if isinstance(error, OSError):
            why = ""
        elif isinstance(error, UnicodeDecodeError):
            why = "; it is no text file"
        raise InputError(
            f"{str(path)[:200]} cannot be read as {what} ({type(error).__name__}: {lines[0][:200]}){why}."
        ) from error


def read_bytes(path: str | os.PathLike[str], largest: int, what: str = "file") -> bytes:
    """The bytes of a regular file of at most `largest` bytes.

    Raises InputError where `path` is no path, cannot be read, is no regular file (a device
    such as /dev/zero has no end) or holds more.
    """
    try:
        # O_NONBLOCK: opening a pipe would otherwise wait for somebody to write into it.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{os.fspath(path)!r} is not a regular file; expected a {what}.")
            data = file.read(min(status.st_size, largest) + 1)  # `read` allocates what it is asked for
            if len(data) > status.st_size:  # it grew, or is one of /proc, whose size is stated as 0
                data += file.read(largest + 1 - len(data))
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{_shown(path)} cannot be read as a {what} ({_why(error)}).") from error
    if len(data) > largest:
        raise InputError(f"{os.fspath(path)!r} has more than {largest} bytes; expected a {what}.")
    return data


def read_unpacked(path: str | os.PathLike[str], largest: int, what: str = "file") -> bytes:
    """`read_bytes`, with a gzip file read through: what it holds counts, under the same limit.

    Raises InputError also where a gzip file is broken, or unpacks to more than 2**27 bytes that are
    more than 64 times its length.
    """
    data = read_bytes(path, largest, what)
    if data[:2] != b"\x1f\x8b":
        return data
    most = min(largest, max(FREE, RATIO * len(data)))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            unpacked = packed.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        raise InputError(f"{_shown(path)} is a broken gzip file ({error}); expected a {what}.") from error
    if len(unpacked) > most:
        raise InputError(f"{_shown(path)} unpacks to more than {most} bytes; expected a {what} of fewer.")
    return unpacked


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write under a temporary name beside `path`, then rename: readers see all of it or nothing.

    The mode is that of a new file under the process's umask. Raises InputError naming the path
    where that fails (no such folder, a full disk); no temporary file stays, also after Ctrl-C.
    """
    temporary = None
    try:
        target = pathlib.Path(path)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:64]}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _give_usual_mode(temporary)
        os.replace(temporary, target)
        temporary = None
    except (OSError, TypeError, ValueError) as error:
        raise InputError(
            f"{_shown(path)} cannot be written ({_why(error)}); "
            "pass a path in a folder that exists and has room."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _give_usual_mode(path: str) -> None:
    """The mode that `open` would have given: reading the umask means setting it, so a file asks instead."""
    probe = path + ".mode"
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        os.unlink(probe)
    os.chmod(path, mode)


def _shown(path: object) -> str:
    return repr(str(path) if isinstance(path, os.PathLike) else path)


def _why(error: Exception) -> str:
    """What the system said, without the name of the temporary file."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
