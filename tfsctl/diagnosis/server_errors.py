"""Known errors in the log of a server: start, loading, running. Specific errors come before errors that they cause."""

from __future__ import annotations

from tfsctl.diagnosis.known_error import KnownError

_EXPORT_AGAIN = "export again: tfsctl export SOURCE publishes only complete versions"

SERVER_ERRORS = (
    # the model's directory
    KnownError(
        r"No versions of servable (?P<model>\S+) found under base path (?P<path>\S+?)\.?(?=\s|$)",
        "{path} has no numbered version directory: it is empty, or it is itself a version",
        "use the directory that contains the versions (NAME, not NAME/1): tfsctl serve NAME",
    ),
    KnownError(
        r"File system scheme '(?P<scheme>[^']+)' not implemented",
        "this build of the server does not support {scheme}:// paths",
        "copy the model to a local directory of the server, and serve that directory",
    ),
    KnownError(
        r"Could not find base path (?P<path>\S+) for servable (?P<model>\S+)",
        "the server cannot see the directory {path}: a container may mount the model at another path",
        "tfsctl serve PATH mounts it at the right path; --dry-run prints the command",
    ),
    KnownError(
        r"Expected model (?P<model>\S+) to have an absolute path or URI",
        "TensorFlow Serving does not accept relative base paths",
        "use an absolute path such as $PWD/{model}; tfsctl serve PATH also accepts relative paths",
    ),
    KnownError(
        r"Could not find meta graph def matching supplied tags: \{ (?P<tags>[^}]*) \}",
        "the SavedModel has no graph tagged {tags}",
        "write a Python file with `model = tf.saved_model.load(PATH, tags=[...])`, with the tags that it has, and export that",
    ),
    KnownError(
        r"Could not find SavedModel \.pb or \.pbtxt at supplied (?:export directory path|path): (?P<path>\S+)",
        "the version directory has no saved_model.pb: it is an incomplete copy, or not a SavedModel",
        _EXPORT_AGAIN,
    ),
    KnownError(
        r"Read less bytes than requested|Attempting to use uninitialized value|(?:is|are) truncated or corrupted|"
        r"Unable to open table file|Could not parse .*saved_model\.pb|Cannot parse file .*saved_model\.pb",
        "the version is incomplete: it was loaded during a copy, or the copy was interrupted",
        "copy to a temporary name and rename it when complete; " + _EXPORT_AGAIN,
    ),
    KnownError(
        r"(?P<path>/[^\s;:]+)[;:] Permission denied|Permission denied: '(?P<other>/[^']+)'",
        "the server's user has no permission to read {path}{other}",
        "chmod -R a+rX DIRECTORY lets everybody read it",
    ),
    # what the model needs
    KnownError(
        r"(?:Op type not registered|No OpKernel was registered to support Op|No registered) "
        r"'(?P<op>EagerPyFunc|PyFunc|PyFuncStateless)'",
        "the model calls Python code (operation {op}), and a model server has no Python",
        "replace tf.py_function and tf.numpy_function by TensorFlow operations, and export the model again",
    ),
    KnownError(
        r"callback pyfunc_\d+ is not found|callback with key=pyfunc_\d+",
        "the model calls Python code, which exists only in the process that exported it",
        "replace tf.py_function and tf.numpy_function by TensorFlow operations, and export the model again",
    ),
    KnownError(
        r"Op type not registered '(?P<op>[^']+)'",
        "the server's build lacks the operation {op}: it comes from a separate library",
        "use a server that includes the library, or export the model without that operation",
    ),
    KnownError(
        r"Could not find compiler for platform (?P<platform>\w+)",
        "the model was exported with jit_compile=True, and this server has no XLA compiler for {platform}",
        "export the model again without jit_compile=True",
    ),
    KnownError(
        r"no matching manifest for (?P<platform>linux/arm64\S*)",
        "there is no image for {platform}: tensorflow/serving is built for linux/amd64 only",
        "tfsctl serve PATH --engine embedded needs no image; --platform linux/amd64 emulates the other processor",
    ),
    KnownError(
        r"NodeDef mentions attr '(?P<attribute>[^']+)' not in Op",
        "the model was written by a newer TensorFlow than the server's",
        "tfsctl metadata PATH shows the TensorFlow version; use a server at least as new (--image)",
    ),
    KnownError(
        r"Illegal instruction|image's platform \(\S+\) does not match the detected host platform|sampler\.cc:\d+\] Check failed: bucket_limits_|qemu: uncaught target signal",
        "the server was built for another processor: an amd64 image on an ARM machine, or one without AVX",
        "on ARM, tfsctl serve PATH --engine embedded runs without the image; without AVX (`grep -w avx /proc/cpuinfo`), "
        "use another machine",
    ),
    KnownError(
        r"CUDA_ERROR_OUT_OF_MEMORY|OOM when allocating tensor|failed to allocate .{0,40} from device",
        "the memory of the device is full; by default TensorFlow allocates the whole memory of a GPU",
        "set TF_FORCE_GPU_ALLOW_GROWTH=true to allocate on demand, or "
        "--per_process_gpu_memory_fraction=0.5 for half of it",
    ),
    KnownError(
        r"Duplicate version directories detected[^\n]*|Duplicate version directory[^\n]*",
        "two directories have the same version number (such as 1 and 01): only one of them is served",
        "rename or remove one of them; tfsctl metadata PATH --version N shows which one is used",
    ),
    KnownError(
        r"Error while reading resource variable (?P<name>\S+) from Container|Table not initialized|"
        r"Resource \S+ does not exist|Error occurred when initializing tables",
        "the model was saved without its variables or tables, or without their initializers",
        "export it from the object that owns them: tfsctl export SOURCE tests each version before publishing it",
    ),
    # warmup
    KnownError(
        r"Number of warmup records exceeds the maximum \((?P<most>\d+)\)",
        "the version is not loaded because its warmup file has more than {most} requests",
        "keep at most {most} in assets.extra/tf_serving_warmup_requests",
    ),
    KnownError(
        r"Please verify your warmup data is in TFRecord format",
        "the version is not loaded because assets.extra/tf_serving_warmup_requests is not a TFRecord file",
        "write PredictionLog messages as TFRecords, or remove the file",
    ),
    # flags and configuration files
    KnownError(
        r"Both server_options\.model_base_path and server_options\.model_config_file are empty",
        "the server was started without a model",
        "use tfsctl serve PATH, or --model_name and --model_base_path",
    ),
    KnownError(
        r"batching_parameters_file is set without setting server_options\.enable_batching",
        "batching parameters are given, but batching is off",
        "add --enable_batching",
    ),
    KnownError(
        r"At least one of server_options\.grpc_port or server_options\.grpc_socket_path must be set",
        "--port=0 turns gRPC off, which TensorFlow Serving requires",
        "set --port or --grpc_socket_path",
    ),
    KnownError(
        r"Illegal to list model (?P<model>\S+) multiple times in config list",
        "the model config file has two entries named {model}",
        "write one entry per model, and list its versions in model_version_policy",
    ),
    KnownError(
        r"Illegal setting neither ModelServerConfig::model_type .{0,80}model name is (?P<model>\S+)",
        "the entry of {model} in the model config file has no platform",
        'add model_platform: "tensorflow"',
    ),
    KnownError(
        r"Model (?P<model>\S+) requests unsupported platform (?P<platform>\S+)",
        "TensorFlow Serving supports only the platform `tensorflow`",
        'write model_platform: "tensorflow" for {model}',
    ),
    KnownError(
        r"Illegal to change a model's platform",
        "a reload cannot change the platform of a served model",
        "restore the previous model_platform, or restart the server",
    ),
    KnownError(
        r"ServerModelConfig type not supported by HandleReloadConfigRequest",
        "a reload accepts only a model_config_list",
        "send the list of all models to serve; models that it omits are unloaded",
    ),
    KnownError(
        r"No request-logger-creator provided",
        "the model config file has a logging_config, which no public build of TensorFlow Serving supports",
        "remove logging_config from the file, or use --engine embedded, which logs requests",
    ),
    KnownError(
        r'Message type "(?P<message>[\w.]+)" has no field named "(?P<field>[^"]+)"',
        "{message} has no field {field}: it is misspelt, or nested at the wrong level",
        "correct the file; until then TensorFlow Serving ignores all of it",
    ),
    KnownError(
        r"Invalid protobuf file: '(?P<path>[^']+)'",
        "{path} is not a text protobuf of the flag's message type",
        "the log line before it names the position",
    ),
    KnownError(
        r"Last entry in allowed_batch_sizes must match max_batch_size; last entry was (?P<last>\d+); expected (?P<most>\d+)",
        "allowed_batch_sizes ends with {last}, but max_batch_size is {most}",
        "end the list with {most}",
    ),
    KnownError(
        r"You cannot configure all",
        "--tensorflow_session_parallelism sets both intra-op and inter-op parallelism",
        "use that flag, or the other two",
    ),
    KnownError(
        r"Request to assign label to version (?P<version>-?\d+) of model (?P<model>.+?), which is not currently available",
        "labels are checked before new versions are loaded: a label can only go to a version that is AVAILABLE",
        "reload twice: first with the version in the policy (tfsctl wait {model}@{version}), then with the label",
    ),
    KnownError(
        r"[Aa]ddress already in use|port is already allocated|Failed to bind|No address added out of total|"
        r"Failed to BuildAndStart gRPC server",
        "another program listens on that port",
        "tfsctl serve PATH --rest-port 0 --grpc-port 0 takes free ports",
    ),
    KnownError(
        r"/monitoring/prometheus/metrics",
        "the server was started without a monitoring config file, so metrics are off",
        "tfsctl serve PATH --metrics enables them and prints their URL",
    ),
    KnownError(
        r"unknown argument: (?P<flag>\S+)",
        "the server does not know the flag {flag}, and ignores it",
        "tensorflow_model_server --help lists the flags",
    ),
    KnownError(
        r"(?<!\d)(?P<count>\d+) (?:servable|model)\(s\) did not become available.{0,300}",
        "a version could not be loaded; the error message contains the reason",
        "check the version's files with: tfsctl metadata PATH",
    ),
    # export with Keras 3
    KnownError(
        r"Keras 3 only supports V3 `?\.keras`? files|Invalid filepath extension for saving|"
        r"File format not supported: filepath=",
        "since Keras 3 model.save() writes .keras files, and load_model() does not read SavedModel directories",
        "use tfsctl export with the .keras file, or with a Python file that defines the model",
    ),
)
