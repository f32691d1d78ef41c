"""Negative controls: a cutover without one of its safeguards must break a promise, or the checks have no teeth."""

from __future__ import annotations

import time

from rehearsal.checks import ALONE, BALANCED, CROSSED, EQUAL, FOLLOWED, REPLICATED
from rehearsal.control_plane.functions import FunctionError
from rehearsal.scenarios.common import step
from rehearsal.scenarios.stage import Fault, Stage

CLIENT_PATIENCE_SECONDS = 4.0


def _switch_without(stage: Stage, what: str) -> None:
    """The writer switches in a cutover whose switch leaves something out."""
    function = stage.world.plane.functions["writer_switch"]
    function.sabotage(what)
    try:
        function.warm()
        stage.fault(f"the switch goes on with {what}")
        cutover = stage.begin({"steps": [step(50, switch_writer=True), step(100)]})
        stage.world.wait_for(lambda: stage.journaled(cutover, "writer switched"), "the switch is over", 30)
        stage.switched()
        time.sleep(CLIENT_PATIENCE_SECONDS)
        try:
            stage.world.plane.roll_back(reason="the control has seen enough")
        except FunctionError as error:
            # Where rows do not fit any more, replication stands still, and with it the way back.
            stage.seen.append(f"there is no way back: {error}"[:200])
        else:
            stage.switched("green", "blue")
            stage.finish(cutover)
    finally:
        function.sabotage(None)


def _sticky(stage: Stage) -> None:
    world = stage.world
    world.plane.is_reconciling = False  # it would put the weights right
    try:
        _shift_with_stickiness(stage)
    finally:
        world.plane.is_reconciling = True


def _shift_with_stickiness(stage: Stage) -> None:
    resources, world = stage.world.resources, stage.world
    resources.set_weights({"blue": 100, "green": 0}, sticky=True)
    stage.fault("the listener rule has group stickiness on")
    world.wait_for(lambda: world.balancer.is_sticky, "the balancer follows")
    time.sleep(2)
    resources.set_weights({"blue": 0, "green": 100}, sticky=True)
    world.wait_for(lambda: world.balancer.weights == {"blue": 0, "green": 100}, "the balancer follows")
    time.sleep(3)
    resources.set_weights({"blue": 100, "green": 0})
    world.wait_for(lambda: not world.balancer.is_sticky, "the balancer follows")


CONTROLS = (
    Fault(
        name="no drain",
        group="negative control",
        must_happen="Without the drain balances overtake one another: books or checksums differ.",
        play=lambda stage: _switch_without(stage, "no drain"),
        breaks=(BALANCED, EQUAL),
        rate=60,
    ),
    Fault(
        name="no kill",
        group="negative control",
        must_happen="Without ending the sessions services go on writing to the old database.",
        play=lambda stage: _switch_without(stage, "no kill"),
        breaks=(CROSSED,),
    ),
    Fault(
        name="two writers",
        group="negative control",
        must_happen="Without the fence both databases take writes at once.",
        play=lambda stage: _switch_without(stage, "two writers"),
        breaks=(ALONE, CROSSED, EQUAL, BALANCED, REPLICATED),
    ),
    Fault(
        name="group stickiness on",
        group="negative control",
        must_happen="With stickiness clients stay with a target group whose weight is 0.",
        play=_sticky,
        breaks=(FOLLOWED,),
    ),
)
