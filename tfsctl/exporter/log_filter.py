"""Hides TensorFlow's log lines during an export, and keeps stdout for the result.

TensorFlow's C++ code writes to file descriptor 2 directly, partly before it reads any setting. During an export that
descriptor is redirected to a temporary file. All lines except TensorFlow's are copied to the terminal, such as those of
`tf.print` or of a program that the user's file runs. Output of Python code goes to the terminal directly.
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

from tfsctl.core.json_strings import escape_controls

_NOISE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ \S+:\d+\] "  # absl: I0000 00:00:1795340929.595180    4074 port.cc:153]
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "  # TensorFlow: 2026-11-22 09:48:50.516770: I tensorflow/core/
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions: "
)
_NEVER = re.compile(rb"(?!)")
_NOISY_PACKAGES = r"(tensorflow|keras|absl|google\.protobuf|h5py)(\.|$)"
_INTERVAL_S = 0.1


@contextlib.contextmanager
def filter_tensorflow_logs(*, show_all: bool = False) -> Iterator[None]:
    """Redirect stdout to stderr and hide TensorFlow's log lines, banners and warnings; `show_all` shows them.

    Enter the block before TensorFlow is imported.
    """
    with contextlib.ExitStack() as stack:
        if not show_all:
            from absl import logging as absl_logging

            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            absl_logging.set_verbosity(absl_logging.ERROR)
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=_NOISY_PACKAGES)
        stack.enter_context(_redirected_descriptors(_NEVER if show_all else _NOISE))
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


@contextlib.contextmanager
def _redirected_descriptors(noise: re.Pattern[bytes]) -> Iterator[None]:
    """Redirect descriptor 1 to 2, and 2 through the filter. `sys.stderr` still writes to the terminal directly."""
    sys.stdout.flush()
    sys.stderr.flush()
    stdout, stderr = os.dup(1), os.dup(2)
    previous = sys.stderr
    if _descriptor_of(previous) == 2:  # otherwise a test or a notebook captures the output of Python code
        sys.stderr = os.fdopen(os.dup(stderr), "w", buffering=1, encoding=previous.encoding, errors=previous.errors)
    try:
        with _scratch_file() as scratch, _copy_lines(scratch.fileno(), stderr, noise):
            os.dup2(stderr, 1)
            os.dup2(scratch.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(stdout, 1)
                os.dup2(stderr, 2)
    finally:
        sys.stderr = previous  # the temporary stream stays open: a logger created in the block may hold it
        os.close(stdout)
        os.close(stderr)


def _scratch_file() -> IO[bytes]:
    """A temporary file without a name; in memory if possible, so that it works with a full disk."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("tfsctl-stderr"), "w+b")
    return tempfile.TemporaryFile()


def _descriptor_of(stream: IO[str]) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


@contextlib.contextmanager
def _copy_lines(scratch: int, target: int, noise: re.Pattern[bytes]) -> Iterator[None]:
    """During the block, copy the lines that are appended to the file `scratch` to `target`, except `noise`."""
    done = threading.Event()
    clear = b"\r\x1b[2K" if os.isatty(target) else b""  # erases a spinner on the line

    def copy_lines() -> None:
        offset, unfinished_line = 0, b""
        while True:
            last = done.wait(_INTERVAL_S)
            while block := os.pread(scratch, 1 << 16, offset):
                offset += len(block)
                *lines, unfinished_line = (unfinished_line + block).split(b"\n")
                _write(target, b"".join(clear + _escaped(line) + b"\n" for line in lines if not noise.match(line)))
            if last:
                _write(target, b"" if noise.match(unfinished_line) else _escaped(unfinished_line))
                return

    thread = threading.Thread(target=copy_lines, name="tfsctl-stderr", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _escaped(line: bytes) -> bytes:
    """A log line with its control characters escaped: a name from a model must not control the terminal."""
    return escape_controls(line.decode("utf-8", "surrogateescape")).encode()


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # stderr was closed
        while data:
            data = data[os.write(descriptor, data) :]
