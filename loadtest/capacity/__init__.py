"""`hookbench capacity`: the highest rate at which one server meets an objective, by a stated search.

`search` decides which rate to try next, `measurement` tries it, `figures` draws what came of it.
"""

from loadtest.capacity.measurement import CapacityResult, capacity

__all__ = ["CapacityResult", "capacity"]
