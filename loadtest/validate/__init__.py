"""`hookbench validate`: the model predicts what the load test then measures, and the error is told.

`calibration` fits the model of the reference receiver (`sim.reference_receiver`) to light loads;
`receiver_parts`, `races` and `losses` predict and measure; `comparison` says how far apart the two are;
`what_if` asks the calibrated model about loads that nobody has run yet.
"""

from loadtest.validate.receiver_parts import Plan
from loadtest.validate.validation import PARTS, Validation, validate

__all__ = ["PARTS", "Plan", "Validation", "validate"]
