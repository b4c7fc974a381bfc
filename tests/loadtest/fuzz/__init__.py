"""Coverage-guided fuzzing of the parsers: ``python -m tests.loadtest.fuzz TARGET``."""
