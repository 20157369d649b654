"""Refuses graphs whose values would make TensorFlow abort the process: shapes, sizes and dtypes out of range.

TensorFlow's loader trusts these values and checks them with CHECK, which ends the process. The rules are those of
PartialTensorShape::IsValid and Tensor::FromProto (tensorflow/core/framework/tensor_shape.cc and tensor.cc).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from tfsctl.core import dtypes, protos
from tfsctl.server.runtime.function_calls import Body, FunctionCall, find_endless_calls, find_mismatched_call
from tfsctl.server.status import Code, UnsafeVersionError

_MAX_INT64 = 2**63 - 1
_MAX_DIMENSIONS = 254  # TensorShape::MaxDimensions
_HANDLES = (dtypes.RESOURCE_NUMBER, dtypes.VARIANT_NUMBER)
_STRING_BYTES = 24  # sizeof(tstring)
_INTEGERS = {dtypes.INT32.number: "<i4", dtypes.INT64.number: "<i8"}
# Numbers of outputs, and of a loop's parallel iterations: TensorFlow allocates as many, whatever the number.
_COUNTS = {"parallel_iterations", "N", "num", "num_split", "num_splits", "num_outs", "num_outputs", "num_partitions", "num_features",
    "num_sparse", "num_params", "top_paths", "Nsparse", "Ncontext_sparse", "Nfeature_list_sparse", "Nfeature_list_dense",
    "num_sparse_features", "num_dense_features", "num_params_weights", "num_params_biases", "num_side_inputs", "num_tables",
    "NumTables", "num_replicas", "num_computations", "num_sc_per_chip", "OUTPUT_RAGGED_RANK", "output_ragged_rank"}  # fmt: skip
_MAX_COUNT = 1_000_000
# Operations whose first input TensorFlow reads before it counts the inputs.
_NEED_INPUT = {"Identity", "Enter", "RefEnter", "Exit", "RefExit", "Switch", "RefSwitch", "NextIteration", "RefNextIteration"}  # fmt: skip
# Operations that read a dimension of their input before they check how many it has.
_NEED_RANK = {"Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropFilterV2", "Conv3DBackpropInputV2",
    "DepthwiseConv2dNative", "DepthwiseConv2dNativeBackpropFilter", "DepthwiseConv2dNativeBackpropInput", "AvgPoolGrad",
    "AvgPool3DGrad", "MaxPool3D", "FakeQuantWithMinMaxVarsPerChannel", "QuantizeAndDequantizeV3", "LSTMBlockCell",
    "LSTMBlockCellGrad", "LoadAndRemapMatrix", "ParseExample", "RaggedTensorToVariantGradient", "TensorListGetItem", "TensorScatterAdd",
    "TensorScatterMax", "TensorScatterMin", "TensorScatterSub", "TensorScatterUpdate"}  # fmt: skip
_MAX_DIGITS = 9  # an index of more overflows an int
_REFUSED = "The graph is not loaded, as it could end the server"
_HANDLE_BYTES = 64  # a resource handle or a variant takes at least this


class GraphCheck:
    """Checks the nodes and functions of one graph. Every method raises UnsafeVersionError for an unsafe value.

    Call `check_node` and `check_function` for each, then `check_calls`. `memory_bytes` bounds what all constants
    together may claim: a constant has one value for any number of elements.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.needs_ranks = False
        """Whether a node of the graph ends the process if a request has a tensor of another rank than the signature."""
        self._memory_bytes = memory_bytes
        self._claimed_bytes = 0
        self._bodies: dict[str | None, Body] = {None: Body()}
        self._huge_shapes: set[tuple[str | None, str]] = set()
        self._fills: list[tuple[str | None, str, str]] = []
        self._calls: list[FunctionCall] = []
        self._signatures: dict[str, protos.OpDef] = {}
        self._odd_counts: list[tuple[str, str, int]] = []
        dtype_field = protos.TensorProto.DESCRIPTOR.fields_by_name["dtype"]
        self._dtypes = frozenset(dtype_field.enum_type.values_by_number if dtype_field.enum_type else ())

    def check_node(self, node: protos.NodeDef, function: str | None = None) -> None:
        """Check the attributes of one node of a function (None: of the graph itself)."""
        self.check_attributes(node.name, node.attr.values())
        self._check_counts(node.name, node.attr)
        for name in node.input:
            digits = name.rpartition(":")[2]
            if len(digits) > _MAX_DIGITS and digits.isdecimal():
                raise _refused(node.name, f"it reads {name}, an output of too large a number")
        if node.op in _NEED_INPUT and not any(not name.startswith("^") for name in node.input):
            raise _refused(node.name, f"{node.op} has no input")
        if "strides" in node.attr and min(node.attr["strides"].list.i, default=1) < 1:
            raise _refused(node.name, "its strides are not all positive")  # the CPU divides by them
        self.needs_ranks |= node.op in _NEED_RANK
        self._bodies.setdefault(function, Body()).add(node)
        self._calls += FunctionCall.calls_of(node)
        is_constant = node.op == "Const" and "value" in node.attr
        if is_constant and "dtype" in node.attr and node.attr["value"].tensor.dtype != node.attr["dtype"].type:
            raise _refused(node.name, "the dtype of its value is another than its own")
        if is_constant and _elements_of_shape(node.attr["value"].tensor) > _MAX_INT64:
            self._huge_shapes.add((function, node.name))
        elif node.op == "Fill" and node.input:
            self._fills.append((function, node.name, node.input[0].partition(":")[0]))

    def check_calls(self) -> None:
        """Check what needs all nodes: the calls of functions, and the constant shapes of Fill."""
        for function, name, shape in self._fills:
            if (function, shape) in self._huge_shapes:
                raise _refused(name, "it fills a tensor of more than 2^63 - 1 elements")
        functions = {name: body for name, body in self._bodies.items() if name is not None}
        self._check_counts_of_functions()
        reason = find_mismatched_call(self._calls, self._signatures)
        if reason or (reason := find_endless_calls(self._bodies[None], functions)):
            raise UnsafeVersionError(Code.INVALID_ARGUMENT, f"{_REFUSED}: {reason}")

    def check_function(self, function: protos.FunctionDef) -> None:
        """Check a function's signature and attributes. Its nodes are checked one by one."""
        name = function.signature.name
        self._bodies.setdefault(name, Body())
        self._signatures[name] = function.signature
        self.check_attributes(name, function.attr.values())
        for arguments in function.arg_attr.values():
            self.check_attributes(name, arguments.attr.values())
        for attribute in function.signature.attr:
            self._check_counts(name, {attribute.name: attribute.default_value})
            self.check_attributes(name, (attribute.default_value, attribute.allowed_values))

    def check_attributes(self, node: str, values: Iterable[protos.AttrValue]) -> None:
        """Check the shapes, dtypes and tensors of a node's attributes."""
        for value in values:
            kind = value.WhichOneof("value")
            if kind == "list":
                items = value.list
                for number in items.type:
                    self._check_dtype(node, number)
                for shape in items.shape:
                    self._check_shape(node, shape)
                for tensor in items.tensor:
                    self._check_tensor(node, tensor)
                for called in items.func:
                    self._check_counts(node, called.attr)
                    self.check_attributes(node, called.attr.values())
            elif kind == "type":
                self._check_dtype(node, value.type)
            elif kind == "shape":
                self._check_shape(node, value.shape)
            elif kind == "tensor":
                self._check_tensor(node, value.tensor)
            elif kind == "func":
                self._check_counts(node, value.func.attr)
                self.check_attributes(node, value.func.attr.values())

    def _check_counts(self, node: str, attributes: Mapping[str, protos.AttrValue]) -> None:
        """Check the numbers of inputs and outputs; those of functions, which have names of their own, come later."""
        for name, value in attributes.items():
            if value.WhichOneof("value") == "i" and not 0 <= value.i <= _MAX_COUNT:
                if name in _COUNTS:
                    raise _odd_count(node, name, value.i)
                self._odd_counts.append((node, name, value.i))

    def _check_counts_of_functions(self) -> None:
        signatures = self._signatures.values()
        names = {a.number_attr for one in signatures for a in (*one.input_arg, *one.output_arg) if a.number_attr}
        for node, name, value in self._odd_counts:
            if name in names:
                raise _odd_count(node, name, value)

    def _check_dtype(self, node: str, number: int) -> None:
        if number not in self._dtypes:
            raise _refused(node, f"{number} is not the number of a dtype")

    def _check_shape(self, node: str, shape: protos.TensorShapeProto, *, partial: bool = True) -> int:
        """The number of elements of a shape, without unknown dimensions (which only a partial shape has)."""
        if shape.unknown_rank:
            if not partial:
                raise _refused(node, "a tensor has no rank")
            return 0
        if len(shape.dim) > _MAX_DIMENSIONS:
            raise _refused(node, f"a shape has {len(shape.dim)} dimensions, more than {_MAX_DIMENSIONS}")
        elements = 1
        for dimension in shape.dim:
            size = dimension.size
            if size == -1 and partial:
                continue
            if size < 0:
                raise _refused(node, f"a shape has a dimension of {size}")
            elements *= size
            if elements > _MAX_INT64:
                sizes = ",".join(str(one.size) for one in shape.dim)
                raise _refused(node, f"the shape [{sizes}] has more than 2^63 - 1 elements")
        return elements

    def _check_tensor(self, node: str, tensor: protos.TensorProto) -> None:
        """Check a tensor's dtype, shape and handles, and count the memory that it claims."""
        self._check_dtype(node, tensor.dtype)
        elements = self._check_shape(node, tensor.tensor_shape, partial=False)
        size = _element_bytes(tensor.dtype)
        self._claimed_bytes += elements * size
        if self._claimed_bytes > self._memory_bytes:
            raise _refused(node, f"the constants up to here claim {self._claimed_bytes} bytes of memory")
        for handle in tensor.resource_handle_val:
            for value in handle.dtypes_and_shapes:
                self._check_dtype(node, value.dtype)
                self._check_shape(node, value.shape)
        for variant in tensor.variant_val:
            for inner in variant.tensors:
                self._check_tensor(node, inner)


def _element_bytes(number: int) -> int:
    """The least memory that TensorFlow needs for one element of a dtype, in bytes."""
    dtype = dtypes.BY_NUMBER.get(number)
    if number == dtypes.STRING.number:
        return _STRING_BYTES
    if number in _HANDLES:
        return _HANDLE_BYTES
    return 1 if dtype is None or dtype.numpy_name not in np.sctypeDict else np.dtype(dtype.numpy_name).itemsize


def _elements_of_shape(tensor: protos.TensorProto) -> int:
    """How many elements a tensor has whose shape is this constant vector of integers; 0 for another constant."""
    if len(tensor.tensor_shape.dim) != 1 or tensor.tensor_shape.dim[0].size > _MAX_DIMENSIONS:
        return 0
    sizes = list(tensor.int64_val or tensor.int_val)
    dtype = np.dtype(_INTEGERS.get(tensor.dtype, "V1"))
    if tensor.tensor_content and dtype.kind == "i":
        whole = len(tensor.tensor_content) // dtype.itemsize  # TensorFlow refuses a part of a value
        sizes = np.frombuffer(tensor.tensor_content, dtype, whole).tolist()
    if len(sizes) == 1:  # one value is repeated for all elements
        sizes *= tensor.tensor_shape.dim[0].size
    return math.prod(sizes[:_MAX_DIMENSIONS])


def _odd_count(node: str, name: str, value: int) -> UnsafeVersionError:
    return _refused(node, f"{name} is {value}, not between 0 and {_MAX_COUNT}")


def _refused(node: str, reason: str) -> UnsafeVersionError:
    return UnsafeVersionError(Code.INVALID_ARGUMENT, f"{_REFUSED}: node {node}: {reason}")
