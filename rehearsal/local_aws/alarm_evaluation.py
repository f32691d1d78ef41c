"""When a CloudWatch alarm is in which state: metric math, periods, missing data.

Pure. The rules are those of "Using Amazon CloudWatch alarms", "Configuring how CloudWatch alarms treat missing data"
and "Using math expressions with CloudWatch metrics", CloudWatch user guide; of metric math as much as our alarms use.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

OK: Final = "OK"
ALARM: Final = "ALARM"
INSUFFICIENT_DATA: Final = "INSUFFICIENT_DATA"

Series = Mapping[int, float]
"""Values by the beginning of their period, epoch seconds; a period without data is absent."""

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_Value = float | dict[int, float]


class UnsupportedMathError(ValueError):
    """An expression uses what is not evaluated here."""


def calculate(expression: str, series: Mapping[str, Series], *, periods: Iterable[int]) -> Series:
    """The values of a metric math expression.

    Args:
        series: metrics by the id that the expression has for them.
        periods: what FILL fills.

    Raises:
        UnsupportedMathError: it has something other than numbers, metrics, + - * / and FILL with a number.
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise UnsupportedMathError(f"{expression!r} cannot be read") from None
    value = _value(tree, series, tuple(periods), expression)
    return dict.fromkeys(periods, value) if isinstance(value, float) else value


def _value(node: ast.expr, series: Mapping[str, Series], periods: Sequence[int], expression: str) -> _Value:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name) if name in series:
            return dict(series[name])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combined(
                _OPERATORS[type(op)],
                _value(left, series, periods, expression),
                _value(right, series, periods, expression),
            )
        case ast.Call(func=ast.Name(id="FILL"), args=[filled, ast.Constant(value=int() | float() as number)]):
            found = _value(filled, series, periods, expression)
            return {**dict.fromkeys(periods, float(number)), **found} if isinstance(found, dict) else found
    raise UnsupportedMathError(f"{expression!r}: {ast.unparse(node)} is not evaluated by the local CloudWatch")


def _combined(combine: Callable[[float, float], float], left: _Value, right: _Value) -> _Value:
    """Two numbers give a number; otherwise there is a value where both sides have one and none is divided by zero."""
    if isinstance(left, float) and isinstance(right, float):
        return combine(left, right)
    lefts = left if isinstance(left, dict) else dict.fromkeys(right if isinstance(right, dict) else (), left)
    rights = right if isinstance(right, dict) else dict.fromkeys(lefts, right)
    return {
        at: combine(lefts[at], rights[at])
        for at in lefts.keys() & rights.keys()
        if combine is not operator.truediv or rights[at] != 0
    }


def window(now: float, *, period: int, count: int, with_current: bool) -> tuple[int, ...]:
    """The beginnings of the periods that count, oldest first.

    Args:
        period: seconds.
        with_current: whether the period under way has data already; otherwise the last one that is over is the newest.
    """
    current = int(now // period) * period
    newest = current if with_current else current - period
    return tuple(newest - period * back for back in reversed(range(count)))


def next_state(
    values: Sequence[float | None],
    *,
    comparison: str,
    threshold: float,
    datapoints_to_alarm: int,
    treat_missing_data: str,
    state: str,
) -> str:
    """The state that follows from the newest values.

    Args:
        values: of each period that counts; None where there is no data.
        treat_missing_data: ``missing``, ``ignore``, ``breaching`` or ``notBreaching``.
        state: the one before.
    """
    breaching = COMPARISONS[comparison]
    bad = sum(1 for value in values if value is not None and breaching(value, threshold))
    missing = sum(1 for value in values if value is None)
    if treat_missing_data == "breaching":
        return ALARM if bad + missing >= datapoints_to_alarm else OK
    if treat_missing_data == "notBreaching":
        return ALARM if bad >= datapoints_to_alarm else OK
    if bad >= datapoints_to_alarm:
        return ALARM
    if treat_missing_data == "ignore":
        # The state stays while the missing values could decide it.
        return OK if bad + missing < datapoints_to_alarm else state
    return INSUFFICIENT_DATA if missing == len(values) else OK
