"""The check of a machine with GPUs, whose output is to be sent back; `make check-gpu` runs it.

    python -m benchmarks.check_gpu [--pretend] [--output=FILE.json]

The same short UFNRec run without dropout on CPU and GPU: losses, flips and metric must agree; then
users a second and device memory for batches of 128 and 1,024, compiled and not, float32 and
bfloat16. Without a GPU it says so. --pretend lets the CPU play the GPU's part, to try the script.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, machine, measure

TOLERANCE = 2e-3
"""Largest difference between two losses of one step; TF32 and another order of sums."""
CASES: tuple[dict[str, object], ...] = (
    {"batch": 128, "compile": "true", "precision": "float32"},
    {"batch": 128, "compile": "false", "precision": "float32"},
    {"batch": 1024, "compile": "true", "precision": "float32"},
    {"batch": 1024, "compile": "true", "precision": "mixed_bfloat16"},
)
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def num_gpus() -> int:
    """Returns how many GPUs TensorFlow sees, asked in a process of its own."""
    code = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    return int(measure([sys.executable, "-c", code]).output.splitlines()[-1])


def point(case: dict[str, object], env: dict[str, str]) -> dict[str, Any]:
    """Returns the figures that a run of `gpu_point` prints."""
    options = [f"--{name}={value}" for name, value in case.items()]
    command = [sys.executable, "-m", "benchmarks.gpu_point", *options]
    return json.loads(measure(command, env=env).output.splitlines()[-1])


def compare(cpu: dict[str, Any], gpu: dict[str, Any]) -> list[str]:
    """Returns the disagreements between CPU and GPU, one line each."""
    wrong = []
    gaps = [abs(a - b) for a, b in zip(cpu["losses"], gpu["losses"], strict=True)]
    apart = [step for step, gap in enumerate(gaps) if not gap < TOLERANCE]  # NaN is not
    if apart:
        wrong.append(f"losses differ first in step {apart[0]}, by {gaps[apart[0]]:.2g}")
    for name, share in (("flips", 0.05), ("remembered", 0.02), ("ndcg@10", 0.05)):
        if abs(cpu[name] - gpu[name]) > share * max(abs(cpu[name]), 1e-3):
            wrong.append(f"{name}: {cpu[name]:g} on the CPU, {gpu[name]:g} on the GPU")
    if "CPU" not in gpu["memory_on"]:
        wrong.append(f"the memory's tables are on {gpu['memory_on']}, not on the host")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Runs everything; returns 0 if all agrees or there is no GPU, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_gpu", description=__doc__)
    parser.add_argument("--pretend", action="store_true")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "check_gpu.json")
    flags = parser.parse_args(arguments)
    count = num_gpus()
    if not count and not flags.pretend:
        print("no GPU here: TensorFlow sees none. docs/several-machines.md has its CUDA packages.")
        return 0
    print(", ".join(f"{key} {value}" for key, value in machine().items()), f"GPUs {count}")
    cpu = point(CASES[0], NO_GPU)
    found: list[dict[str, Any]] = []
    wrong: list[str] = []
    for case in CASES:
        gpu = point(case, NO_GPU if flags.pretend else {})
        found.append({**case, **gpu})
        if case["batch"] == CASES[0]["batch"]:
            wrong += compare(cpu, gpu)
        print(
            f"batch {case['batch']}, compiled {case['compile']}, {case['precision']}: "
            f"{gpu['users_per_second']:,.0f} users/s, peak {gpu['peak_memory_bytes'] / 1e6:,.0f} "
            f"MB; weights on {gpu['weights_on'].rsplit('/', 1)[-1]}",
            flush=True,
        )
    print(f"the CPU, compiled: {cpu['users_per_second']:,.0f} users/s")
    print("\n".join(f"WRONG {line}" for line in wrong) or "GPU and CPU agree.")
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(
        json.dumps({"machine": machine(), "gpus": count, "cpu": cpu, "gpu": found}, indent=1),
        encoding="utf-8",
    )
    print(f"written to {flags.output}; please send it back")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
