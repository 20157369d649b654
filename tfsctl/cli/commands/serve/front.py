"""`tfsctl front`: put the Envoy proxy in front of a running server, or take it away."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.commands.serve.background_start import start_in_background
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, ServerArgument, WaitTimeoutOption
from tfsctl.cli.output import server_announcement, terminal
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.engines.registry.tracked_server import TrackedServer

BEHIND = "behind Envoy"

FrontPortOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        metavar="PORT",
        help="Keep the server, and start the front on another port (0: any free port).",
    ),
]


def front(
    name: ServerArgument = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the front; the server keeps running.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Stop the server for the change: requests are refused for some seconds.")
    ] = False,
    rest_port: FrontPortOption = None,
    grpc_port: FrontPortOption = None,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """Put the Envoy proxy in front of a running server, for tfsctl canary.

    An embedded server hands its ports over, and no request is lost. A container cannot: choose --restart, or other
    ports for the front. Needs tfsctl[front].

    \b
    Examples:
      tfsctl front review
      tfsctl front review --remove
      tfsctl front review --restart
      tfsctl front review --rest-port 9501 --grpc-port 9500
    """
    from tfsctl.rollout.placement import plans

    if (rest_port is not None or grpc_port is not None) and (remove or restart):
        option = "--remove" if remove else "--restart"
        raise InvalidInput(f"{option} cannot be used with --rest-port or --grpc-port", hint=f"remove {option}")
    server = plans.find_running(name)
    if remove:
        _remove(server, restart=restart, wait_timeout=wait_timeout, as_json=as_json)
    elif rest_port is not None or grpc_port is not None:
        _start_beside(server, (rest_port or 0, grpc_port or 0), wait_timeout=wait_timeout, as_json=as_json)
    else:
        _put(server, restart=restart, wait_timeout=wait_timeout, as_json=as_json)


def _put(server: TrackedServer, *, restart: bool, wait_timeout: float, as_json: bool) -> None:
    from tfsctl.rollout.placement import changes, plans
    from tfsctl.rollout.placement.waiting import WaitOptions

    plan = plans.plan_front(server, "restart" if restart else "handover")
    server_announcement.announce_plan(replace(plan, reason=BEHIND))
    handle = start_in_background(
        lambda give_up, show_step: changes.put_front(
            server, plan, WaitOptions(wait_timeout, give_up, show_step), stop_old=restart
        )
    )
    server_announcement.announce_server(plan, handle.record, as_json=as_json)


def _start_beside(server: TrackedServer, ports: tuple[int, int], *, wait_timeout: float, as_json: bool) -> None:
    """Start a front on other ports. The server stays as it is."""
    from tfsctl.engines.planning import server_control
    from tfsctl.rollout.front import children
    from tfsctl.rollout.placement import plans

    plan = plans.plan_front(server, "second address", ports)
    server_announcement.announce_plan(replace(plan, reason=BEHIND))
    children.clean_up(plan.launch.name)
    handle = start_in_background(
        lambda give_up, show_step: server_control.start(
            plan, detach=True, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
        )
    )
    server_announcement.announce_server(plan, handle.record, as_json=as_json)
    name = server.record.name
    terminal.say(f"{name} continues on its own ports; when no client uses them any more: tfsctl stop {name}")


def _remove(server: TrackedServer, *, restart: bool, wait_timeout: float, as_json: bool) -> None:
    from tfsctl.rollout.placement import changes, plans
    from tfsctl.rollout.placement.waiting import WaitOptions

    plan, notes = plans.plan_removal(server, restart=restart)
    for note in notes:
        terminal.say_note(note)
    server_announcement.announce_plan(plan)
    change = changes.restart_without_front if restart else changes.remove_front
    handle = start_in_background(
        lambda give_up, show_step: change(server, plan, WaitOptions(wait_timeout, give_up, show_step))
    )
    server_announcement.announce_server(plan, handle.record, as_json=as_json)
