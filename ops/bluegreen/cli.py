"""The commands and their options. What they do is in :mod:`ops.bluegreen.commands`."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from cutover_plan import OrderKind
from ops.bluegreen import commands, history, plans, screen
from ops.bluegreen.documents import SCHEMAS
from ops.bluegreen.errors import CommandError, Exit, bad_input, explained
from ops.bluegreen.seat import Seat
from ops.bluegreen.views import direction_between

PROGRAM: Final = "bluegreen"
COMPLETION: Final = "_BLUEGREEN_COMPLETE"
TRACEBACK: Final = "BLUEGREEN_TRACEBACK"
"""Set to anything, it lets an unexpected failure show where it happened."""

TARGET: Final = ("project", "stage", "region", "local")

EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {int(each):<4} {each.meaning}" for each in Exit)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _target_options(*, hidden: bool) -> list[Decorator]:
    return [
        click.option("--project", metavar="NAME", help="Project of the stage; that of cdk.json.", hidden=hidden),
        click.option("--stage", metavar="NAME", help="Stage; the default one of cdk.json.", hidden=hidden),
        click.option("--region", metavar="REGION", help="Region; AWS_REGION, or us-east-1.", hidden=hidden),
        click.option(
            "--local", is_flag=True, default=None, help="The local AWS of `make deploy-local`.", hidden=hidden
        ),
    ]


def _with(options: Sequence[Decorator], function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


def command(name: str, *, group: click.Group, changes: bool, documented: bool = True, **settings: Any) -> Decorator:
    """A command that takes a seat; it has the options of every command."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*arguments: Any, json_: bool, dry_run: bool, yes: bool = False, **options: Any) -> int:
            context = click.get_current_context()
            target = {each: options.pop(each) for each in TARGET}
            outer: Mapping[str, Any] = context.find_root().params
            chosen = {each: value if value is not None else outer.get(each) for each, value in target.items()}
            chosen["local"] = bool(chosen["local"])
            named = [f"--{each}" for each in TARGET[:3] if chosen[each] is not None]
            if chosen["local"] and named:
                raise bad_input(f"--local, {', '.join(named)}: allowed is either the local AWS or a stage by its name")
            seat = Seat(target=chosen, as_json=json_, dry_run=dry_run, yes=yes)
            return int(function(seat, *arguments, **options))

        common = [
            click.option(
                "--json", "json_", is_flag=True, help=f"One JSON document (bluegreen schema {name.split()[0]})."
            ),
            click.option(
                "--dry-run",
                is_flag=True,
                help="Look, and say what would be done; change nothing."
                if changes
                else "This command changes nothing anyway.",
            ),
        ]
        if changes:
            common.append(
                click.option(
                    "--yes",
                    "-y",
                    is_flag=True,
                    allow_from_autoenv=False,
                    help="Do not ask for a confirmation.",
                )
            )
        settings.setdefault("short_help", None)
        made = _with([*common, *_target_options(hidden=True)], run)
        return group.command(name.rpartition(" ")[2], **settings)(made)

    return decorate


@click.group(
    PROGRAM,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
        "auto_envvar_prefix": "BLUEGREEN",
    },
)
def cli(**_: Any) -> None:
    """Watch and move the payment system between legacy, blue and green, and take each move back.

    The options --project, --stage, --region and --local may stand before or after the command. Each option can be set
    in the environment, too: BLUEGREEN_STAGE, BLUEGREEN_PROJECT.
    """


cli.params = [*_with(_target_options(hidden=False), lambda: None).__click_params__[::-1]]  # type: ignore[attr-defined]


def _pace(poll_seconds: int | None, settle_seconds: int | None) -> dict[str, int]:
    given = {"poll_seconds": poll_seconds, "settle_seconds": settle_seconds}
    return {name: value for name, value in given.items() if value is not None}


PLANNING: Final[list[Decorator]] = [
    click.option("--plan", "file", metavar="FILE", help="Plan as JSON; - reads standard input."),
    click.option("--steps", metavar="PERCENTS", help="Shares of the target, such as 10,50,100."),
    click.option("--watch-minutes", type=click.IntRange(min=1), metavar="N", help="Watch each step so long."),
    click.option(
        "--up-to",
        type=click.IntRange(0, 100),
        metavar="PERCENT",
        help="Ask a person before every step beyond this share, and wait for days for the answer.",
    ),
    click.option("--keep-writer", is_flag=True, help="Do not switch the writing database."),
]
SICK: Final = click.option(
    "--leave-sick-source", is_flag=True, help="Leave a side that has trouble: its own says nothing against leaving it."
)
BEGINNING: Final[list[Decorator]] = [
    SICK,
    click.option("--recovery-point", is_flag=True, help="Take recovery points of both databases first."),
    click.option("--no-wait", is_flag=True, help="Do not wait until the cutover has begun."),
]
PACING: Final[list[Decorator]] = [
    click.option("--poll-seconds", type=click.IntRange(1, 300), help="Time between two looks; for rehearsals."),
    click.option("--settle-seconds", type=click.IntRange(0, 300), help="Time that metrics get; for rehearsals."),
]
RATE: Final = click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=commands.USUAL_RATE,
    show_default=True,
    help="Requests a second, for the expected duration.",
)
CUTOVER: Final = click.option("--cutover", "cutover_id", metavar="ID", help="Only if this is the cutover that runs.")
STEP: Final = click.option("--step", type=int, metavar="N", help="Only if this step is due.")
NO_WAIT: Final = click.option("--no-wait", is_flag=True, help="Do not wait for the controller's next look.")


@command("status", group=cli, changes=False)
@click.option("--watch", "-w", is_flag=True, help="Draw it again and again.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.5),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Pause between two drawings.",
)
@click.option("--until-over", is_flag=True, help="Watch until the cutover is over; exit with 1 when it was taken back.")
@click.option(
    "--ask-databases/--no-ask-databases",
    default=None,
    help="Ask the databases who writes; by default unless a cutover runs.",
)
def status(seat: Seat, watch: bool, interval: float, until_over: bool, ask_databases: bool | None) -> int:
    """Show what serves, what writes, and how the cutover stands."""
    return commands.status(seat, watch=watch, interval=interval, until_over=until_over, ask_databases=ask_databases)


def _direction_options(function: Callable[..., Any]) -> Callable[..., Any]:
    argument = click.argument("target", type=click.Choice(["blue", "green", "aws", "legacy"]))
    return _with([argument, *PLANNING, RATE], function)


def _direction(target: str) -> Any:
    if target in plans.ENVIRONMENTS:
        return direction_between(plans.other(target), target)
    return direction_between("legacy" if target == "aws" else "aws", target)


@command("preflight", group=cli, changes=False)
@_direction_options
@SICK
def preflight(seat: Seat, target: str, rate: float, leave_sick_source: bool, **options: Any) -> int:
    """Say whether a cutover to TARGET could begin now, with every reason against it."""
    plan = commands.chosen_plan(seat, _direction(target), **options)
    return commands.preflight(seat, plan, rate=rate, leave_sick_source=leave_sick_source)


@command("plan", group=cli, changes=False)
@_direction_options
def show_plan(seat: Seat, target: str, rate: float, **options: Any) -> int:
    """Show the steps of a cutover to TARGET, how long it takes, and what is checked."""
    return commands.show_plan(seat, commands.chosen_plan(seat, _direction(target), **options), rate=rate)


def _begin(
    seat: Seat,
    target: str,
    recovery_point: bool,
    leave_sick_source: bool,
    no_wait: bool,
    poll_seconds: int | None,
    settle_seconds: int | None,
    **options: Any,
) -> int:
    """What the options of PLANNING, BEGINNING and PACING ask for."""
    return commands.begin(
        seat,
        commands.chosen_plan(seat, _direction(target), **options),
        recovery_point=recovery_point,
        leave_sick_source=leave_sick_source,
        wait=not no_wait,
        pace=_pace(poll_seconds, settle_seconds),
    )


@command("shift", group=cli, changes=True)
@click.argument("target", type=click.Choice(plans.ENVIRONMENTS))
@functools.partial(_with, [*PLANNING, *BEGINNING, *PACING])
def shift(seat: Seat, target: str, **options: Any) -> int:
    """Move payments, and the writing database, to the environment TARGET step by step."""
    return _begin(seat, target, **options)


@command("admit", group=cli, changes=True)
@click.argument("target", type=click.Choice(["aws", "legacy"]), default="aws")
@functools.partial(_with, [*PLANNING, *BEGINNING, *PACING])
def admit(seat: Seat, target: str, **options: Any) -> int:
    """Move payments at the front door, by DNS, from the legacy system to AWS (or back, with TARGET legacy).

    With --up-to 10 it goes on by itself up to 10 %, and asks before it goes beyond.
    """
    return _begin(seat, target, **options)


@command("switch-writer", group=cli, changes=True)
@click.argument("database", type=click.Choice(["legacy", "blue", "green"]))
@NO_WAIT
@functools.partial(_with, PACING)
def switch_writer(
    seat: Seat, database: str, no_wait: bool, poll_seconds: int | None, settle_seconds: int | None
) -> int:
    """Make DATABASE the one that takes writes.

    While a cutover waits for the approval of its switch, this approves it. Otherwise a cutover begins whose first step
    is the switch, with the traffic left where it is; it then asks whether the traffic shall follow.
    """
    return commands.switch_writer(seat, database, wait=not no_wait, pace=_pace(poll_seconds, settle_seconds))


def _order_command(name: str, kind: OrderKind, text: str) -> None:
    def give(seat: Seat, cutover_id: str | None, step: int | None, no_wait: bool) -> int:
        return commands.order(seat, kind, cutover_id=cutover_id, step=step, wait=not no_wait)

    give.__doc__ = text
    command(name, group=cli, changes=True)(_with([CUTOVER, STEP, NO_WAIT], give))


_order_command("approve", OrderKind.APPROVE, "Approve the step that waits for an answer.")
_order_command("promote", OrderKind.PROMOTE, "End the watch of this step before its time, and go on.")
_order_command("pause", OrderKind.HOLD, "Hold the cutover where it is; its clocks stand still, and alarms still count.")
_order_command("resume", OrderKind.RESUME, "End a pause.")
_order_command(
    "abort",
    OrderKind.ABORT,
    "Have the controller take the cutover back at its next look. `bluegreen rollback` does so at once.",
)


@command("rollback", group=cli, changes=True)
@click.option("--cutover", "cutover_id", metavar="ID", help="Only if this is the last cutover.")
@click.option("--reason", metavar="TEXT", help="Why, for the journal.")
@click.option("--gradual", is_flag=True, help="Step by step, by a cutover in the opposite direction.")
@click.option("--after-the-end", is_flag=True, help="Take back a cutover that has succeeded.")
@click.option(
    "--accept-data-loss", is_flag=True, help="Go on although the writing database cannot be reached; payments are lost."
)
def rollback(
    seat: Seat,
    cutover_id: str | None,
    reason: str | None,
    gradual: bool,
    after_the_end: bool,
    accept_data_loss: bool,
) -> int:
    """Take the cutover back. Safe at any time, and twice."""
    if reason is not None and not reason.strip():
        raise bad_input("--reason: '', allowed: some words")
    return commands.roll_back(
        seat,
        cutover_id=cutover_id,
        reason=reason,
        gradual=gradual,
        accept_data_loss=accept_data_loss,
        after_the_end=after_the_end,
    )


@command("history", group=cli, changes=False)
@click.option("--cutover", "cutover_id", metavar="ID", help="Only this cutover; `standing` is what belongs to none.")
@click.option("--who", default="", metavar="TEXT", help="Only authors with this in their name.")
@click.option("--what", default="", metavar="TEXT", help="Only what has this in it, such as weights.")
@click.option("--since", metavar="TIME", help="30m, 2h, 7d (ago), or 2026-11-24T18:45 in UTC.")
@click.option("--until", metavar="TIME", help="Likewise.")
@click.option("--last", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="The newest N.")
@click.option("--all", "everything", is_flag=True, help="Without a limit.")
def show_history(
    seat: Seat,
    cutover_id: str | None,
    who: str,
    what: str,
    since: str | None,
    until: str | None,
    last: int,
    everything: bool,
) -> int:
    """Show the journal: who did what, when and why."""
    now = seat.stage.now()
    wanted = history.Filter(
        cutover_id=cutover_id,
        who=who,
        what=what,
        since=None if since is None else history.parse_moment(since, option="--since", now=now),
        until=None if until is None else history.parse_moment(until, option="--until", now=now),
    )
    return commands.show_history(seat, wanted=wanted, last=None if everything else last)


@command("explain", group=cli, changes=False)
@click.option("--cutover", "cutover_id", metavar="ID", help="Of this cutover; the last one.")
@click.option(
    "--decision",
    "number",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="1 is the newest decision, 2 the one before it.",
)
def explain(seat: Seat, cutover_id: str | None, number: int) -> int:
    """Say why the cutover is where it is, with the numbers."""
    return commands.show_explanation(seat, cutover_id=cutover_id, number=number)


@cli.group("replication")
def replication() -> None:
    """Look at the replication tasks, start them or stop them."""


@command("replication status", group=replication, changes=False)
def replication_status(seat: Seat) -> int:
    """Show whether the tasks run, how far they lag, and whether rows differ."""
    return commands.replicate(seat, "status", retry=False, wait_seconds=0)


WAIT: Final = click.option(
    "--wait-minutes", type=click.FloatRange(min=0), default=120.0, show_default=True, help="Wait so long at most."
)


@command("replication start", group=replication, changes=True)
@click.option("--retry", is_flag=True, help="Try what has failed once more, after you have mended it.")
@WAIT
def replication_start(seat: Seat, retry: bool, wait_minutes: float) -> int:
    """Start or resume the tasks in the right order, and wait until they run."""
    return commands.replicate(seat, "start", retry=retry, wait_seconds=60 * wait_minutes)


@command("replication stop", group=replication, changes=True)
@WAIT
def replication_stop(seat: Seat, wait_minutes: float) -> int:
    """Stop the tasks, and wait until they rest."""
    return commands.replicate(seat, "stop", retry=False, wait_seconds=60 * wait_minutes)


@command("doctor", group=cli, changes=False)
def doctor(seat: Seat) -> int:
    """Say what is misconfigured in this account and stage, and what you may not do."""
    return commands.examine(seat)


@cli.command("rehearse", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.option("--dry-run", is_flag=True, help="Say what would be run.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def rehearse(dry_run: bool, words: tuple[str, ...]) -> int:
    """Rehearse a cutover on this machine, without AWS; options go to the rehearsal."""
    return commands.rehearse(Seat(target={}, dry_run=dry_run), words)


@cli.command("schema")
@click.argument("name", type=click.Choice(sorted(SCHEMAS)), metavar="COMMAND", required=False)
def schema(name: str | None) -> int:
    """Print the JSON schema of what COMMAND prints with --json; `error` is what any command prints when it fails."""
    chosen = [name] if name else sorted(SCHEMAS)
    documents = {each: SCHEMAS[each].model_json_schema() for each in chosen}
    click.echo(json.dumps(documents[name] if name else documents, indent=2))
    return Exit.DONE


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print what makes SHELL complete commands and options; in bash: eval "$(bluegreen completion bash)"."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None, "click knows these shells"
    click.echo(made(cli, {}, PROGRAM, COMPLETION).source())
    return Exit.DONE


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    try:
        return int(cli.main(given, prog_name=PROGRAM, standalone_mode=False, complete_var=COMPLETION) or 0)
    except click.ClickException as error:
        return _fail(_usage(error), given)
    except (KeyboardInterrupt, click.Abort):
        screen.console(sys.stderr).print("Interrupted. Next step: bluegreen status shows what goes on in AWS")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has had enough; Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except Exception as error:
        if TRACEBACK in os.environ:
            raise
        return _fail(explained(error), given)


def _usage(error: click.ClickException) -> CommandError:
    context: click.Context | None = getattr(error, "ctx", None)
    path = context.command_path if context else PROGRAM
    message = error.format_message()
    no_command = isinstance(error, click.exceptions.NoArgsIsHelpError)
    if no_command and context is not None and isinstance(context.command, click.Group):
        message = f"Missing command, allowed: {', '.join(sorted(context.command.commands))}"
    return CommandError(message, next_step=f"{path} --help says what is allowed", exit_code=Exit.BAD_INPUT)


def _fail(error: CommandError, words: Sequence[str]) -> int:
    if "--json" in words:
        sys.stdout.write(json.dumps(error.document(), indent=2) + "\n")
        sys.stdout.flush()
    else:
        screen.console(sys.stderr).print(screen.error(error))
    return error.exit_code
