"""From what was asked for to a server that can be started: the models found on disk, the engine chosen, all settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tfsctl.core import protos
from tfsctl.engines.planning import model_arguments, ports, preflight
from tfsctl.engines.planning.engine_choice import ENGINES, choose
from tfsctl.engines.planning.launch_spec import EngineName, Launch
from tfsctl.engines.planning.preflight import Found
from tfsctl.engines.planning.serve_options import Request
from tfsctl.errors import InvalidInput
from tfsctl.serving_config import messages, text_protos
from tfsctl.serving_config.serving_config import ModelConfig, ServingConfig, asks_for_request_logging, models_from_proto


@dataclass(frozen=True, slots=True)
class Plan:
    """A server as it will be started, with everything on disk checked.

    `reason` says why this engine was chosen, `notes` what may surprise.
    """

    founds: tuple[Found, ...]
    engine: EngineName
    reason: str
    launch: Launch
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> Found:
        """The first model."""
        return self.founds[0]

    def command(self) -> list[str]:
        """The command line, for people to paste."""
        return ENGINES[self.engine].command(self.launch)


def plan(request: Request) -> Plan:
    """Check the models and choose the engine. Raises what preflight and `choose` raise, and InvalidInput."""
    founds = _find(request)
    engine, reason = choose(request.engine)
    config = ServingConfig(
        tuple(found.model for found in founds),
        grpc_port=request.grpc_port,
        rest_port=request.rest_port,
        batching=_batching(request),
        metrics=request.metrics,
        tls=request.tls,
        more_flags=(*(() if request.warmup else ("--enable_model_warmup=false",)), *request.server_flags),
    )
    config.files()  # what cannot be read is said now
    name = preflight.checked_name(Path(founds[0].model.base_path), request.name or founds[0].model.name)
    host = ports.address_of(request.host)
    launch = Launch(name, config, host, environment=request.environment, container=request.container)
    return _fitted(Plan(founds, engine, reason, launch, _notes(founds)))


def again(engine: EngineName, launch: Launch) -> Plan:
    """The plan for a launch that was started before, with what is on disk now. Raises what preflight raises."""
    founds = tuple(preflight.find_configured(model) for model in launch.config.models)
    return _fitted(Plan(founds, engine, "", launch))


def _fitted(planned: Plan) -> Plan:
    launch, notes = ENGINES[planned.engine].fit(planned.launch, planned.founds)
    return replace(planned, launch=launch, notes=(*planned.notes, *notes))


def _find(request: Request) -> tuple[Found, ...]:
    configured = [model_arguments.parse(argument) for argument in request.models]
    if request.config_file is not None:
        configured += _configured(request.config_file)
    alone = len(request.paths) + len(configured) == 1
    founds = [preflight.find_model(path, name=request.name if alone else None) for path in request.paths]
    founds += [preflight.find_configured(model) for model in configured]
    if not founds:
        raise InvalidInput("there is nothing to serve", hint="tfsctl serve PATH, or --model NAME=PATH")
    names = [found.model.name for found in founds]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"two models are named {twice}", hint="--model ANOTHER_NAME=PATH names one of them")
    return tuple(founds)


def _configured(file: Path) -> list[ModelConfig]:
    """The models of a model config file. Raises InvalidInput."""
    message = messages.parse_text(protos.ModelServerConfig(), _text(file), source=str(file))
    if asks_for_request_logging(message):
        raise InvalidInput(
            f"{file} asks for request logging, which no public build of TensorFlow Serving can do",
            hint="take logging_config out of it",
        )
    models = models_from_proto(message)
    for model in models:
        if "://" in model.base_path:
            raise InvalidInput(
                f"{model.name} is at {model.base_path}: only models on this machine are served",
                hint="copy it here, or give the file to tensorflow_model_server itself",
            )
    return list(models)


def _batching(request: Request) -> str | None:
    """The text of the batching parameters; None if batching was not asked for. Raises InvalidInput."""
    file, parameters = request.batching_file, request.batching_parameters
    if file is not None and parameters:
        raise InvalidInput("--batching-file and --batching-parameter contradict each other")
    if file is not None:
        return text_protos.checked_batching(_text(file), source=str(file))
    if parameters:
        return text_protos.batching_text(parameters)
    return "" if request.batching else None


def _notes(founds: Sequence[Found]) -> tuple[str, ...]:
    return tuple(
        f"{found.saved_model.path} is one version; {found.model.base_path} is served, pinned to it"
        for found in founds
        if found.pinned
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is no text") from error
