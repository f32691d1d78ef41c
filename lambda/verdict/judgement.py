"""The verdict: what the hard limits, the samples and the clock say, put together and explained.

It rolls back when anything is beyond a hard limit, when the environment is shown to be bad, when what is watched has
been without data for too long, and when a step has not been shown healthy by its deadline. It passes only what is
shown to be healthy while everything that is watched has data. All else holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from verdict.evidence import Evidence
from verdict.findings import Finding, Outcome, Verdict, combine
from verdict.likelihood import drift, mean_ratio
from verdict.observation import AlarmState, Observation
from verdict.settings import Settings
from verdict.wording import count, duration, percent, times


def evaluate(
    settings: Settings, evidence: Evidence, observation: Observation, *, deadline_over: bool = False
) -> tuple[Verdict, Evidence]:
    """The verdict, and the evidence to keep for the next evaluation.

    Args:
        deadline_over: The step's deadline has passed, so that holding any longer is not allowed.

    Raises:
        ObservationError: The observation does not go with the evidence.
    """
    kept = evidence.after(settings, observation)
    silent, limits = _signals(settings, kept, observation)
    kept = replace(kept, silent_since=silent)
    verdict = combine([*limits, *_requests(settings, kept)])
    if deadline_over and verdict.outcome is Outcome.HOLD:
        late = Finding(
            check="deadline",
            outcome=Outcome.ROLL_BACK,
            reason=f"{kept.environment}: not shown to be healthy by the deadline; {'; '.join(verdict.reasons)}",
        )
        verdict = combine([*verdict.findings, late])
    return verdict, kept


def _signals(
    settings: Settings, evidence: Evidence, observation: Observation
) -> tuple[dict[str, int], tuple[Finding, ...]]:
    """Since when each signal has been silent, and what the hard limits find."""
    limits, signals = settings.limits, observation.signals
    silent: list[str] = []
    findings: list[Finding] = []

    def check(name: str, value: float | None, *, beyond: bool, found: str, limit: float) -> None:
        if value is None:
            silent.append(name)
        elif beyond:
            findings.append(_beyond(name, f"{evidence.environment}: {found}", {"value": value, "limit": limit}))

    if limits.healthy_hosts_minimum is not None:
        hosts, fewest = signals.healthy_hosts, limits.healthy_hosts_minimum
        check(
            "healthy hosts",
            hosts,
            beyond=hosts is not None and hosts < fewest,
            found=f"{hosts} healthy hosts, at least {fewest} are needed",
            limit=fewest,
        )
    if limits.replication_lag_seconds_maximum is not None:
        lag, longest = signals.replication_lag_seconds, limits.replication_lag_seconds_maximum
        check(
            "replication lag",
            lag,
            beyond=lag is not None and lag > longest,
            found=f"replication lags by {lag if lag is None else format(lag, 'g')} s, at most {longest} s are allowed",
            limit=longest,
        )
    if limits.validation_failures_maximum is not None:
        failures, most = signals.validation_failures, limits.validation_failures_maximum
        check(
            "validation",
            failures,
            beyond=failures is not None and failures > most,
            found=f"{failures if failures is None else count(failures)} rows differ between the databases, "
            f"at most {count(most)} are allowed",
            limit=most,
        )
    states = signals.alarms or {}
    for name in dict.fromkeys([*evidence.alarms, *states]):
        state = states.get(name, AlarmState.INSUFFICIENT_DATA)
        if state is AlarmState.ALARM:
            findings.append(_beyond(f"alarm {name}", f"{evidence.environment}: alarm {name} is in ALARM", {}))
        elif state is AlarmState.INSUFFICIENT_DATA:
            silent.append(f"alarm {name}")

    since = {name: evidence.silent_since.get(name, observation.now_seconds) for name in silent}
    for name, moment in since.items():
        findings.append(_silence(settings, evidence, name, max(0, observation.now_seconds - moment)))
    return since, tuple(findings)


def _beyond(check: str, reason: str, values: dict[str, float]) -> Finding:
    return Finding(check=check, outcome=Outcome.ROLL_BACK, reason=reason, values=values)


def _silence(settings: Settings, evidence: Evidence, name: str, seconds: int) -> Finding:
    longest = settings.limits.missing_seconds_maximum
    over = seconds >= longest
    return Finding(
        check=f"data of {name}",
        outcome=Outcome.ROLL_BACK if over else Outcome.HOLD,
        reason=f"{evidence.environment}: no data on {name}"
        + (f" for {duration(seconds)}" if seconds else "")
        + (f", at most {duration(longest)} are allowed" if over else ""),
        values={"seconds": seconds, "limit": longest},
    )


def _requests(settings: Settings, evidence: Evidence) -> Iterator[Finding]:
    """What the samples say."""
    values = {
        "requests": evidence.step.requests,
        "bad": evidence.step.bad,
        "other_requests": evidence.step.other_requests,
        "other_bad": evidence.step.other_bad,
        "health": round(evidence.health, 4),
        "blame": round(mean_ratio(evidence.blame), 4),
        "missing_samples": evidence.missing,
    }
    if evidence.missing_in_a_row:
        seconds = evidence.missing_in_a_row * settings.period_seconds
        yield _silence(settings, evidence, "requests", seconds)
    if evidence.blamed:
        yield Finding(check="requests", outcome=Outcome.ROLL_BACK, reason=_blamed(settings, evidence), values=values)
    elif evidence.proved and not evidence.missing_in_a_row:
        yield Finding(check="requests", outcome=Outcome.PASS, reason=_healthy(settings, evidence), values=values)
    else:
        yield Finding(check="requests", outcome=Outcome.HOLD, reason=_unknown(settings, evidence), values=values)


def _blamed(settings: Settings, evidence: Evidence) -> str:
    seen = _seen(evidence, recent=True)
    ratio = times(mean_ratio(evidence.blame))
    tolerated, bad = percent(settings.tolerated_percent), percent(settings.bad_percent)
    if not evidence.recent.other_requests:
        return f"{seen}, tolerated {tolerated}, bad at {bad} is {ratio} likelier"
    return (
        f"{seen}, tolerated {tolerated}; {_other_seen(evidence, recent=True)}; a fault of {evidence.environment} is "
        f"{ratio} likelier than health or a common cause"
    )


def _healthy(settings: Settings, evidence: Evidence) -> str:
    return (
        f"{_seen(evidence)}, tolerated {percent(settings.tolerated_percent)}, "
        f"that is {times(-evidence.health)} likelier than bad at {percent(settings.bad_percent)}"
    )


def _unknown(settings: Settings, evidence: Evidence) -> str:
    if not evidence.step.samples:
        return f"{evidence.environment}: no sample of {duration(settings.period_seconds)} is complete yet"
    needed = math.ceil((settings.healthy_at - evidence.health) / drift(settings, 0.0))
    text = f"{_seen(evidence)}, tolerated {percent(settings.tolerated_percent)}; "
    if evidence.health >= settings.roll_back_at and evidence.other is not None:
        text += f"{_other_seen(evidence)}, which points to a common cause; "
    return text + f"{count(max(1, needed))} good ones in a row would show health"


def _seen(evidence: Evidence, *, recent: bool = False) -> str:
    tally = evidence.recent if recent else evidence.step
    return f"{evidence.environment}: {count(tally.bad)} bad of {count(tally.requests)}"


def _other_seen(evidence: Evidence, *, recent: bool = False) -> str:
    tally = evidence.recent if recent else evidence.step
    return f"{evidence.other} meanwhile {count(tally.other_bad)} of {count(tally.other_requests)}"
