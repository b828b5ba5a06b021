"""One runnable module a stage: arguments and wiring, no algorithms."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Numpy starts a thread a core for linear algebra, which no stage has; they wait by spinning, a thirtieth of a CPU second for nothing."""
