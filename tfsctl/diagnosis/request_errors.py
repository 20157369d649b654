"""Known errors that a server answers a request with. Specific errors come before errors that they cause."""

from __future__ import annotations

from tfsctl.diagnosis.known_error import KnownError

_METADATA = "tfsctl metadata shows the model's inputs and outputs"

REQUEST_ERRORS = (
    # which model, version, label, signature
    KnownError(
        r"Servable not found for request: Specific\((?P<model>.+?), (?P<version>-?\d+)\)|"
        r"Could not find version (?P<v>-?\d+) of model \S+",
        "that version is not loaded: by default a server keeps only the newest version",
        "tfsctl status lists the loaded versions; without --version the latest is used",
    ),
    KnownError(
        r"Servable not found for request: Latest\((?P<model>.+?)\)|Could not find any versions of model .{1,200}",
        "the server has no model of that name, or has not loaded a version of it yet",
        "tfsctl ps lists the servers and their models; --model NAME chooses one",
    ),
    KnownError(
        r"Unrecognized servable version label: (?P<label>.*)",
        "no version of the model has that label",
        "tfsctl label sets labels, as does the server's model config file; without --label the latest version is used",
    ),
    KnownError(
        r'Serving signature (?:name: |key )"(?P<name>[^"]*)" not found|'
        r"No signature was found with the name: (?P<other>\S*)",
        "the model has no signature of that name",
        "tfsctl metadata lists the signatures; --signature NAME chooses one",
    ),
    KnownError(
        r"Failed to get input map for signature: (?P<name>\S+)",
        "the signature {name} has no inputs, and REST cannot call such signatures",
        "use gRPC, which can: --grpc",
    ),
    KnownError(
        r"ModelSpec has no name specified|Missing ModelSpec|Missing model name in request",
        "the request does not name a model",
        "add --model NAME",
    ),
    # inputs and outputs by name
    KnownError(
        r"input tensor alias not found in signature: (?P<name>.+?)\. Inputs expected to be in the set \{(?P<known>.*?)\}",
        "the model has no input {name}: use the input names of the signature, not those of layers or tensors",
        "its inputs are {known}; " + _METADATA,
    ),
    KnownError(
        r"Signature input alias: (?P<name>.+?)\(feed name: \S+\) not found in request",
        "the request lacks the input {name}",
        _METADATA,
    ),
    KnownError(
        r"input size does not match signature: .*?Sent extra: \{(?P<extra>.*?)\}\. Missing but required: \{(?P<missing>.*?)\}",
        "the inputs do not match the signature (unexpected: {extra}; missing: {missing})",
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
        "each instance must have exactly the inputs of the signature",
        _METADATA,
    ),
    KnownError(
        r"instances is a plain list, but expecting list of objects as multiple input tensors|"
        r"inputs is a plain value/list, but expecting an object as multiple input tensors|Expecting object but got list",
        "the model has several inputs, and a list does not name them",
        "tfsctl predict NAME=VALUE NAME=VALUE names them; in JSON, make each instance an object",
    ),
    # values
    KnownError(
        r'(?s)JSON Value: \{\s*"b64".{0,4000}?Type: Object is not of expected type: (?P<dtype>\w+)',
        "b64 sends bytes, but the model takes {dtype}: it does not decode images",
        "send decoded pixels: tfsctl predict -i NAME=@FILE; or export the model with an input for bytes",
    ),
    KnownError(
        r"Unable to base64 decode",
        "the text is not base64 in the standard alphabet (URL-safe base64 is refused)",
        "tfsctl predict encodes bytes as base64; the server decodes it, so the model must not",
    ),
    KnownError(
        r"Type: (?P<found>\w+) is not of expected type: (?P<dtype>\w+)",
        "the request has a JSON {found} where the model takes {dtype}",
        _METADATA + "; tfsctl predict converts its arguments",
    ),
    KnownError(
        r"Encountered list at unexpected (?:size|level): .{0,60}|Expecting tensor size: \d+ but got: \d+|"
        r"Expecting shape \[.*?\] but got: \[.*?\]|found at incorrect level: \d+",
        "the lists are ragged or nested to the wrong depth: all rows must have the same shape",
        "pad the rows to the same length; " + _METADATA,
    ),
    KnownError(
        r"Conversion of JSON Value: .* to type: (?P<dtype>\w+)|Failed to write JSON value for tensor type: (?P<out>\w+)",
        "TensorFlow Serving's REST API does not support that dtype",
        "use gRPC, which supports every dtype: --grpc",
    ),
    KnownError(
        r"Tensor name: (?P<name>\S+) has inconsistent batch size|Tensor name: (?P<scalar>\S+) has no shape information",
        "the row format (instances) needs one row of every output for each row of the input",
        "use the columnar format (inputs), like tfsctl predict",
    ),
    KnownError(
        r"Tensor :0, specified in either feed_devices or fetch_devices was not found",
        "an input or output of the signature is a sparse tensor, which predict does not support",
        "export the model again with dense tensors: tf.sparse.to_dense for an output",
    ),
    KnownError(
        r"Expects arg\[\d+\] to be (?P<dtype>\w+) but (?P<found>\w+) is provided",
        "an input was sent as {found}, but the model takes {dtype}",
        _METADATA + "; tfsctl predict converts its arguments",
    ),
    KnownError(
        r"Matrix size-incompatible: In\[0\]: \[(?P<sent>[\d,]+)\], In\[1\]: \[(?P<weights>[\d,]+)\]",
        "a row has the wrong number of features: the batch has shape [{sent}], the model's weights "
        "have shape [{weights}]",
        _METADATA,
    ),
    KnownError(
        r"In\[0\] mismatch In\[1\] shape: \d+ vs\. \d+: \[(?P<left>[\d,]*)\] \[(?P<right>[\d,]*)\]",
        "the model multiplies tensors of the shapes [{left}] and [{right}], which do not fit: an input has another size "
        "than in training",
        _METADATA,
    ),
    KnownError(
        r"In\[[01]\] is not a matrix(?:\. Instead it has shape \S+)?|In\[0\] and In\[1\] has different ndims.{0,60}|"
        r"In\[[01]\] ndims must be >= 2.{0,20}",
        "an input has too few or too many dimensions: the batch is a list of rows, and each row a list of features",
        "send one row of three features as `instances`: [[1, 2, 3]]; " + _METADATA,
    ),
    KnownError(
        r"Input to reshape is a tensor with (?P<found>\d+) (?:dense )?values, but the requested shape (?P<wanted>has \d+|requires a multiple of \d+)",
        "an operation reshapes {found} values to a shape that {wanted}: an input has another size than in training, or "
        "the model takes batches of one size only",
        _METADATA + "; for a model of one batch size: tfsctl predict --file FILE --batch-size ROWS",
    ),
    KnownError(
        r"(?:Expected image \(JPEG|Unknown image file format|[Ii]nvalid (?:JPEG|PNG) data).{0,80}",
        "the model decodes images, and got bytes that are not one",
        "send the bytes of the file: tfsctl predict -i NAME=@FILE",
    ),
    KnownError(
        r"Incompatible shapes: .{0,80}|(?:input )?must be (?:a vector|at least rank \d|rank \d).{0,60}|"
        r"Dimensions must be equal.{0,80}",
        "the shapes of the inputs do not fit the model's operations",
        _METADATA,
    ),
    KnownError(
        r"indices\[[\d,]*\] = (?P<index>-?\d+) is not in \[0, (?P<size>\d+)\)",
        "the model looks up row {index} of a table with {size} rows: an id in the inputs is out of range",
        "send ids from 0 to below {size}, as in the vocabulary used for training; " + _METADATA,
    ),
    KnownError(
        r"You must feed a value for placeholder tensor '(?P<name>[^']+)'",
        "the graph needs {name}, which is not an input of the signature: it contains a part used only for training",
        "export it again with a signature that has all inputs: tfsctl export SOURCE",
    ),
    KnownError(
        r"Tensor had (?P<what>Inf|NaN|-Inf|Inf and NaN|NaN and Inf)[\w ]* values",
        "the model found {what} in its values: the inputs are out of range",
        "check the rows for empty, zero or very large values",
    ),
    KnownError(
        r"tensor parsing error: (?P<name>\S+)",
        "the number of values in the tensor {name} does not match its shape, or it has no dtype",
        "build it with tf.make_tensor_proto, or use tfsctl predict",
    ),
    # the JSON document, and clients that write one
    KnownError(
        r"Object of type bytes is not JSON serializable",
        "JSON has no bytes: the REST API takes them as base64",
        "write dict(b64=base64.b64encode(data).decode()); tfsctl.connect() takes bytes as they are",
    ),
    KnownError(
        r"Object of type (?P<type>\w+) is not JSON serializable",
        "Python's json module cannot write a {type}: it takes lists, dicts, numbers, text, booleans and None",
        "array.tolist() and number.item() convert NumPy's values (tensor.numpy() those of TensorFlow); "
        "tfsctl.connect() takes arrays as they are",
    ),
    KnownError(
        r"JSON Parse error: (?P<why>.{0,120})",
        "the body of the request is not JSON",
        "tfsctl sample prints a valid body; python -m json.tool FILE shows the position of the error",
    ),
    KnownError(
        r"Missing 'inputs' or 'instances' key|Expecting 'instances' to be an list/array|No values in 'instances' array|"
        r"not formatted correctly\. 'signature_name' key|JSON Value: .{0,200} Is not object",
        "the body must be an object with `instances` (a list of rows) or `inputs` (whole tensors)",
        "tfsctl sample prints a body that fits the model",
    ),
    KnownError(
        r"Malformed request: (?P<verb>\w+) (?P<path>.{0,200})",
        "TensorFlow Serving has no such path: use POST /v1/models/NAME:predict, or GET /v1/models/NAME for the status",
        "tfsctl predict --show curl prints a working request",
    ),
    # classify, regress, tf.Example
    KnownError(
        r"key 'examples' is expected and was not found|'examples' value is an empty array|Example must be JSON object",
        "classify and regress take `examples`: a list of objects with features",
        "tfsctl classify and tfsctl regress build the examples",
    ),
    KnownError(
        r"Could not parse example input, value: '(?P<value>[^']{0,40})",
        "the signature takes serialized tf.Examples, but got other text",
        "tfsctl predict --example FEATURE=VALUE builds a tf.Example",
    ),
    KnownError(
        r"Feature: (?P<name>\S+) \(data type: (?P<dtype>\w+)\) is required but could not be found",
        "an example lacks the feature {name} ({dtype})",
        "add {name}=VALUE",
    ),
    KnownError(
        r"Data types don't match\. Data type: (?P<found>\w+) but expected type: (?P<dtype>\w+)",
        "a feature was sent as {found}, but the model reads {dtype}",
        "write it as {dtype} (1.0 is a float, 1 an int64)",
    ),
    KnownError(
        r"Number of (?P<dtype>\w+) values != expected\. +Values size: (?P<found>\d+) but output shape: (?P<shape>\S+)",
        "a feature has {found} values, but the model reads {shape} of them",
        "send as many values per feature as the model reads",
    ),
    KnownError(
        r"Unexpected element type in feature: (?P<name>\S+) expecting type: (?P<dtype>\w+)|"
        r"Feature: (?P<odd>\S+) has (?:element with unexpected JSON type|uint64_t element).{0,40}",
        "the values of a feature must have one type: int64, float or bytes",
        "write all values in the same form (1.0 and 2.0, not 1 and 2.0), without null, lists or objects",
    ),
    KnownError(
        r"Input is empty",
        "classify and regress need at least one example",
        "tfsctl classify and tfsctl regress build the examples",
    ),
    KnownError(
        r"All ModelSpecs in a MultiInferenceRequest must access the same model name|Duplicate evaluation of signature",
        "a MultiInference call can use several signatures of one model, each once",
        "send one call per model",
    ),
    KnownError(
        r"No (?:classification|regression) (?:inputs|outputs) found in SignatureDef|"
        r"Expected (?:classification|regression) signature (?:outputs|method_name)|Unsupported signature method_name",
        "the signature does not support the method: classify needs the input `inputs` and the "
        "outputs `classes` or `scores`; regress needs `inputs` and `outputs`",
        "use tfsctl predict for it",
    ),
    KnownError(
        r"blocked by CORS policy|No 'Access-Control-Allow-Origin' header",
        "a browser refuses the answer, because the server does not allow requests of other sites (CORS)",
        "start it with --server-arg=--rest_api_enable_cors_support=true",
    ),
    KnownError(
        r"Origin header is missing in CORS preflight",
        "the OPTIONS request has no Origin header, which a browser's preflight request has",
        'send the header "Origin: https://SITE"; the server allows it with --rest_api_enable_cors_support',
    ),
    # load
    KnownError(
        r"Received message larger than max \((?P<size>\d+) vs\. (?P<most>\d+)\)|"
        r"message larger than max.{0,80}",
        "the response is larger than the client's limit: 4 MB by default in gRPC, 256 MB in tfsctl",
        "raise grpc.max_receive_message_length of the channel, or use tfsctl predict --max-answer SIZE",
    ),
    KnownError(
        r"Timed out waiting for notification",
        "the server's REST timeout passed: --rest_api_timeout_in_ms (default: 30 s)",
        "send fewer rows, use --grpc (which has no such limit), or start the server with a longer timeout",
    ),
    KnownError(
        r"Server Threadpool Exhausted",
        "there are more concurrent requests than the server has gRPC threads",
        "start the server with a higher --grpc_max_threads, or send fewer concurrent requests",
    ),
    KnownError(
        r"batch scheduling queue to which this task was submitted is full",
        "batching is on, and requests arrive faster than the model runs them",
        "send fewer concurrent requests, or raise max_enqueued_batches or num_batch_threads in the batching parameters",
    ),
    KnownError(
        r"Task size (?P<rows>\d+) is larger than maximum (?:input )?batch size (?P<most>\d+)",
        "batching is on, and a request has {rows} rows where {most} are allowed",
        "send at most {most} rows per request, or set enable_large_batch_splitting",
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
        "batching is on, but an output of this signature does not have one row per input row",
        "start the server without batching",
    ),
)
