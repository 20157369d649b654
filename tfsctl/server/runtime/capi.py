"""TensorFlow's stable C API through ctypes: the only door to the runtime, without `import tensorflow`.

Functions: tensorflow/c/c_api.h and tf_tensor.h. `TF_SessionRun` and loading go through `ctypes.CDLL`, which releases
the GIL; calls too short to pay for that go through `ctypes.PyDLL`, which keeps it. Strings are 24-byte TF_TStrings.
"""

from __future__ import annotations

import ctypes as c
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import object_array
from tfsctl.core.protos import tensorflow_directory
from tfsctl.server.process.open_files import scratch_file
from tfsctl.server.status import Code, ServingError

_POINTER, _INT64 = c.c_void_p, c.c_int64
TSTRING_BYTES = 24
_STRING = 7  # DT_STRING
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class Buffer(c.Structure):
    """TF_Buffer."""

    _fields_ = (("data", _POINTER), ("length", c.c_size_t), ("deallocator", _POINTER))


class Output(c.Structure):
    """TF_Output: one end of an edge in the graph."""

    _fields_ = (("operation", _POINTER), ("index", c.c_int))


_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "TF_Version": (c.c_char_p, []),
    "TF_NewStatus": (_POINTER, []),
    "TF_GetCode": (c.c_int, [_POINTER]),
    "TF_SetStatus": (None, [_POINTER, c.c_int, c.c_char_p]),
    "TF_Message": (_POINTER, [_POINTER]),
    "TF_LoadLibrary": (_POINTER, [c.c_char_p, _POINTER]),
    "TF_NewSessionOptions": (_POINTER, []),
    "TF_SetConfig": (None, [_POINTER, c.c_char_p, c.c_size_t, _POINTER]),
    "TF_DeleteSessionOptions": (None, [_POINTER]),
    "TF_NewGraph": (_POINTER, []),
    "TF_DeleteGraph": (None, [_POINTER]),
    "TF_NewBuffer": (c.POINTER(Buffer), []),
    "TF_NewBufferFromString": (c.POINTER(Buffer), [c.c_char_p, c.c_size_t]),
    "TF_DeleteBuffer": (None, [c.POINTER(Buffer)]),
    "TF_LoadSessionFromSavedModel": (
        _POINTER,
        [
            _POINTER,
            c.POINTER(Buffer),
            c.c_char_p,
            c.POINTER(c.c_char_p),
            c.c_int,
            _POINTER,
            c.POINTER(Buffer),
            _POINTER,
        ],
    ),
    "TF_NewSession": (_POINTER, [_POINTER, _POINTER, _POINTER]),
    "TF_CloseSession": (None, [_POINTER, _POINTER]),
    "TF_DeleteSession": (None, [_POINTER, _POINTER]),
    "TF_GraphOperationByName": (_POINTER, [_POINTER, c.c_char_p]),
    "TF_GraphToGraphDef": (None, [_POINTER, c.POINTER(Buffer), _POINTER]),
    "TF_GraphGetOpDef": (None, [_POINTER, c.c_char_p, c.POINTER(Buffer), _POINTER]),
    "TF_OperationOpType": (c.c_char_p, [_POINTER]),
    "TF_OperationNumInputs": (c.c_int, [_POINTER]),
    "TF_OperationInput": (Output, [Output]),
    "TF_OperationToNodeDef": (None, [_POINTER, c.POINTER(Buffer), _POINTER]),
    "TF_NewOperation": (_POINTER, [_POINTER, c.c_char_p, c.c_char_p]),
    "TF_AddControlInput": (None, [_POINTER, _POINTER]),
    "TF_SetAttrValueProto": (None, [_POINTER, c.c_char_p, c.c_char_p, c.c_size_t, _POINTER]),
    "TF_AddInput": (None, [_POINTER, Output]),
    "TF_AddInputList": (None, [_POINTER, c.POINTER(Output), c.c_int]),
    "TF_FinishOperation": (_POINTER, [_POINTER, _POINTER]),
    "TF_AllocateTensor": (_POINTER, [c.c_int, c.POINTER(_INT64), c.c_int, c.c_size_t]),
    "TF_TensorData": (_POINTER, [_POINTER]),
    "TF_TensorByteSize": (c.c_size_t, [_POINTER]),
    "TF_TensorType": (c.c_int, [_POINTER]),
    "TF_NumDims": (c.c_int, [_POINTER]),
    "TF_Dim": (_INT64, [_POINTER, c.c_int]),
    "TF_DeleteTensor": (None, [_POINTER]),
    "TF_StringCopy": (None, [_POINTER, c.c_char_p, c.c_size_t]),
    "TF_StringGetDataPointer": (_POINTER, [_POINTER]),
    "TF_StringGetSize": (c.c_size_t, [_POINTER]),
    "TF_SessionRun": (
        None,
        [
            _POINTER,
            c.POINTER(Buffer),
            c.POINTER(Output),
            c.POINTER(_POINTER),
            c.c_int,
            c.POINTER(Output),
            c.POINTER(_POINTER),
            c.c_int,
            _POINTER,
            c.c_int,
            c.POINTER(Buffer),
            _POINTER,
        ],
    ),
}


@lru_cache(maxsize=None)
def _library(loader: type[c.CDLL]) -> c.CDLL:
    found = sorted(Path(tensorflow_directory()).glob("libtensorflow_cc.*"))
    if not found:
        raise ServingError(Code.FAILED_PRECONDITION, "the installed tensorflow package has no libtensorflow_cc")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    library = loader(str(found[0]))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def releasing() -> c.CDLL:
    """The library for calls that take long; other Python threads run meanwhile. The first use takes about 0.5 s."""
    return _library(c.CDLL)


def holding() -> c.CDLL:
    """The library for calls of well under a microsecond."""
    return _library(c.PyDLL)


def start_runtime(config: bytes = b"") -> None:
    """Load TensorFlow and let it set itself up, keeping what it says of CPUs and GPUs off stderr.

    Those lines come before any log level is heeded. Anything else printed meanwhile is passed on. The thread pools that
    all sessions share are made here, as a serialized ConfigProto has them; their threads are as nice as this one.
    """
    with scratch_file() as (said, _), _stderr_into(said.fileno()):
        library = releasing()
        graph, options = library.TF_NewGraph(), library.TF_NewSessionOptions()
        library.TF_SetConfig(options, config, len(config), status())
        session = library.TF_NewSession(graph, options, status())
        check()
        library.TF_CloseSession(session, status())
        library.TF_DeleteSession(session, status())
        library.TF_DeleteSessionOptions(options)
        library.TF_DeleteGraph(graph)


def load_library(path: str) -> None:
    """Make the operations and kernels of a shared library known to every model loaded from now on.

    Raises ServingError with TensorFlow's own code and message where there is no such library or it does not fit.
    """
    releasing().TF_LoadLibrary(path.encode(), status())
    check()


@contextmanager
def _stderr_into(descriptor: int) -> Iterator[None]:
    """Send file descriptor 2 elsewhere for a while, then pass on the lines that are not TensorFlow's greetings."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(descriptor), "rb") as said:
            for line in said:
                if not any(greeting in line for greeting in _GREETINGS):
                    with suppress(OSError):  # a full disk, a closed pipe
                        os.write(2, line)


_GREETINGS = (b"absl::InitializeLog()", b"oneDNN custom operations", b"cudart_stub.cc", b"cuda_platform.cc")
_thread = threading.local()


def status() -> int:
    """This thread's TF_Status."""
    if not hasattr(_thread, "status"):
        _thread.status = holding().TF_NewStatus()
    pointer: int = _thread.status
    return pointer


def check() -> None:
    """Raise what the last call on this thread's status reported, if it was not OK."""
    code = holding().TF_GetCode(status())
    if code:
        message = _message(status()).decode("utf-8", "replace")
        holding().TF_SetStatus(status(), 0, b"")  # not every function sets OK when all is well
        raise ServingError(Code(code) if code in Code._value2member_map_ else Code.UNKNOWN, message)


def _message(status: int) -> bytes:
    """The whole message of a TF_Status, which may contain NUL bytes. TF_Message's result does not tell its length.

    A TF_Status is a pointer to a reference count, a code and a std::string (absl/status/internal/status_internal.h).
    If the string found that way is not the one TF_Message returned, the message ends at the first NUL byte.
    """
    message: int = holding().TF_Message(status)
    representation = c.c_void_p.from_address(status).value or 0
    if representation and not representation % 4:
        string = representation + 2 * c.sizeof(c.c_int)
        data, length = c.c_void_p.from_address(string).value, c.c_size_t.from_address(string + c.sizeof(_POINTER)).value
        if data == message and length < _MAX_MESSAGE_BYTES and c.string_at(message + length, 1) == b"\0":
            return c.string_at(message, length)
    return c.string_at(message)


def written(function: Callable[..., None], *arguments: object) -> bytes:
    """What a function writes into a TF_Buffer, which it takes after these arguments and before a status."""
    buffer = holding().TF_NewBuffer()
    try:
        function(*arguments, buffer, status())
        check()
        return c.string_at(buffer.contents.data, buffer.contents.length)
    finally:
        holding().TF_DeleteBuffer(buffer)


def version() -> str:
    """The version of the TensorFlow library."""
    text: str = holding().TF_Version().decode()
    return text


def new_tensor(array: np.ndarray) -> int:
    """A TF_Tensor with a copy of the array; strings are object arrays of bytes. The caller deletes it."""
    library = holding()
    dtype = dtypes.from_numpy(array.dtype)
    shape = (_INT64 * array.ndim)(*array.shape)
    if dtype.number != _STRING:
        data = array if array.flags.c_contiguous else np.ascontiguousarray(array)
        tensor: int = library.TF_AllocateTensor(dtype.number, shape, array.ndim, data.nbytes)
        c.memmove(library.TF_TensorData(tensor), data.ctypes.data, data.nbytes)
        return tensor
    values: list[bytes] = array.ravel().tolist()
    size = TSTRING_BYTES * len(values)
    tensor = library.TF_AllocateTensor(_STRING, shape, array.ndim, size)
    at = library.TF_TensorData(tensor)
    c.memset(at, 0, size)  # an empty TF_TString is 24 zeros: what TF_StringInit makes of each
    copy = library.TF_StringCopy
    for value in values:
        copy(at, value, len(value))
        at += TSTRING_BYTES
    return tensor


def read_tensor(tensor: int) -> np.ndarray:
    """A copy of a TF_Tensor as an array. Raises UNIMPLEMENTED for dtypes that have no values (resource, variant)."""
    library = holding()
    number = library.TF_TensorType(tensor)
    dtype = dtypes.BY_NUMBER.get(number)
    if dtype is None:
        raise ServingError(Code.UNIMPLEMENTED, f"an output of dtype {dtypes.name_of(number)} cannot be sent")
    shape = tuple(library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor)))
    at = library.TF_TensorData(tensor)
    size = library.TF_TensorByteSize(tensor)
    if number != _STRING:
        values = np.frombuffer(c.string_at(at, size), dtype=dtype.numpy)
        return _reshaped(values, shape)
    strings = [
        c.string_at(library.TF_StringGetDataPointer(s), library.TF_StringGetSize(s))
        for s in range(at, at + size, TSTRING_BYTES)
    ]
    return _reshaped(object_array(strings), shape)


def _reshaped(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The values in a shape. Raises UNIMPLEMENTED for a shape that NumPy has no arrays of."""
    try:
        return values.reshape(shape)
    except ValueError as error:  # more dimensions, or a larger size in one of an empty array
        raise ServingError(Code.UNIMPLEMENTED, f"an output of shape {list(shape)} cannot be sent: {error}") from None


def tensor_bytes(arrays: Sequence[np.ndarray]) -> int:
    """The bytes that TensorFlow counts for these tensors (Tensor::TotalBytes): a string costs its TF_TString too."""
    size = 0
    for array in arrays:
        if array.dtype.hasobject:
            size += array.size * TSTRING_BYTES + sum(map(len, array.ravel().tolist()))
        else:
            size += array.nbytes
    return size
