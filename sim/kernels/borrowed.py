"""Arrays without reference counts.

Numba counts references to an array with atomic instructions at every call that takes it, also inlined
ones, and to the arrays inside a tuple whenever a field is read; in a kernel whose steps take a few
nanoseconds that was two thirds of the time. A borrowed array has no owner to count for, which is sound
as long as somebody else keeps the memory: what Python passes in lives through the call, and what a
kernel allocates itself is held with `hold` until the work is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from sim.compiled import allocating

Array = TypeVar("Array", bound=NDArray[Any])

if TYPE_CHECKING:

    def borrowed(array: Array) -> Array:
        """The same array, without an owner; in compiled code only."""
        ...
else:

    @intrinsic
    def borrowed(_context: Any, array: types.Array) -> Any:
        """The same array, without an owner; in compiled code only."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            view = context.make_array(signature.args[0])(context, builder, value=arguments[0])
            view.meminfo = cgutils.get_null_value(view.meminfo.type)
            view.parent = cgutils.get_null_value(view.parent.type)
            return view._getvalue()

        return array(array), generate


@allocating
def hold(*arrays: NDArray[Any]) -> None:
    """Keep arrays alive up to here."""
