"""Imports the messages of TensorFlow, TensorFlow Serving and gRPC without loading TensorFlow.

`import tensorflow_serving.apis…` loads all of TensorFlow, which takes seconds and 500 MB. The generated modules only need
a package named `tensorflow` whose `__path__` leads to the installed files. So this module puts a placeholder package in
`sys.modules` while it imports them, and removes it afterwards.

    from tfsctl.core import protos
    request = protos.PredictRequest()
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from tfsctl.errors import TfsctlError

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

_APIS = "tensorflow_serving.apis."
_CONFIG = "tensorflow_serving.config."
_EXAMPLE = "tensorflow.core.example."
_FRAMEWORK = "tensorflow.core.framework."
_PROTOBUF = "tensorflow.core.protobuf."

MODULE_OF = {
    "AttrValue": _FRAMEWORK + "attr_value_pb2",
    "Features": _EXAMPLE + "feature_pb2",
    "Feature": _EXAMPLE + "feature_pb2",
    "TensorInfo": _PROTOBUF + "meta_graph_pb2",
    "ModelConfig": _CONFIG + "model_server_config_pb2",
    "ClassificationResult": _APIS + "classification_pb2",
    "RegressionResult": _APIS + "regression_pb2",
    "ClassificationRequest": _APIS + "classification_pb2",
    "ClassificationResponse": _APIS + "classification_pb2",
    "GetModelMetadataRequest": _APIS + "get_model_metadata_pb2",
    "GetModelMetadataResponse": _APIS + "get_model_metadata_pb2",
    "Input": _APIS + "input_pb2",
    "MultiInferenceRequest": _APIS + "inference_pb2",
    "MultiInferenceResponse": _APIS + "inference_pb2",
    "RegressionRequest": _APIS + "regression_pb2",
    "RegressionResponse": _APIS + "regression_pb2",
    "ReloadConfigRequest": _APIS + "model_management_pb2",
    "ReloadConfigResponse": _APIS + "model_management_pb2",
    "SignatureDefMap": _APIS + "get_model_metadata_pb2",
    "GetModelStatusRequest": _APIS + "get_model_status_pb2",
    "GetModelStatusResponse": _APIS + "get_model_status_pb2",
    "ModelVersionStatus": _APIS + "get_model_status_pb2",
    "ModelSpec": _APIS + "model_pb2",
    "PredictLog": _APIS + "prediction_log_pb2",
    "PredictionLog": _APIS + "prediction_log_pb2",
    "PredictRequest": _APIS + "predict_pb2",
    "PredictResponse": _APIS + "predict_pb2",
    "ModelServerConfig": _CONFIG + "model_server_config_pb2",
    "StatusProto": _APIS + "status_pb2",
    "Example": _EXAMPLE + "example_pb2",
    "FunctionDef": _FRAMEWORK + "function_pb2",
    "GraphDef": _FRAMEWORK + "graph_pb2",
    "NodeDef": _FRAMEWORK + "node_def_pb2",
    "OpDef": _FRAMEWORK + "op_def_pb2",
    "TensorProto": _FRAMEWORK + "tensor_pb2",
    "TensorShapeProto": _FRAMEWORK + "tensor_shape_pb2",
    "ConfigProto": _PROTOBUF + "config_pb2",
    "RunOptions": _PROTOBUF + "config_pb2",
    "MetaGraphDef": _PROTOBUF + "meta_graph_pb2",
    "SignatureDef": _PROTOBUF + "meta_graph_pb2",
    "SavedModel": _PROTOBUF + "saved_model_pb2",
    "FingerprintDef": _PROTOBUF + "fingerprint_pb2",
    "HealthCheckRequest": "grpc_health.v1.health_pb2",
    "HealthCheckResponse": "grpc_health.v1.health_pb2",
    "ServerReflectionRequest": "grpc_reflection.v1alpha.reflection_pb2",
    "ServerReflectionResponse": "grpc_reflection.v1alpha.reflection_pb2",
}
_MODULE_OF_SERVICE = {
    "ModelService": _APIS + "model_service_pb2",
    "PredictionService": _APIS + "prediction_service_pb2",
}

_lock = threading.RLock()


def tensorflow_directory() -> str:
    """The folder of the installed `tensorflow` package. Raises TfsctlError where there is none."""
    spec = sys.modules["tensorflow"].__spec__ if "tensorflow" in sys.modules else importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise TfsctlError("TensorFlow is not installed", hint="pip install tensorflow")
    return next(iter(spec.submodule_search_locations))


@contextmanager
def _placeholder() -> Iterator[None]:
    """Let `tensorflow.core…_pb2` import without TensorFlow; leave only the generated modules behind."""
    if "tensorflow" in sys.modules:
        yield
        return
    package = ModuleType("tensorflow")
    package.__path__ = [tensorflow_directory()]
    sys.modules["tensorflow"] = package
    try:
        yield
    finally:
        for name in list(sys.modules):  # a copy: other threads may import at the same time
            if (name == "tensorflow" or name.startswith("tensorflow.")) and not name.endswith("_pb2"):
                del sys.modules[name]


def __getattr__(name: str) -> object:
    module = MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _lock, _placeholder():
        message: object = getattr(importlib.import_module(module), name)
    globals()[name] = message
    return message


def service(name: str) -> ServiceDescriptor:
    """The descriptor of a gRPC service of TensorFlow Serving. Loads all messages of the service."""
    with _lock, _placeholder():
        return importlib.import_module(_MODULE_OF_SERVICE[name]).DESCRIPTOR.services_by_name[name]
