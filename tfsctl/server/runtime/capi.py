"""TensorFlow's stable C API through ctypes, without `import tensorflow`. Look here for functions, tensors and errors.

Functions: tensorflow/c/c_api.h and tf_tensor.h. Long calls (loading, TF_SessionRun) use `gil_released()`, so that other
Python threads run meanwhile. Short calls use `gil_held()`: releasing the GIL would cost more than the call. Strings are
24-byte TF_TStrings.
"""

from __future__ import annotations

import ctypes as c
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import content_bytes, object_array, pieces
from tfsctl.core.protos import tensorflow_directory
from tfsctl.server.process import logs
from tfsctl.server.process.libc import libc
from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.process.open_files import scratch_file
from tfsctl.server.process.string_arrays import StringParts
from tfsctl.server.status import Code, ServingError

_POINTER, _INT64 = c.c_void_p, c.c_int64
TSTRING_BYTES = 24
_STRING = dtypes.STRING.number
_SMALL_BYTES, _LARGE_BYTES, _MAX_MESSAGE_BYTES, _PIECE_STRINGS = 8 * 1024, 512 * 1024, 64 * 1024 * 1024, 1024


class Buffer(c.Structure):
    """TF_Buffer."""

    _fields_ = (("data", _POINTER), ("length", c.c_size_t), ("deallocator", _POINTER))


class Output(c.Structure):
    """TF_Output: an operation and the index of one of its outputs."""

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
    "TF_OperationOutputType": (c.c_int, [Output]),
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
            _POINTER,  # addresses instead of arrays: converting those takes 1 us per run
            _POINTER,
            _POINTER,
            c.c_int,
            _POINTER,
            _POINTER,
            c.c_int,
            _POINTER,
            c.c_int,
            _POINTER,
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
    _load_lazily(str(found[0]))
    library = loader(str(found[0]))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _load_lazily(path: str) -> None:
    """Load a library whose functions are bound when they are first called.

    ctypes always has all of them bound at once, which takes 0.14 of the 0.33 s of CPU that TensorFlow takes to load. A
    library that is loaded already is not bound again. If it cannot be loaded, ctypes says why.
    """
    load = libc().dlopen
    load.restype, load.argtypes = _POINTER, [c.c_char_p, c.c_int]
    load(os.fsencode(path), os.RTLD_LAZY)


def gil_released() -> c.CDLL:
    """The library for long calls: other Python threads run during a call. The first use takes about 0.3 s."""
    return _library(c.CDLL)


@lru_cache(maxsize=None)
def gil_held() -> c.CDLL:
    """The library for calls that take less than a microsecond: no other Python thread runs during a call."""
    return _library(c.PyDLL)


def start_runtime(config: bytes = b"") -> None:
    """Load and initialize TensorFlow, and create the thread pools that all sessions share.

    `config` is a serialized ConfigProto. The pools' threads inherit the nice value of the calling thread. TensorFlow's
    lines about CPUs and GPUs are kept off stderr; no log level does that. Other output is passed on.
    """
    with scratch_file() as (output, _), _stderr_redirected(output.fileno()):
        library = gil_released()
        graph, options = library.TF_NewGraph(), library.TF_NewSessionOptions()
        library.TF_SetConfig(options, config, len(config), status())
        session = library.TF_NewSession(graph, options, status())
        check()
        library.TF_CloseSession(session, status())
        library.TF_DeleteSession(session, status())
        library.TF_DeleteSessionOptions(options)
        library.TF_DeleteGraph(graph)


def load_library(path: str) -> None:
    """Register the operations and kernels of a shared library for all models that are loaded later.

    Raises ServingError with TensorFlow's code and message if the library does not exist or does not fit.
    """
    gil_released().TF_LoadLibrary(path.encode(), status())
    check()


@contextmanager
def _stderr_redirected(descriptor: int) -> Iterator[None]:
    """Redirect file descriptor 2, and afterwards pass on all lines but TensorFlow's start-up messages.

    The lines, which may be the log's own, go through the log's thread: stderr may be a pipe that nobody reads.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(descriptor), "rb") as output:
            for line in output:
                if not any(known in line for known in _STARTUP_MESSAGES):
                    logs.forward(line.decode("utf-8", "backslashreplace").rstrip("\n"))


_STARTUP_MESSAGES = (b"absl::InitializeLog()", b"oneDNN custom operations", b"cudart_stub.cc", b"cuda_platform.cc")
_thread = threading.local()


def status() -> int:
    """This thread's TF_Status."""
    try:
        pointer: int = _thread.status
    except AttributeError:
        pointer = _thread.status = gil_held().TF_NewStatus()
    return pointer


def check() -> None:
    """Raise ServingError if the last call that used this thread's status failed."""
    code = gil_held().TF_GetCode(status())
    if code:
        message = _message(status()).decode("utf-8", "surrogateescape")
        gil_held().TF_SetStatus(status(), 0, b"")  # some functions do not set OK when they succeed
        raise ServingError(Code(code) if code in Code._value2member_map_ else Code.UNKNOWN, message)


def _message(status: int) -> bytes:
    """The whole message of a TF_Status, which may contain NUL bytes. TF_Message's result does not have its length.

    A TF_Status is a pointer to a reference count, a code and a std::string (absl/status/internal/status_internal.h).
    If the string found that way is not the one TF_Message returned, the message ends at the first NUL byte.
    """
    message: int = gil_held().TF_Message(status)
    representation = c.c_void_p.from_address(status).value or 0
    if representation and not representation % 4:
        string = representation + 2 * c.sizeof(c.c_int)
        data, length = c.c_void_p.from_address(string).value, c.c_size_t.from_address(string + c.sizeof(_POINTER)).value
        if data == message and length < _MAX_MESSAGE_BYTES and c.string_at(message + length, 1) == b"\0":
            return c.string_at(message, length)
    return c.string_at(message)


def call_for_bytes(function: Callable[..., None], *arguments: object) -> bytes:
    """The bytes that a function writes into a TF_Buffer. It takes the arguments, then the buffer, then a status."""
    buffer = gil_held().TF_NewBuffer()
    try:
        function(*arguments, buffer, status())
        check()
        return c.string_at(buffer.contents.data, buffer.contents.length)
    finally:
        gil_held().TF_DeleteBuffer(buffer)


def version() -> str:
    """The version of the TensorFlow library."""
    text: str = gil_held().TF_Version().decode()
    return text


def new_tensor(array: np.ndarray) -> int:
    """A TF_Tensor with a copy of the array; strings are object arrays of bytes. The caller deletes it."""
    library = gil_held()
    number = dtypes.from_numpy(array.dtype).number
    shape = _dimensions(array.shape)
    if number != _STRING:
        size = array.nbytes
        tensor: int = library.TF_AllocateTensor(number, shape, array.ndim, size)
        if size <= _SMALL_BYTES:  # a second copy costs less than asking for the address of an array
            c.memmove(library.TF_TensorData(tensor), array.tobytes(), size)
        else:
            data = np.ascontiguousarray(array)
            c.memmove(library.TF_TensorData(tensor), data.ctypes.data, size)
        return tensor
    tensor = library.TF_AllocateTensor(_STRING, shape, array.ndim, TSTRING_BYTES * array.size)
    _write_strings(library.TF_TensorData(tensor), array)
    return tensor


def _write_strings(at: int, array: np.ndarray) -> None:
    """Write an array of bytes as TF_TStrings to the memory of a tensor."""
    c.memset(at, 0, TSTRING_BYTES * array.size)  # an empty TF_TString is 24 zeros, like after TF_StringInit
    copy = gil_held().TF_StringCopy
    is_one_piece = array.size <= _PIECE_STRINGS
    for part in (array.ravel(),) if is_one_piece else pieces(array, _PIECE_STRINGS):
        for value in part.tolist():
            if (size := len(value)) <= _LARGE_BYTES:
                copy(at, value, size)
            else:
                gil_released().TF_StringCopy(at, value, size)
            at += TSTRING_BYTES
        if not is_one_piece:
            yield_to_loop()


def new_values_tensor(number: int, shape: tuple[int, ...], values: bytes) -> int:
    """A TF_Tensor with a copy of its memory: numbers as they are there, or one string. The caller deletes it."""
    library = gil_held()
    size = TSTRING_BYTES if number == _STRING else len(values)
    tensor: int = library.TF_AllocateTensor(number, _dimensions(shape), len(shape), size)
    at = library.TF_TensorData(tensor)
    if number == _STRING:
        c.memset(at, 0, TSTRING_BYTES)
        library.TF_StringCopy(at, values, len(values))
    else:
        c.memmove(at, values, size)
    return tensor


def read_values(tensor: int) -> tuple[tuple[int, ...], bytes]:
    """The shape of a TF_Tensor of numbers, and a copy of its memory."""
    library = gil_held()
    return _shape_of(tensor), c.string_at(library.TF_TensorData(tensor), library.TF_TensorByteSize(tensor))


def _shape_of(tensor: int) -> tuple[int, ...]:
    library = gil_held()
    return tuple([library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))])


@lru_cache(1024)
def _dimensions(shape: tuple[int, ...]) -> c.Array[c.c_int64]:
    """A shape as a C array, which must not be changed."""
    return (_INT64 * len(shape))(*shape)


def read_tensor(tensor: int) -> np.ndarray:
    """A copy of a TF_Tensor as an array. Raises UNIMPLEMENTED for dtypes that have no values (resource, variant)."""
    library = gil_held()
    number = library.TF_TensorType(tensor)
    dtype, shape = _numpy_dtype(number), _shape_of(tensor)
    at = library.TF_TensorData(tensor)
    size = library.TF_TensorByteSize(tensor)
    if number != _STRING:
        if size <= _LARGE_BYTES:
            return _array(shape, dtype, c.string_at(at, size))
        array = _array(shape, dtype, np.empty(size, np.uint8))
        c.memmove(array.ctypes.data, at, size)  # other Python threads run meanwhile
        return array
    strings = _read_strings(at, size // TSTRING_BYTES)
    try:
        return strings.reshape(shape)
    except ValueError as error:
        raise _no_array(shape, error) from None


def _read_strings(at: int, count: int) -> np.ndarray:
    """Copies of the TF_TStrings from an address on."""
    data, size = gil_held().TF_StringGetDataPointer, gil_held().TF_StringGetSize
    if count <= _PIECE_STRINGS:
        addresses = range(at, at + count * TSTRING_BYTES, TSTRING_BYTES)
        return object_array([_bytes_at(data(string), size(string)) for string in addresses])
    strings = StringParts()
    for start in range(0, count, _PIECE_STRINGS):
        begin, end = at + start * TSTRING_BYTES, at + min(start + _PIECE_STRINGS, count) * TSTRING_BYTES
        strings.add([_bytes_at(data(string), size(string)) for string in range(begin, end, TSTRING_BYTES)])
    return strings.array()


def _bytes_at(address: int, size: int) -> bytes:
    """A copy of memory. A large one is made in pieces: joining them releases Python's lock."""
    if size <= _LARGE_BYTES:
        return c.string_at(address, size)
    starts = range(0, size, _LARGE_BYTES)
    return b"".join([c.string_at(address + start, min(_LARGE_BYTES, size - start)) for start in starts])


@lru_cache(maxsize=None)
def _numpy_dtype(number: int) -> np.dtype:
    """The numpy dtype of a DataType. Raises UNIMPLEMENTED if there is none."""
    dtype = dtypes.BY_NUMBER.get(number)
    if dtype is None:
        raise ServingError(Code.UNIMPLEMENTED, f"an output of dtype {dtypes.name_of(number)} cannot be sent")
    return dtype.numpy


def _array(shape: tuple[int, ...], dtype: np.dtype, values: bytes | np.ndarray) -> np.ndarray:
    """The array of a tensor's memory. Raises UNIMPLEMENTED for a shape that NumPy has no arrays of."""
    try:
        return np.ndarray(shape, dtype, values)
    except ValueError as error:  # more dimensions, or a larger size in one of an empty array
        raise _no_array(shape, error) from None


def _no_array(shape: tuple[int, ...], error: ValueError) -> ServingError:
    return ServingError(Code.UNIMPLEMENTED, f"an output of shape {list(shape)} cannot be sent: {error}")


def tensor_bytes(arrays: Sequence[np.ndarray]) -> int:
    """The bytes that TensorFlow counts for these tensors (Tensor::TotalBytes): a string costs its TF_TString too."""
    size = 0
    for array in arrays:
        if array.dtype.hasobject:
            size += array.size * TSTRING_BYTES + content_bytes(array)
        else:
            size += array.nbytes
    return size
