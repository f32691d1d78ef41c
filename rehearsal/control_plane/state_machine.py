"""An interpreter of exactly the part of the Amazon States Language that our state machine uses.

Whoever runs it says how waits pass. A function that dies counts as a failed call, as Lambda reports it; whoever wants
the execution to die instead raises ``ExecutionDeadError``.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Function = Callable[[dict[str, Any]], Mapping[str, Any]]
MOST_STATES = 5000


class ExecutionDeadError(BaseException):
    """The execution was stopped or timed out: no state is entered any more."""


@dataclass(frozen=True, kw_only=True)
class End:
    """Attributes: status: SUCCEEDED or FAILED; error, cause: of a failed one; data: of the last state."""

    status: str
    error: str = ""
    cause: str = ""
    data: Mapping[str, Any]


@dataclass
class StateMachine:
    """Attributes:
    definition: the JSON document.
    functions: what a Task calls, by its resource.
    wait: lets so many seconds pass.
    entered: names of the states, in order.
    failures: what counts as a failed call of a function. An error's attribute ``kind`` is its name, where it has one.
    """

    definition: Mapping[str, Any]
    functions: Mapping[str, Function]
    wait: Callable[[float], None]
    entered: list[str] = field(default_factory=list)
    failures: tuple[type[BaseException], ...] = (Exception,)

    def run(self, name: str, request: Mapping[str, Any], *, execution_arn: str = "execution") -> End:
        """Execute it to its end.

        Raises:
            ExecutionDeadError: a function, or a wait, raised it.
        """
        data: dict[str, Any] = dict(copy.deepcopy(request))
        context = {"Execution": {"Name": name, "Id": execution_arn, "Input": copy.deepcopy(request)}}
        current = self.definition["StartAt"]
        for _ in range(MOST_STATES):
            self.entered.append(current)
            state = self.definition["States"][current]
            match state["Type"]:
                case "Task":
                    current = self._task(state, data, context)
                case "Choice":
                    current = next((c["Next"] for c in state["Choices"] if _holds(c, data)), state["Default"])
                case "Wait":
                    self.wait(state["Seconds"] if "Seconds" in state else at(state["SecondsPath"], data, context))
                    current = state["Next"]
                case "Succeed":
                    return End(status="SUCCEEDED", data=data)
                case "Fail":
                    cause = at(state["CausePath"], data, context) if "CausePath" in state else state.get("Cause", "")
                    return End(status="FAILED", error=state["Error"], cause=cause, data=data)
                case other:
                    raise NotImplementedError(f"{current} is a {other}")
            if not current:
                return End(status="FAILED", error="States.TaskFailed", cause=str(data.get("failure")), data=data)
        raise AssertionError(f"it goes on and on: {self.entered[-20:]}")

    def _task(self, state: Mapping[str, Any], data: dict[str, Any], context: Mapping[str, Any]) -> str:
        """The name of the next state; "" when the execution fails."""
        unknown = set(state) - {"Type", "Resource", "Parameters", "ResultPath", "Next", "Retry", "Catch"}
        assert not unknown, f"not understood: {unknown}"
        function = self.functions[state["Resource"]]
        attempts = 1 + max((each["MaxAttempts"] for each in state.get("Retry", ())), default=0)
        failure: dict[str, str] = {}
        for attempt in range(attempts):
            if attempt:
                self.wait(min(60, 2**attempt))
            event = fill(state["Parameters"], data, context)
            try:
                result = function(json.loads(json.dumps(event)))
            except AssertionError:
                # A test's own finding, which no retry may hide.
                raise
            except self.failures as error:
                name = getattr(error, "kind", type(error).__name__)
                failure = {"Error": name, "Cause": json.dumps({"errorMessage": str(error), "errorType": name})}
                continue
            _put(state["ResultPath"], data, json.loads(json.dumps(result)))
            return str(state["Next"])
        for catch in state.get("Catch", ()):
            _put(catch["ResultPath"], data, failure)
            return str(catch["Next"])
        data["failure"] = failure
        return ""


def fill(template: Any, data: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    """A payload template with its paths replaced."""
    assert isinstance(template, Mapping), f"a payload template must be an object, got {template!r}"
    return {
        key.removesuffix(".$"): at(value, data, context)
        if key.endswith(".$")
        else fill(value, data, context)
        if isinstance(value, Mapping)
        else value
        for key, value in template.items()
    }


def at(path: str, data: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    """What lies at ``$.a.b`` of the data, or at ``$$.a.b`` of the context object."""
    if (inner := re.fullmatch(r"States\.JsonToString\((.+)\)", path)) is not None:
        return json.dumps(at(inner[1], data, context))
    found: Any = context if path.startswith("$$") else data
    for name in path.lstrip("$").split(".")[1:]:
        assert isinstance(found, Mapping), f"States.Runtime: nothing at {path}"
        assert name in found, f"States.Runtime: nothing at {path}"
        found = found[name]
    return copy.deepcopy(found)


def _put(path: str, data: dict[str, Any], value: Any) -> None:
    root, name = path.split(".")
    assert root == "$"
    data[name] = value


def _holds(choice: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    found = at(choice["Variable"], data, {})
    [(operator, wanted)] = [(key, value) for key, value in choice.items() if key not in ("Variable", "Next")]
    assert operator in ("StringEquals", "BooleanEquals"), operator
    return type(found) is type(wanted) and found == wanted
