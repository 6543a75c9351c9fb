"""A proof is refused in a thread whose floating-point environment is not IEEE 754's default."""

import ctypes
import ctypes.util
import platform
import sys
import threading

import numpy as np
import pytest
from strategies import demo_network

from lmikit import NotCertified, Witness
from lmikit.certificates import Certificate, check, verify
from lmikit.certificates._float_environment import environment_fault, kernel_fault

DEMO = demo_network()
WITNESS = Witness("lipsdp", 45.126, ([8.998, 1.2238], [3.3376, 1.4248]))
X86_GLIBC = sys.platform == "linux" and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"
needs_x86_glibc = pytest.mark.skipif(not X86_GLIBC, reason="sets MXCSR through glibc's fesetenv on x86-64")

FLUSH_TO_ZERO, DENORMALS_ARE_ZERO = 1 << 15, 1 << 6
TONEAREST, DOWNWARD, UPWARD, TOWARD_ZERO = 0x000, 0x400, 0x800, 0xC00


def in_thread(prepare, action):
    """What `action` returns in a fresh thread whose environment `prepare` has changed."""
    result = []

    def run():
        prepare()
        try:
            result.append(action())
        except Exception as error:  # it belongs to the caller
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def set_mxcsr(bits):
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    environment = (ctypes.c_uint32 * 8)()  # glibc's fenv_t on x86-64; MXCSR is the last word
    assert libm.fegetenv(environment) == 0
    environment[7] |= bits
    assert libm.fesetenv(environment) == 0


def set_rounding(mode):
    assert ctypes.CDLL(ctypes.util.find_library("m")).fesetround(mode) == 0


PREPARATIONS = {
    "flush to zero": lambda: set_mxcsr(FLUSH_TO_ZERO),
    "denormals are zero": lambda: set_mxcsr(DENORMALS_ARE_ZERO),
    "both": lambda: set_mxcsr(FLUSH_TO_ZERO | DENORMALS_ARE_ZERO),
    "upward": lambda: set_rounding(UPWARD),
    "downward": lambda: set_rounding(DOWNWARD),
    "toward zero": lambda: set_rounding(TOWARD_ZERO),
}


def test_the_default_environment_is_fine():
    assert environment_fault() == ""
    assert in_thread(lambda: None, lambda: verify(DEMO, WITNESS).bound) == verify(DEMO, WITNESS).bound


@needs_x86_glibc
def test_nearest_is_fine():
    assert in_thread(lambda: set_rounding(TONEAREST), environment_fault) == ""


@needs_x86_glibc
@pytest.mark.parametrize("name", PREPARATIONS)
def test_verify_load_and_check_refuse(name, tmp_path):
    certificate = verify(DEMO, WITNESS)
    certificate.save(tmp_path / "c.json")
    prepare = PREPARATIONS[name]
    assert in_thread(prepare, environment_fault) != ""
    for repair in (True, False):
        refusal = in_thread(prepare, lambda: verify(DEMO, certificate.witness, repair=repair))  # noqa: B023
        assert isinstance(refusal, NotCertified)
        assert "floating-point environment" in str(refusal)
    assert isinstance(in_thread(prepare, lambda: Certificate.load(tmp_path / "c.json", DEMO)), NotCertified)
    for exact in (False, True):
        result = in_thread(prepare, lambda: check(certificate, DEMO, exact=exact))  # noqa: B023
        assert not result.ok
        assert "environment" in result.reason
    assert environment_fault() == ""  # this thread was not touched


def test_the_kernels_divide_by_diagonal_entries_only():
    assert kernel_fault() == ""


def test_kernels_that_invert_diagonal_blocks_are_found():
    def solve(triangle, b, **_):
        n = triangle.shape[0]
        x = b.copy()
        for start in range(0, n, 4):  # a block-inverting solve, as some accelerators have
            block = slice(start, min(start + 4, n))
            x[block] = np.linalg.inv(triangle[block, block]) @ (
                x[block] - triangle[block, :start] @ x[:start]
            )
        return x, 0

    assert "triangular" in kernel_fault(solve)
