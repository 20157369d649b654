"""Applies the signature options of an export, in this order: choose, batch size, names, images, tf.Examples.

Samples of the source are for the inputs of the model, so they are converted to the inputs of the default signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfsctl.core.batches import NamedArrays
from tfsctl.errors import InvalidInput
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.signatures import example_signatures, image_inputs
from tfsctl.exporter.signatures.batch_size import set_batch_size
from tfsctl.exporter.signatures.renaming import default_signature, keep_signatures, rename_tensors
from tfsctl.exporter.sources.export_options import ExportOptions


def change_signatures(
    signatures: Sequence[ExportSignature], samples: Samples | None, options: ExportOptions
) -> tuple[Sequence[ExportSignature], Samples | None]:
    """The signatures to write, and the samples for the default signature.

    Raises InvalidInput if the options do not fit the model, NotFound if there is no file of labels.
    """
    labels = example_signatures.read_labels(Path(options.classify)) if options.classify else ()
    signatures = keep_signatures(signatures, options.signatures)
    signatures = set_batch_size(signatures, options.batch_size)
    if samples is not None and options.inputs:
        samples = _renamed(samples, default_signature(signatures), options.inputs)
    signatures = rename_tensors(signatures, options.inputs, options.outputs)
    if not (options.image_bytes or options.examples or labels or options.regress):
        return signatures, samples
    default = default_signature(signatures)
    others = [signature for signature in signatures if signature is not default]
    if options.image_bytes:
        original, default = default, image_inputs.image_signature(default)
        samples = _converted(samples, original, lambda columns: image_inputs.encoded_columns(original, columns))
    if labels:
        others.append(example_signatures.classify_signature(default, labels))
    if options.regress:
        others.append(example_signatures.regress_signature(default))
    if options.examples:
        original, default = default, example_signatures.predict_signature(default)
        samples = _converted(samples, original, example_signatures.serialized_rows)
    result = [
        default,
        *(replace(other, notes=()) if other.name in ("classify", "regress") else other for other in others),
    ]
    names = [signature.name for signature in result]
    if len(set(names)) < len(names):
        raise InvalidInput(
            f"the model already has the signature {', '.join(names)}", hint="--signature OLD=NEW renames it"
        )
    return result, samples


def _renamed(samples: Samples, signature: ExportSignature, renames: Mapping[str, str]) -> Samples:
    names = [spec.name for spec in signature.inputs]
    by_name = {
        names[int(old)] if old not in names and old.isdigit() and int(old) < len(names) else old: new
        for old, new in renames.items()
    }
    return Samples(
        {by_name.get(name, name) if name is not None else None: column for name, column in samples.columns.items()}
    )


def _converted(
    samples: Samples | None, signature: ExportSignature, convert: Callable[[NamedArrays], dict[str | None, np.ndarray]]
) -> Samples | None:
    """Samples for a changed signature; None if they do not fit the original one, or cannot be converted."""
    if samples is None:
        return None
    try:
        return Samples(convert(samples.fit(signature.inputs)))
    except InvalidInput:
        return None
