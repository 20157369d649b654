"""Known errors that a server answers a request with. Specific errors come before errors that they cause."""

from __future__ import annotations

from tfsctl.diagnosis.known_error import KnownError

_METADATA = "tfsctl metadata shows what the model wants"

REQUEST_ERRORS = (
    # which model, version, label, signature
    KnownError(
        r"Servable not found for request: Specific\((?P<model>.+?), (?P<version>-?\d+)\)|"
        r"Could not find version (?P<v>-?\d+) of model \S+",
        "that version is not loaded: by default a server keeps the newest one only",
        "tfsctl status shows the versions there are; without --version the latest is asked",
    ),
    KnownError(
        r"Servable not found for request: Latest\((?P<model>.+?)\)|Could not find any versions of model .{1,200}",
        "the server serves no model of that name, or has not loaded a version of it yet",
        "--model takes the name the server was started with; tfsctl ps lists the servers and their models",
    ),
    KnownError(
        r"Unrecognized servable version label: (?P<label>.*)",
        "no version of the model has that label",
        "labels are given in the server's model config file; without --label the latest version is asked",
    ),
    KnownError(
        r'Serving signature (?:name: |key )"(?P<name>[^"]*)" not found|'
        r"No signature was found with the name: (?P<other>\S*)|Failed to get input map for signature: \S+",
        "the model has no such signature to be asked",
        "tfsctl metadata lists them; --signature NAME chooses one",
    ),
    KnownError(
        r"ModelSpec has no name specified|Missing ModelSpec|Missing model name in request",
        "the request does not say which model",
        "name it with --model NAME",
    ),
    # inputs and outputs by name
    KnownError(
        r"input tensor alias not found in signature: (?P<name>.+?)\. Inputs expected to be in the set \{(?P<known>.*?)\}",
        "the model has no input {name}: inputs go by the keys of the signature, not by the names of layers or tensors",
        "its inputs are {known}; " + _METADATA,
    ),
    KnownError(
        r"Signature input alias: (?P<name>.+?)\(feed name: \S+\) not found in request",
        "the model wants an input {name}, and the request has none of that name",
        _METADATA,
    ),
    KnownError(
        r"input size does not match signature: .*?Sent extra: \{(?P<extra>.*?)\}\. Missing but required: \{(?P<missing>.*?)\}",
        "the inputs sent are not those of the signature (too many: {extra}; missing: {missing})",
        _METADATA,
    ),
    KnownError(
        r"output tensor alias not found in signature: (?P<name>.+?) Outputs expected to be in the set \{(?P<known>.*?)\}",
        "the model has no output {name}; its outputs are {known}",
        _METADATA,
    ),
    KnownError(
        r"duplicate output tensor alias: (?P<name>\S+)",
        "the output filter names {name} twice",
        "name each output once",
    ),
    KnownError(
        r"Missing named input: (?P<name>\S+) in 'inputs' object|JSON object: does not have named input: (?P<other>\S+)|"
        r"keys must be equal to: (?P<keys>\S+)",
        "each instance has to name exactly the inputs of the signature",
        _METADATA,
    ),
    KnownError(
        r"instances is a plain list, but expecting list of objects as multiple input tensors|"
        r"inputs is a plain value/list, but expecting an object as multiple input tensors|Expecting object but got list",
        "the model has several inputs, and a plain list does not say which value is whose",
        "tfsctl predict NAME=VALUE NAME=VALUE; as JSON an object in each instance",
    ),
    # values
    KnownError(
        r'(?s)JSON Value: \{\s*"b64".{0,4000}?Type: Object is not of expected type: (?P<dtype>\w+)',
        "b64 stands for bytes, and the model wants {dtype}: it does not decode images itself",
        "send the decoded numbers: tfsctl predict -i NAME=@FILE; or export the model with an input of bytes",
    ),
    KnownError(
        r"Unable to base64 decode",
        "the text is not base64 of the standard alphabet (the URL-safe one is refused)",
        "tfsctl predict encodes bytes itself; do not decode base64 in the model, the server does",
    ),
    KnownError(
        r"Type: (?P<found>\w+) is not of expected type: (?P<dtype>\w+)",
        "a JSON {found} stands where the model wants {dtype}",
        _METADATA + "; tfsctl predict converts what you type",
    ),
    KnownError(
        r"Encountered list at unexpected (?:size|level): .{0,60}|Expecting tensor size: \d+ but got: \d+|"
        r"Expecting shape \[.*?\] but got: \[.*?\]|found at incorrect level: \d+",
        "the lists are ragged, or nested too little or too deep: all rows must have one and the same shape",
        "pad the rows to one length; " + _METADATA,
    ),
    KnownError(
        r"Conversion of JSON Value: .* to type: (?P<dtype>\w+)|Failed to write JSON value for tensor type: (?P<out>\w+)",
        "TensorFlow Serving's REST API cannot carry that dtype",
        "REST cannot carry that dtype; gRPC can: --grpc",
    ),
    KnownError(
        r"Tensor name: (?P<name>\S+) has inconsistent batch size|Tensor name: (?P<scalar>\S+) has no shape information",
        "the row format (instances) needs one row of every output for each row of the input",
        "ask in the columnar format (inputs), as tfsctl predict does",
    ),
    KnownError(
        r"Tensor :0, specified in either feed_devices or fetch_devices was not found",
        "an input or output of the signature is a sparse tensor, which predict cannot carry",
        "export the model again with dense tensors: tf.sparse.to_dense for an output",
    ),
    KnownError(
        r"Expects arg\[\d+\] to be (?P<dtype>\w+) but (?P<found>\w+) is provided",
        "an input was sent as {found}, but the model wants {dtype}",
        _METADATA + "; tfsctl predict converts what you type",
    ),
    KnownError(
        r"Matrix size-incompatible: In\[0\]: \[(?P<sent>[\d,]+)\], In\[1\]: \[(?P<weights>[\d,]+)\]",
        "a row has the wrong number of features: the batch is [{sent}], the weights of the model are [{weights}]",
        _METADATA,
    ),
    KnownError(
        r"Incompatible shapes: .{0,80}|(?:input )?must be (?:a vector|at least rank \d|rank \d).{0,60}|"
        r"Dimensions must be equal.{0,80}",
        "the inputs have shapes the model's operations cannot take together",
        _METADATA,
    ),
    KnownError(
        r"indices\[[\d,]*\] = (?P<index>-?\d+) is not in \[0, (?P<size>\d+)\)",
        "the model looks up row {index} of a table that has {size}: an id in the inputs is out of its range",
        "send ids from 0 to below {size}, as the vocabulary of the training has them; " + _METADATA,
    ),
    KnownError(
        r"You must feed a value for placeholder tensor '(?P<name>[^']+)'",
        "the model needs {name}, and its signature does not take it: it was exported with a part that only training has",
        "export it again with a signature that takes all it needs: tfsctl export SOURCE",
    ),
    KnownError(
        r"Tensor had (?P<what>Inf|NaN|-Inf|Inf and NaN|NaN and Inf)[\w ]* values",
        "the model checks its numbers, and found {what} in one: the inputs are out of its range",
        "look for empty, zero or huge values in the rows",
    ),
    KnownError(
        r"tensor parsing error: (?P<name>\S+)",
        "the tensor {name} does not hold as many values as its shape says, or has no dtype",
        "build it with tf.make_tensor_proto, or let tfsctl predict do it",
    ),
    # the JSON document
    KnownError(
        r"JSON Parse error: (?P<why>.{0,120})",
        "the body of the request is not JSON",
        "tfsctl sample writes a body that fits; python -m json.tool FILE shows where yours breaks",
    ),
    KnownError(
        r"Missing 'inputs' or 'instances' key|Expecting 'instances' to be an list/array|No values in 'instances' array|"
        r"not formatted correctly\. 'signature_name' key|JSON Value: .{0,200} Is not object",
        "the body is an object with `instances` (a list of rows) or `inputs` (whole tensors)",
        "tfsctl sample writes a body that fits the model",
    ),
    KnownError(
        r"Malformed request: (?P<verb>\w+) (?P<path>.{0,200})",
        "TensorFlow Serving has no such path: POST /v1/models/NAME:predict asks, GET /v1/models/NAME tells the status",
        "tfsctl predict --show curl prints a request that works",
    ),
    # classify, regress, tf.Example
    KnownError(
        r"key 'examples' is expected and was not found|'examples' value is an empty array|Example must be JSON object",
        "classify and regress take `examples`: a list of objects with the features of each",
        "tfsctl classify and tfsctl regress build them",
    ),
    KnownError(
        r"Could not parse example input, value: '(?P<value>[^']{0,40})",
        "the signature reads serialized tf.Example records, and got other text",
        "tfsctl predict --example FEATURE=VALUE builds such a record",
    ),
    KnownError(
        r"Feature: (?P<name>\S+) \(data type: (?P<dtype>\w+)\) is required but could not be found",
        "the model reads the feature {name} ({dtype}) from each example, and one has none",
        "give it: {name}=VALUE",
    ),
    KnownError(
        r"Data types don't match\. Data type: (?P<found>\w+) but expected type: (?P<dtype>\w+)",
        "a feature was sent as {found}, but the model reads {dtype}",
        "write it as {dtype} (1.0 is a float, 1 an int64)",
    ),
    KnownError(
        r"Number of (?P<dtype>\w+) values != expected\. +Values size: (?P<found>\d+) but output shape: (?P<shape>\S+)",
        "a feature has {found} values, but the model reads {shape} of them",
        "give every feature as many values as the model reads",
    ),
    KnownError(
        r"Unexpected element type in feature: (?P<name>\S+) expecting type: (?P<dtype>\w+)|"
        r"Feature: (?P<odd>\S+) has (?:element with unexpected JSON type|uint64_t element).{0,40}",
        "a feature of tf.Example is a list of one kind: int64, float or bytes",
        "write all its values alike (1.0 and 2.0, not 1 and 2.0), and no null, list or object among them",
    ),
    KnownError(
        r"Input is empty",
        "classify and regress want at least one example",
        "tfsctl classify and tfsctl regress build them",
    ),
    KnownError(
        r"All ModelSpecs in a MultiInferenceRequest must access the same model name|Duplicate evaluation of signature",
        "one call can ask several signatures of one model, each once",
        "make a call for each model",
    ),
    KnownError(
        r"No (?:classification|regression) (?:inputs|outputs) found in SignatureDef|"
        r"Expected (?:classification|regression) signature (?:outputs|method_name)|Unsupported signature method_name",
        "that signature is not made for the verb: classify wants inputs `inputs` and outputs `classes` or `scores`, "
        "regress `inputs` and `outputs`",
        "ask it with tfsctl predict",
    ),
    KnownError(
        r"Origin header is missing in CORS preflight",
        "a browser's preflight names its origin, and this OPTIONS request does not",
        'send the header "Origin: https://SITE"; the server allows it with --rest_api_enable_cors_support',
    ),
    # load
    KnownError(
        r"Received message larger than max \((?P<size>\d+) vs\. (?P<most>\d+)\)|"
        r"message larger than max.{0,80}",
        "gRPC clients take 4 MB by default (tfsctl: 256 MB), and the answer is larger",
        "raise grpc.max_receive_message_length of the channel, or use tfsctl predict --max-answer SIZE",
    ),
    KnownError(
        r"Timed out waiting for notification",
        "the server gave up: REST requests may take --rest_api_timeout_in_ms, by default 30 s",
        "ask with fewer rows, over --grpc (which has no such limit), or start the server with a longer one",
    ),
    KnownError(
        r"Server Threadpool Exhausted",
        "more requests came at once than the server has gRPC threads",
        "start it with a higher --grpc_max_threads, or send fewer at once",
    ),
    KnownError(
        r"batch scheduling queue to which this task was submitted is full",
        "batching is on, and requests come faster than the model answers",
        "send fewer at once, or raise max_enqueued_batches or num_batch_threads of the batching parameters",
    ),
    KnownError(
        r"Task size (?P<rows>\d+) is larger than maximum (?:input )?batch size (?P<most>\d+)",
        "batching is on, and one request has {rows} rows where {most} are allowed",
        "send at most {most} rows at once, or turn on enable_large_batch_splitting",
    ),
    KnownError(
        r"from different tasks have different shapes and padding is turned off",
        "batching merges requests, and these have rows of different shapes",
        "set pad_variable_length_inputs: true in the batching parameters, or pad the rows yourself",
    ),
    KnownError(
        r"(?:Batching session Run\(\) )?input tensors must have equal 0th-dimension size",
        "batching is on, and the inputs of this request have different numbers of rows, for example one is a scalar",
        "repeat the scalar for each row, or serve the model without batching",
    ),
    KnownError(
        r"Batched output tensor(?: has 0 dimensions|'s 0th dimension does not equal)|"
        r"Batching Run\(\) input tensors must have",
        "batching is on, but this signature does not give a row for each row",
        "start the server without batching, or ask the signature with a batch of its own",
    ),
)
