"""What each command does: it looks, decides with the pure modules, asks, acts through the runtime, and shows."""

from __future__ import annotations

import json
import subprocess  # nosec: it runs the rehearsal of this project
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from cutover_plan import Direction, OrderKind, Plan, Position
from cutover_plan import Phase as StepPhase
from cutover_state.run import Phase, Run
from cutover_wiring import new_cutover_id
from ops.bluegreen import PROJECT, doctor, explain, history, orders, plans, reading, replication, screen
from ops.bluegreen import documents as d
from ops.bluegreen.errors import CommandError, Exit, bad_input, refused
from ops.bluegreen.seat import Seat
from ops.bluegreen.views import (
    begin_effect,
    direction_between,
    entry,
    order_effect,
    plan_document,
    plan_of,
    rollback_effect,
)
from verdict import Settings, parse_settings
from verdict.wording import duration

USUAL_RATE: Final = 13.9
"""Requests a second: 50,000 an hour."""

BEGIN_SECONDS: Final = 180.0
BEGIN_POLL_SECONDS: Final = 2.0


# Looking.


def status(
    seat: Seat, *, watch: bool, interval: float, until_over: bool, ask_databases: bool | None, times: int | None = None
) -> int:
    """Show the stage, once or again and again."""

    def look() -> d.Status:
        return reading.read_status(seat.stage, ask_databases=ask_databases)

    if not watch and not until_over:
        found = look()
        seat.show(found, screen.status(found))
        return _status_code(found)
    if seat.as_json or not seat.out.is_terminal:
        return _watch(seat, look, interval, until_over, times, lambda found: _line(seat, found))
    with Live(console=seat.out, screen=False, auto_refresh=False) as live:
        return _watch(
            seat, look, interval, until_over, times, lambda found: live.update(screen.status(found), refresh=True)
        )


def _watch(
    seat: Seat,
    look: Callable[[], d.Status],
    interval: float,
    until_over: bool,
    times: int | None,
    draw: Callable[[d.Status], None],
) -> int:
    looks = 0
    while True:
        found = look()
        draw(found)
        looks += 1
        over = found.cutover is None or found.cutover.over or found.cutover.phase == Phase.STUCK.value
        if (until_over and over) or looks == times:
            return _status_code(found) if not until_over else _end_code(found)
        seat.stage.sleep(interval)


def _line(seat: Seat, found: d.Status) -> None:
    if seat.as_json:
        sys.stdout.write(found.model_dump_json() + "\n")
        sys.stdout.flush()
    else:
        seat.out.print(screen.status(found))


def _status_code(found: d.Status) -> int:
    if found.cutover is not None and found.cutover.phase == Phase.STUCK.value:
        return Exit.PERSON_NEEDED
    if found.writer is not None and found.writer.verdict == "several":
        return Exit.PERSON_NEEDED
    nothing = found.serving is None and found.writer is None and found.cutover is None
    return Exit.FAILED if nothing and found.unread else Exit.DONE


def _end_code(found: d.Status) -> int:
    if found.cutover is None or found.cutover.phase == Phase.SUCCEEDED.value:
        return Exit.DONE
    return Exit.PERSON_NEEDED if found.cutover.phase == Phase.STUCK.value else Exit.REFUSED


def show_history(seat: Seat, *, wanted: history.Filter, last: int | None) -> int:
    """Show the journal."""
    found = d.History(stage=seat.stage.target.name, entries=history.read_history(seat.stage, wanted, last=last))
    seat.show(found, screen.entries(found.entries, wide=wanted.cutover_id is None))
    return Exit.DONE


def show_explanation(seat: Seat, *, cutover_id: str | None, number: int) -> int:
    """Say why it was decided so."""
    stage = seat.stage
    run = stage.wiring.runs().read()
    if cutover_id is None:
        if run is None:
            raise refused("no cutover ever ran, so nothing was decided", next_step="look at bluegreen history")
        cutover_id = run.cutover_id
    entries = [entry(each) for each in stage.wiring.journal(cutover_id).entries()]
    if not entries:
        raise refused(
            f"the journal has nothing of cutover {cutover_id}", next_step="see which there were: bluegreen history"
        )
    own = run if run is not None and run.cutover_id == cutover_id else None
    found = explain.explanation(stage.target.name, cutover_id, entries, own, number=number)
    if found is None:
        raise refused(
            f"cutover {cutover_id} has no decision number {number}", next_step="see all of them: bluegreen history"
        )
    seat.show(found, screen.explanation(found))
    return Exit.DONE


def examine(seat: Seat) -> int:
    """Say what is misconfigured."""
    with seat.doing("looking at the stage and the account"):
        found = doctor.examine(seat.stage)
    seat.show(found, screen.doctor(found))
    return Exit.DONE if found.healthy else Exit.REFUSED


# Plans.


def chosen_plan(
    seat: Seat,
    direction: Direction,
    *,
    file: str | None,
    steps: str | None,
    watch_minutes: int | None,
    up_to: int | None,
    keep_writer: bool,
) -> Plan:
    """The plan that the options describe; without any, that of the stage."""
    if file is not None and (steps is not None or watch_minutes is not None):
        raise bad_input("--plan, --steps, --watch-minutes: allowed is either a plan, or steps and watch times")
    stage = seat.stage
    if file is not None:
        plan = plans.read_plan(_text(file), direction)
    else:
        name = f"cutover/plan/{direction.source}-{direction.target}"
        plan = plans.usual(stage.parameter(name), direction, chain=stage.chain)
    if keep_writer:
        plan = plans.without_writer(plan)
    if steps is not None or watch_minutes is not None:
        weights = plans.parse_weights(steps) if steps is not None else _weights_of(plan)
        plan = plans.in_steps(plan, weights, watch_seconds=None if watch_minutes is None else 60 * watch_minutes)
    return plan if up_to is None else plans.asking_beyond(plan, up_to)


def _weights_of(plan: Plan) -> list[int]:
    return [step.weight_percent for step in plan.steps if not step.switch_writer]


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise bad_input(f"--plan: {file!r} cannot be read: {error}") from None


def settings_of(seat: Seat) -> Settings:
    """Settings of the verdict."""
    return parse_settings(seat.stage.parameter("cutover/verdict"))


def show_plan(seat: Seat, plan: Plan, *, rate: float) -> int:
    """Show a plan."""
    document = plan_document(plan, settings_of(seat), requests_per_second=rate)
    found = d.PlanShown(stage=seat.stage.target.name, plan=document)
    seat.show(found, screen.plan(document))
    return Exit.DONE


def preflight(seat: Seat, plan: Plan, *, rate: float, leave_sick_source: bool) -> int:
    """Say whether a cutover could begin."""
    found = _preflight(seat, plan, rate=rate, leave_sick_source=leave_sick_source)
    seat.show(found, screen.preflight(found))
    return Exit.DONE if found.ready else Exit.REFUSED


def _preflight(seat: Seat, plan: Plan, *, rate: float = USUAL_RATE, leave_sick_source: bool = False) -> d.Preflight:
    request = {
        "from": plan.direction.source,
        "to": plan.direction.target,
        "requested_by": seat.stage.aws.caller,
        "plan": plan.to_json(),
        "dry_run": True,
        "leave_sick_source": leave_sick_source,
    }
    with seat.doing("looking at databases, environments, replication and alarms"):
        answer = seat.stage.call("preflight", request)
    reasons = [str(each) for each in answer["reasons"]]
    return d.Preflight(
        stage=seat.stage.target.name,
        source=plan.direction.source,
        target=plan.direction.target,
        ready=not reasons,
        reasons=reasons,
        plan=plan_document(plan, settings_of(seat), requests_per_second=rate),
    )


# Moving.


def begin(
    seat: Seat,
    plan: Plan,
    *,
    recovery_point: bool,
    wait: bool,
    pace: dict[str, int],
    leave_sick_source: bool = False,
    notes: Sequence[str] = (),
) -> int:
    """Begin a cutover, once nothing speaks against it and the operator agrees."""
    looked = _preflight(seat, plan, leave_sick_source=leave_sick_source)
    effect = [*begin_effect(plan), *notes]
    if leave_sick_source:
        effect.append(f"what is wrong with {plan.direction.source} does not keep it from beginning")
    if recovery_point:
        effect.insert(0, "recovery points of both databases are taken first, which may take long")
    if not looked.ready:
        raise refused(
            f"{plan.direction} cannot begin:\n" + "\n".join(f"  - {each}" for each in looked.reasons),
            next_step="mend what is named, and see with bluegreen preflight that nothing is left",
        )
    if seat.dry_run:
        return _show_begun(seat, "dry run", None, effect, looked.plan)
    if not seat.as_json:
        seat.err.print(screen.plan(looked.plan))
    seat.confirm(f"begin a cutover from {plan.direction}", effect)
    stage = seat.stage
    cutover_id = new_cutover_id(plan.direction.source, plan.direction.target, now=stage.now())
    request = {
        "from": plan.direction.source,
        "to": plan.direction.target,
        "requested_by": stage.aws.caller,
        "plan": plan.to_json(),
        "recovery_point": recovery_point,
        "leave_sick_source": leave_sick_source,
        **pace,
    }
    stage.aws.client("stepfunctions").start_execution(
        stateMachineArn=stage.parameter("shared/cutover-state-machine-arn"), name=cutover_id, input=json.dumps(request)
    )
    if not wait:
        return _show_begun(seat, "asked for", cutover_id, effect, looked.plan)
    with seat.doing(f"cutover {cutover_id} begins"):
        began = _wait_until_begun(seat, cutover_id)
    return _show_begun(seat, "begun" if began else "asked for", cutover_id, effect, looked.plan)


def _wait_until_begun(seat: Seat, cutover_id: str) -> bool:
    stage, waited = seat.stage, 0.0
    while waited < BEGIN_SECONDS:
        for each in stage.wiring.journal(cutover_id).entries():
            if each.what == "begin":
                return True
            if each.what == "refuse to begin":
                raise refused(
                    f"cutover {cutover_id} was not begun: {each.why}",
                    next_step="mend what is named, and see with bluegreen preflight that nothing is left",
                )
        stage.sleep(BEGIN_POLL_SECONDS)
        waited += BEGIN_POLL_SECONDS
    return False


Outcome = Literal["begun", "asked for", "dry run", "nothing to do"]


def _show_begun(seat: Seat, outcome: Outcome, cutover_id: str | None, effect: list[str], plan: d.Plan | None) -> int:
    document = d.Begun(stage=seat.stage.target.name, outcome=outcome, cutover_id=cutover_id, effect=effect, plan=plan)
    page: RenderableType
    if outcome == "dry run":
        page = Group(
            *([screen.plan(plan), Text("")] if plan else []),
            screen.effects(effect, "Would be done:"),
            Text("Nothing was begun."),
        )
    elif outcome == "nothing to do":
        page = Text("Nothing to do. " + " ".join(effect))
    else:
        words = {"begun": "runs", "asked for": "was asked for"}
        page = Text(f"Cutover {cutover_id} {words[outcome]}. Follow it: bluegreen status --watch")
    seat.show(document, page)
    return Exit.DONE


def switch_writer(seat: Seat, target: str, *, wait: bool, pace: dict[str, int]) -> int:
    """Bring the writer to a database: by approving the step that is due, or by a cutover that begins with it."""
    stage = seat.stage
    if target not in stage.chain:
        raise bad_input(f"DATABASE: {target!r}, allowed: {', '.join(stage.chain)}")
    run = stage.wiring.runs().read()
    if run is not None and not run.phase.is_over:
        return _switch_in_cutover(seat, run, target, wait=wait)
    desired = stage.wiring.desired().read()
    if desired is None:
        raise refused(
            "nobody has said yet which database should be the writer",
            next_step="wait a minute for the reconciler, which adopts what it finds",
        )
    if desired.writer == target:
        return _show_begun(seat, "nothing to do", None, [f"{target} is the writer already."], None)
    if {desired.writer, target} != set(plans.ENVIRONMENTS):
        way = "aws" if desired.writer == "legacy" else "legacy"
        raise refused(
            f"the writer goes from {desired.writer} to {target} only together with the front door: the legacy system "
            "writes to its own database only",
            next_step=f"bluegreen admit {way}, whose plan switches the writer where that is safe"
            if "legacy" in (desired.writer, target)
            else "move it to the neighbour first",
        )
    plan = plans.writer_first(direction_between(desired.writer, target))
    gate = plan.steps[1].gate
    notes = [
        f"until the traffic has followed, or was taken back, this cutover is under way: bluegreen approve lets "
        f"{target} have the traffic, bluegreen rollback brings the writer back",
        f"without an answer it rolls back after {duration(gate.timeout_seconds if gate else 0)}",
    ]
    return begin(seat, plan, recovery_point=False, wait=wait, pace=pace, notes=notes)


def _switch_in_cutover(seat: Seat, run: Run, target: str, *, wait: bool) -> int:
    plan, position = plan_of(run), Position.from_json(run.position)
    step = next((number for number, each in enumerate(plan.steps) if each.switch_writer), None)
    if step is None or run.writer_after != target:
        raise refused(
            f"cutover {run.cutover_id} from {run.source} to {run.target} is {run.phase.value}, and does not bring the "
            f"writer to {target}",
            next_step="let it end, or take it back (bluegreen rollback), and call again",
        )
    done = position.step > step or (position.step == step and position.phase in (StepPhase.WATCH, StepPhase.COMPLETE))
    if done:
        return _show_begun(seat, "nothing to do", run.cutover_id, [f"{target} is the writer already."], None)
    if position.step == step and position.phase is StepPhase.GATE:
        return order(seat, OrderKind.APPROVE, cutover_id=run.cutover_id, step=step + 1, wait=wait)
    raise refused(
        f"cutover {run.cutover_id} switches the writer in step {step + 1}, and stands at step {position.step + 1} "
        f"({position.phase.value})",
        next_step="wait until it asks; bluegreen promote ends a watch before its time",
    )


# Orders.


def order(seat: Seat, kind: OrderKind, *, cutover_id: str | None, step: int | None, wait: bool) -> int:
    """Give an order to the cutover that is under way."""
    stage = seat.stage
    run = orders.current(stage, cutover_id=cutover_id)
    wanted = orders.prepare(run, kind, step=step, actor=stage.aws.caller)
    effect = order_effect(kind, run)
    what = f"{kind.value} step {wanted.step + 1} of cutover {run.cutover_id}, {run.source} to {run.target}"
    if kind is OrderKind.ABORT:
        what = f"abort cutover {run.cutover_id}, {run.source} to {run.target}"
    if seat.dry_run:
        return _show_ordered(seat, "dry run", kind, run, wanted.step + 1, effect, "nothing was asked for")
    seat.confirm(what, effect)
    given = orders.give(stage, wanted, cutover_id=run.cutover_id)
    if not wait:
        return _show_ordered(seat, "asked for", kind, run, wanted.step + 1, effect, "not looked at yet")
    with seat.doing("waiting for the controller's next look"):
        answer = orders.wait_for_answer(stage, given)
    if answer.outcome == "refused":
        raise refused(
            f"the controller did not follow the order {kind.value}: {answer.reason}",
            next_step="look at where the cutover stands: bluegreen status",
        )
    return _show_ordered(seat, answer.outcome, kind, run, wanted.step + 1, effect, answer.reason)


def _show_ordered(
    seat: Seat,
    outcome: Literal["followed", "asked for", "dry run"],
    kind: OrderKind,
    run: Run,
    step: int,
    effect: list[str],
    reason: str,
) -> int:
    document = d.Ordered(
        stage=seat.stage.target.name,
        outcome=outcome,
        order=kind.value,
        cutover_id=run.cutover_id,
        step=step,
        effect=effect,
        reason=reason,
    )
    page: RenderableType
    if outcome == "dry run":
        page = Group(screen.effects(effect, f"Would be done by {kind.value}:"), Text("Nothing was asked for."))
    else:
        page = Text(f"{kind.value} {outcome}: {reason}")
    seat.show(document, page)
    return Exit.DONE


# Back.


def roll_back(
    seat: Seat,
    *,
    cutover_id: str | None,
    reason: str | None,
    gradual: bool,
    accept_data_loss: bool,
    after_the_end: bool,
) -> int:
    """Take the cutover back."""
    stage = seat.stage
    if gradual and accept_data_loss:
        raise bad_input("--gradual, --accept-data-loss: allowed is one of them: lost data is lost at once")
    run = orders.current(stage, cutover_id=cutover_id)
    if run.phase is Phase.SUCCEEDED and not after_the_end and not gradual:
        raise refused(
            f"cutover {run.cutover_id} has succeeded already",
            next_step=f"to take it back all the same: bluegreen rollback --cutover {run.cutover_id} --after-the-end "
            "(at once), or --gradual (step by step)",
        )
    if run.phase in (Phase.ROLLED_BACK, Phase.REFUSED):
        why = f"cutover {run.cutover_id} is {run.phase.value}: nothing is under way"
        return _show_rolled_back(seat, "nothing to do", run.cutover_id, [], why, {})
    if gradual and run.phase is Phase.SUCCEEDED:
        way = f"admit {run.source}" if run.source in ("legacy", "aws") else f"shift {run.source}"
        raise refused(
            f"cutover {run.cutover_id} is over: the gradual way back is a cutover from {run.target} to {run.source}",
            next_step=f"bluegreen {way}",
        )
    # Nothing has moved yet, or everything goes back at once already: there are no steps to take back.
    gradual = gradual and run.phase is Phase.SHIFTING
    effect = rollback_effect(run, accept_data_loss=accept_data_loss, gradual=gradual)
    if seat.dry_run:
        return _show_rolled_back(seat, "dry run", run.cutover_id, effect, "nothing was taken back", {})
    words = "gradually" if gradual else "at once"
    seat.confirm(
        f"take cutover {run.cutover_id}, {run.source} to {run.target}, back {words}",
        effect,
        typed=run.cutover_id if accept_data_loss else None,
    )
    event: dict[str, Any] = {
        "cutover_id": run.cutover_id,
        "requested_by": stage.aws.caller,
        "reason": reason or "asked for at the command line",
    }
    asked = {"gradual": gradual, "accept_data_loss": accept_data_loss, "after_the_end": after_the_end}
    event |= {name: True for name, wanted in asked.items() if wanted}
    with seat.doing("taking it back" if not gradual else "beginning the way back"):
        answer = stage.call("rollback", event)
    explanation = str(answer.get("explanation", ""))
    if answer.get("stuck"):
        raise CommandError(
            f"cutover {run.cutover_id} is stuck: {explanation}",
            next_step="bring the database back that cannot be reached and call bluegreen rollback again; only if it is "
            "lost for good, and the loss is agreed: bluegreen rollback --accept-data-loss",
            exit_code=Exit.PERSON_NEEDED,
        )
    if answer.get("rolled_back"):
        return _show_rolled_back(seat, "rolled back", run.cutover_id, effect, explanation, answer)
    if gradual and _goes_back(stage.wiring.runs().read(), run.cutover_id):
        return _show_rolled_back(seat, "begun", run.cutover_id, effect, explanation, answer)
    raise refused(f"not taken back: {explanation}", next_step="look at where it stands: bluegreen status")


def _goes_back(run: Run | None, cutover_id: str) -> bool:
    """Whether a cutover is on its way back step by step, or has the order to go."""
    if run is None or run.cutover_id != cutover_id:
        return False
    return run.returning or (run.order is not None and run.order.get("kind") == OrderKind.RETURN.value)


def _show_rolled_back(
    seat: Seat,
    outcome: Literal["rolled back", "begun", "nothing to do", "dry run"],
    cutover_id: str | None,
    effect: list[str],
    explanation: str,
    answer: dict[str, Any],
) -> int:
    document = d.RolledBack(
        stage=seat.stage.target.name,
        outcome=outcome,
        cutover_id=cutover_id,
        effect=effect,
        explanation=explanation,
        answer=answer,
    )
    page: RenderableType
    if outcome == "dry run":
        page = Group(screen.effects(effect, f"Would be done to cutover {cutover_id}:"), Text("Nothing was taken back."))
    elif outcome == "nothing to do":
        page = Text(f"Nothing to do: {explanation}.")
    elif outcome == "begun":
        page = Text(f"On its way back: {explanation}. Follow it: bluegreen status --watch")
    else:
        page = Text(f"Rolled back: cutover {cutover_id} ({explanation}).")
    seat.show(document, page)
    return Exit.DONE


# Replication.


def replicate(seat: Seat, action: str, *, retry: bool, wait_seconds: float) -> int:
    """Show, start or stop the replication tasks."""
    stage = seat.stage
    if action == "status":
        found = [reading.task_document(each) for each in reading.replication_tasks(stage)]
        document = d.Replication(stage=stage.target.name, outcome="status", tasks=found, steps=[], effect=[])
        seat.show(document, screen.tasks(found))
        return Exit.DONE
    replication.require_quiet(stage.wiring.runs().read(), action)
    names = ", ".join(stage.task_identifiers)
    effect = (
        [f"{names} are tested, started or resumed, in the right order", "what runs already is left alone"]
        if action == "start"
        else [
            f"{names} stop when they have applied what they have read",
            "from then on the writer cannot be switched, and the alarms on replication fire",
        ]
    )
    if retry:
        effect.append("connections and tasks that have failed are tried once more")
    if seat.dry_run:
        found = [reading.task_document(each) for each in reading.replication_tasks(stage)]
        document = d.Replication(stage=stage.target.name, outcome="dry run", tasks=found, steps=[], effect=effect)
        page = Group(screen.tasks(found), screen.effects(effect, "Would be done:"), Text("Nothing was changed."))
        seat.show(document, page)
        return Exit.DONE
    seat.confirm(f"{action} the replication", effect)
    outcome = replication.control(stage, action, retry=retry, tell=seat.tell, longest_seconds=wait_seconds)
    found = [reading.task_document(each) for each in reading.replication_tasks(stage)]
    document = d.Replication(
        stage=stage.target.name,
        outcome="done" if outcome.done else "not done",
        tasks=found,
        steps=outcome.steps,
        effect=effect,
    )
    seat.show(document, screen.tasks(found))
    if not outcome.done and not seat.as_json:
        seat.tell(f"Not done yet. Next step: call bluegreen replication {action} again, it goes on from here")
    return Exit.DONE if outcome.done else Exit.FAILED


# Rehearsing.


def rehearse(seat: Seat, words: Sequence[str]) -> int:
    """Run the rehearsal of this project, which touches no account."""
    command = [sys.executable, "-m", "rehearsal", *words]
    if seat.dry_run:
        seat.out.print(Text("Would run: " + " ".join(command)))
        return Exit.DONE
    return subprocess.run(command, cwd=PROJECT, check=False).returncode  # noqa: S603


__all__ = [
    "begin",
    "chosen_plan",
    "examine",
    "order",
    "preflight",
    "rehearse",
    "replicate",
    "roll_back",
    "show_explanation",
    "show_history",
    "show_plan",
    "status",
    "switch_writer",
]
