"""Lints one version: its graph and signatures, variables, assets, warmup requests, batching file and manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tfsctl.core import dtypes, protos
from tfsctl.core.graphs.signature_graph import PYTHON_OPS, signature_graph
from tfsctl.core.saved_model import SAVED_MODEL_FILE, SavedModelInfo, read_meta_graph, read_saved_model
from tfsctl.core.tfrecord import read_records
from tfsctl.core.types import DEFAULT_SIGNATURE, Signature
from tfsctl.core.version_files.file_hashes import compare_files
from tfsctl.core.version_files.fingerprint import read_fingerprint
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE
from tfsctl.engines.docker.checks import op_support
from tfsctl.errors import EngineError, InvalidInput, ModelUnreadable, NotFound
from tfsctl.lint.finding import Finding
from tfsctl.lint.server_files import lint_batching
from tfsctl.server.batching.parameters import PER_MODEL_FILE
from tfsctl.serving_config.stock_image import DEFAULT_IMAGE

SAVED_MODEL_TEXT_FILE = "saved_model.pbtxt"
_MAX_WARMUP_RECORDS = 1000
_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")
_VARIABLES = {"VarHandleOp", "VariableV2", "Variable"}
_ASSETS = "assets"
_EXPORT_AGAIN = "copy the version again completely, or export it again"


def lint_version(directory: Path) -> Iterator[Finding]:
    """The findings for one version directory, or any SavedModel."""
    try:
        info, graph = read_saved_model(directory), read_meta_graph(directory)
    except NotFound:
        yield _no_graph(directory)
        return
    except ModelUnreadable as error:
        yield Finding("saved-model", "error", str(directory / SAVED_MODEL_FILE), error.message, error.hint)
        return
    yield from _signatures(info, graph)
    yield from _operations(info)
    yield from _variables(directory, graph)
    yield from _assets(directory, graph)
    yield from _warmup(directory, info)
    if (directory / PER_MODEL_FILE).is_file():
        yield from lint_batching(directory / PER_MODEL_FILE, tuple(info.signatures.values()))
    yield from _manifest(directory)


def _no_graph(directory: Path) -> Finding:
    if (directory / SAVED_MODEL_TEXT_FILE).is_file():
        file = directory / SAVED_MODEL_TEXT_FILE
        return Finding(
            "text-format", "warning", str(file), "the text form of a SavedModel is not checked", f"tfsctl export {file}"
        )
    return Finding(
        "saved-model",
        "error",
        str(directory),
        f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {directory}",
        _EXPORT_AGAIN,
    )


def _signatures(info: SavedModelInfo, graph: protos.MetaGraphDef) -> Iterator[Finding]:
    file = str(info.path / SAVED_MODEL_FILE)
    if not info.signatures:
        yield Finding(
            "no-signatures",
            "error",
            file,
            "the model has no signatures, so no request can be answered",
            "export it again with signatures: tfsctl export SOURCE",
        )
    elif DEFAULT_SIGNATURE not in info.signatures:
        names = ", ".join(info.signatures)
        yield Finding(
            "no-default-signature",
            "warning",
            file,
            f'Serving signature name: "{DEFAULT_SIGNATURE}" not found in signature def: requests must name one of {names}',
            f"tfsctl export --signature {next(iter(info.signatures))}={DEFAULT_SIGNATURE}",
        )
    calling = set()
    for name in sorted(graph.signature_def) if info.ops & PYTHON_OPS else ():
        if ops := signature_graph(graph, name).python_ops:
            calling.add(name)
            what = "the initialization" if name.startswith("__") else f"signature {name}"
            yield Finding(
                "python-code",
                "error",
                file,
                f"{what} calls Python code ({', '.join(ops)}), and a model server has no Python",
                "replace tf.numpy_function and tf.py_function by TensorFlow operations, and export again",
            )
    if info.ops & PYTHON_OPS and not calling:
        message = f"the graph has Python code ({', '.join(sorted(info.ops & PYTHON_OPS))}), which no signature calls"
        yield Finding("python-code", "warning", file, message, "tfsctl export writes the signatures without it")
    for signature in info.signatures.values():
        yield from _tensors(signature, file)


def _tensors(signature: Signature, file: str) -> Iterator[Finding]:
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            dtype = dtypes.BY_NAME.get(spec.dtype)
            if spec.encoding != "dense":
                yield Finding(
                    "not-dense",
                    "warning",
                    file,
                    f"signature {signature.name} cannot be called with predict: {kind} {spec.name} is a {spec.encoding} "
                    "tensor, and requests and responses hold dense tensors",
                    "return tf.sparse.to_dense(x), or indices, values and dense_shape as three outputs",
                )
            elif dtype is not None and not dtype.has_json_form:
                yield Finding(
                    "rest-dtype",
                    "warning",
                    file,
                    f"signature {signature.name}: {kind} {spec.name} is {spec.dtype}, which REST cannot carry",
                    "use gRPC (predict --grpc), or cast it to float32 in the model",
                )


def _operations(info: SavedModelInfo) -> Iterator[Finding]:
    file = str(info.path / SAVED_MODEL_FILE)
    try:
        op_support.check("the model", info, DEFAULT_IMAGE)
    except EngineError as error:
        yield Finding("operations", "error", file, error.message, f"serve it with {error.hint}")
    for note in op_support.library_notes("the model", info, DEFAULT_IMAGE):
        yield Finding("operations", "warning", file, note, "check it on that image before you roll it out")


def _variables(directory: Path, graph: protos.MetaGraphDef) -> Iterator[Finding]:
    has_variables = any(node.op in _VARIABLES for node in graph.graph_def.node)
    index = directory / "variables" / "variables.index"
    shards = [match for path in index.parent.glob("variables.data-*") if (match := _SHARD.fullmatch(path.name))]
    if has_variables and graph.saver_def.restore_op_name and not index.is_file():
        yield Finding(
            "variables",
            "error",
            str(index),
            f"{index}; the model has variables, and their files are not there",
            _EXPORT_AGAIN,
        )
        return
    if not index.is_file():
        return
    total = max((int(match[2]) for match in shards), default=1)
    there = {int(match[1]) for match in shards if int(match[2]) == total}
    for number in sorted(set(range(total)) - there):
        file = index.parent / f"variables.data-{number:05d}-of-{total:05d}"
        yield Finding("variables", "error", str(file), f"{file}; No such file or directory", _EXPORT_AGAIN)


def _assets(directory: Path, graph: protos.MetaGraphDef) -> Iterator[Finding]:
    for asset in graph.asset_file_def:
        file = directory / _ASSETS / asset.filename
        if not file.is_file():
            message = f"{file}; No such file or directory: the model reads this file when it is loaded"
            yield Finding("assets", "error", str(file), message, _EXPORT_AGAIN)


def _warmup(directory: Path, info: SavedModelInfo) -> Iterator[Finding]:
    file = directory / WARMUP_FILE
    if not file.is_file():
        return
    again = f"write it again: tfsctl warmup {directory}"
    count = 0
    try:
        for count, record in enumerate(read_records(file), 1):
            if reason := _bad_request(record, info):
                message = f"warmup record {count}: {reason}; the version would not be loaded"
                yield Finding("warmup", "error", str(file), message, again)
    except InvalidInput as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        yield Finding("warmup", "error", str(file), message, again)
    except OSError as error:
        yield Finding("warmup", "error", str(file), f"{file}; {error.strerror}", again)
    if count > _MAX_WARMUP_RECORDS:
        message = f"Number of warmup records exceeds the maximum ({_MAX_WARMUP_RECORDS}) at {file}"
        yield Finding("warmup", "error", str(file), message, f"keep {_MAX_WARMUP_RECORDS} of its {count} records")


def _bad_request(record: bytes, info: SavedModelInfo) -> str:
    """Why a server fails on a warmup record; "" if nothing is known to be wrong."""
    from google.protobuf.message import DecodeError

    try:
        log = protos.PredictionLog.FromString(record)
    except DecodeError:
        return "Failed to parse warmup record"
    kind = log.WhichOneof("log_type")
    if kind == "session_run_log":
        return "Unsupported log_type for warmup"
    if kind != "predict_log":
        return ""
    request = log.predict_log.request
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = info.signatures.get(name)
    if signature is None:
        return f'Serving signature key "{name}" not found.'
    wanted = {spec.name for spec in signature.inputs}
    sent = set(request.inputs)
    if sent != wanted:
        return f"it has the inputs {{{', '.join(sorted(sent))}}}, and {name} takes {{{', '.join(sorted(wanted))}}}"
    for spec in signature.inputs:
        dtype = dtypes.name_of(request.inputs[spec.name].dtype)
        if dtype != spec.dtype:
            return f"input {spec.name} is {dtype}, and {name} takes {spec.dtype}"
    return ""


def _manifest(directory: Path) -> Iterator[Finding]:
    try:
        read_fingerprint(directory)
    except ModelUnreadable as error:
        yield Finding("fingerprint", "warning", str(directory), error.message, _EXPORT_AGAIN)
    try:
        differences = compare_files(directory)
    except OSError as error:
        yield Finding("manifest", "error", str(error.filename), f"it cannot be read: {error.strerror}")
        return
    if differences is None:
        return
    for names, what, severity in (
        (differences.missing, "is missing", "error"),
        (differences.changed, "differs from the file that was exported", "error"),
        (differences.added, "was not there when the version was exported", "warning"),
    ):
        for name in names:
            message = f"{name} {what} (by the hashes in {MANIFEST_FILE})"
            yield Finding("manifest", severity, str(directory / name), message, _EXPORT_AGAIN)  # type: ignore[arg-type]
