"""`tfsctl image build`: build a container image with models inside."""

from __future__ import annotations

import re
import shlex
from typing import Annotated

import typer

from tfsctl.cli.options import serve_options
from tfsctl.cli.options.output_options import Json
from tfsctl.cli.output import terminal
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.errors import DockerError
from tfsctl.serving_config.stock_image import DEFAULT_IMAGE


def build(
    paths: serve_options.Paths = None,
    *,
    models: serve_options.Models = None,
    config: serve_options.ConfigFile = None,
    name: serve_options.Name = None,
    tag: Annotated[
        str | None, typer.Option("--tag", "-t", metavar="NAME:TAG", help="The image's name; else MODEL:VERSION.")
    ] = None,
    base_image: Annotated[
        str, typer.Option("--base-image", metavar="NAME", help="The image it is made from.")
    ] = DEFAULT_IMAGE,
    pull: Annotated[bool, typer.Option("--pull", help="Pull the base image although one is here.")] = False,
    platform: serve_options.Platform = None,
    print_dockerfile: Annotated[
        bool, typer.Option("--print-dockerfile", help="Print the Dockerfile, and build nothing.")
    ] = False,
    metrics: serve_options.Metrics = False,
    warmup: serve_options.Warmup = True,
    batching: serve_options.Batching = False,
    batching_parameters: serve_options.BatchingParameters = None,
    batching_file: serve_options.BatchingFile = None,
    server_args: serve_options.ServerFlags = None,
    as_json: Json = False,
) -> None:
    """Build an image with models inside.

    The image holds the versions that are there now, their configuration and warmup requests, and checks its own health.
    It runs as a user without rights. The answer has the `docker run` that starts it; no file of this machine is needed
    for that.

    \b
    Examples:
      tfsctl image build ./amazon_review
      tfsctl image build ./amazon_review --tag registry.example.com/review:3
      tfsctl image build ./amazon_review --print-dockerfile
    """
    from tfsctl.engines.docker import image_builder, serving_image
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
        server_flags=tuple(server_args or ()),
        container=ContainerOptions(image=base_image, platform=platform),
    )
    plan = serve_plan.make_plan(request)
    for note in plan.notes:
        terminal.say(f"note: {note}")
    spec = serving_image.image_spec(plan.launch, plan.models, base=base_image, tag=tag)
    if print_dockerfile:
        for place, source in spec.folders.items():
            terminal.say(f"note: in its build context {place} is {source}")
        terminal.answer(spec.dockerfile().removesuffix("\n"))
        return
    try:
        built = image_builder.build(spec, pull=pull)
    except DockerError as error:
        error.hint = _build_hint(error.hint)
        raise
    run = shlex.join(spec.run_command(host=request.host, rest_port=DEFAULT_REST_PORT, grpc_port=DEFAULT_GRPC_PORT))
    if as_json:
        more = {"id": built.id, "size_bytes": built.size_bytes, "labels": dict(spec.labels), "run": run}
        terminal.answer_json({"image": spec.tag} | more)
        return
    terminal.answer(f"built: {spec.tag} ({built.size_bytes / 1e6:.0f} MB)")
    terminal.answer(f"  {run}")


def _build_hint(hint: str) -> str:
    """A hint of Docker's engine without `--engine`, which an image build does not have."""
    kept = [part for part in re.split("; or |; |, or ", hint) if part and "--engine" not in part]
    return "; ".join([*kept, "--print-dockerfile prints the Dockerfile without Docker"])


app = typer.Typer(help="Images with models inside.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.callback()(lambda: None)  # keeps `build` a subcommand; Typer drops the name of a lone command
app.command("build")(build)
