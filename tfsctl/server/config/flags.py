"""The flags of `tfsctl-model-server`: TensorFlow Serving's own, with its texts and defaults, and a few of ours.

Flags and texts: tensorflow_serving/model_servers/main.cc.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from tfsctl.server.limits import MAX_MESSAGE_BYTES, Limits
from tfsctl.server.process.resources import cpu_count

START_FAILED = 255  # the exit code of tensorflow_model_server when it cannot start
WITHOUT_EFFECT = frozenset(
    {
        "rest_api_num_threads",
        "flush_filesystem_caches",
        "platform_config_file",
        "grpc_max_threads",
        "remove_unused_fields_from_bundle_metagraph",
        "prefer_tflite_model",
        "num_tflite_pools",
        "num_tflite_interpreters_per_pool",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
        "enable_profiler",
        "thread_pool_factory_config_file",
        "mixed_precision",
        "skip_initialize_tpu",
    }
)
"""Flags of the real server that are accepted and do nothing here."""
_CPUS = cpu_count()
_LIMITS = Limits()
FlagT = TypeVar("FlagT", int, float, str, bool)
_KINDS: dict[type, str] = {int: "int32", float: "float", str: "string", bool: "bool"}


def _flag(default: FlagT, text: str, kind: str = "", *, hidden: bool = False) -> FlagT:
    return field(default=default, metadata={"text": text, "kind": kind or _KINDS[type(default)], "hidden": hidden})


def _own_flag(default: FlagT, text: str, kind: str = "", *, hidden: bool = False) -> FlagT:
    """A flag that tensorflow_model_server does not have, which its text says."""
    return _flag(default, f"{text} (not a flag of tensorflow_model_server).", kind, hidden=hidden)


@dataclass(frozen=True, slots=True)
class Flags:
    """The values of all flags. The name of a time tells its unit; port 0 means none."""

    port: int = _flag(8500, "TCP port to listen on for gRPC/HTTP API. Disabled if port set to zero.")
    grpc_socket_path: str = _flag(
        "",
        "If non-empty, listen to a UNIX socket for gRPC API on the given path. Can be either relative or absolute "
        "path.",
    )
    rest_api_port: int = _flag(
        0,
        "Port to listen on for HTTP/REST API. If set to zero HTTP/REST API will not be exported. This port must be "
        "different than the one specified in --port.",
    )
    rest_api_num_threads: int = _flag(
        4 * _CPUS,
        "Number of threads for HTTP/REST API processing. If not set, will be auto set based on number of CPUs.",
    )
    rest_api_timeout_in_ms: int = _flag(30_000, "Timeout for HTTP/REST API calls.")
    rest_api_enable_cors_support: bool = _flag(default=False, text="Enable CORS headers in response")
    enable_batching: bool = _flag(default=False, text="enable batching")
    allow_version_labels_for_unavailable_models: bool = _flag(
        default=False,
        text="If true, allows assigning unused version labels to models that are not available yet.",
    )
    batching_parameters_file: str = _flag(
        "",
        "If non-empty, read an ascii BatchingParameters protobuf from the supplied file name and use the contained "
        "values instead of the defaults.",
    )
    enable_per_model_batching_parameters: bool = _flag(
        default=False,
        text=(
            "Enables model specific batching params like batch sizes, timeouts, batching feature flags to be read "
            "from `batching_params.pbtxt` file present in SavedModel dir of the model. Associated params in the "
            "global config from --batching_parameters_file are *ignored*. Only threadpool (name and size) related "
            "params are used from the global config, as this threadpool is shared across all the models that want to "
            "batch requests. This option is only applicable when --enable_batching flag is set."
        ),
    )
    model_config_file: str = _flag(
        "",
        "If non-empty, read an ascii ModelServerConfig protobuf from the supplied file name, and serve the models in "
        "that file. This config file can be used to specify multiple models to serve and other advanced parameters "
        "including non-default version policy. (If used, --model_name, --model_base_path are ignored.)",
    )
    model_config_file_poll_wait_seconds: int = _flag(
        0,
        "Interval in seconds between each poll of the filesystemfor model_config_file. If unset or set to zero, poll "
        "will be done exactly once and not periodically. Setting this to negative is reserved for testing purposes "
        "only.",
    )
    model_name: str = _flag("default", "name of model (ignored if --model_config_file flag is set)")
    model_base_path: str = _flag("", "path to export (ignored if --model_config_file flag is set, otherwise required)")
    num_load_threads: int = _flag(
        0,
        "The number of threads in the thread-pool used to load servables. If set as 0, we don't use a thread-pool, "
        "and servable loads are performed serially in the manager's main work loop, may casue the Serving request to "
        "be delayed. Default: 0",
    )
    num_unload_threads: int = _flag(
        0,
        "The number of threads in the thread-pool used to unload servables. If set as 0, we don't use a thread-pool, "
        "and servable loads are performed serially in the manager's main work loop, may casue the Serving request to "
        "be delayed. Default: 0",
    )
    max_num_load_retries: int = _flag(
        5,
        "maximum number of times it retries loading a model after the first failure, before giving up. If set to 0, a "
        "load is attempted only once. Default: 5",
    )
    load_retry_interval_micros: int = _flag(
        60_000_000,
        "The interval, in microseconds, between each servable load retry. If set negative, it doesn't wait. Default: "
        "1 minute",
        kind="int64",
    )
    file_system_poll_wait_seconds: int = _flag(
        1,
        "Interval in seconds between each poll of the filesystem for new model version. If set to zero poll will be "
        "exactly done once and not periodically. Setting this to negative value will disable polling entirely causing "
        "ModelServer to indefinitely wait for a new model at startup. Negative values are reserved for testing "
        "purposes only.",
    )
    flush_filesystem_caches: bool = _flag(
        default=True,
        text=(
            "If true (the default), filesystem caches will be flushed after the initial load of all servables, and "
            "after each subsequent individual servable reload (if the number of load threads is 1). This reduces "
            "memory consumption of the model server, at the potential cost of cache misses if model files are "
            "accessed after servables are loaded."
        ),
    )
    tensorflow_session_parallelism: int = _flag(
        0,
        "Number of threads to use for running a Tensorflow session. Auto-configured by default.Note that this option "
        "is ignored if --platform_config_file is non-empty.",
        kind="int64",
    )
    tensorflow_session_config_file: str = _flag(
        "",
        "If non-empty, read an ascii TensorFlow Session ConfigProto protobuf from the supplied file name. Note, parts "
        "of the session config (threads, parallelism etc.) can be overridden if needed, via corresponding command "
        "line flags.",
    )
    tensorflow_intra_op_parallelism: int = _flag(
        0,
        "Number of threads to use to parallelize the executionof an individual op. Auto-configured by default.Note "
        "that this option is ignored if --platform_config_file is non-empty.",
        kind="int64",
    )
    tensorflow_inter_op_parallelism: int = _flag(
        0,
        "Controls the number of operators that can be executed simultaneously. Auto-configured by default.Note that "
        "this option is ignored if --platform_config_file is non-empty.",
        kind="int64",
    )
    use_alts_credentials: bool = _flag(default=False, text="Use Google ALTS credentials")
    ssl_config_file: str = _flag(
        "",
        "If non-empty, read an ascii SSLConfig protobuf from the supplied file name and set up a secure gRPC channel",
    )
    platform_config_file: str = _flag(
        "",
        "If non-empty, read an ascii PlatformConfigMap protobuf from the supplied file name, and use that platform "
        "config instead of the Tensorflow platform. (If used, --enable_batching is ignored.)",
    )
    per_process_gpu_memory_fraction: float = _flag(
        0.0,
        "Fraction that each process occupies of the GPU memory space the value is between 0.0 and 1.0 (with 0.0 as "
        "the default) If 1.0, the server will allocate all the memory when the server starts, If 0.0, Tensorflow will "
        "automatically select a value.",
    )
    saved_model_tags: str = _flag(
        "serve",
        "Comma-separated set of tags corresponding to the meta graph def to load from SavedModel.",
    )
    grpc_channel_arguments: str = _flag(
        "",
        "A comma separated list of arguments to be passed to the grpc server. (e.g. grpc.max_connection_age_ms=2000)",
    )
    grpc_max_threads: int = _flag(4 * _CPUS, "Max grpc server threads to handle grpc messages.")
    enable_model_warmup: bool = _flag(
        default=True,
        text=(
            "Enables model warmup, which triggers lazy initializations (such as TF optimizations) at load time, to "
            "reduce first request latency."
        ),
    )
    num_request_iterations_for_warmup: int = _flag(
        0,
        "Number of times a request is iterated during warmup replay. This value is used only if > 0.",
    )
    version: bool = _flag(default=False, text="Display version")
    monitoring_config_file: str = _flag(
        "",
        "If non-empty, read an ascii MonitoringConfig protobuf from the supplied file name",
    )
    remove_unused_fields_from_bundle_metagraph: bool = _flag(
        default=True,
        text="Removes unused fields from MetaGraphDef proto message to save memory.",
    )
    prefer_tflite_model: bool = _flag(
        default=False,
        text=(
            "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Prefer TensorFlow Lite model from `model.tflite` file in "
            "SavedModel directory, instead of the TensorFlow model from `saved_model.pb` file. If no TensorFlow Lite "
            "model found, fallback to TensorFlow model."
        ),
    )
    num_tflite_pools: int = _flag(
        _CPUS,
        "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Number of TFLite interpreters in an interpreter pool of TfLiteSession. "
        "Typically there is one TfLiteSession for each TF Lite model that is loaded. If not set, will be auto set "
        "based on number of CPUs.",
    )
    num_tflite_interpreters_per_pool: int = _flag(
        1,
        "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Number of TFLite interpreters in an interpreter pool of TfLiteSession. "
        "Typically there is one TfLiteSession for each TF Lite model that is loaded. If not set, will be 1.",
    )
    enable_signature_method_name_check: bool = _flag(
        default=False,
        text=(
            "Enable method_name check for SignatureDef. Disable this if serving native TF2 regression/classification "
            "models."
        ),
    )
    xla_cpu_compilation_enabled: bool = _flag(
        default=False,
        text=(
            "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Enable XLA:CPU JIT (default is disabled). With XLA:CPU JIT "
            "disabled, models utilizing this feature will return bad Status on first compilation request."
        ),
    )
    xla_gpu_compilation_enabled: bool = _flag(
        default=False,
        text="EXPERIMENTAL; CAN BE REMOVED ANYTIME! Enable both XLA:CPU JIT and XLA:GPU JIT (default is disabled).",
    )
    enable_profiler: bool = _flag(
        default=True, text="Enable profiler service. Has no effect in this server, which has no profiler."
    )
    thread_pool_factory_config_file: str = _flag(
        "",
        "If non-empty, read an ascii ThreadPoolConfig protobuf from the supplied file name.",
    )
    mixed_precision: str = _flag("", "specify mixed_precision mode")
    skip_initialize_tpu: bool = _flag(default=False, text="Whether to skip auto initializing TPU.")
    enable_grpc_healthcheck_service: bool = _flag(default=False, text="Enable the standard gRPC healthcheck service.")
    enable_serialization_as_tensor_content: bool = _flag(
        default=False,
        text="Enable serialization of predict response as tensor content.",
    )
    rest_api_enable_ssl: bool = _own_flag(
        default=False,
        text="Serve the HTTP/REST API over TLS as well, as --ssl_config_file says",
    )
    batching: str = _own_flag(
        "auto",
        "Merge requests that wait together into one run: auto (where the export found that rows do not affect each "
        "other), on (always), off",
    )
    custom_op_library: str = _own_flag(
        "",
        "Comma-separated paths of shared libraries with custom TensorFlow operations, loaded before any model",
    )
    check_new_versions: str = _own_flag(
        "auto",
        "Load, warm up and run a new version in another process first, so that a version that ends its process does "
        "not end the server: auto (all versions but the only one of a starting server), always (also that one), "
        "never",
    )
    model_reload: str = _own_flag(
        "all",
        "Who may change the served models with ReloadConfig: all, local (clients on this machine), off",
    )
    drain_timeout_seconds: int = _own_flag(
        30,
        "How long requests that are running at SIGTERM or SIGINT may take to finish",
    )
    max_queued_requests: int = _own_flag(
        0,
        "How many requests may wait for their run, over all models. The server refuses more with 429 or "
        "RESOURCE_EXHAUSTED. If 0, the limit follows from --max_queued_bytes",
    )
    max_queued_bytes: int = _own_flag(
        0,
        "How many bytes of tensors may wait for their run, over all models. If 0, an eighth of the memory that the "
        "server may use",
        kind="int64",
    )
    disable_request_optimizations: bool = _own_flag(
        default=False,
        text=(
            "For triage: parse and run every request alone. Turns off all caches of requests and their heads, "
            "coalescing, merging and replicas"
        ),
        hidden=True,
    )
    enable_reflection: bool = _own_flag(default=True, text="Enable gRPC server reflection")
    max_held_megabytes: int = _own_flag(
        0,
        "How many MiB of requests and unread answers may be held for all clients together; 0 is 1/256 of the memory, "
        "at least 64",
    )
    max_body_bytes: int = _own_flag(MAX_MESSAGE_BYTES, "The largest body of a request; 0 is no limit", kind="int64")
    max_header_bytes: int = _own_flag(
        _LIMITS.max_header_bytes, "The largest header section of a request, request line included; 0 is no limit"
    )
    max_header_count: int = _own_flag(
        _LIMITS.max_header_count, "How many header fields a request may have; 0 is no limit"
    )
    max_connections_per_peer: int = _own_flag(
        _LIMITS.max_connections_per_peer, "How many connections one IP address may have; 0 is no limit"
    )
    max_requests_per_connection: int = _own_flag(
        _LIMITS.max_requests_per_connection or 0, "After how many requests a connection is closed; 0 is no limit"
    )
    request_header_timeout_seconds: int = _own_flag(
        int(_LIMITS.header_timeout_s or 0), "How long the header section of a request may take to arrive; 0 is no limit"
    )
    request_body_timeout_seconds: int = _own_flag(
        int(_LIMITS.body_grace_s or 0),
        "How long the body of a request may take to arrive, however slowly; after that it has to keep to "
        "--min_request_body_bytes_per_second; 0 is no limit",
    )
    min_request_body_bytes_per_second: int = _own_flag(
        _LIMITS.body_bytes_per_s,
        "How fast a body has to arrive that takes longer than --request_body_timeout_seconds; 0 is no limit",
    )
    write_stall_timeout_seconds: int = _own_flag(
        int(_LIMITS.write_stall_timeout_s or 0),
        "After how long a client is disconnected that reads nothing of its answer; 0 is no limit",
    )
    stream_idle_timeout_seconds: int = _own_flag(
        600, "After how long a reflection stream ends whose client sends nothing; 0 is no limit"
    )
    host: str = _own_flag("0.0.0.0", "Address to listen on")  # noqa: S104 - its default

    @property
    def rest_timeout_s(self) -> float | None:
        """The timeout of a REST request in seconds; None means no limit."""
        return self.rest_api_timeout_in_ms / 1e3 if self.rest_api_timeout_in_ms > 0 else None
