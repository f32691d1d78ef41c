"""The definition of the state machine as it is deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.synthesized import Synthesis, plain


@pytest.fixture(scope="session")
def definition(prod: Synthesis) -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(plain(prod.the("AWS::StepFunctions::StateMachine")["DefinitionString"]))
    return document
