"""The arguments of `predict`: converts them to the inputs of the chosen signature, and sends the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfsctl.cli.inference import example_inputs
from tfsctl.cli.options.target import Target
from tfsctl.cli.output import terminal
from tfsctl.cli.output.predictions import RowInputs, row_inputs
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.types import ModelMetadata, ModelRef, Prediction, Signature
from tfsctl.inputs.predict_inputs import shape_inputs, shape_lines
from tfsctl.inputs.typed_values import are_features, text_notes

if TYPE_CHECKING:
    from tfsctl.core.inference import Examples


@dataclass(frozen=True, slots=True)
class PredictArguments:
    """The inputs to predict: the texts of the command line and the pairs of `-i`, or (not None) the lines of stdin.

    - `as_text`: texts and lines are the input, without parsing.
    - `as_example`: they are features, from which tf.Examples are built.
    """

    texts: Sequence[str]
    named: Sequence[str] = ()
    lines: Sequence[str] | None = None
    as_text: bool = False
    as_example: bool = False

    def predict(
        self,
        client: ServingClient,
        target: Target,
        served: ModelMetadata,
        model: ModelRef,
        signature: Signature,
        outputs: Sequence[str],
    ) -> tuple[Prediction, RowInputs | None]:
        """Send them to a signature; returns these outputs, or all, and the inputs of each row if there are several.

        Raises what converting them and the client raise.
        """
        examples = self._examples(target, served, signature)
        inputs = None
        if examples is not None:
            from tfsctl.clients.example_tasks import predict_examples  # most signatures take no tf.Examples

            prediction = predict_examples(client, model, signature, examples, outputs)
        else:
            if self.lines is None:
                arrays = shape_inputs(self.texts, signature, self.named, as_text=self.as_text)
                for note in () if self.as_text else text_notes(self.texts, signature):
                    terminal.say_note(note)
            elif self.as_text:
                arrays = shape_inputs(self.lines, signature, as_text=True)
            else:
                arrays = shape_lines(self.lines, signature)
            inputs = row_inputs(arrays) if terminal.is_interactive() else None
            prediction = client.predict(model, arrays, signature=signature.name, outputs=outputs)
        if outputs:
            prediction = replace(prediction, outputs={name: prediction.outputs[name] for name in outputs})
        return prediction, inputs

    def _examples(self, target: Target, served: ModelMetadata, signature: Signature) -> Examples | None:
        """The tf.Examples to build; None if the signature takes the inputs as they are. Any line may hold features."""
        if self.as_text:
            return None
        if self.lines is None and not (self.as_example or are_features(self.texts, self.named, signature)):
            return None
        found = example_inputs.parsed_features(target, served, signature, required=self.as_example)
        if found is None:
            return None
        if self.lines is not None:
            return example_inputs.read_feature_lines(self.lines, found, signature)
        return example_inputs.read_features(self.texts, self.named, found, signature)
