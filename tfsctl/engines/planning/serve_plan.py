"""From the options of `tfsctl serve` to a plan: models found on disk, engine chosen, options checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tfsctl.core import protos
from tfsctl.core.similar_paths import similar_path_hint
from tfsctl.engines import ports
from tfsctl.engines.docker import run_arguments
from tfsctl.engines.docker.checks import option_checks
from tfsctl.engines.launch_spec import EngineName, LaunchSpec
from tfsctl.engines.model_on_disk import ModelOnDisk, find_configured, find_model
from tfsctl.engines.planning import model_arguments, preflight
from tfsctl.engines.planning.engine_choice import ENGINES, choose
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.engines.planning.server_flags import check_server_flags
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.serving_config import messages, text_protos
from tfsctl.serving_config.model_config import ModelConfig, models_from_proto
from tfsctl.serving_config.model_name import check_name, valid_name
from tfsctl.serving_config.serving_config import ServingConfig


@dataclass(frozen=True, slots=True)
class ServePlan:
    """A server that can be started. Its models were checked on disk.

    `reason` tells why the engine was chosen; `notes` are remarks for the user.
    """

    models: tuple[ModelOnDisk, ...]
    engine: EngineName
    reason: str
    launch: LaunchSpec
    notes: tuple[str, ...] = ()

    @property
    def first_model(self) -> ModelOnDisk:
        """The first model."""
        return self.models[0]

    def command(self) -> list[str]:
        """The command line that starts the server, to be shown to the user."""
        return ENGINES[self.engine].command(self.launch)


def make_plan(options: ServeOptions) -> ServePlan:
    """Find the models and choose the engine. Raises what `model_on_disk` and `choose` raise, and InvalidInput."""
    option_checks.check_options(options.container)
    if options.rest_port and options.rest_port == options.grpc_port:
        raise InvalidInput(
            f"--rest-port and --grpc-port are both {options.rest_port}", hint="choose another --grpc-port"
        )
    run_arguments.check(options.container.docker_arguments)
    models = _find_models(options)
    engine, reason = _choose_engine(options)
    check_server_flags(options.server_flags, engine)
    _check_request_logging(models, engine)
    config = ServingConfig(
        tuple(model.config for model in models),
        grpc_port=options.grpc_port,
        rest_port=options.rest_port,
        batching=_batching(options),
        metrics=options.metrics,
        tls=options.tls,
        more_flags=(*(() if options.warmup else ("--enable_model_warmup=false",)), *options.server_flags),
    )
    config.files()  # raises now if a file cannot be read
    name = valid_name(models[0].name) if options.name is None else check_name(options.name)
    spec = LaunchSpec(
        name,
        config,
        ports.resolve_host(options.host),
        environment=options.environment,
        container=options.container,
        front=options.front,
    )
    if spec.front:
        check_front(engine, spec)
    return _adapted(ServePlan(models, engine, reason, spec, _pinned_notes(models)))


def replan(engine: EngineName, spec: LaunchSpec) -> ServePlan:
    """The plan for a server that was started before, with what is on disk now. Raises what `find_configured` raises."""
    models = tuple(find_configured(config) for config in spec.config.models)
    return _adapted(ServePlan(models, engine, _FRONT_REASON if spec.front else "", spec))


def _adapted(plan: ServePlan) -> ServePlan:
    spec, notes = ENGINES[plan.engine].adapt(plan.launch, plan.models)
    model_notes = [note for model in plan.models for note in preflight.model_notes(model)]
    return replace(plan, launch=spec, notes=(*plan.notes, *model_notes, *notes))


_FRONT_REASON = "behind Envoy"
_CONFIG_EXAMPLE = 'model_config_list { config { name: "NAME" base_path: "/PATH" model_platform: "tensorflow" } }'


def _choose_engine(options: ServeOptions) -> tuple[EngineName, str]:
    """The engine and the reason. The servers behind a front are embedded, unless containers are asked for."""
    if not options.front:
        return choose(options.engine)
    return "embedded" if options.engine == "auto" else options.engine, _FRONT_REASON


def check_front(engine: EngineName, spec: LaunchSpec) -> None:
    """Raise InvalidInput if servers of an engine cannot be behind a front, or not with these options."""
    if engine not in ("embedded", "docker"):
        raise InvalidInput(
            f"a front works with the engines embedded and docker, not with {engine}", hint="--engine embedded"
        )
    if spec.container.restart is not None and engine == "docker":
        raise InvalidInput(
            "--restart has no effect behind a front, which starts servers that have ended again",
            hint="start the server without --restart",
        )
    socket_flag = next((flag for flag in spec.config.more_flags if "grpc_socket_path" in flag), None)
    if socket_flag is not None:
        raise InvalidInput(
            f"a front has two servers, which cannot share the socket of {socket_flag}", hint=f"remove {socket_flag}"
        )


def _find_models(options: ServeOptions) -> tuple[ModelOnDisk, ...]:
    configured = [model_arguments.parse(argument) for argument in options.models]
    if options.config_file is not None:
        configured += _read_config_file(options.config_file)
    only_one = len(options.paths) + len(configured) == 1
    models = [find_model(path, name=options.name if only_one else None) for path in options.paths]
    models += [find_configured(config) for config in configured]
    if not models:
        raise InvalidInput(
            "no model to serve was given", hint="name a directory: tfsctl serve PATH, or --model NAME=PATH"
        )
    names = [model.name for model in models]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise InvalidInput(f"two models are named {duplicate}", hint="rename one of them: --model ANOTHER_NAME=PATH")
    return tuple(models)


def _check_request_logging(models: Sequence[ModelOnDisk], engine: EngineName) -> None:
    """Raise InvalidInput if requests are to be logged by an engine that cannot do so."""
    logged = next((model.name for model in models if model.config.logging is not None), None)
    if logged is not None and engine != "embedded":
        raise InvalidInput(
            f"the model config file asks for request logging of {logged}, which no public build of TensorFlow Serving "
            "can do",
            hint="add --engine embedded, or remove logging_config from the file",
        )


def _read_config_file(file: Path) -> list[ModelConfig]:
    """The models of a model config file. Raises InvalidInput."""
    message = messages.parse_text(protos.ModelServerConfig(), _text(file), source=str(file))
    models = models_from_proto(message)
    if not models:
        raise InvalidInput(f"{file} lists no model", hint=f"{_CONFIG_EXAMPLE} lists models")
    if not all(model.name for model in models):
        raise InvalidInput(f"{file} has a config without a name", hint='add name: "NAME" to it')
    for model in models:
        if "://" in model.base_path:
            raise InvalidInput(
                f"{model.name} is at {model.base_path}: only local models can be served",
                hint="copy the model to this machine, or use the file with tensorflow_model_server directly",
            )
    return list(models)


def _batching(options: ServeOptions) -> str | None:
    """The text of the batching parameters; None if batching was not asked for. Raises InvalidInput."""
    file, parameters = options.batching_file, options.batching_parameters
    if file is not None and parameters:
        raise InvalidInput("--batching-file and --batching-parameter cannot be used together")
    if file is not None:
        return text_protos.validate_batching(_text(file), source=str(file))
    if parameters:
        return text_protos.batching_text(parameters)
    return "" if options.batching else None


def _pinned_notes(models: Sequence[ModelOnDisk]) -> tuple[str, ...]:
    return tuple(
        f"{model.saved_model.path} is one version; {model.config.base_path} is served with that version only"
        for model in models
        if model.pinned
    )


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
        return content.decode()
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}", hint=similar_path_hint(file)) from None
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{file} is not UTF-8 text (byte 0x{content[error.start]:02x} in line {line})", hint="save it as UTF-8"
        ) from error
