"""Experiments: replications with intervals, paired differences, designs and sweeps over many runs.

`estimates` says how sure we are, `intervals` by which method for which metric; `axes` what varies; `sweep`
runs it on any executor and takes it up again.
"""

from __future__ import annotations

from sim.experiment.estimates import CONFIDENCE as CONFIDENCE
from sim.experiment.estimates import Estimate as Estimate
from sim.experiment.estimates import Method as Method
from sim.experiment.estimates import Pairing as Pairing
from sim.experiment.estimates import estimate as estimate
from sim.experiment.estimates import paired_difference as paired_difference
from sim.experiment.estimates import pairing as pairing
