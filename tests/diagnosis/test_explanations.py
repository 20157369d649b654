"""Errors of TensorFlow Serving, gRPC, OpenSSL, curl and Keras are explained."""

from __future__ import annotations

import json
import re

import pytest
from locations import RECORDED

from tfsctl.diagnosis.connection_errors import CONNECTION_ERRORS
from tfsctl.diagnosis.explanations import explain, explain_all
from tfsctl.diagnosis.known_error import KnownError
from tfsctl.diagnosis.platform_errors import PLATFORM_ERRORS
from tfsctl.diagnosis.request_errors import REQUEST_ERRORS
from tfsctl.diagnosis.server_errors import SERVER_ERRORS

ALL = (*SERVER_ERRORS, *REQUEST_ERRORS, *CONNECTION_ERRORS, *PLATFORM_ERRORS)

# Words, and a part of the cause they must find. What the embedded server can be made to say is provoked in
# tests/clients/test_explained_refusals.py as well; the others are from recordings, issues and sources.
SAMPLES = {
    # a server that starts or loads
    "No versions of servable x found under base path /models/x. Did you forget to name your leaf directory as a number (eg. '/1/')?": "/models/x has no numbered version directory",
    "No versions of servable y found under base path /models/y": "/models/y has no numbered version directory",
    "WARNING: The requested image's platform (linux/amd64) does not match the detected host platform (linux/arm64/v8)": "another processor",
    "Duplicate version directories detected. Version 1 will be loaded from /m/01, ignoring /m/1": "two directories have the same version number (such as 1 and",
    "Error while reading resource variable dense/kernel from Container: localhost. This could mean": "without its variables",
    "Could not find base path s3://b/m for servable m with error UNIMPLEMENTED: File system scheme 's3' not implemented (file: 's3://b/m')": "this build of the server does not support s3",
    "Could not find base path /models/x for servable x with error NOT_FOUND": "the server cannot see the directory /models/x",
    "Expected model x to have an absolute path or URI; got base_path()=models/x": "TensorFlow Serving does not accept relative base paths",
    "Could not find meta graph def matching supplied tags: { zz }. To inspect": "no graph tagged zz",
    "Could not find SavedModel .pb or .pbtxt at supplied export directory path: /models/x/1": "the version directory has no saved_model.pb",
    "1 servable(s) did not become available: {{{name: broken version: 1} due to error: OUT_OF_RANGE: Read less bytes than requested}, }": "the version is incomplete",
    "/models/x/1/saved_model.pb; Permission denied": "the server's user has no permission to read",
    "Op type not registered 'PyFunc' in binary running on host": "calls Python code (operation PyFunc)",
    "callback pyfunc_0 is not found": "only in the process that exported it",
    "Op type not registered 'SentencepieceOp' in binary running on host": "the operation SentencepieceOp",
    "NodeDef mentions attr 'debug_name' not in Op<name=VarHandleOp": "a newer TensorFlow",
    "F sampler.cc:42] Check failed: bucket_limits_.size() > 0": "another processor",
    "OOM when allocating tensor with shape[4096,4096]": "memory of the device is full",
    "Number of warmup records exceeds the maximum (1000) at /m/1/assets.extra": "more than 1000 requests",
    "Failed to read. Please verify your warmup data is in TFRecord format.": "the version is not loaded because assets.extra/tf_serving_warmup_requests",
    "Both server_options.model_base_path and server_options.model_config_file are empty!": "the server was started without a model",
    "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.": "batching is off",
    "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.": "turns gRPC off",
    "Illegal to list model a multiple times in config list": "two entries named a",
    "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, model name is a": "the entry of a in the model config file has no platform",
    "Model a requests unsupported platform caffe": "TensorFlow Serving supports only the platform `tensorflow`",
    "Illegal to change a model's platform. For model zoo platform was tensorflow": "a reload cannot change the platform of a served model",
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is": "a model_config_list",
    "No request-logger-creator provided.": "logging_config",
    'Message type "tensorflow.serving.ModelConfig" has no field named "nam".': "tensorflow.serving.ModelConfig has no field nam",
    "Invalid protobuf file: '/conf/b1'": "/conf/b1 is not a text protobuf of the flag's message type",
    "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8": "ends with 4",
    "Either configure server_options.tensorflow_session_parallelism or (…) separately. You cannot configure all.": "--tensorflow_session_parallelism sets both intra-op and",
    "Request to assign label to version 3 of model m, which is not currently available for inference": "labels are checked before",
    "bind: address already in use": "another program listens",
    "curl http://localhost:8501/monitoring/prometheus/metrics": "metrics are off",
    "unknown argument: --nope=1": "the server does not know the flag --nope=1, and ignores it",
    "1 servable(s) did not become available: {{{name: m version: 1} due to error: INTERNAL: x}, }": "could not be loaded",
    "ValueError: Invalid filepath extension for saving. Please add either a `.keras` extension": "model.save() writes .keras",
    "No OpKernel was registered to support Op 'EagerPyFunc' used by {{node a}}": "a model server has no Python",
    "UNIMPLEMENTED: Could not find compiler for platform CUDA: NOT_FOUND": "jit_compile=True",
    "no matching manifest for linux/arm64/v8 in the manifest list entries": "no image for linux/arm64/v8",
    # a request
    "Tensor :0, specified in either feed_devices or fetch_devices was not found in the Graph": "a sparse tensor",
    "Batching session Run() input tensors must have equal 0th-dimension size": "different numbers of rows",
    "Servable not found for request: Specific(m, 5)": "that version is not loaded",
    "Could not find any versions of model nope": "no model of that name",
    "Unrecognized servable version label: stable": "no version of the model has that label",
    'Serving signature name: "x" not found in signature def': "the model has no signature of that name",
    "Failed to get input map for signature: incr_counter": "the signature incr_counter has no inputs, and REST cannot call",
    "ModelSpec has no name specified.": "the request does not name a model",
    "input tensor alias not found in signature: input_1. Inputs expected to be in the set {x}.": "no input input_1",
    "Signature input alias: b(feed name: two_in_b:0) not found in request and no default value provided.": "the request lacks the input b",
    "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}.": "missing: b",
    "output tensor alias not found in signature: zz Outputs expected to be in the set {a,s}.": "no output zz",
    "duplicate output tensor alias: score": "names score twice",
    "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: a,b": "exactly the inputs",
    "instances is a plain list, but expecting list of objects as multiple input tensors required as per": "several inputs",
    'JSON Value: {\n    "b64": "AAA="\n} Type: Object is not of expected type: float': "b64 sends bytes, but the model takes float",
    "Unable to base64 decode": "not base64",
    'JSON Value: "a" Type: String is not of expected type: float': "the request has a JSON String where the model takes float",
    "Expecting tensor size: 4 but got: 3": "ragged",
    "Conversion of JSON Value: 1.5 to type: half": "TensorFlow Serving's REST API does not support that dtype",
    "Tensor name: y has inconsistent batch size: 1 expecting: 3": "one row of every output",
    "Expects arg[0] to be float but string is provided": "an input was sent as string, but the model takes float",
    "Matrix size-incompatible: In[0]: [1,4], In[1]: [3,2]": "a row has the wrong number of features",
    "In[0] mismatch In[1] shape: 4 vs. 3: [1,4] [3,2] 0 0": "multiplies tensors of the shapes [1,4] and [3,2]",
    "In[0] is not a matrix. Instead it has shape [3]\n\t [[{{node dense/MatMul}}]]": "too few or too many dimensions",
    "In[0] and In[1] has different ndims: [3] vs. [3,4]": "too few or too many dimensions",
    "Input to reshape is a tensor with 3 values, but the requested shape has 4": "reshapes 3 values to a shape that has 4",
    "Input to reshape is a tensor with 3 values, but the requested shape requires a multiple of 4": "a multiple of 4",
    "Expected image (JPEG, PNG, or GIF), got unknown format starting with 'abc'": "got bytes that are not one",
    "TypeError: Object of type bytes is not JSON serializable": "takes them as base64",
    "TypeError: Object of type ndarray is not JSON serializable": "cannot write a ndarray",
    "TypeError: Object of type float32 is not JSON serializable": "cannot write a float32",
    "has been blocked by CORS policy: No 'Access-Control-Allow-Origin' header is present": "requests of other sites (CORS)",
    "Incompatible shapes: [3] vs. [2]\n\t [[{{node Add}}]]": "the shapes of the inputs do not fit the model's operations",
    "indices[0,3] = 1000 is not in [0, 100)": "the model looks up row 1000 of a table with 100 rows",
    "You must feed a value for placeholder tensor 'keep_prob' with dtype float": "the graph needs keep_prob, which is not an input of the",
    "Could not parse example input, value: 'This movie is great! :D'": "the signature takes serialized tf.Examples, but got other",
    "Origin header is missing in CORS preflight": "the OPTIONS request has no Origin header, which a browser's",
    "boom : Tensor had Inf values": "found Inf",
    "tensor parsing error: x": "the number of values in the tensor x does not match its",
    "JSON Parse error: Invalid value. at offset: 19": "not JSON",
    "Missing 'inputs' or 'instances' key": "`instances` (a list of rows)",
    "Malformed request: GET /v1/models/m:predict": "no such path",
    "When method is classify, key 'examples' is expected and was not found": "take `examples`",
    "Name: <unknown>, Feature: x (data type: float) is required but could not be found.": "the feature x (float)",
    "Name: <unknown>, Key: x, Index: 0.  Data types don't match. Data type: int64 but expected type: float": "sent as int64",
    "Number of float values != expected.  Values size: 2 but output shape: [1]": "a feature has 2 values",
    "Unexpected element type in feature: x expecting type: float": "the values of a feature must have one type",
    "Input is empty.": "at least one example",
    "Duplicate evaluation of signature: regress_x_to_y": "each once",
    "Unsupported signature method_name: zz": "the signature does not support the method",
    "CLIENT: Received message larger than max (32243844 vs. 4194304)": "4 MB by default",
    "Timed out waiting for notification": "--rest_api_timeout_in_ms",
    "Server Threadpool Exhausted": "gRPC threads",
    "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued": "faster than the model",
    "Task size 5 is larger than maximum input batch size 4": "5 rows where 4 are allowed",
    "Tensors with name 'x:0' from different tasks have different shapes and padding is turned off.": "merges requests",
    "Batched output tensor has 0 dimensions": "batching is on, but an output of this signature does not",
    # a connection
    "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in chain": "the server's certificate was signed by an authority that",
    "curl: (60) SSL certificate problem: unable to get local issuer certificate": "signed by an authority that this machine",
    "Ssl handshake failed: error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED": "could not be verified",
    "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)": "could not be verified",
    "certificate verify failed: Hostname mismatch, certificate is not valid for 'x'.": "the server's certificate is for another host name",
    "certificate verify failed: certificate has expired": "the server's certificate has expired or is not valid yet, or",
    "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required": "the server requires a client certificate from an authority",
    "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)": "does not speak TLS",
    "curl: (6) Could not resolve host: nope": "the host name has no address",
    "curl: (7) Failed to connect to localhost port 8501: Connection refused": "no program listens on that port",
    "OSError: [Errno 113] No route to host": "the network has no route to that host",
    "curl: (1) Received HTTP/0.9 when not allowed": "another protocol",
    "curl: (52) Empty reply from server": "the server closed the connection",
    "<html><head><title>504 Gateway Time-out</title></head>": "a gateway timed out before the model responded",
    "502 Bad Gateway": "a gateway could not reach the server behind it",
    "upstream connect error or disconnect/reset before headers": "a gateway could not reach the server behind it",
    "GOAWAY received; Error code: 11; Debug Text: too_many_pings": "the client sent more keepalive pings than the server allows",
    "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD>": "the path is not one of TensorFlow Serving, whose paths begin",
    'status = StatusCode.UNIMPLEMENTED details = "Method not found!"': "a gRPC server without TensorFlow Serving's services",
    "HTTP/1.1 407 Proxy Authentication Required": "the proxy requires a user name and a password",
    "failed to connect to all addresses; last error: UNAVAILABLE": "no address of that host",
    "StatusCode.UNAUTHENTICATED": "a gateway in front of the server requires authentication",
    "no connection within 1 s": "the host did not accept the connection in time",
    "status = StatusCode.DEADLINE_EXCEEDED": "the deadline of the call passed before the response arrived",
    "Received http2 header with status: 404": "the port serves HTTP without gRPC",
    "Received http2 header with status: 502": "the response is not from TensorFlow Serving, but from a",
    'details = "Transport closed"': "the connection was closed before the response",
    "415 Unsupported Media Type, without a message of TensorFlow Serving": "to a gRPC port",
    # Docker, Kubernetes, the processor, the GPU, the operating system
    "toomanyrequests: You have reached your pull rate limit.": "limit of pulls",
    "pull access denied for tensorflow/servingg, repository does not exist or may require 'docker login'": "no such image",
    "manifest for tensorflow/serving:9.9 not found: manifest unknown": "no such image or tag",
    "tf-serving-5d8f  0/1  ImagePullBackOff  0  2m": "the Kubernetes node cannot pull the image",
    "exec /usr/bin/tf_serving_entrypoint.sh: exec format error": "built for another processor, for example",
    "libc.so.6: version `GLIBC_2.29' not found (required by tensorflow_model_server)": "needs GLIBC_2.29",
    "libstdc++.so.6: version `GLIBCXX_3.4.26' not found": "needs GLIBCXX_3.4.26",
    "permission denied while trying to connect to the Docker daemon socket": "no access to the Docker daemon",
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.": "the Docker daemon does not respond",
    'invalid mount config for type "bind": bind source path does not exist: /m/x.': "the directory /m/x does not exist",
    'could not select device driver "" with capabilities: [[gpu]].': "no working driver for NVIDIA GPUs",
    "CUDA driver version is insufficient for CUDA runtime version": "older than the CUDA of the server",
    "    Reason:       OOMKilled\n    Exit Code:    137": "the process was killed (SIGKILL)",
    "tfs exited with code 137": "the process was killed (SIGKILL)",
    "Exited (137) 3 minutes ago": "the process was killed (SIGKILL)",
    '"ExitCode": 137,': "the process was killed (SIGKILL)",
    "serve.sh: line 3: 4242 Killed                  tensorflow_model_server": "the process was killed (SIGKILL)",
    "OSError: [Errno 28] No space left on device: 'x'": "a disk is full",
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.": "as much free nvidia.com/gpu",
    "tf-serving-5d8f  0/1  CrashLoopBackOff  5 (30s ago)  4m": "restarted again and again",
}  # fmt: skip


@pytest.mark.parametrize("words", SAMPLES)
def test_known_errors_are_explained(words: str) -> None:
    """The cause names what the error names, and there is a hint."""
    found = explain(words)
    assert found is not None
    assert SAMPLES[words] in found.cause
    assert found.hint
    assert "{" not in found.cause + found.hint


@pytest.mark.parametrize("known", ALL, ids=lambda known: known.pattern[:40])
def test_every_entry_has_a_sample(known: KnownError) -> None:
    """No entry is hidden by an earlier one, and none is untested."""
    fixed = max(re.split(r"\{\w+\}", known.cause), key=len)

    assert any(fixed in found.cause for words in SAMPLES if (found := explain(words)) is not None)


def test_unknown_errors_have_no_explanation() -> None:
    """The error is then shown as it is."""
    for words in (
        "",
        "OK",
        "everything is fine",
        "1.0",
        "exit code 1370",
        "Killed 3 rows",
        "I loader.cc] Took 50777 microseconds.",
    ):
        assert explain(words) is None


def recorded_starts() -> dict[str, dict[str, str]]:
    """What a real server printed when it was started, by case."""
    cases = map(json.loads, (RECORDED / "startup.jsonl").read_text().splitlines())
    return {case["case"]: case for case in cases}


# What a real server was recorded to say and what needs no cause: the first is of a model's own initialization, asked
# for as if it were a signature, the other of a call that does not exist.
WITHOUT_A_CAUSE = {"Node 'NoOp' (type: 'NoOp', num of outputs: 0) does not have output 0", "unimplemented."}


def recorded_refusals() -> set[str]:
    """Everything a real server was recorded to refuse requests with, over REST and gRPC."""
    messages = set()
    for file in RECORDED.rglob("*.jsonl"):
        for case in map(json.loads, file.read_text().splitlines()):
            if case.get("code", "OK") != "OK":
                messages.add(case["details"])
            elif isinstance(case.get("reply"), dict) and '"error"' in (case["reply"].get("body") or ""):
                messages.add(case["reply"]["body"])
    return messages - {""}


def test_every_recorded_refusal_is_explained() -> None:
    """A thousand recorded requests: what was refused in words has an explanation."""
    messages = recorded_refusals()
    assert len(messages) > 100
    assert {words for words in messages if explain(words) is None} == WITHOUT_A_CAUSE


def test_causes_come_before_consequences() -> None:
    """In the recorded start with a broken file."""
    starts = recorded_starts()
    log = starts["config file bad syntax"]["stdout"] + starts["config file bad syntax"]["stderr"]
    assert [found.words.split()[0] for found in explain_all(log)] == ["Message", "Invalid"]
    broken = starts["broken model, no retries"]
    assert [found.words for found in explain_all(broken["stdout"] + broken["stderr"])] == [
        "Read less bytes than requested"
    ]


def test_a_good_log_has_no_explanations() -> None:
    """In recorded starts without errors."""
    good = recorded_starts()["both base path and config file"]
    assert explain_all(good["stdout"] + good["stderr"]) == ()


def test_errors_that_share_a_line_are_all_found() -> None:
    """A failed start names all errors in one line."""
    first, second = (
        "Op type not registered 'SentencepieceOp' in binary",
        "Please verify your warmup data is in TFRecord format",
    )
    causes = [found.cause for found in explain_all(f"Failed: {first}; {second}.\n{first}.\n{second}.\n")]
    assert any("SentencepieceOp" in cause for cause in causes)
    assert any("is not a TFRecord file" in cause for cause in causes)


def test_repeated_errors_are_explained_once() -> None:
    """A polling server logs the same every second."""
    lines = [
        f"2026-07-21 10:{second // 60:02d}:{second % 60:02d}.5: W source.cc:268] No versions of servable {model} found "
        f"under base path /models/{model}. Did you forget to name your leaf directory as a number (eg. '/1/')?"
        for second in range(600)
        for model in ("a", "b")
    ]
    assert [found.cause.split()[0] for found in explain_all("\n".join(lines))] == ["/models/a", "/models/b"]


def test_many_digits_are_searched_in_linear_time() -> None:
    """A text of 100,000 digits, which takes minutes if the search goes from each digit to the last one."""
    assert explain_all("9" * 100_000) == ()
