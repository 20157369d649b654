"""One SavedModel loaded into a TensorFlow session, and its signatures bound to the graph."""

from __future__ import annotations

import ctypes as c
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.dtypes import DType
from tfsctl.errors import InvalidInput
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.process import memory
from tfsctl.server.runtime import capi, op_libraries
from tfsctl.server.runtime.allocator import release_free_memory
from tfsctl.server.runtime.large_constants import MIN_GRAPH_BYTES, split_model
from tfsctl.server.runtime.saved_model_file import MetaGraph, directory_bytes, parse_meta_graph, read_meta_graph
from tfsctl.server.runtime.size_analysis import Sizes
from tfsctl.server.status import Code, ServingError

log = logging.getLogger(__name__)

_LARGE_BYTES = 16 * 1024 * 1024  # on disk
_LARGE_INPUT_BYTES = 512 * 1024  # of numbers: tensors within the run are larger, eight times for MobileNetV2
_MAX_CACHED_ARGUMENTS = 256  # clients may request any combination of outputs


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One input or output of a signature, and its tensor in the graph. `dtype` is None if it has no values in NumPy.

    `sizes` is what the sizes of all tensors depend on in a run of the signature.
    """

    alias: str
    tensor_name: str
    dtype: DType | None
    output: capi.Output
    sizes: Sizes = Sizes.VALUES


Feeds = Sequence[tuple[Endpoint, np.ndarray]]
Arrays = list[np.ndarray]


@dataclass(frozen=True, slots=True)
class BoundSignature:
    """A signature bound to its graph: inputs and outputs by alias, sorted by alias."""

    inputs: Mapping[str, Endpoint]
    outputs: Mapping[str, Endpoint]
    dtypes: Mapping[str, DType]
    """The dtypes of the inputs."""
    fetches: Sequence[Endpoint]
    """All outputs."""
    ranks: Mapping[str, int]
    """The ranks of inputs which a request must keep to, as another rank ends the process."""
    defaults: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    """The values of inputs that a gRPC request may leave out; None for a TensorProto that is not valid."""


class _RunArguments:
    """The arguments of TF_SessionRun that all runs with the same feeds and fetches share."""

    __slots__ = (
        *("_ends", "feed_count", "feed_ends", "feed_pointers"),
        *("fetch_count", "fetch_ends", "fetch_pointers"),
    )

    def __init__(self, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> None:
        for endpoint in (*feeds, *fetches):
            if not endpoint.output.operation:
                raise ServingError(Code.NOT_FOUND, f"Tensor {endpoint.tensor_name} was not found in the Graph")
        self.feed_count, self.fetch_count = len(feeds), len(fetches)
        self._ends = [(capi.Output * len(ends))(*(end.output for end in ends)) for ends in (feeds, fetches)]
        self.feed_ends, self.fetch_ends = map(c.addressof, self._ends)
        self.feed_pointers, self.fetch_pointers = c.c_void_p * len(feeds), c.c_void_p * len(fetches)


class Session:
    """A loaded SavedModel. Any number of threads may call `run`; call `close` after the last run.

    Loading restores variables, tables and assets. Raises ServingError with TensorFlow's own code and message, and
    UnsafeVersionError for a graph that could end the process. `meta_graph` is what `read_meta_graph` returned, if the
    caller has read the file already. `config` is a serialized ConfigProto; the last of its pools between operations is for
    runs after a crash.
    """

    uses_last_pool: ClassVar = False
    """Whether a thread of a pool has crashed (`crash_handler`), so that runs have to be in the pool with more threads."""

    def __init__(
        self,
        directory: Path,
        *,
        tags: Sequence[str] = ("serve",),
        config: bytes = b"",
        recorder: Recorder | None = None,
        meta_graph: MetaGraph | None = None,
    ) -> None:
        self._recorder = recorder or NullRecorder()
        self._last_pool = max(0, len(protos.ConfigProto.FromString(config).session_inter_op_thread_pool) - 1)
        library = capi.gil_released()
        self._size_on_disk = directory_bytes(directory)
        meta_graph = meta_graph or read_meta_graph(directory, tags)
        options = library.TF_NewSessionOptions()
        library.TF_SetConfig(options, config, len(config), capi.status())
        capi.check()
        # TensorFlow copies its MetaGraphDef only where the file has none that we can read.
        copied = library.TF_NewBuffer() if meta_graph is None else None
        try:
            if not self._load_split(directory, tags, options, meta_graph):
                self._load(directory, tags, options, copied)
            if copied is not None:
                meta_graph = parse_meta_graph(c.string_at(copied.contents.data, copied.contents.length))
        finally:
            if copied is not None:
                library.TF_DeleteBuffer(copied)
            library.TF_DeleteSessionOptions(options)
        self._session_run = library.TF_SessionRun
        short_calls = capi.gil_held()
        self._get_code, self._delete_tensor = short_calls.TF_GetCode, short_calls.TF_DeleteTensor
        self._inline = _run_options(protos.RunOptions(inter_op_thread_pool=-1))  # -1: in the caller's thread
        self._inline_address = c.addressof(self._inline.contents)
        meta_graph = meta_graph or MetaGraph()
        self.graph_bytes = meta_graph.graph_bytes
        self.signature_defs: Mapping[str, protos.SignatureDef] = meta_graph.signature_defs
        self.has_object_graph = meta_graph.has_object_graph
        self._needs_ranks, self._sizes = meta_graph.needs_ranks, meta_graph.sizes
        self.bound: dict[str, BoundSignature] = {}
        """The signatures that were used so far."""
        self._run_arguments: dict[object, _RunArguments] = {}

    def _load_split(self, directory: Path, tags: Sequence[str], options: object, graph: MetaGraph | None) -> bool:
        """Load a large graph with its large constants as variables. Returns False if it has to be loaded as it is."""
        if graph is None or graph.graph_bytes < MIN_GRAPH_BYTES:
            return False
        try:
            with split_model(directory) as split:
                if split is None:
                    return False
                self._load(split.directory, tags, options, None)
            try:
                split.assign(self._session, self.graph, directory)
            except BaseException:
                self._delete()
                raise
        except (OSError, DecodeError, ServingError) as error:
            log.debug("%s is loaded with its constants in the graph: %s", directory, error)
            return False
        return True

    def _load(self, directory: Path, tags: Sequence[str], options: object, copied: object) -> None:
        """Load the graph and the session. Operations of installed packages are loaded if the graph has them."""
        library = capi.gil_released()
        tag_array = (c.c_char_p * len(tags))(*(tag.encode() for tag in tags))
        while True:
            self.graph = library.TF_NewGraph()
            self._session = library.TF_LoadSessionFromSavedModel(
                options, None, str(directory).encode(), tag_array, len(tags), self.graph, copied, capi.status()
            )
            try:
                capi.check()
            except ServingError as error:
                library.TF_DeleteGraph(self.graph)
                if not op_libraries.load_for(error):
                    raise
            else:
                return

    def close(self) -> None:
        """Free the session and its graph. Nothing may run on it any more."""
        self._delete()
        capi.gil_released().TF_DeleteBuffer(self._inline)
        self.bound.clear()
        self._run_arguments.clear()
        if self._size_on_disk >= _LARGE_BYTES:
            release_free_memory(self._size_on_disk)

    def _delete(self) -> None:
        library = capi.gil_released()
        library.TF_CloseSession(self._session, capi.status())
        library.TF_DeleteSession(self._session, capi.status())
        library.TF_DeleteGraph(self.graph)

    def signature(self, name: str) -> BoundSignature | None:
        """The signature of that name, or None; bound to the graph at its first use."""
        bound = self.bound.get(name)
        if bound is None and name in self.signature_defs:
            definition = self.signature_defs[name]
            ranks = self._ranks(definition)
            has_safe_ranks = not self._needs_ranks or len(ranks) == len(definition.inputs)
            sizes = self._sizes.get(name, Sizes.VALUES) if has_safe_ranks else Sizes.VALUES
            inputs, outputs = (
                {alias: self._endpoint(alias, infos[alias], sizes) for alias in sorted(infos)}
                for infos in (definition.inputs, definition.outputs)
            )
            kinds = {alias: endpoint.dtype for alias, endpoint in inputs.items() if endpoint.dtype is not None}
            fetches = tuple(outputs.values())
            defaults = {alias: _default_array(proto) for alias, proto in definition.defaults.items()}
            bound = self.bound[name] = BoundSignature(inputs, outputs, kinds, fetches, ranks, defaults)
        return bound

    def _ranks(self, definition: protos.SignatureDef) -> dict[str, int]:
        shapes = {alias: info.tensor_shape for alias, info in definition.inputs.items() if self._needs_ranks}
        return {alias: len(shape.dim) for alias, shape in shapes.items() if shape.dim and not shape.unknown_rank}

    def _endpoint(self, alias: str, info: protos.TensorInfo, sizes: Sizes) -> Endpoint:
        operation, index = _parse_tensor_name(info.name)
        pointer = capi.gil_held().TF_GraphOperationByName(self.graph, operation.encode()) if operation else None
        output = capi.Output(pointer, index)
        return Endpoint(alias, info.name, dtypes.BY_NUMBER.get(info.dtype), output, sizes)

    def run(
        self,
        feeds: Feeds,
        fetches: Sequence[Endpoint],
        *,
        timeout_ms: int = 0,
        inline: bool = False,
    ) -> Arrays:
        """Run the graph once and return the fetched arrays, in order.

        `timeout_ms` ends the run with DEADLINE_EXCEEDED; 0 means no limit. An `inline` run uses only the calling
        thread: that is fastest for a small graph, but operations run one after another and there is no time limit.
        Other Python threads run meanwhile.
        """
        endpoints = [endpoint for endpoint, _ in feeds]
        arguments = self._run_arguments.get((len(endpoints), *endpoints, *fetches))
        if arguments is None:
            arguments = self._new_arguments(endpoints, fetches)
        feeds_array, fetches_array = arguments.feed_pointers(), arguments.fetch_pointers()
        options = None if inline else self._pool_options(timeout_ms)
        if not inline and any(array.nbytes > _LARGE_INPUT_BYTES and not array.dtype.hasobject for _, array in feeds):
            memory.expect_large_tensors()
        arrays: Arrays | None = None
        start_s = perf_counter()
        try:
            for index, (_, array) in enumerate(feeds):
                feeds_array[index] = capi.new_tensor(array)
            self._run_tensors(arguments, feeds_array, fetches_array, inline=inline, options=options)
            arrays = [capi.read_tensor(tensor or 0) for tensor in fetches_array]
        finally:
            if self._recorder.is_active:
                seconds, sent = perf_counter() - start_s, capi.tensor_bytes([array for _, array in feeds])
                self._recorder.graph_run(seconds, sent, None if arrays is None else capi.tensor_bytes(arrays))
            delete = self._delete_tensor if inline else capi.gil_released().TF_DeleteTensor  # a large tensor takes long
            for tensor in (*feeds_array, *fetches_array):
                if tensor:
                    delete(tensor)
            if options is not None:
                capi.gil_held().TF_DeleteBuffer(options)
        return arrays

    def are_floats(self, fetches: Sequence[Endpoint]) -> bool:
        """Whether these outputs of the graph are all float32."""
        output_type = capi.gil_held().TF_OperationOutputType
        outputs = [fetch.output for fetch in fetches]
        return all(output.operation and output_type(output) == dtypes.FLOAT.number for output in outputs)

    def run_values(
        self, feed: Endpoint, number: int, shape: tuple[int, ...], values: bytes, fetches: Sequence[Endpoint]
    ) -> list[tuple[tuple[int, ...], bytes]]:
        """Run the graph inline with one input, and return the shape and the memory of each output, which has numbers.

        The input is a tensor of dtype `number`: `values` are its memory, or its only string. As no arrays are made, it
        takes 40 % less CPU around TF_SessionRun than `run`.
        """
        arguments = self._run_arguments.get((1, feed, *fetches))
        if arguments is None:
            arguments = self._new_arguments([feed], fetches)
        feeds_array, fetches_array = arguments.feed_pointers(), arguments.fetch_pointers()
        outputs = None
        start_s = perf_counter()
        tensor = feeds_array[0] = capi.new_values_tensor(number, shape, values)
        try:
            self._run_tensors(arguments, feeds_array, fetches_array, inline=True)
            outputs = [capi.read_values(fetched or 0) for fetched in fetches_array]
        finally:
            if self._recorder.is_active:
                sent = len(values) + (capi.TSTRING_BYTES if number == dtypes.STRING.number else 0)
                received = None if outputs is None else sum([len(memory) for _, memory in outputs])
                self._recorder.graph_run(perf_counter() - start_s, sent, received)
            self._delete_tensor(tensor)
            for fetched in fetches_array:
                if fetched:
                    self._delete_tensor(fetched)
        return outputs

    def _run_tensors(
        self,
        arguments: _RunArguments,
        feeds: c.Array[c.c_void_p],
        fetches: c.Array[c.c_void_p],
        *,
        inline: bool,
        options: object = None,
    ) -> None:
        """Call TF_SessionRun with pointers to tensors, which fills in `fetches`. Raises ServingError if it fails.

        `options` are the RunOptions of a run that is not inline. `crash_handler` recognizes a run by this method's frame,
        and by the local variable `inline` whether it is inline.
        """
        status = capi.status()
        self._session_run(
            self._session,
            self._inline_address if inline else options,
            arguments.feed_ends,
            feeds,
            arguments.feed_count,
            arguments.fetch_ends,
            fetches,
            arguments.fetch_count,
            None,
            0,
            None,
            status,
        )
        if self._get_code(status):
            capi.check()

    def _pool_options(self, timeout_ms: int) -> Any:  # noqa: ANN401 - a pointer to a capi.Buffer
        """The RunOptions of a run in TensorFlow's threads; None if they are the defaults."""
        pool = self._last_pool if Session.uses_last_pool else 0
        if not (timeout_ms or pool):
            return None
        return _run_options(protos.RunOptions(timeout_in_ms=timeout_ms, inter_op_thread_pool=pool))

    def _new_arguments(self, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> _RunArguments:
        arguments = _RunArguments(feeds, fetches)
        if len(self._run_arguments) >= _MAX_CACHED_ARGUMENTS:
            self._run_arguments.clear()
        self._run_arguments[(len(feeds), *feeds, *fetches)] = arguments
        return arguments


def _default_array(proto: protos.TensorProto) -> np.ndarray | None:
    try:
        return tensors.from_proto(proto)
    except InvalidInput:
        return None


def _parse_tensor_name(name: str) -> tuple[str, int]:
    """The operation and output index of a tensor name, by the rules of TensorFlow's ParseTensorName.

    The operation is "" if there can be none of that name: the C API would cut it at a NUL, and its index is an int32.
    """
    operation, colon, digits = name.rpartition(":")
    if not colon or not (digits.isascii() and digits.isdecimal()):
        operation, digits = name, "0"
    return ("", 0) if "\0" in operation or len(digits) > 9 else (operation, int(digits))


def _run_options(options: protos.RunOptions) -> Any:  # noqa: ANN401 - a pointer to a capi.Buffer
    raw = options.SerializeToString()
    return capi.gil_held().TF_NewBufferFromString(raw, len(raw))
