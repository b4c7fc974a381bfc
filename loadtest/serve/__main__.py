"""Entry point of ``python -m loadtest.serve``."""

import sys

from loadtest.serve import main

sys.exit(main())
