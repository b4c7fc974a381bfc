"""The reference models: each mechanism as SimPy processes, one file each, written to be read aloud."""
