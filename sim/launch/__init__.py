"""From a scenario to its kernels and back: allocate the arrays, run, name what was counted."""
