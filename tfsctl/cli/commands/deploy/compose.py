"""`tfsctl compose`: print a Compose file with the container that `serve --engine docker` would run."""

from __future__ import annotations

from dataclasses import replace

from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.serve_parameters import takes_serve_options
from tfsctl.cli.output import terminal
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.errors import InvalidInput


@takes_serve_options
def compose(request: ServeOptions, *, as_json: JsonOption = False) -> None:
    """Print a Compose file that serves models.

    The service is the container that `tfsctl serve --engine docker` runs with the same options, with a health check and
    a restart policy. Manage it with Docker Compose: `tfsctl ps` and `tfsctl stop` do not include it.

    \b
    Examples:
      tfsctl compose ./amazon_review > compose.yaml
      tfsctl compose ./amazon_review ./house_price --name shop --memory 2g
    """
    from tfsctl.engines import state_dir
    from tfsctl.engines.docker import compose as composing
    from tfsctl.engines.docker.checks import op_support
    from tfsctl.engines.docker.container_spec import config_inside, container_spec_for
    from tfsctl.engines.planning import serve_plan

    if request.container.docker_arguments:
        raise InvalidInput(
            "--docker-arg cannot be written to a Compose file",
            hint="remove --docker-arg, and add the setting to the Compose file",
        )
    plan = serve_plan.make_plan(replace(request, engine="docker"))
    for note in plan.notes:
        terminal.say_note(note)
    for model in plan.models:
        op_support.check(model.name, model.saved_model, plan.launch.container.image)
    # Server names cannot begin with a dot, so `tfsctl stop` never deletes these files.
    folder = f".compose/{plan.launch.name}"
    state_dir.write_config_files(config_inside(plan.launch.config).files(), server=folder)
    spec = container_spec_for(plan.launch, files_of=folder)
    document = composing.document(plan.launch.name, spec)
    if as_json:
        terminal.answer_json(document)
    else:
        terminal.answer(composing.text(document).removesuffix("\n"))
