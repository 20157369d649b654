"""The service behind both protocols: predict, classify, regress, metadata, status and reload.

REST and gRPC translate requests to calls of it. Errors have TensorFlow Serving's codes and messages.

Messages: tensorflow_serving/servables/tensorflow/predict_util.cc and get_model_metadata_impl.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from tfsctl.core import protos
from tfsctl.core.dtypes import DType
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelRef, VersionStatus
from tfsctl.errors import InvalidInput
from tfsctl.server.execution.servable import DirectRun, Servable
from tfsctl.server.lifecycle.server_core import ServerCore
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.request_context import charge_memory
from tfsctl.server.runtime.session import BoundSignature, Endpoint, Feeds
from tfsctl.server.signatures import examples as signature_examples
from tfsctl.server.signatures.examples import BoundTask, Results
from tfsctl.server.signatures.examples_codec import ExamplesCodec, Write
from tfsctl.server.signatures.predict import bind_signature, check_shapes, feeds_for, fetches_for
from tfsctl.server.signatures.serialized_input import (
    SerializedInput,
    context_bytes,
    example_count,
    serialized_examples,
)
from tfsctl.server.status import Code, ServingError, invalid_argument
from tfsctl.server.worker_threads import HUGE_BYTES, WorkerThreads
from tfsctl.serving_config.model_config import PLATFORM, models_from_proto

_MANY_EXAMPLES = 1024  # more are serialized in a thread
_COPIES_OF_CONTEXT = 2  # the serialized examples, and TensorFlow's tensor of them


@dataclass(slots=True)
class PredictResult:
    """The outputs of a predict request, and the version and signature that computed them."""

    name: str
    version: int
    signature: str
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class InferResult:
    """The results of classifications and regressions: for each task its signature, and a result for each example."""

    name: str
    version: int
    signatures: Sequence[str]
    results: Sequence[Results]


class Service:
    """Answers requests from the models of a server core.

    With `check_method_names`, requests for a signature that was exported for another method are refused.
    """

    def __init__(self, core: ServerCore, *, check_method_names: bool = False, recorder: Recorder | None = None) -> None:
        self.core = core
        self._threads = WorkerThreads("examples")
        self.recorder = recorder or NullRecorder()
        self._check_method_names = check_method_names

    def input_dtypes(self, ref: ModelRef, signature: str) -> Mapping[str, DType]:
        """The dtypes of a signature's inputs, by name. Raises INVALID_ARGUMENT in the words of the REST handler."""
        name = signature or DEFAULT_SIGNATURE
        bound = self.core.servable(ref).signature(name)
        if bound is None:
            raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
        if not bound.inputs:
            raise invalid_argument(f"Failed to get input map for signature: {signature or 'DEFAULT'}")
        return bound.dtypes

    async def predict(
        self,
        ref: ModelRef,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        deadline_s: float | None = None,
    ) -> PredictResult:
        """Run one signature. `deadline_s` is a time.monotonic() moment, None for no limit."""
        start_s = perf_counter()
        name = signature or DEFAULT_SIGNATURE
        servable = self.core.servable(ref)
        feeds, fetches = self.feeds_and_fetches(servable, name, inputs, output_filter)
        arrays = await servable.run(feeds, fetches, deadline_s=deadline_s, signature=name)
        outputs = {endpoint.alias: array for endpoint, array in zip(fetches, arrays)}  # noqa: B905 - equally long
        if self.recorder.is_active:
            self.recorder.inference_finished(ref.name, "Predict", perf_counter() - start_s)
        return PredictResult(servable.name, servable.version, name, outputs)

    def feeds_and_fetches(
        self, servable: Servable, signature: str, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str]
    ) -> tuple[Feeds, Sequence[Endpoint]]:
        """What a predict request feeds and fetches. Raises ServingError for one that does not fit the signature."""
        bound = None if self._check_method_names else servable.session.bound.get(signature)
        if bound is None:
            bound = self.bound_signature(servable, signature)
        fetches = fetches_for(bound, output_filter) if output_filter else bound.fetches
        feeds = feeds_for(bound, inputs)
        check_shapes(bound, feeds)
        return feeds, fetches

    def bound_signature(self, servable: Servable, signature: str) -> BoundSignature:
        """A signature that a predict request names. Raises FAILED_PRECONDITION or INTERNAL."""
        bound = bind_signature(servable, signature)
        if self._check_method_names:
            _check_method_name(servable, signature)
        return bound

    def refuse_predict(self, ref: ModelRef, signature: str, names: Iterable[str]) -> None:
        """Raise if a predict request with inputs of these names would be refused, whatever their values."""
        bound = bind_signature(self.core.servable(ref), signature or DEFAULT_SIGNATURE)
        feeds_for(bound, dict.fromkeys(names, np.empty(0)))

    def check_tasks(self, ref: ModelRef, specs: Iterable[tuple[str, str, str]]) -> None:
        """Check the tasks of a MultiInference: (model, signature, method). Raises if they cannot be run together."""
        signature_examples.check_tasks(self.core.servable(ref), specs, check_method_name=self._check_method_names)

    async def infer(
        self,
        ref: ModelRef,
        tasks: Sequence[tuple[str, str]],
        sent: protos.Input | SerializedInput,
        *,
        deadline_s: float | None = None,
    ) -> InferResult:
        """Classify or regress examples. `tasks` are (method, signature) pairs, run at once on the same examples."""
        start_s = perf_counter()
        servable = self.core.servable(ref)
        bound = [
            signature_examples.bind_task(servable, method, signature, check_method_name=self._check_method_names)
            for method, signature in tasks
        ]
        charge_memory(_COPIES_OF_CONTEXT * context_bytes(sent))
        if example_count(sent) <= _MANY_EXAMPLES:
            examples = serialized_examples(sent)
        else:
            examples = await self._threads.run(HUGE_BYTES, serialized_examples, sent)
        results = await signature_examples.run(servable, bound, examples, deadline_s=deadline_s)
        if len(tasks) == 1:
            api = "Classify" if tasks[0][0] == signature_examples.CLASSIFY_METHOD else "Regress"
            self.recorder.inference_finished(ref.name, api, perf_counter() - start_s)
        self.recorder.examples_classified(ref.name, len(results[0]))
        return InferResult(servable.name, servable.version, [task.signature for task in bound], results)

    def direct_examples_run(
        self,
        servable: Servable,
        task: tuple[str, str],
        examples: list[bytes],
        protocol: str,
        write_for: Callable[[Servable, BoundTask], Write],
        *,
        nbytes: int,
        deadline_s: float | None,
    ) -> DirectRun | None:
        """The run of a small classification or regression that needs no task; None if the servable runs none of these.

        `task` is a (method, signature) pair. The outcome of the run is an error, or what the writer writes, which
        `write_for` returns for requests over a protocol. `nbytes` is the size of the request. Raises as `infer` does.
        """
        if not servable.accepts_codecs:
            return None
        key = protocol, task, len(examples)
        codec = servable.codecs.get(key)
        if codec is None:
            bound = signature_examples.bind_task(servable, *task, check_method_name=self._check_method_names)
            codec = ExamplesCodec(bound, len(examples), write_for(servable, bound), self._threads)
            servable.add_codec(key, codec)
        # Not merged, as in `infer`. TensorFlow parses the rows of one tensor in several threads, and waits for them: that
        # takes 99 us for 8 merged requests, and 66 us for 8 parallel calls.
        return DirectRun.of_payload(
            examples, codec, rows=len(examples), nbytes=nbytes, may_merge=False, deadline_s=deadline_s
        )

    async def reload(self, config: protos.ModelServerConfig) -> None:
        """Serve exactly the models of a new configuration. Raises what `ServerCore.reload` raises, or INVALID_ARGUMENT."""
        if config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        try:
            models = models_from_proto(config, platforms=dict.fromkeys(self.core.model_names, PLATFORM))
        except InvalidInput as error:
            raise invalid_argument(error.message) from error
        await self.core.reload(models)

    def signature_defs(self, ref: ModelRef) -> tuple[Servable, Mapping[str, protos.SignatureDef]]:
        """The servable, and its SignatureDef messages by name."""
        servable = self.core.servable(ref)
        return servable, servable.session.signature_defs

    def version_and_signatures(self, ref: ModelRef) -> tuple[int | None, Mapping[str, protos.SignatureDef] | None]:
        """The number of the version that answers a request, and its SignatureDefs; None for both if there is none."""
        try:
            servable = self.core.servable(ref)
        except ServingError:
            return None, None
        return servable.version, servable.session.signature_defs

    def status(self, name: str, version: int | None) -> list[VersionStatus]:
        """The states of a model's versions, highest first."""
        return self.core.status(name, version)


def _check_method_name(servable: Servable, signature: str) -> None:
    found = servable.session.signature_defs[signature].method_name
    known = [f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress")]
    if found not in known:
        wanted = ", ".join(known)
        raise ServingError(
            Code.INTERNAL, f"Expected prediction signature method_name to be one of {{{wanted}}}. Was: {found}"
        )
