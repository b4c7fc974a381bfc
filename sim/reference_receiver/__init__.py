"""The reference receiver as a machine: what each part of a webhook's way through it costs, and why it waits.

`sim.mechanisms` has one queue at the receiver, which is what an architect thinks in. A measured latency has
more terms, and each stands for something physical: see `stages`. `model` is the reference in SimPy, and
`sim.kernels.reference_receiver` its compiled twin; both give the same bits.

    >>> from sim.reference_receiver import Stages, pass_through
    >>> import numpy as np
    >>> stages = Stages(request_work_s=0.001)
    >>> passage = pass_through(stages, np.array([0.0, 0.0]), seed=1)
    >>> passage.acknowledged_s.tolist()
    [0.002, 0.002]
"""

from sim.reference_receiver.passage import Passage, pass_through
from sim.reference_receiver.stages import Stages

__all__ = ["Passage", "Stages", "pass_through"]
