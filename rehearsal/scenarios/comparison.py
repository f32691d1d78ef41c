"""Four ways to cut over, one after the other under the same load, and what each of them does to the payments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise

from rehearsal.checks import Books, figures
from rehearsal.client_process import ClientProcess, Paid
from rehearsal.databases import ReplicationError
from rehearsal.record import ComparisonRow
from rehearsal.scenarios.common import drive, step
from rehearsal.service_process import ServiceProcess
from rehearsal.world import World

STAY_SECONDS = 2.0
MIXED_SECONDS = 5.0
"""How long both sides serve, where a method lets both write."""

OURS = "this cutover"
STOP = "stop, switch, start"
DNS = "DNS weights alone"
BOTH = "both write, replication both ways"
METHODS = (OURS, STOP, DNS, BOTH)

_OPEN = "ALTER USER 'payments_app_a'@'%', 'payments_app_b'@'%' ACCOUNT UNLOCK"
_Done = tuple[float | None, str]


def compare(world: World, *, tell: Callable[[str], None] = lambda _: None) -> list[ComparisonRow]:
    """Play each method there and back, with the same payments."""
    plays: Mapping[str, Callable[[World, ClientProcess], _Done]] = {
        OURS: _ours,
        STOP: _stop_switch_start,
        DNS: _dns_alone,
        BOTH: _both_write,
    }
    rows = []
    for method, play in plays.items():
        tell(method)
        if method == DNS:
            world.reset(writer="legacy", aws=0)
        else:
            world.reset()
        # Whatever is set by hand would be put right within a minute.
        world.plane.is_reconciling = method == OURS
        try:
            with world.load() as load:
                time.sleep(STAY_SECONDS)
                back_ms, remark = play(world, load)
                time.sleep(STAY_SECONDS)
                paid = load.stop()
        finally:
            world.plane.is_reconciling = True
        rows.append(_row(world, method, paid, back_ms, remark))
    world.reset()
    return rows


def longest_silence_ms(paid: Sequence[Paid]) -> float:
    """The longest time without an acknowledged payment."""
    moments = sorted(each.done for each in paid if each.is_acknowledged)
    return round(max((after - before for before, after in pairwise(moments)), default=0.0) * 1000, 1)


def _row(world: World, method: str, paid: Sequence[Paid], back_ms: float | None, remark: str) -> ComparisonRow:
    stopped = ""
    try:
        world.wait_caught_up()
    except ReplicationError as error:
        stopped = str(error).partition(":")[0]
    writers = world.databases.admitting()
    books = Books.read(world.databases, writer=writers[0] if writers else "blue")
    counted = figures(paid, books)
    wrong = len(books.imbalances[books.writer])
    said = [remark] if remark else []
    if stopped:
        said.append(f"{stopped} on a row that does not fit")
    if wrong:
        said.append(f"{wrong} balances do not add up")
    return ComparisonRow(
        method=method,
        sent=counted.sent,
        failed=counted.failed,
        lost=counted.lost,
        diverged=max(counted.diverged, wrong),
        duplicated=counted.duplicated,
        pause_ms=longest_silence_ms(paid),
        rollback_ms=None if back_ms is None else round(back_ms, 1),
        remark="; ".join(said),
    )


def _ours(world: World, _: ClientProcess) -> _Done:
    plan = {"steps": [step(50), step(50, switch_writer=True), step(100)]}
    _cutover, end = drive(world, "blue", "green", plan)
    time.sleep(STAY_SECONDS)
    asked = time.monotonic()
    answer = world.plane.roll_back(after_the_end=True)
    took = (time.monotonic() - asked) * 1000
    good = end.status == "SUCCEEDED" and answer["rolled_back"]
    return took, "traffic moves in steps, each watched" if good else f"did not go through: {end.status}"


def _stop_switch_start(world: World, _: ClientProcess) -> _Done:
    """A maintenance window: everything is stopped, the databases catch up, the other environment is started."""
    for number in range(world.settings.targets):
        world.services["green"][number].kill()
    _window(world, "blue", "green")
    time.sleep(STAY_SECONDS)
    asked = time.monotonic()
    _window(world, "green", "blue")
    return (time.monotonic() - asked) * 1000, "payments are refused while nothing runs"


def _window(world: World, old: str, new: str) -> None:
    for service in world.services[old]:
        service.kill()
    world.databases.set_writer(None)
    world.wait_caught_up()
    world.databases.set_writer(new)
    for number in range(world.settings.targets):
        world.replace_service(new, number)
    world.balancer.wait_healthy({new: world.settings.targets})
    world.resources.set_weights({old: 0, new: 100})
    world.wait_for(lambda: world.balancer.weights == {old: 0, new: 100}, "the balancer follows")


def _dns_alone(world: World, load: ClientProcess) -> _Done:
    """Each system writes to its own database, and the records move the clients over."""
    with _own_services(world, "blue"):
        world.databases.chain["blue"].execute_unlogged([_OPEN])
        world.resources.set_records({"legacy": 0, "aws": 100})
        time.sleep(world.ttl_seconds + MIXED_SECONDS)
        asked = time.time()
        world.resources.set_records({"legacy": 100, "aws": 0})
        time.sleep(world.ttl_seconds + STAY_SECONDS)
        strayed = [each.done for each in load.paid() if each.due > asked and each.side != "legacy"]
        world.databases.set_writer("legacy")
    back_ms = (max(strayed, default=asked) - asked) * 1000
    return back_ms, "both systems write while clients keep old answers of name servers"


def _both_write(world: World, _: ClientProcess) -> _Done:
    """Both environments serve half of the traffic, and each writes to its own database."""
    with _own_services(world, "blue"), _own_services(world, "green"):
        world.databases.chain["green"].execute_unlogged([_OPEN])
        world.resources.set_weights({"blue": 50, "green": 50})
        time.sleep(MIXED_SECONDS)
        world.resources.set_weights({"blue": 0, "green": 100})
        time.sleep(STAY_SECONDS)
        asked = time.monotonic()
        world.resources.set_weights({"blue": 100, "green": 0})
        world.wait_for(lambda: world.balancer.weights == {"blue": 100, "green": 0}, "the balancer follows")
        took = (time.monotonic() - asked) * 1000
        time.sleep(1)
        world.databases.set_writer("blue")
    return took, "weights go back at once, the rows do not"


@contextmanager
def _own_services(world: World, side: str) -> Iterator[None]:
    """In the place of the environment's services, ones that know the environment's own database only."""
    with ExitStack() as stack:
        for number in range(world.settings.targets):
            service = stack.enter_context(
                ServiceProcess(
                    secret_arns={side: world.secrets[side]["application"]},
                    database_ca=world.databases.chain.ca_path,
                    environment=dict(world.aws.environment),
                    log_path=world.folder / f"own-{side}-{number}.log",
                    module="rehearsal.legacy_system",
                )
            )
            service.wait_ready()
            world.balancer.set_target(side, number, service.port)
        try:
            yield
        finally:
            for number, service in enumerate(world.services[side]):
                world.balancer.set_target(side, number, service.port)
