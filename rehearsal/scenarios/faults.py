"""The fault matrix: what goes wrong, what must happen, and what happened."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

from cutover_state.run import Phase
from rehearsal.control_plane.functions import FunctionError
from rehearsal.scenarios.common import step
from rehearsal.scenarios.stage import Fault, Stage

RETRIES = 7
"""A payment client repeats with the same key after 0.2, 0.4, 0.8, ... s. A load balancer does not repeat a payment that
was sent already, so that a target that breaks off can be mended by the client alone."""

DRAIN_TIMEOUT_MS = 5000.0
FENCE = "ALTER USER"
MARKER = "INSERT INTO blue_green_control.marker"

AT_ONCE: Mapping[str, Any] = {"steps": [step(100, switch_writer=True)]}
SWITCH_FIRST: Mapping[str, Any] = {"steps": [step(50, switch_writer=True), step(100)]}
SHIFT_FIRST: Mapping[str, Any] = {"steps": [step(50), step(100, switch_writer=True)]}


def _gated() -> dict[str, Any]:
    gate = {"question": "Switch the writer?", "timeout_seconds": 7200}
    return {"steps": [step(50), step(100, switch_writer=True, gate=gate)]}


# Green is bad.


def _green_answers(mode: str, stage: Stage) -> None:
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    with stage.spoiled_green(mode):
        stage.is_taken_back(cutover)


def _green_turns_bad_as_the_writer(stage: Stage) -> None:
    cutover = stage.begin(SWITCH_FIRST)
    stage.until("watch")
    stage.switched()
    with stage.spoiled_green("errors"):
        stage.is_taken_back(cutover)
    stage.switched("green", "blue")


def _rows_differ(stage: Stage) -> None:
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    with stage.world.databases.corrupted("green") as account:
        stage.fault(f"the balance of {account} differs in green")
        stage.world.metrics.differing_rows = 1
        stage.is_taken_back(cutover)


def _a_process_is_killed(stage: Stage) -> None:
    world = stage.world
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    world.services["green"][0].kill()
    stage.fault("one of green's two processes is killed")
    time.sleep(1.5)
    world.replace_service("green", 0)
    stage.seen.append("and replaced after 1.5 s")
    stage.succeeds(cutover)
    stage.switched()


def _all_processes_are_killed(stage: Stage) -> None:
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    for service in stage.world.services["green"]:
        service.kill()
    stage.fault("all of green's processes are killed")
    stage.is_taken_back(cutover)


# Replication.


def _replication_is_stopped_before(stage: Stage) -> None:
    world = stage.world
    world.databases.chain.replication("blue", "green").stop()
    stage.fault("replication from blue to green is stopped")
    limit = 5.0
    world.wait_for(lambda: (world.metrics.lags.get("blue-green") or 0) > limit + 1, "the lag shows", 20)
    # The functions see what the last minute of metrics says.
    time.sleep(world.clock.ours(30))
    stage.is_refused(stage.begin(SWITCH_FIRST), "lags")
    world.databases.chain.replication("blue", "green").start()


def _replication_is_slow(stage: Stage) -> None:
    world = stage.world
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    world.databases.chain.replication("blue", "green").delay(4)
    stage.fault("replication from blue to green takes 4 s")
    try:
        stage.is_taken_back(cutover)
        stage.check(stage.journaled(cutover, "writer not switched"), "the switch is refused at its gate")
    finally:
        world.databases.chain.replication("blue", "green").delay(world.settings.delay_seconds)


def _replication_breaks_during_the_drain(stage: Stage) -> None:
    world = stage.world
    # The first marker is the announcement, the second one is awaited.
    stage.order("writer_switch", at=MARKER, when="before", remaining=1, pause_seconds=0.5)
    cutover = stage.begin(AT_ONCE)
    world.wait_for(lambda: world.databases.admitting() == [], "blue is fenced")
    world.databases.chain.replication("blue", "green").stop()
    stage.fault("replication stops while the marker is on its way")
    world.wait_for(lambda: world.databases.admitting() == ["blue"], "blue is the writer again", 15)
    world.databases.chain.replication("blue", "green").start()
    stage.is_taken_back(cutover)


# Databases.


def _the_new_database_is_killed_before(stage: Stage) -> None:
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    stage.world.databases.chain["green"].kill()
    stage.fault("green's database is killed before the switch")
    world = stage.world
    world.wait_for(lambda: (run := world.plane.run) is not None and run.phase is not Phase.SHIFTING, "it ends", 40)
    world.databases.chain["green"].start()
    stage.is_taken_back(cutover)


def _the_new_database_is_killed_during(stage: Stage) -> None:
    world = stage.world
    stage.order("writer_switch", at=MARKER, when="after", remaining=1, pause_seconds=0.3)
    cutover = stage.begin(AT_ONCE)
    world.wait_for(lambda: world.databases.admitting() == [], "blue is fenced")
    world.databases.chain["green"].kill()
    stage.fault("green's database is killed during the drain")
    time.sleep(2)
    world.databases.chain["green"].start()
    stage.seen.append("it is back after 2 s")
    world.wait_for(lambda: len(world.databases.admitting()) == 1, "there is a writer again", 40)
    stage.finish(cutover)
    world.wait_for(lambda: (run := world.plane.run) is not None and run.phase.is_over, "it is over", 40)
    run = world.plane.run
    assert run is not None
    writer = "green" if run.phase is Phase.SUCCEEDED else "blue"
    stage.stands(
        writer=writer, weights={"blue": 100 if writer == "blue" else 0, "green": 0 if writer == "blue" else 100}
    )
    if writer == "green":
        stage.switched()
    stage.seen.append(f"{run.phase.value} with {writer} as the writer")


def _the_writer_is_killed_after(stage: Stage) -> None:
    world = stage.world
    cutover = stage.begin(SWITCH_FIRST)
    stage.until("watch")
    stage.switched()
    world.databases.chain["green"].kill()
    stage.fault("green's database is killed while it is the writer")
    time.sleep(2)
    world.databases.chain["green"].start()
    stage.seen.append("it is back after 2 s")
    stage.succeeds(cutover)


def _the_old_database_is_killed_after(stage: Stage) -> None:
    world = stage.world
    cutover = stage.begin(SWITCH_FIRST)
    stage.until("watch")
    stage.switched()
    world.databases.chain["blue"].kill()
    stage.fault("blue's database is killed after the switch")
    time.sleep(2)
    stage.check(world.databases.admitting() == ["green"], "payments go on in green")
    world.databases.chain["blue"].start()
    stage.seen.append("it is back after 2 s")
    stage.succeeds(cutover)


def _the_network_is_cut(stage: Stage) -> None:
    cutover = stage.begin(SWITCH_FIRST)
    stage.until("watch")
    stage.switched()
    with stage.world.path_to_green.cut():
        stage.fault("the network between the services and green's database is cut")
        time.sleep(2.5)
    stage.seen.append("it is whole again after 2.5 s")
    stage.succeeds(cutover)


def _the_new_writer_hangs(stage: Stage) -> None:
    """Nothing answers, nothing is refused, whoever asks."""
    world = stage.world
    cutover = stage.begin(SWITCH_FIRST)
    stage.until("watch")
    stage.switched()
    server = world.databases.chain["green"].process_id
    os.kill(server, signal.SIGSTOP)
    stage.fault("green's database does not answer any more")
    time.sleep(2.5)
    os.kill(server, signal.SIGCONT)
    stage.seen.append("it answers again after 2.5 s")
    stage.succeeds(cutover)


# The controller.


def _the_switch_is_killed(stage: Stage, *, at: str, when: str, remaining: int, what: str) -> None:
    stage.order("writer_switch", at=at, when=when, remaining=remaining)
    stage.fault(f"the switch is killed {what}")
    cutover = stage.begin(AT_ONCE)
    stage.succeeds(cutover)
    stage.switched()
    calls = stage.world.plane.functions["writer_switch"].calls
    stage.check(calls >= 2, f"the switch was called again ({calls} calls)")


def _the_look_is_killed(stage: Stage) -> None:
    world = stage.world
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    killed = 0
    deadline = time.monotonic() + 10
    while killed < 3 and time.monotonic() < deadline:
        killed += world.plane.functions["cutover_controller"].kill()
        time.sleep(0.01)
    stage.fault(f"the controller is killed {killed} times while it looks")
    stage.check(killed >= 3, "it was caught at work")
    stage.succeeds(cutover)
    stage.switched()


def _the_rollback_is_killed(stage: Stage) -> None:
    cutover = stage.begin(SWITCH_FIRST)
    stage.until("watch")
    stage.switched()
    stage.order("cutover_rollback", at=FENCE, when="after", remaining=0)
    stage.fault("the rollback is killed after it fenced green")
    try:
        stage.world.plane.roll_back()
    except FunctionError:
        stage.seen.append("the call was lost")
    # The state machine sees that the cutover does not go forward any more, and calls it again.
    stage.is_taken_back(cutover)
    stage.switched("green", "blue")


def _two_controllers(stage: Stage) -> None:
    cutover = stage.begin(AT_ONCE)
    run = stage.until("switch")
    event = {"cutover_id": run.cutover_id, "from": "blue", "to": "green"}
    outcomes: list[str] = []

    def switch() -> None:
        try:
            outcomes.append(str(stage.world.plane.functions["writer_switch"].call(event)["result"]))
        except FunctionError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=switch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.fault(f"three controllers switch at the same time; two of them say {', '.join(sorted(outcomes))}")
    stage.succeeds(cutover)
    stage.switched()


def _a_second_cutover(stage: Stage) -> None:
    first = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    second = stage.begin(SHIFT_FIRST)
    end = stage.finish(second)
    reasons = "; ".join(end.data.get("preflight", {}).get("reasons", ()))
    stage.fault("a second cutover is begun in the middle of the first one")
    stage.check(end.error == "NotBegun" and "is not over" in reasons, f"it is refused ({end.status}: {reasons})")
    stage.succeeds(first)
    stage.switched()


# Alarms, metrics, interfaces.


def _an_alarm_fires_already(stage: Stage) -> None:
    stage.world.resources.set_alarm("green-health", firing=True, reason="as the scenario has it")
    stage.fault("green's alarm fires already")
    stage.is_refused(stage.begin(SWITCH_FIRST), "alarm green-health is firing already")


def _an_alarm_fires_at_a_gate(stage: Stage) -> None:
    cutover = stage.begin(_gated())
    stage.until("gate", step=2)
    began = time.monotonic()
    stage.world.plane.fire("green-health", "as the scenario has it")
    stage.fault("green's alarm fires while the machine waits for an approval")
    stage.is_taken_back(cutover)
    stage.seen.append(f"back after {time.monotonic() - began:.1f} s")


def _metrics_stop(stage: Stage) -> None:
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    stage.world.metrics.paused = True
    stage.fault("metrics stop arriving")
    stage.is_taken_back(cutover)


def _throttled(stage: Stage) -> None:
    world = stage.world
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    world.resources.throttle(True)
    stage.fault("every change of the listener rule is throttled")
    stage.until("shift", step=2)
    time.sleep(1.0)
    world.resources.throttle(False)
    stage.seen.append("for 1 s from the next step on")
    stage.succeeds(cutover)
    stage.switched()


def _a_deployment_resets_the_weights(stage: Stage) -> None:
    world = stage.world
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    world.resources.set_weights({"blue": 100, "green": 0})
    stage.fault("a deployment puts the weights back to blue 100 in the middle")
    took = world.wait_for(
        lambda: (
            world.resources.weights() == {"blue": 50, "green": 50}
            or ((run := world.plane.run) is not None and run.phase is not Phase.SHIFTING)
        ),
        "the reconciler puts them right",
    )
    stage.check(world.resources.weights()["green"] >= 50, "the weights are put right")
    stage.seen.append(f"put right after {took:.1f} s")
    stage.succeeds(cutover)
    stage.switched()


def _a_rotation_is_under_way(stage: Stage) -> None:
    world = stage.world
    secrets = world.aws.client("secretsmanager")
    arn = world.secrets["green"]["application"]
    value = secrets.get_secret_value(SecretId=arn)["SecretString"]
    put = secrets.put_secret_value(SecretId=arn, SecretString=value, VersionStages=["AWSPENDING"])
    stage.fault("a rotation of green's application secret is under way")
    try:
        stage.is_refused(stage.begin(SWITCH_FIRST), "is under way")
    finally:
        secrets.update_secret_version_stage(
            SecretId=arn, VersionStage="AWSPENDING", RemoveFromVersionId=put["VersionId"]
        )


# People.


def _aborted(stage: Stage, phase: str) -> None:
    switched = phase == "watch after the switch"
    cutover = stage.begin(SWITCH_FIRST if switched else _gated())
    if phase == "gate":
        stage.until("gate", step=2)
    else:
        stage.until("watch")
    if switched:
        stage.switched()
        stage.switched("green", "blue")
        # So that payments show where the writer was.
        time.sleep(0.5)
    stage.fault(f"an operator aborts at the {phase}")
    stage.world.plane.order("abort")
    stage.is_taken_back(cutover)


def _approved(stage: Stage) -> None:
    cutover = stage.begin(_gated())
    stage.until("gate", step=2)
    stage.world.plane.order("approve", actor="pipeline", automatic=True)
    stage.fault("a program tries to approve")
    time.sleep(1.0)
    run = stage.until("gate", step=2)
    stage.check(run.phase is Phase.SHIFTING, "it still waits")
    stage.check(stage.journaled(cutover, "refuse an order"), "the order is refused")
    stage.world.plane.order("approve", actor="ada")
    stage.seen.append("refused; a person approves")
    stage.succeeds(cutover)
    stage.switched()


def _the_balancer_restarts(stage: Stage) -> None:
    cutover = stage.begin(SHIFT_FIRST)
    stage.until("watch")
    stage.world.balancer.restart()
    stage.fault("the load balancer is killed and started again")
    stage.world.balancer.wait_healthy({"blue": 1, "green": 1})
    stage.succeeds(cutover)
    stage.switched()


FAULTS = (
    Fault(
        name="green answers with errors",
        must_happen="The verdict takes the cutover back; clients that repeat lose nothing.",
        play=lambda stage: _green_answers("errors", stage),
        retries=RETRIES,
    ),
    Fault(
        name="green answers slowly",
        must_happen="Answers slower than the objective count as bad: the cutover is taken back.",
        play=lambda stage: _green_answers("slow", stage),
        retries=RETRIES,
    ),
    Fault(
        name="green turns bad once it is the writer",
        must_happen="Traffic and writer go back to blue.",
        play=_green_turns_bad_as_the_writer,
        retries=RETRIES,
    ),
    Fault(
        name="rows differ",
        must_happen="Validation finds a row that differs: the cutover is taken back.",
        play=_rows_differ,
    ),
    Fault(
        name="a process is killed under load",
        must_happen="The other process answers; the cutover goes through.",
        play=_a_process_is_killed,
        retries=RETRIES,
    ),
    Fault(
        name="all processes of green are killed",
        must_happen="Too few healthy targets: the cutover is taken back at once.",
        play=_all_processes_are_killed,
        retries=RETRIES,
    ),
    Fault(
        name="replication is stopped beforehand",
        must_happen="The preflight refuses; nothing is moved.",
        play=_replication_is_stopped_before,
    ),
    Fault(
        name="replication is slow",
        must_happen="The switch is refused at its gate before anything is fenced, and the cutover taken back.",
        play=_replication_is_slow,
    ),
    Fault(
        name="replication breaks during the drain",
        must_happen="Blue is opened again after the drain's time limit; payments are held meanwhile, and none is lost.",
        play=_replication_breaks_during_the_drain,
    ),
    Fault(
        name="the new database is killed before the switch",
        must_happen="The cutover is taken back; blue goes on as the writer.",
        play=_the_new_database_is_killed_before,
    ),
    Fault(
        name="the new database is killed during the switch",
        must_happen="Nothing is opened until it is certain that nobody else is; then there is exactly one writer.",
        play=_the_new_database_is_killed_during,
        longest_pause_ms=30_000,
    ),
    Fault(
        name="the new database is killed after the switch",
        must_happen="Payments are held until it is back; the cutover goes through.",
        play=_the_writer_is_killed_after,
        retries=RETRIES,
    ),
    Fault(
        name="the old database is killed after the switch",
        must_happen="Payments go on in green, and reach blue once it is back.",
        play=_the_old_database_is_killed_after,
    ),
    Fault(
        name="the network is cut between the new writer and the services",
        must_happen="Payments are held until it is whole again; the cutover goes through.",
        play=_the_network_is_cut,
        retries=RETRIES,
    ),
    Fault(
        name="the new writer hangs",
        must_happen="Payments are held until it answers again; the cutover goes through.",
        play=_the_new_writer_hangs,
        retries=RETRIES,
    ),
    Fault(
        name="the controller is killed while it looks",
        must_happen="The look is made again; the cutover goes through.",
        play=_the_look_is_killed,
    ),
    Fault(
        name="the switch is killed before the fence",
        must_happen="It is run again from the beginning.",
        play=lambda stage: _the_switch_is_killed(
            stage, at=FENCE, when="before", remaining=0, what="before it fences blue"
        ),
    ),
    Fault(
        name="the switch is killed after the fence",
        must_happen="It is run again, finds blue fenced, and goes on; payments are held meanwhile.",
        play=lambda stage: _the_switch_is_killed(
            stage, at=FENCE, when="after", remaining=0, what="after it fenced blue"
        ),
        longest_pause_ms=10_000,
    ),
    Fault(
        name="the switch is killed during the drain",
        must_happen="It is run again and drains anew.",
        play=lambda stage: _the_switch_is_killed(
            stage, at=MARKER, when="after", remaining=1, what="once its marker is written"
        ),
        longest_pause_ms=10_000,
    ),
    Fault(
        name="the switch is killed after the promotion",
        must_happen="The second run finds that green is the writer already.",
        play=lambda stage: _the_switch_is_killed(
            stage, at=FENCE, when="after", remaining=1, what="after it opened green"
        ),
        longest_pause_ms=10_000,
    ),
    Fault(
        name="the rollback is killed",
        must_happen="It is called again and finishes.",
        play=_the_rollback_is_killed,
        longest_pause_ms=15_000,
    ),
    Fault(
        name="three controllers at once",
        must_happen="One of them switches, the others do no harm.",
        play=_two_controllers,
        longest_pause_ms=10_000,
    ),
    Fault(
        name="a second cutover",
        must_happen="It is refused while the first one is not over.",
        play=_a_second_cutover,
    ),
    Fault(
        name="an alarm fires beforehand",
        must_happen="The preflight refuses; nothing is moved.",
        play=_an_alarm_fires_already,
    ),
    Fault(
        name="an alarm fires at a gate",
        must_happen="The alarm takes the cutover back although the state machine only waits.",
        play=_an_alarm_fires_at_a_gate,
    ),
    Fault(
        name="metrics stop arriving",
        must_happen="What cannot be seen does not pass: the cutover holds, and is taken back.",
        play=_metrics_stop,
    ),
    Fault(
        name="the load balancer's interface is throttled",
        must_happen="Calls are repeated until they succeed; the cutover goes through.",
        play=_throttled,
    ),
    Fault(
        name="a deployment resets the weights",
        must_happen="The reconciler puts them back within a minute; the cutover goes through.",
        play=_a_deployment_resets_the_weights,
    ),
    Fault(
        name="a rotation is under way",
        must_happen="The preflight refuses; nothing is moved.",
        play=_a_rotation_is_under_way,
    ),
    Fault(
        name="abort at a gate",
        must_happen="The cutover is taken back.",
        play=lambda stage: _aborted(stage, "gate"),
    ),
    Fault(
        name="abort during a watch",
        must_happen="The cutover is taken back.",
        play=lambda stage: _aborted(stage, "watch before the switch"),
    ),
    Fault(
        name="abort after the switch",
        must_happen="Traffic and writer go back to blue.",
        play=lambda stage: _aborted(stage, "watch after the switch"),
    ),
    Fault(
        name="a program tries to approve",
        must_happen="Only a person passes a gate.",
        play=_approved,
    ),
    Fault(
        name="the load balancer restarts",
        must_happen="Connections break, clients repeat, and the cutover goes through.",
        play=_the_balancer_restarts,
        retries=RETRIES,
    ),
)
