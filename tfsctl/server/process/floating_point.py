"""How the processor computes with floating-point numbers, as TensorFlow sets it in its own threads."""

from __future__ import annotations

import ctypes
import platform

_WORDS = 8  # of 32 bits, of a fenv_t in glibc's bits/fenv.h: 32 bytes on x86-64, 8 on 64-bit ARM
_CONTROL = {  # where the control register is in it, and the bits that flush denormals to zero
    "x86_64": (7, 0x8040),  # MXCSR: FTZ for results, DAZ for operands
    "aarch64": (0, 1 << 24),  # FPCR: FZ for both
}


def flush_denormals() -> None:
    """Compute with zero instead of denormal numbers, in this thread and in those that it starts later.

    TensorFlow Serving runs models in threads of TensorFlow, which do so. Without this, a run in a thread of ours would
    give other results than one in a thread of TensorFlow, and takes many times as long if a model has denormal numbers.
    Does nothing on other processors.
    """
    place = _CONTROL.get(platform.machine())
    if place is None:
        return
    word, bits = place
    library, environment = ctypes.CDLL(None), (ctypes.c_uint32 * _WORDS)()
    library.fegetenv(environment)
    environment[word] |= bits
    library.fesetenv(environment)
