"""`tfsctl image build`: build a container image with models inside."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options import serve_parameters
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.output import terminal
from tfsctl.cli.usage.help_format import GroupedCommand
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.errors import DockerError, InvalidInput
from tfsctl.serving_config.stock_image import DEFAULT_IMAGE

if TYPE_CHECKING:
    from tfsctl.engines.docker.image_builder import BuiltImage
    from tfsctl.engines.docker.serving_image import ImageSpec


def build(
    paths: serve_parameters.PathsArgument = None,
    *,
    models: serve_parameters.ModelsOption = None,
    config: serve_parameters.ConfigFileOption = None,
    name: serve_parameters.NameOption = None,
    tag: Annotated[
        str | None,
        typer.Option("--tag", "-t", metavar="NAME:TAG", help="The name of the image (default: MODEL:VERSION)."),
    ] = None,
    base_image: Annotated[str, typer.Option("--base-image", metavar="NAME", help="The base image.")] = DEFAULT_IMAGE,
    pull: Annotated[bool, typer.Option("--pull", help="Pull the base image even if it exists locally.")] = False,
    platform: serve_parameters.PlatformOption = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="Add a label to the image. May be repeated."),
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Push the image to the registry in --tag.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Write the build context to DIR instead of building the image."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the build's output only if it fails.")] = False,
    print_dockerfile: Annotated[
        bool, typer.Option("--print-dockerfile", help="Print the Dockerfile instead of building the image.")
    ] = False,
    metrics: serve_parameters.MetricsOption = False,
    warmup: serve_parameters.WarmupOption = True,
    batching: serve_parameters.BatchingOption = False,
    batching_parameters: serve_parameters.BatchingParametersOption = None,
    batching_file: serve_parameters.BatchingFileOption = None,
    ssl_cert: serve_parameters.SslCertOption = None,
    ssl_key: serve_parameters.SslKeyOption = None,
    ssl_client_ca: serve_parameters.SslClientCaOption = None,
    server_args: serve_parameters.ServerFlagsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build an image with models inside.

    The image contains the current versions of the models, their configuration and warmup requests, and a health check.
    It runs as an unprivileged user. The command prints the `docker run` command line that starts the image; it needs
    no files of this machine.

    \b
    Examples:
      tfsctl image build ./amazon_review
      tfsctl image build ./amazon_review --tag registry.example.com/review:3 --push
      tfsctl image build ./amazon_review ./house_price --name shop --output ./context
      tfsctl image build ./amazon_review --print-dockerfile
    """
    from tfsctl.engines.docker import image_builder, serving_image
    from tfsctl.engines.docker.checks import option_checks
    from tfsctl.engines.launch_spec import ContainerOptions
    from tfsctl.engines.planning import serve_plan

    request = ServeOptions(
        paths=tuple(paths or ()),
        models=tuple(models or ()),
        config_file=config,
        name=name,
        engine="docker",
        batching=batching,
        batching_file=batching_file,
        batching_parameters=tuple(batching_parameters or ()),
        metrics=metrics,
        warmup=warmup,
        tls=serve_parameters.tls_files(ssl_cert, ssl_key, ssl_client_ca),
        server_flags=tuple(server_args or ()),
        container=ContainerOptions(image=base_image, platform=platform),
    )
    _check_combination(tag, push=push, output=output)
    option_checks.check_labels(labels or ())
    plan = serve_plan.make_plan(request)
    spec = serving_image.image_spec(
        plan.launch, plan.models, base=base_image, tag=tag, name=name, labels=tuple(labels or ())
    )
    option_checks.check_name_and_tag(spec.tag, example=f"{plan.first_model.name.lower()}:1")
    for note in plan.notes:
        terminal.say_note(note)
    if ssl_key is not None:
        terminal.say_note("the image contains the private key: whoever can read the image can read the key")
    if print_dockerfile:
        for place, source in spec.folders.items():
            terminal.say_note(f"{place} in the build context is {source}")
        terminal.answer(spec.dockerfile().removesuffix("\n"))
        return
    if output is not None:
        image_builder.write_context(spec, output)
        _announce_context(spec, output, as_json=as_json)
        return
    try:
        built = image_builder.build(spec, pull=pull, quiet=quiet)
    except DockerError as error:
        error.hint = _build_hint(error.hint)
        raise
    if push:
        image_builder.push(spec.tag, quiet=quiet)
    run = shlex.join(spec.run_command(host=request.host, rest_port=DEFAULT_REST_PORT, grpc_port=DEFAULT_GRPC_PORT))
    _print_image(spec, built, run, was_pushed=push, as_json=as_json)


def _print_image(spec: ImageSpec, built: BuiltImage, run: str, *, was_pushed: bool, as_json: bool) -> None:
    """Print the image that was built. `run` is the command line that starts it."""
    if as_json:
        image = {"id": built.id, "size_bytes": built.size_bytes, "labels": dict(spec.labels)}
        outcome = {"run": run, "pushed": was_pushed}
        terminal.answer_json({"image": spec.tag, "models": _versions(spec), **image, **outcome})
        return
    terminal.answer(f"{'pushed' if was_pushed else 'built'}: {spec.tag} ({built.size_bytes / 1e6:.0f} MB)")
    _answer_models(spec)
    terminal.answer(f"  {run}")


def _check_combination(tag: str | None, *, push: bool, output: Path | None) -> None:
    """Raise InvalidInput for options that cannot be used together."""
    if push and output is not None:
        raise InvalidInput("--push cannot be used with --output, which builds no image", hint="remove one of them")
    if push and tag is None:
        raise InvalidInput("--push needs an image name with a registry", hint="add --tag REGISTRY/NAME:TAG")


def _announce_context(spec: ImageSpec, output: Path, *, as_json: bool) -> None:
    command = [
        "docker",
        "build",
        "--tag",
        spec.tag,
        *(["--platform", spec.platform] if spec.platform else []),
        str(output),
    ]
    if as_json:
        document = {"image": spec.tag, "models": _versions(spec), "labels": dict(spec.labels)}
        terminal.answer_json(document | {"output": str(output), "build": shlex.join(command)})
        return
    terminal.answer(f"wrote {output}")
    _answer_models(spec)
    terminal.answer(f"  {shlex.join(command)}")


def _answer_models(spec: ImageSpec) -> None:
    for model, versions in spec.versions.items():
        noun = "version" if len(versions) == 1 else "versions"
        terminal.answer(f"  {model} {noun} {', '.join(map(str, reversed(versions)))}")


def _versions(spec: ImageSpec) -> dict[str, list[int]]:
    return {model: list(versions) for model, versions in spec.versions.items()}


def _build_hint(hint: str) -> str:
    """A hint of Docker's engine without `--engine`, which an image build does not have."""
    kept = [part for part in re.split("; or |; |, or ", hint) if part and "--engine" not in part]
    return "; ".join([*kept, "--print-dockerfile prints the Dockerfile without Docker"])


app = typer.Typer(
    help="Build Docker images that contain models.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
app.callback()(lambda: None)  # keeps `build` a subcommand; Typer drops the name of a lone command
app.command("build", cls=GroupedCommand)(build)
