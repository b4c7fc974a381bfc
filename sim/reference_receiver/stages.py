"""What one webhook meets on its way through the reference receiver, stage by stage.

    sender's core                   receiver's core            receiver's core           sender's core
    ┌───────────┐     ┌───────┐    ┌──────────────┐  ┌───────┐  ┌─────────────┐    ┌───────┐    ┌─────────┐
 ──>│ send_work │────>│transit│───>│ request_work │─>│persist│─>│ report_work │───>│transit│───>│read_work│──>
    └───────────┘     └───────┘    │ write_work   │  └───────┘  │ answer_work │    └───────┘    └─────────┘
                                   └──────────────┘             └──────┬──────┘          acknowledged: read
                                                                       ▼
                                                             workers ──> timer ──> visible

*Work* occupies a core, one job at a time, first come first served: an event loop and its writer thread share
the core to which the process is pinned, and Python's interpreter lock. *Transit*, *persist*, *service* and
*timer* are times that pass beside it. So latency rises with load because cores are shared; and falls with
load because a core that is busy already need not wake up (`wake`) and a commit is shared by all that came
meanwhile (group commit: a queue with batch service, M. F. Neuts, "A general class of bulk queues with Poisson
input", Annals of Mathematical Statistics 38(3), 1967).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.distribution_specs import Constant, DistributionSpec
from sim.spec import Count, NonNegative, Positive, Probability, Spec

NOTHING = Constant(kind="constant", mean_s=0.0)


class Stages(Spec):
    """The parameters of the reference receiver and of who sends to it, all in seconds.

    Attributes:
        send_work_s, read_work_s: the sender's core: to send one request, to read one answer.
        lateness: of the timer that tells the sender that a request is due.
        sender_wake_s: what either costs more when it finds the core idle, see `wake_s`.
        request_transit: from the send to the receiver's socket: kernel, wire.
        request_work_s: the receiver's core: parse one request and verify it.
        wake_s: what a job costs more when it finds the core idle: context switches, cold caches, timers set
            anew, the way back to sleep.
        wake_first: the share of it that comes before the job is done. The rest comes last, when the core has
            nothing else to do, and is left where it stands when there is: who stays awake is spared it.
        cooling_s: how fast an idle core grows cold: after t idle seconds waking costs 1 − exp(−t/cooling_s)
            of `wake_s` (or `sender_wake_s`); 0: all of it at once.
        write_work_s, row_work_s: one statement of the writer thread, and each event in it.
        persist: how long the disk then takes, while the core is free.
        report_work_s: the outcome of one statement handed back to the event loop.
        answer_work_s: one answer written.
        response_transit: from there to the sender's socket.
        most_in_group: events in one commit at most.
        settle_after_s: so long after an event became visible storage is told of all that became so meanwhile.
        workers, service: the pool that makes events visible, first come first served; a service of constant 0
            takes no worker.
        timer: how late the end of a service is noticed.
    """

    send_work_s: NonNegative = 0.0
    read_work_s: NonNegative = 0.0
    lateness: DistributionSpec = NOTHING
    sender_wake_s: NonNegative = 0.0
    request_transit: DistributionSpec = NOTHING
    request_work_s: NonNegative = 0.0
    wake_s: NonNegative = 0.0
    wake_first: Probability = 0.0
    cooling_s: NonNegative = 0.0
    write_work_s: NonNegative = 0.0
    row_work_s: NonNegative = 0.0
    persist: DistributionSpec = NOTHING
    report_work_s: NonNegative = 0.0
    answer_work_s: NonNegative = 0.0
    response_transit: DistributionSpec = NOTHING
    most_in_group: Annotated[int, Field(ge=1, le=100_000)] = 256
    settle_after_s: Positive = 0.05
    workers: Count = 1
    service: DistributionSpec = NOTHING
    timer: DistributionSpec = NOTHING

    @property
    def serves_at_once(self) -> bool:
        """Whether an event is visible as soon as it is stored."""
        return isinstance(self.service, Constant) and self.service.mean_s == 0

    @property
    def work_per_event_s(self) -> float:
        """What an event costs the receiver's core at least, in groups so large that they cost nothing."""
        return self.request_work_s + self.row_work_s + self.answer_work_s
