"""The gRPC calls about the served models: their metadata, their status, and a new configuration.

Rules and messages: tensorflow_serving/servables/tensorflow/get_model_metadata_impl.cc and
tensorflow_serving/model_servers/{get_model_status_impl,model_service_impl}.cc.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from tfsctl.core import protos
from tfsctl.server.grpc.predict_request_cache import model_ref
from tfsctl.server.lifecycle.status_message import fill_status
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.service.model_service import Service
from tfsctl.server.status import Code, ServingError, invalid_argument

_SIGNATURE_DEF = "signature_def"
_MAX_MODELS = 20_000  # each takes a kilobyte while it is checked


class ModelCalls:
    """Answers the calls from a Service; the recorder has the metrics that a reload can ask for."""

    def __init__(self, service: Service, recorder: Recorder) -> None:
        self._service = service
        self._recorder = recorder

    async def metadata(
        self, request: protos.GetModelMetadataRequest, _deadline_s: float | None
    ) -> protos.GetModelMetadataResponse:
        """Answer GetModelMetadata: the signatures of a version. Raises ServingError."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        servable, definitions = self._service.signature_defs(model_ref(request.model_spec))
        response = protos.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = protos.SignatureDefMap()
        for key, definition in definitions.items():
            signatures.signature_def[key].CopyFrom(definition)
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    async def status(
        self, request: protos.GetModelStatusRequest, _deadline_s: float | None
    ) -> protos.GetModelStatusResponse:
        """Answer GetModelStatus: the states of the versions of a model. Raises ServingError."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = protos.GetModelStatusResponse()
        fill_status(response, self._service.status(spec.name, version))
        return response

    async def reload(
        self, request: protos.ReloadConfigRequest, deadline_s: float | None
    ) -> protos.ReloadConfigResponse:
        """Answer HandleReloadConfigRequest: serve the models of a new configuration. Raises ServingError."""
        if len(request.config.model_config_list.config) > _MAX_MODELS:
            raise invalid_argument(f"A configuration of more than {_MAX_MODELS} models")
        before = self._counts(request.metric_names)
        reload = asyncio.ensure_future(self._service.reload(request.config))
        timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        done, _ = await asyncio.wait([reload], timeout=timeout_s)  # the reload continues after its caller's deadline
        if not done:
            raise ServingError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        reload.result()
        response = protos.ReloadConfigResponse()
        response.status.SetInParent()
        for name, count in self._counts(request.metric_names).items():
            response.metric.add(name=name, int64_value_increase=count - before[name])
        return response

    def _counts(self, names: Iterable[str]) -> dict[str, int]:
        """The values of counters by their names; empty if no metrics are kept."""
        values = {name: self._recorder.counter_value(name) for name in names}
        return {name: value for name, value in values.items() if value is not None}
