"""Traces the signatures of a model and writes them as a SavedModel."""

from __future__ import annotations

import gc
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsctl.core import protos
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.core.types import PREDICT_METHOD_NAME
from tfsctl.core.version_files.fingerprint import FINGERPRINT_FILE
from tfsctl.errors import ExportError, TfsctlError
from tfsctl.exporter import error_text, naming
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.sources.loading import trackables

if TYPE_CHECKING:
    import tensorflow as tf


_DENSE_HINTS = {
    "RaggedTensor": "return x.to_tensor(), or x.flat_values and x.row_lengths() as two outputs",
    "SparseTensor": "return tf.sparse.to_dense(x), or x.indices, x.values and x.dense_shape as three outputs",
}


def trace(signature: ExportSignature) -> tf.types.experimental.PolymorphicFunction[..., Any]:
    """The signature as a traced tf.function. Raises ExportError if it cannot be traced."""
    import tensorflow as tf

    if signature.name.startswith("__"):
        raise ExportError(
            f"{signature.name!r} cannot be the name of a signature: names with two underscores are TensorFlow's own",
            hint=f"--signature {signature.name}=NEW renames it",
        )
    shapes: list[Any] = [spec.shape for spec in signature.inputs]  # types-tensorflow knows no unknown rank
    specs = [tf.TensorSpec(shape, spec.dtype, spec.name) for shape, spec in zip(shapes, signature.inputs, strict=True)]
    function = tf.function(signature.call, input_signature=specs, autograph=False)
    try:
        outputs = function.get_concrete_function().structured_outputs
    except TfsctlError:
        raise
    except Exception as error:
        raise ExportError(
            f"signature {signature.name} cannot be traced: {error_text.one_line(error)}",
            hint=error_text.tracing_hint(error),
        ) from error
    missing = [name for name, output in outputs.items() if output is None]
    if len(missing) == len(outputs):
        raise ExportError(
            f"signature {signature.name} returns nothing",
            hint="return a tensor, or a dict of tensors by name",
        )
    if missing:
        raise ExportError(
            f"signature {signature.name} returns None as the output {missing[0]!r}",
            hint="leave it out of what the function returns",
        )
    for name, output in outputs.items():
        spec: Any = output if isinstance(output, tf.TypeSpec) else tf.type_spec_from_value(output)
        if not isinstance(spec, tf.TensorSpec):
            kind = spec.value_type.__name__
            raise ExportError(
                f"signature {signature.name} returns a {kind} (output {name!r}): a server returns dense tensors only",
                hint=_DENSE_HINTS.get(kind, "return the tensors that it is made of, as a dict of tensors by name"),
            )
        if getattr(output, "dtype", None) in (tf.resource, tf.variant):
            raise ExportError(
                f"signature {signature.name} returns a {output.dtype.name} (output {name!r}): "
                "a server returns values only",
                hint="leave the output out, or return the value itself: variable.read_value(), or a stacked list",
            )
    return function


def write(
    model: object,
    functions: Mapping[str, Any],
    directory: Path,
    *,
    method_names: Mapping[str, str],
) -> None:
    """Write a model with its traced signatures to `directory`. Raises ExportError if TensorFlow cannot write it.

    `method_names` has the `method_name` of each signature.
    """
    import tensorflow as tf

    root: Any = tf.Module()  # not the model: the saved object may not have its own attribute `signatures`
    # TensorFlow does not find all variables of a Keras model inside a tf.Module, so save those that the signatures use.
    concrete = [function.get_concrete_function() for function in functions.values()]
    root.used = sorted((variable for function in concrete for variable in function.variables), key=_creation_order)
    for variable in root.used:
        valid = naming.scope_name(variable.name.removesuffix(":0"))
        if f"{valid}:0" != variable.name:  # Keras accepts names with spaces, and TensorFlow does not write them
            variable._handle_name = f"{valid}:0"  # noqa: SLF001 - TensorFlow renames no variable
    root.resources = _resources(concrete)
    root.parts = trackables(model)
    try:
        tf.saved_model.save(root, str(directory), signatures=functions)
    except Exception as error:  # a class of the user's may be part of the model
        raise ExportError(f"TensorFlow cannot write the model: {error_text.one_line(error)}") from error
    _set_method_names(directory / SAVED_MODEL_FILE, method_names)
    _fix_identifier(directory / FINGERPRINT_FILE)


def _creation_order(variable: tf.Variable) -> int:
    """A number that grows with each variable. A function has its variables in an order that changes from run to run."""
    number = getattr(variable, "_unique_id", "").rpartition("_")[2]
    return int(number) if number.isdecimal() else 0


def _set_method_names(file: Path, method_names: Mapping[str, str]) -> None:
    """Set the `method_name` of signatures, for which TensorFlow 2 writes `tensorflow/serving/predict`.

    TensorFlow's `MethodNameUpdater` does the same; like it, this leaves the hashes in `fingerprint.pb` as they are.
    """
    others = {name: method for name, method in method_names.items() if method != PREDICT_METHOD_NAME}
    if not others:
        return
    saved_model = protos.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved_model.meta_graphs:
        for name, method in others.items():
            meta_graph.signature_def[name].method_name = method
    file.write_bytes(saved_model.SerializeToString(deterministic=True))


def _fix_identifier(file: Path) -> None:
    """Derive the identifier in `fingerprint.pb` from its hashes. TensorFlow chooses a random one.

    It is the only part of a SavedModel that differs between two exports of the same model.
    """
    fingerprint = protos.FingerprintDef.FromString(file.read_bytes())
    fingerprint.uuid = ""
    content = fingerprint.SerializeToString(deterministic=True)
    fingerprint.uuid = str(uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=5))
    file.write_bytes(fingerprint.SerializeToString(deterministic=True))


def _resources(functions: Sequence[Any]) -> list[object]:
    """The objects, such as lookup tables, whose resources some concrete functions captured.

    Functions keep the handles only, so this searches all objects of the process if there are any.
    """
    import tensorflow as tf

    captured = {
        id(tensor) for function in functions for tensor in function.captured_inputs if tensor.dtype == tf.resource
    }
    variables = {id(variable.handle) for function in functions for variable in function.variables}
    handles = captured - variables
    if not handles:
        return []
    kind = tf.saved_model.experimental.TrackableResource
    resources: list[Any] = [one for one in gc.get_objects() if issubclass(type(one), kind)]
    return [one for one in resources if id(one.resource_handle) in handles]
