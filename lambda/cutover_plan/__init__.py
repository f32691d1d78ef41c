"""What a cutover does step by step, and which step comes next: pure, without a clock and without AWS."""

from cutover_plan.defaults import default_plan
from cutover_plan.description import describe
from cutover_plan.direction import Direction, Pointer
from cutover_plan.document import parse_plan
from cutover_plan.plan import Dns, Gate, Plan, PlanError, Step
from cutover_plan.position import Phase, Position, PositionError
from cutover_plan.progress import (
    Action,
    AskApproval,
    Complete,
    Decision,
    Order,
    OrderError,
    OrderKind,
    ReturnGradually,
    RollBack,
    SetWeights,
    SwitchWriter,
    Watch,
    check_order,
    completed,
    deadline_over,
    decide,
    hold,
    resume,
    start,
)
from cutover_plan.rollback import WaitForDns, immediate_rollback, rollback_plan

__all__ = [
    "Action",
    "AskApproval",
    "Complete",
    "Decision",
    "Direction",
    "Dns",
    "Gate",
    "Order",
    "OrderError",
    "OrderKind",
    "Phase",
    "Plan",
    "PlanError",
    "Pointer",
    "Position",
    "PositionError",
    "ReturnGradually",
    "RollBack",
    "SetWeights",
    "Step",
    "SwitchWriter",
    "WaitForDns",
    "Watch",
    "check_order",
    "completed",
    "deadline_over",
    "decide",
    "default_plan",
    "describe",
    "hold",
    "immediate_rollback",
    "parse_plan",
    "resume",
    "rollback_plan",
    "start",
]
