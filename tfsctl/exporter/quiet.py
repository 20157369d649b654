"""While a model is exported, keep TensorFlow's own log lines off the terminal, and all but the answer off stdout.

TensorFlow's C++ code writes to file descriptor 2 whatever Python thinks of it, some of it before any setting is read.
So that descriptor leads to a scratch file meanwhile, from which all lines but TensorFlow's are passed on: a `tf.print`,
or the words of a program that the user's file runs. What Python code prints reaches the terminal directly.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import IO

_NOISE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ \S+:\d+\] "  # absl: I0000 00:00:1795340929.595180    4074 port.cc:153]
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "  # TensorFlow: 2026-11-22 09:48:50.516770: I tensorflow/core/
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions: "
)
_NOTHING = re.compile(rb"(?!)")
_NOISY_PACKAGES = r"(tensorflow|keras|absl|google\.protobuf|h5py)(\.|$)"
_INTERVAL_S = 0.1


@contextlib.contextmanager
def tensorflow_noise_hidden(*, unless: bool = False) -> Iterator[None]:
    """Within the block, lead stdout to stderr, and hide TensorFlow's log lines, banners and warnings `unless` told not to.

    Enter it before TensorFlow is imported.
    """
    with contextlib.ExitStack() as stack:
        if not unless:
            from absl import logging as absl_logging

            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            absl_logging.set_verbosity(absl_logging.ERROR)
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=_NOISY_PACKAGES)
        stack.enter_context(_descriptors(_NOISE if not unless else _NOTHING))
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


@contextlib.contextmanager
def _descriptors(noise: re.Pattern[bytes]) -> Iterator[None]:
    """Lead descriptor 1 to where 2 goes, and 2 through the filter; `sys.stderr` keeps its way to the terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    stdout, stderr = os.dup(1), os.dup(2)
    previous = sys.stderr
    if _descriptor(previous) == 2:  # otherwise something else takes what Python prints: a test, a notebook
        sys.stderr = os.fdopen(os.dup(stderr), "w", buffering=1, encoding=previous.encoding, errors=previous.errors)
    try:
        with _scratch_file() as scratch, _passing_on(scratch.fileno(), stderr, noise):
            os.dup2(stderr, 1)
            os.dup2(scratch.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(stdout, 1)
                os.dup2(stderr, 2)
    finally:
        sys.stderr = previous  # the other is not closed: a logger made meanwhile may hold it
        os.close(stdout)
        os.close(stderr)


def _scratch_file() -> IO[bytes]:
    """A file without a name: in memory where the system offers that, so that a full disk is no trouble."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("tfsctl-stderr"), "w+b")
    return tempfile.TemporaryFile()


def _descriptor(stream: IO[str]) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


@contextlib.contextmanager
def _passing_on(scratch: int, target: int, noise: re.Pattern[bytes]) -> Iterator[None]:
    """Until the block ends, copy what others append to the file `scratch` to `target`, all lines but `noise`."""
    done = threading.Event()
    clear = b"\r\x1b[2K" if os.isatty(target) else b""  # a spinner may stand on the line

    def pass_on() -> None:
        offset, waiting = 0, b""
        while True:
            last = done.wait(_INTERVAL_S)
            while block := os.pread(scratch, 1 << 16, offset):
                offset += len(block)
                *lines, waiting = (waiting + block).split(b"\n")
                _write(target, b"".join(clear + line + b"\n" for line in lines if not noise.match(line)))
            if last:
                _write(target, b"" if noise.match(waiting) else waiting)
                return

    thread = threading.Thread(target=pass_on, name="tfsctl-stderr", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads stderr any more
        while data:
            data = data[os.write(descriptor, data) :]
