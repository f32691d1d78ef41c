"""Why a cutover is where it is: the decision in the journal, what each check found then, and the evidence since."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cutover_state.run import Phase, Run
from ops.bluegreen import documents as d
from verdict import Evidence, Settings
from verdict.likelihood import drift, mean_ratio

DECIDING: Final = ("decide", "roll back", "refuse to begin", "begin", "complete", "writer not switched")
"""What an entry of the journal says when it is a decision, and not something done because of one."""


def explanation(
    stage: str, cutover_id: str, entries: Sequence[d.Entry], run: Run | None, *, number: int = 1
) -> d.Explanation | None:
    """The explanation of a decision; None when there are not so many.

    Args:
        entries: of the cutover's journal, in their order.
        run: the run, if it is this cutover's.
        number: 1 for the newest decision, 2 for the one before it, and so on.
    """
    places = list(_decisions(entries))
    if not 1 <= number <= len(places):
        return None
    place = places[-number]
    decision = entries[place]
    until = places[-number + 1] if number > 1 else len(entries)
    actions = [each for each in entries[place + 1 : until] if each.what not in DECIDING]
    return d.Explanation(
        stage=stage,
        cutover_id=cutover_id,
        phase=run.phase.value if run else "refused" if decision.what == "refuse to begin" else "over",
        why=decision.why,
        decision=decision,
        findings=list(_findings(_judged(entries, place))),
        evidence=evidence_now(run) if run is not None and number == 1 else None,
        actions=actions,
    )


def _decisions(entries: Sequence[d.Entry]) -> Iterator[int]:
    """Places of the decisions. A rollback that is made again, or by another besides, was decided once: by the first."""
    last = ""
    for place, each in enumerate(entries):
        if each.what in DECIDING:
            if not each.what == last == "roll back":
                yield place
            last = each.what


def _judged(entries: Sequence[d.Entry], place: int) -> d.Entry:
    """The entry with the verdict behind the decision: a rollback follows from the decision before it."""
    decision = entries[place]
    if decision.what == "roll back" and "findings" not in decision.details:
        earlier = [each for each in entries[:place] if each.what == "decide"]
        # An alarm or a person asks without a verdict; then the one before has nothing to do with it.
        if earlier and decision.who in ("rollback", "state machine", "controller"):
            return earlier[-1]
    return decision


def _findings(decision: d.Entry) -> Iterable[d.Finding]:
    for each in decision.details.get("findings", ()):
        yield d.Finding(
            check=str(each.get("check")),
            outcome=str(each.get("outcome")),
            reason=str(each.get("reason")),
            values=dict(each.get("values", {})),
        )
    # A preflight gives reasons instead of findings.
    for reason in decision.details.get("reasons", ()) if "findings" not in decision.details else ():
        yield d.Finding(check="preflight", outcome="refused", reason=str(reason), values={})


def evidence_now(run: Run) -> d.Evidence | None:
    """What the verdict has counted in the step that is watched, or None when none is."""
    if not run.evidence or run.phase is not Phase.SHIFTING:
        return None
    evidence, settings = Evidence.from_json(run.evidence), Settings.from_json(run.verdict)
    step = evidence.step
    needed = math.ceil((settings.healthy_at - evidence.health) / drift(settings, 0.0))
    return d.Evidence(
        environment=evidence.environment,
        other=evidence.other,
        requests=step.requests,
        bad=step.bad,
        other_requests=step.other_requests,
        other_bad=step.other_bad,
        missing_samples=evidence.missing,
        bad_percent_seen=100 * step.bad / step.requests if step.requests else None,
        tolerated_percent=settings.tolerated_percent,
        bad_percent=settings.bad_percent,
        health=round(evidence.health, 4),
        healthy_at=round(settings.healthy_at, 4),
        blame=round(mean_ratio(evidence.blame), 4),
        roll_back_at=round(settings.roll_back_at, 4),
        proved=evidence.proved,
        good_requests_needed=0 if evidence.proved else max(1, needed),
    )
