"""Known errors in the log of a server: start, loading, running. Specific errors come before errors that they cause."""

from __future__ import annotations

from tfsctl.diagnosis.known_error import KnownError

_EXPORT_AGAIN = "tfsctl export SOURCE writes a version that is complete, or none at all"

SERVER_ERRORS = (
    # the model's directory
    KnownError(
        r"No versions of servable (?P<model>\S+) found under base path (?P<path>\S+?)\.?(?=\s|$)",
        "{path} has no subdirectory with a number for a name: it is empty, or is itself one version of the model",
        "give the directory that holds the versions (NAME, not NAME/1): tfsctl serve NAME",
    ),
    KnownError(
        r"File system scheme '(?P<scheme>[^']+)' not implemented",
        "this server cannot read {scheme}:// paths: its build has no file system for them",
        "copy the model to a directory of the machine where the server runs, and serve that directory",
    ),
    KnownError(
        r"Could not find base path (?P<path>\S+) for servable (?P<model>\S+)",
        "the server sees no directory {path}: in a container the model is mounted elsewhere, or under another name",
        "tfsctl serve PATH mounts it where the server looks; --dry-run prints the command",
    ),
    KnownError(
        r"Expected model (?P<model>\S+) to have an absolute path or URI",
        "TensorFlow Serving takes no relative base path",
        "write the whole path, as $PWD/{model}; tfsctl serve PATH takes either",
    ),
    KnownError(
        r"Could not find meta graph def matching supplied tags: \{ (?P<tags>[^}]*) \}",
        "the SavedModel has no graph tagged {tags}",
        "tfsctl export PATH makes a version with the tag `serve`; --saved_model_tags names another",
    ),
    KnownError(
        r"Could not find SavedModel \.pb or \.pbtxt at supplied (?:export directory path|path): (?P<path>\S+)",
        "the version directory holds no saved_model.pb: the copy is not complete, or it is no SavedModel",
        _EXPORT_AGAIN,
    ),
    KnownError(
        r"Read less bytes than requested|Attempting to use uninitialized value|(?:is|are) truncated or corrupted|"
        r"Unable to open table file|Could not parse .*saved_model\.pb|Cannot parse file .*saved_model\.pb",
        "the version is only half there: it was loaded while it was copied, or the copy was cut short",
        "copy to another name and rename when complete; " + _EXPORT_AGAIN,
    ),
    KnownError(
        r"(?P<path>/[^\s;:]+)[;:] Permission denied|Permission denied: '(?P<other>/[^']+)'",
        "the user the server runs as may not read {path}{other}",
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
        "the model calls Python code, which is only in the process that exported it",
        "replace tf.py_function and tf.numpy_function by TensorFlow operations, and export the model again",
    ),
    KnownError(
        r"Op type not registered '(?P<op>[^']+)'",
        "the model uses the operation {op}, which the server's build lacks: it comes from a library of its own",
        "serve it with a build that has the library; the model must otherwise be exported without that operation",
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
        "tfsctl metadata PATH tells the version that wrote it; take a server as new (--image)",
    ),
    KnownError(
        r"Illegal instruction|image's platform \(\S+\) does not match the detected host platform|sampler\.cc:\d+\] Check failed: bucket_limits_|qemu: uncaught target signal",
        "the server was built for another processor: an amd64 image on an ARM machine, or one without AVX",
        "tfsctl serve PATH --engine embedded runs without the image",
    ),
    KnownError(
        r"CUDA_ERROR_OUT_OF_MEMORY|OOM when allocating tensor|failed to allocate .{0,40} from device",
        "the memory of the device is full; TensorFlow takes all of a GPU for itself",
        "TF_FORCE_GPU_ALLOW_GROWTH=true takes what is needed; --per_process_gpu_memory_fraction=0.5 half of it",
    ),
    KnownError(
        r"Duplicate version directories detected[^\n]*|Duplicate version directory[^\n]*",
        "two directories stand for one version (1 and 01): one of them is served, and the other is not",
        "rename or remove one of them; tfsctl metadata PATH --version N tells which is read",
    ),
    KnownError(
        r"Error while reading resource variable (?P<name>\S+) from Container|Table not initialized|"
        r"Resource \S+ does not exist|Error occurred when initializing tables",
        "the model was saved without its variables or tables, or without what initializes them",
        "export it from the object that holds them: tfsctl export SOURCE loads and runs what it wrote",
    ),
    # warmup
    KnownError(
        r"Number of warmup records exceeds the maximum \((?P<most>\d+)\)",
        "the warmup file holds more than {most} requests, and the version is not loaded for that",
        "keep at most {most} in assets.extra/tf_serving_warmup_requests",
    ),
    KnownError(
        r"Please verify your warmup data is in TFRecord format",
        "assets.extra/tf_serving_warmup_requests is no TFRecord file, and the version is not loaded for that",
        "write PredictionLog messages as TFRecords, or take the file away",
    ),
    # flags and configuration files
    KnownError(
        r"Both server_options\.model_base_path and server_options\.model_config_file are empty",
        "the server was not told what to serve",
        "tfsctl serve PATH, or --model_name and --model_base_path",
    ),
    KnownError(
        r"batching_parameters_file is set without setting server_options\.enable_batching",
        "batching parameters are given, but batching is off",
        "add --enable_batching",
    ),
    KnownError(
        r"At least one of server_options\.grpc_port or server_options\.grpc_socket_path must be set",
        "--port=0 turns gRPC off, and TensorFlow Serving does not run without it",
        "give --port, or --grpc_socket_path",
    ),
    KnownError(
        r"Illegal to list model (?P<model>\S+) multiple times in config list",
        "the model config file has two entries named {model}",
        "one entry a model: several versions of it go into its model_version_policy",
    ),
    KnownError(
        r"Illegal setting neither ModelServerConfig::model_type .{0,80}model name is (?P<model>\S+)",
        "the entry of {model} in the model config file says no platform",
        'add model_platform: "tensorflow"',
    ),
    KnownError(
        r"Model (?P<model>\S+) requests unsupported platform (?P<platform>\S+)",
        "TensorFlow Serving knows the platform `tensorflow` only",
        'write model_platform: "tensorflow" for {model}',
    ),
    KnownError(
        r"Illegal to change a model's platform",
        "a reload may not change the platform of a model that is served",
        "leave model_platform as it was, or restart the server",
    ),
    KnownError(
        r"ServerModelConfig type not supported by HandleReloadConfigRequest",
        "a reload takes a model_config_list, and no config of another kind",
        "send the list of all models that are to be served; those it omits are unloaded",
    ),
    KnownError(
        r"No request-logger-creator provided",
        "the model config file has a logging_config, which no public build of TensorFlow Serving can do",
        "take logging_config out of the file, or serve it with --engine embedded, which logs requests",
    ),
    KnownError(
        r'Message type "(?P<message>[\w.]+)" has no field named "(?P<field>[^"]+)"',
        "{field} is no field of {message}: it is misspelt, or stands at the wrong depth",
        "correct the file; TensorFlow Serving reads nothing of it until then",
    ),
    KnownError(
        r"Invalid protobuf file: '(?P<path>[^']+)'",
        "{path} is not the text form of the message the flag takes",
        "the line before it in the log says where",
    ),
    KnownError(
        r"Last entry in allowed_batch_sizes must match max_batch_size; last entry was (?P<last>\d+); expected (?P<most>\d+)",
        "allowed_batch_sizes ends with {last}, but max_batch_size is {most}",
        "end the list with {most}",
    ),
    KnownError(
        r"You cannot configure all",
        "--tensorflow_session_parallelism stands for the intra- and the inter-op one",
        "give that flag, or the other two",
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
        "tfsctl serve PATH --rest-port 0 --grpc-port 0 takes free ones",
    ),
    KnownError(
        r"/monitoring/prometheus/metrics",
        "metrics are off unless the server was started with a monitoring config file",
        "tfsctl serve PATH --metrics turns them on, and prints where they are",
    ),
    KnownError(
        r"unknown argument: (?P<flag>\S+)",
        "the server knows no flag {flag}, and goes on without it",
        "tensorflow_model_server --help lists the flags",
    ),
    KnownError(
        r"(?P<count>\d+) (?:servable|model)\(s\) did not become available.{0,300}",
        "a version could not be loaded; the reason stands in the words of the error",
        "tfsctl metadata PATH reads the same version, and says what is wrong with its files",
    ),
    # export with Keras 3
    KnownError(
        r"Keras 3 only supports V3 `?\.keras`? files|Invalid filepath extension for saving|"
        r"File format not supported: filepath=",
        "since Keras 3 model.save() writes .keras files, and load_model() reads no SavedModel directory",
        "tfsctl export takes the .keras file, or a Python file with the model",
    ),
)
