"""One runnable module a stage: arguments and wiring, no algorithms."""
