"""Orders to the cutover that runs: checked as the controller checks them, and written as the runtime writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from cutover_controller.pace import pause_seconds
from cutover_plan import Order, OrderError, OrderKind, Position, check_order
from cutover_state.run import Phase, Run, RunConflictError
from ops.bluegreen.errors import CommandError, Exit, bad_input, refused
from ops.bluegreen.stage import Stage
from ops.bluegreen.views import plan_of

_ATTEMPTS: Final = 20
LOOK_SECONDS: Final = 2.0
USUAL_PAUSE_SECONDS: Final = 60
LOOK_TAKES_SECONDS: Final = 120
"""A look takes seconds, or minutes when it waits for DNS."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of an order.

    Attributes:
        reason: the controller's own words.
    """

    outcome: Literal["followed", "refused", "asked for"]
    reason: str


def current(stage: Stage, *, cutover_id: str | None) -> Run:
    """The cutover that is under way.

    Raises:
        CommandError: there is none, or it is not the one that is meant.
    """
    run = stage.wiring.runs().read()
    if run is None:
        raise refused("no cutover ever ran", next_step="begin one: bluegreen shift, or bluegreen admit")
    if cutover_id is not None and run.cutover_id != cutover_id:
        raise refused(
            f"cutover {cutover_id} is not the last one, which is {run.cutover_id}",
            next_step="look at what runs: bluegreen status",
        )
    return run


def prepare(run: Run, kind: OrderKind, *, step: int | None, actor: str) -> Order:
    """The order, if the cutover can follow it where it stands.

    Args:
        step: step of the plan from 1; None means the one that is due.

    Raises:
        CommandError: it cannot.
    """
    if run.phase not in (Phase.PREPARING, Phase.SHIFTING):
        raise refused(
            f"cutover {run.cutover_id} is {run.phase.value}: it takes no orders ({run.reason or 'no reason is noted'})",
            next_step="look at what runs: bluegreen status",
        )
    position = Position.from_json(run.position)
    if step is not None and step < 1:
        raise bad_input(f"--step: {step}, allowed: from 1 on")
    try:
        order = Order(kind=kind, step=position.step if step is None else step - 1, actor=actor, automatic=False)
        check_order(plan_of(run), position, order)
    except OrderError as error:
        raise refused(str(error), next_step="look at where it stands: bluegreen status") from None
    if run.order is not None and kind is not OrderKind.ABORT:
        raise refused(
            f"the order {run.order.get('kind')} of {run.order.get('actor')} has not been looked at yet",
            next_step="wait a minute and call again",
        )
    return order


def give(stage: Stage, order: Order, *, cutover_id: str) -> Run:
    """Write the order for the controller's next look.

    Raises:
        CommandError: in the meantime the cutover came to where it cannot follow the order.
    """
    runs = stage.wiring.runs()
    for _ in range(_ATTEMPTS):
        # Anew each time: the controller may have looked, and gone on, in between.
        run = current(stage, cutover_id=cutover_id)
        checked = prepare(run, order.kind, step=order.step + 1, actor=order.actor)
        document = {"kind": checked.kind.value, "step": checked.step, "actor": checked.actor, "automatic": False}
        try:
            return runs.write(replace(run, order=document))
        except RunConflictError:
            continue
    raise CommandError(
        "the cutover changes all the time, and the order was not given", next_step="call again", exit_code=Exit.FAILED
    )


def wait_for_answer(stage: Stage, given: Run) -> Answer:
    """What the controller makes of the order at its next look."""
    patience_seconds = pause_seconds(looks=given.looks, poll_seconds=USUAL_PAUSE_SECONDS) + LOOK_TAKES_SECONDS
    waited = 0.0
    journal = stage.wiring.journal(given.cutover_id)
    while waited < patience_seconds:
        run = stage.wiring.runs().read()
        if run is None or run.cutover_id != given.cutover_id or run.order != given.order:
            entries = [each for each in journal.entries() if each.what in ("follow an order", "refuse an order")]
            ours = [each for each in entries if each.details == given.order]
            if ours:
                last = ours[-1]
                return Answer(outcome="followed" if last.what == "follow an order" else "refused", reason=last.why)
            return Answer(outcome="asked for", reason=run.reason if run else "")
        if run.phase not in (Phase.PREPARING, Phase.SHIFTING):
            return Answer(outcome="refused", reason=f"the cutover is {run.phase.value}: {run.reason}")
        stage.sleep(LOOK_SECONDS)
        waited += LOOK_SECONDS
    return Answer(outcome="asked for", reason="the controller has not looked yet; bluegreen status shows when it has")
