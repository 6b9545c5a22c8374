"""The step's XLA program, taken out of TensorFlow and timed by JAX on another device.

    python -m benchmarks.gpu_program export --data=beauty.txt --folder=DIR
    python -m benchmarks.gpu_program time --folder=DIR [--output=FILE.json]

The program is one training step without its host side: encode, score, loss, gradients, Adam and
the teacher's average. Packing, negatives, lookup, record and tf.data are outside of it. `export`
needs TensorFlow and no GPU: it trains a little, so that memory and moments are not empty, and
writes each program before any optimisation, its inputs, and the outputs of the CPU. `time` needs
only NumPy and JAX, on a machine with or without a GPU: it compiles each program for its first
device, compares its outputs with the CPU's and times calls, each of which goes on from the weights
of the one before.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import json
import math
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import numpy as np

from benchmarks.common import ROOT, machine, median

if TYPE_CHECKING:
    import tensorflow as tf

    from ufnrec_tf.method.model import UFNRecModel

CHECKED_STEPS = 10
"""Steps in a row whose losses are compared."""

MOST_VALUES = 1 << 16
"""Values of an output that are compared, evenly spaced: the files stay small."""

TOLERANCE = 5e-5
"""Largest relative difference of losses: TensorFlow's CPU program adds up a step's million entries
in an order that alone is off by 1e-5."""

TF32_TOLERANCE = 2e-3
"""The same where products are of TF32, whose fraction has 10 bits."""

DESCRIPTION = "programs.json"
SIZES = ("case", "users", "positions", "filled_positions", "candidates", "flips", "cpu_ms")


class Case(NamedTuple):
    """A training whose step is exported.

    Attributes:
        config: The configuration file.
        settings: Overrides of it.
        epochs: Epochs that are trained before; memory and teacher then have work.
        blocks: Positions whose logits over the catalogue are held at once; the first is the
            library's own. Empty where the loss reads no catalogue.
    """

    config: str
    settings: dict[str, object]
    epochs: float
    blocks: tuple[int, ...] = ()


CASES = {
    "ufnrec": Case(
        "configs/beauty.py",
        {"gate.kind": "epochs", "gate.epochs": 0, "memory.patience": 1},
        epochs=3,
    ),
    "cross_entropy": Case(
        "configs/beauty_sasrec_ce.py", {}, epochs=0.25, blocks=(256, 1024, 4096, 1 << 20)
    ),
}
BATCHES = (128, 2048)


class Variant(NamedTuple):
    """A form of a program.

    Attributes:
        block: Positions whose logits over the catalogue are held at once; 0 for the library's.
        uses_tf32: True lets a GPU multiply in TF32, as TensorFlow does unless told otherwise.
    """

    block: int
    uses_tf32: bool

    def suffix(self) -> str:
        """Returns the end of the file's name."""
        return f"_blocks_{self.block}" * bool(self.block) + "_tf32" * self.uses_tf32


class Sample(NamedTuple):
    """An output as it is kept: every `stride`-th value."""

    values: np.ndarray
    stride: int


def sample(output: np.ndarray) -> Sample:
    """Returns at most `MOST_VALUES` values of an array, evenly spaced, flat."""
    flat = np.asarray(output).ravel()
    stride = max(-(-flat.size // MOST_VALUES), 1)
    return Sample(flat[::stride], stride)


def output_aliases(hlo: str) -> dict[int, int]:
    """Returns output to the input that it replaces in the next step, from the text of a module.

    TensorFlow passes variables as inputs and returns those that are written as further outputs.
    """
    header = hlo.partition("\n")[0]
    return {int(a): int(b) for a, b in re.findall(r"\{(\d+)\}: \((\d+), \{\}", header)}


def batch_program(
    model: UFNRecModel, batch: dict[str, tf.Tensor]
) -> tuple[Any, list[tf.Tensor], dict[str, int]]:
    """Returns the compiled part of a step, its flat inputs, and the sizes of the batch.

    The program returns the loss, the counts and the hard negatives, and writes the variables.
    """
    import tensorflow as tf

    from ufnrec_tf.common.graphs import graph_function
    from ufnrec_tf.method.candidates import count_entries, propose
    from ufnrec_tf.method.positions import pack_batch

    # A batch of several fits into none of the run's sizes.
    exact = -(-int(tf.math.count_nonzero(batch["history"])) // 16) * 16
    capacities = sorted({*model.capacities, exact})

    @graph_function
    def prepare(batch: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        positions = pack_batch(batch, capacities)
        fresh = model._draw(
            users=batch["user"],
            visits=batch["visit"],
            batch_index=positions.batch_rows(),
            positions=positions.indices,
        )
        proposal = propose(model.policy, positions, model._lookup(positions, fresh))
        teacher_logits, is_taught, _ = model._teach(positions, proposal)
        entries = model._judge(proposal, is_taught)
        is_softened = is_taught & entries.is_flipped
        divisors = count_entries(entries, is_softened, model.objective.uses_soft_label_only)
        inputs = positions.inputs, entries, is_softened, teacher_logits, divisors
        return inputs, positions.rows, model._num_teacher_updates()

    inputs, rows, num_updates = prepare(batch)
    structure = (*inputs, None, num_updates)  # without soft labels
    leaves = tf.nest.flatten(structure)  # None too, where the backbone reads no times

    def program(*given: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rest = iter(given)
        flat = [None if leaf is None else next(rest) for leaf in leaves]
        learnt: list[Any]
        *learnt, updates = tf.nest.pack_sequence_as(structure, flat)
        student = model._differentiate(*learnt)
        model._descend_and_follow(0, student.gradients, updates)
        return student.terms.total, student.counts, student.is_hard

    entries = inputs[1]
    sizes = {
        "users": int(tf.math.count_nonzero(batch["user"] >= 0)),
        "positions": int(rows.shape[0]),
        "filled_positions": int(entries.candidates.shape[0]),
        "candidates": int(entries.candidates.shape[1]),
        "flips": int(tf.math.count_nonzero(entries.is_flipped)),
        "weights": sum(math.prod(v.shape) for v in model.backbone.trainable_variables),
    }
    return program, [leaf for leaf in leaves if leaf is not None], sizes


def captured_variables(concrete: Any) -> list[tf.Variable]:
    """Returns the variables of a traced function, in the order in which XLA takes them."""
    by_handle = {id(variable.handle): variable for variable in concrete.variables}
    return [by_handle[id(handle)] for handle in concrete.captured_inputs]


def write_program(
    folder: Path, name: str, program: Any, inputs: list[tf.Tensor], variants: list[Variant]
) -> dict[str, Any]:
    """Writes a program in its variants, and its inputs and outputs; returns its description.

    Args:
        folder: The folder.
        name: Name of the files.
        program: A function of the inputs that writes variables. These are as before in the end.
        inputs: Its inputs.
        variants: The first is the one that the CPU runs.
    """
    import tensorflow as tf

    from ufnrec_tf.common.graphs import graph_function
    from ufnrec_tf.objectives import functions, softmax

    # As in training, where the trace knows no number of positions: else TensorFlow folds random
    # bits of their shape into constants of the module.
    num_positions = inputs[0].shape[0]
    signature = [
        tf.TensorSpec([None if n == num_positions else n for n in x.shape], x.dtype) for x in inputs
    ]
    files: list[dict[str, Any]] = []
    traces: list[Any] = []
    modules: list[Any] = []
    for variant in variants:
        tf.config.experimental.enable_tensor_float_32_execution(variant.uses_tf32)
        blocked = functools.partial(
            functions.catalogue_log_denominators,
            most_positions=variant.block or functions.BLOCK_POSITIONS,
        )
        with mock.patch.object(softmax, "catalogue_log_denominators", blocked):
            traces.append(graph_function(program, jit_compile=True, input_signature=signature))
            modules.append(traces[-1].experimental_get_compiler_ir(*inputs))
            files.append({"file": f"{name}{variant.suffix()}.hlo.gz", **variant._asdict()})
            serialized = gzip.compress(modules[-1](stage="hlo_serialized"))
            (folder / files[-1]["file"]).write_bytes(serialized)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    run, aliases = traces[0], output_aliases(modules[0](stage="hlo"))
    variables = captured_variables(run.get_concrete_function(*inputs))
    before = [variable.numpy() for variable in variables]
    np.savez_compressed(folder / f"{name}_inputs.npz", *[x.numpy() for x in inputs])

    returned = run(*inputs)
    losses, outputs = [float(returned[0])], [x.numpy() for x in returned]
    outputs += [variables[aliases[n] - len(inputs)].numpy() for n in sorted(aliases)]
    kept = [sample(output) for output in outputs]
    np.savez_compressed(folder / f"{name}_outputs.npz", *[x.values for x in kept])
    started = time.process_time()
    losses += [float(run(*inputs)[0]) for _ in range(CHECKED_STEPS - 1)]
    seconds = time.process_time() - started
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return {
        "variables": before,
        "inputs": f"{name}_inputs.npz",
        "outputs": f"{name}_outputs.npz",
        "strides": [x.stride for x in kept],
        "replaces": {str(output): place for output, place in aliases.items()},
        "losses": losses,
        "cpu_ms": 1000 * seconds / (CHECKED_STEPS - 1),
        "programs": files,
    }


def variants_of(case: Case, num_positions: int) -> list[Variant]:
    """Returns the forms of a program: the library's in float32, then each block size in TF32."""
    blocks = [0] if not case.blocks else [case.blocks[0]]
    for block in case.blocks[1:]:
        if blocks[-1] < num_positions:  # else all are in one block already
            blocks.append(block)
    return [Variant(blocks[0], False), *(Variant(block, True) for block in blocks)]


def joined(batches: list[dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
    """Returns one batch with the users of several."""
    import tensorflow as tf

    return {name: tf.concat([batch[name] for batch in batches], axis=0) for name in batches[0]}


def export_case(name: str, data: str, folder: Path) -> list[dict[str, Any]]:
    """Trains a case for its epochs, writes programs of its next step, and describes them.

    A larger batch joins several of the run's own.
    """
    import tensorflow as tf

    from ufnrec_tf.config import load_config
    from ufnrec_tf.reading import sources
    from ufnrec_tf.training.build import build, prepare_tensorflow

    case, least = CASES[name], min(BATCHES)
    settings = {**case.settings, "training.batch_size": least}
    config = load_config(case.config, [(key, str(value)) for key, value in settings.items()])
    split = sources.make_split(config, sources.load(config, data).interactions)
    experiment = build(config, split, 0, strategy=prepare_tensorflow(config, 0))
    experiment.host.open_gate(0)
    step = tf.function(experiment.model.train_step, reduce_retracing=True)
    stream = iter(experiment.dataset(0))
    for _ in range(round(case.epochs * experiment.steps_per_epoch)):
        step(next(stream))
    batches = [next(stream) for _ in range(max(BATCHES) // least)]

    found: list[dict[str, Any]] = []
    for size in BATCHES:
        batch = joined(batches[: size // least])
        program, inputs, sizes = batch_program(experiment.model, batch)
        variants = variants_of(case, sizes["filled_positions"])
        described = write_program(folder, f"{name}_{size}", program, inputs, variants)
        variables = described.pop("variables")
        np.savez_compressed(folder / f"{name}_variables.npz", *variables)  # the same each time
        described["variables"] = f"{name}_variables.npz"
        found.append({"case": name, "batch": size, **sizes, **described})
        print(f"{name}, {size} users: {described['cpu_ms']:.1f} CPU ms", flush=True)
    return found


def export(flags: argparse.Namespace) -> int:
    """Writes all programs and their description."""
    import tensorflow as tf

    flags.folder.mkdir(parents=True, exist_ok=True)
    cases = [case for name in CASES for case in export_case(name, flags.data, flags.folder)]
    facts = {"tensorflow": tf.__version__, "exported_on": machine(), "cases": cases}
    (flags.folder / DESCRIPTION).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return 0


class Runner:
    """A program that JAX's XLA client has compiled for a device; no array leaves the device.

    JAX has no public function that takes a module of another program, so that this reads its
    private modules (tried with JAX 0.11.2).

    Args:
        hlo: The serialized module.
        device: One of `jax.devices()`.
    """

    def __init__(self, hlo: bytes, device: Any) -> None:
        from jax._src.lib import xla_client

        computation = xla_client.XlaComputation(hlo)
        module = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
        # TensorFlow copies a variable before it returns it; StableHLO, which plugins take, cannot.
        module = re.sub(
            r"mhlo\.copy (%\S+) : (tensor<\S+>)", r"stablehlo.reshape \1 : (\2) -> \2", module
        )
        options, client = xla_client.CompileOptions(), device.client
        if hasattr(client, "compile_and_load"):
            devices = xla_client.DeviceList((device,))
            self._program = client.compile_and_load(module, devices, options)
        else:
            self._program = client.compile(module, options)

    def __call__(self, inputs: list[Any]) -> list[Any]:
        """Returns the outputs, arrays of JAX. The inputs that outputs replace are gone then."""
        found = self._program.execute_sharded(inputs)
        return [one for (one,) in found.disassemble_into_single_device_arrays()]


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns |found - expected| / |expected|, or of whole numbers the share that differ."""
    if expected.dtype.kind != "f":
        return float(np.mean(found != expected)) if expected.size else 0.0
    wide = expected.astype(np.float64)
    return float(np.linalg.norm(found - wide) / max(float(np.linalg.norm(wide)), 1e-30))


def load_arrays(path: Path) -> list[np.ndarray]:
    """Returns the arrays of a file, in their order."""
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[f"arr_{n}"] for n in range(len(arrays.files))]


def run_program(
    folder: Path, case: dict[str, Any], file: str, device: Any, flags: argparse.Namespace
) -> dict[str, Any]:
    """Compiles a program, compares it with the CPU's outputs and times it; returns the figures."""
    import jax

    started = time.perf_counter()
    runner = Runner(gzip.decompress((folder / file).read_bytes()), device)
    compile_seconds = time.perf_counter() - started
    arrays = [*load_arrays(folder / case["inputs"]), *load_arrays(folder / case["variables"])]
    inputs = [jax.device_put(array, device) for array in arrays]
    expected = load_arrays(folder / case["outputs"])
    places = {int(output): place for output, place in case["replaces"].items()}

    def step() -> list[Any]:
        outputs = runner(inputs)
        for output, place in places.items():
            inputs[place] = outputs[output]
        return outputs

    outputs = [np.asarray(output) for output in step()]
    differences = [
        difference(output.ravel()[::stride], value)
        for output, stride, value in zip(outputs, case["strides"], expected, strict=True)
    ]
    losses = [float(outputs[0]), *(float(step()[0]) for _ in range(CHECKED_STEPS - 1))]
    rounds, dispatches = [], []
    for _ in range(flags.rounds):
        jax.block_until_ready(step())
        started = time.perf_counter()
        for _ in range(flags.calls):
            outputs = step()
        dispatched = time.perf_counter()
        jax.block_until_ready(outputs)
        rounds.append((time.perf_counter() - started) / flags.calls * 1000)
        dispatches.append((dispatched - started) / flags.calls * 1000)
    ms = median(rounds)
    return {
        "ms": ms,
        "least_ms": min(rounds),
        "most_ms": max(rounds),
        "dispatch_ms": median(dispatches),
        "users_per_second": case["users"] / ms * 1000,
        "positions_per_second": case["positions"] / ms * 1000,
        "compile_seconds": compile_seconds,
        "loss_difference": difference(np.array(losses), np.array(case["losses"])),
        "hard_negatives_that_differ": differences[2],
        "largest_state_difference": max(differences[3:]),
        "is_finite": bool(np.isfinite(losses).all()),
    }


def time_programs(flags: argparse.Namespace) -> int:
    """Times all programs of the folder; returns 1 if one disagrees with the CPU."""
    import jax

    jax.config.update("jax_enable_x64", True)
    device = jax.devices()[0]
    described = json.loads((flags.folder / DESCRIPTION).read_text(encoding="utf-8"))
    facts = {
        "device": device.device_kind,
        "jax": jax.__version__,
        "tensorflow": described["tensorflow"],
        "exported_on": described["exported_on"],
        "calls": flags.calls,
        "rounds": flags.rounds,
    }
    print(json.dumps(facts), flush=True)
    results: list[dict[str, Any]] = []
    wrong = 0
    for case in described["cases"]:
        sizes = {key: value for key, value in case.items() if key in SIZES}
        for program in case["programs"]:
            try:
                figures = run_program(flags.folder, case, program["file"], device, flags)
            except Exception as error:  # of whatever kind: the other programs are still timed
                figures = {"error": f"{type(error).__name__}: {error}"[:500]}
            tolerance = TF32_TOLERANCE if program["uses_tf32"] else TOLERANCE
            agrees = figures.get("loss_difference", np.inf) < tolerance
            wrong += not agrees
            results.append({**sizes, **program, "agrees": agrees, **figures})
            print(json.dumps(results[-1]), flush=True)
            if flags.output:
                text = json.dumps({**facts, "programs": results}, indent=1) + "\n"
                flags.output.write_text(text, encoding="utf-8")
    return int(bool(wrong))


def main(arguments: list[str] | None = None) -> int:
    """Exports or times; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_program", description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    exporting = modes.add_parser("export")
    exporting.add_argument("--data", required=True, help="the log")
    timing = modes.add_parser("time")
    timing.add_argument("--calls", type=int, default=200, help="calls a round")
    timing.add_argument("--rounds", type=int, default=5)
    timing.add_argument("--output", type=Path)
    for mode in (exporting, timing):
        mode.add_argument("--folder", type=Path, default=ROOT / "runs" / "gpu_program")
    flags = parser.parse_args(arguments)
    return export(flags) if flags.mode == "export" else time_programs(flags)


if __name__ == "__main__":
    sys.exit(main())
