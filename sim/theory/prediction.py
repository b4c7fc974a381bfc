"""What theory says of a scenario."""

from __future__ import annotations

from sim.errors import ConditionsViolated, InputError
from sim.scenario import Scenario
from sim.theory import polled_state, polling, receiver_queue, sessions, webhook
from sim.theory.conditions import Prediction

FORMULAS = (
    polling.P1,
    polling.P2,
    polling.P3_P4,
    polling.P5,
    polled_state.P7,
    polled_state.FRESHNESS,
    polled_state.AGE_OF_INFORMATION,
    polled_state.ZERO_WAIT,
    webhook.PUSHED,
    webhook.OUTAGE,
    webhook.AT_LEAST_ONCE,
    receiver_queue.M_M_C,
    receiver_queue.M_G_1,
    receiver_queue.M_D_C,
    receiver_queue.D_M_1,
    receiver_queue.M_M_C_K,
    receiver_queue.AGE_OF_INFORMATION,
    receiver_queue.PREEMPTIVE,
    sessions.L1,
    sessions.H1,
    sessions.P6,
)


def predict(scenario: Scenario, mechanism: str) -> list[Prediction]:
    """Everything theory says of a mechanism in a scenario, by every formula whose conditions hold.

    Raises:
        ConditionsViolated: no formula applies; for each one, the conditions that do not hold.
        InputError: no formula speaks of this mechanism.
    """
    formulas = [formula for formula in FORMULAS if formula.mechanism == mechanism]
    if not formulas:
        known = ", ".join(sorted({formula.mechanism for formula in FORMULAS}))
        raise InputError(f"no closed form is known for mechanism {mechanism!r}; there are some for: {known}")
    violated = {formula.name: formula.violated(scenario) for formula in formulas}
    applicable = [formula for formula in formulas if not violated[formula.name]]
    if not applicable:
        reasons = [f"{name} needs {reason}" for name, needs in violated.items() for reason in needs]
        raise ConditionsViolated(f"every closed form for {mechanism}", reasons)
    return [prediction for formula in applicable for prediction in formula.predict(scenario)]
