"""`hookbench capacity`: the highest rate at which one server meets an objective, by a stated search.

`search` decides on the next rate, `measurement` tries it, `result` says and `figures` draws what came of it.
"""

from loadtest.capacity.measurement import capacity
from loadtest.capacity.result import CapacityResult

__all__ = ["CapacityResult", "capacity"]
