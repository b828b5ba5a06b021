"""The process around a training run: what must be set before torch is loaded, and the libraries' chatter switched off."""

from __future__ import annotations

import logging
import os
import warnings


def prepare_process() -> None:
    """Settle the environment; call it before torch is imported. Values that the user set stay.

    OpenMP threads that wait should sleep, not spin: with other work on the same 2 cores, spinning made a step take 10 to 20 times as long,
    and alone it gains 15% (SmolLM2-135M, rows of 512 tokens).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")


def quiet_libraries() -> None:
    """No progress bars and no advice from the libraries: errors still raise, and the run prints its own lines."""
    for name in ("bitsandbytes", "peft", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # what one library will one day drop of another is not this user's to mend
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft|accelerate|torch")
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity_error()
