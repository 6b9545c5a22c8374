"""--mode=train: trains a run and its baselines into finished work directories."""

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.distribution import Workers, report_lost_workers
from ufnrec_tf.common.hashes import write_hashed_json
from ufnrec_tf.common.progress import hide_phases
from ufnrec_tf.config import as_json, unmet_condition
from ufnrec_tf.data.splits import EVALUATION_PARTS, Split
from ufnrec_tf.data.synthetic.planted import MAX_EXACT_ITEMS, ceiling_ranks
from ufnrec_tf.evaluation.baselines import Popularity, baseline_ranks
from ufnrec_tf.evaluation.metrics import metrics_from_ranks
from ufnrec_tf.method.gate import GATES
from ufnrec_tf.method.memory_usage import over_workers
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.record import identity, is_done, keep_ids, run_record, write_run_ids
from ufnrec_tf.runs.run_files import check_run_file, read_result
from ufnrec_tf.runs.state import Progress
from ufnrec_tf.runs.tensorboard_files import Board
from ufnrec_tf.runs.workdir import JsonLines, Workdir
from ufnrec_tf.training.arms import Arm, configure_arm, label_of, parse_arms
from ufnrec_tf.training.build import (
    Experiment,
    build,
    give_whole_memory,
    loop_settings,
    make_evaluator,
    metrics_of,
    prepare_tensorflow,
)
from ufnrec_tf.training.checks import check_with_data
from ufnrec_tf.training.finish import finish
from ufnrec_tf.training.fit import fit, restored
from ufnrec_tf.training.loop import TrainingLoop, step_bar
from ufnrec_tf.training.shown_results import show_finished
from ufnrec_tf.training.teacher_phase import teach
from ufnrec_tf.training.warm_start import start_warm


def show_run(config: ConfigDict, experiment: Experiment, display: Display) -> None:
    """Shows the heading of a run: model, data, devices. All workers call it together."""
    model = experiment.model
    weights = sum(int(np.prod(w.shape)) for w in model.backbone.trainable_variables)
    display = display.notes
    display.heading(f"Training {label_of(config)}")
    memory = "no memory"
    if model.memory is not None:
        usage = over_workers(model.memory.usage(), experiment.workers.sum)
        memory = (
            f"memory of {usage.num_rows:,} rows x {usage.num_slots} slots, "
            f"{usage.table_bytes / 2**20:,.1f} MiB"
        )
    gate = "" if unmet_condition(config, "gate.kind") else f"; gate: {config.gate.kind}"
    display.block(
        [
            f"{weights:,} weights, {memory}; {experiment.steps_per_epoch:,} steps an epoch of "
            f"{config.training.batch_size} users{_devices(experiment)}{gate}",
        ]
    )


def _devices(experiment: Experiment) -> str:
    """Returns the number of devices and machines as text, or an empty string for one."""
    count, replicas = experiment.workers.count, experiment.num_replicas
    shared = f" on {replicas} devices" if replicas > 1 else ""
    return f"{shared} of {count} workers" if count > 1 else shared


def train(
    config: ConfigDict,
    source: Source,
    split: Split,
    *,
    workdir: str,
    seed: int,
    data_path: str,
    command: list[str],
    display: Display,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains, selects on validation, scores the test set once, exports and shows results.

    A finished work directory is shown again; one that was stopped resumes.

    Args:
        config: Checked configuration.
        source: The data.
        split: The split of the data.
        workdir: The work directory of the run.
        seed: The run's seed.
        data_path: The file the data came from, or empty.
        command: The command line, for the record.
        display: The screen.
        callbacks: The user's own, called in the training of the run itself.

    Raises:
        UserError: Whatever the user has to mend.
        Interrupted: After a signal, once the checkpoint is written.
    """
    check_with_data(config, split)
    if config.distribution.strategy == "multi_worker":
        minutes = config.distribution.start_minutes
        most = f"; it ends with exit code 1 if they are not there in {minutes:g} minutes"
        display.notes.line(f"  waiting for all workers of this run{most if minutes else ''}")
    strategy = prepare_tensorflow(config, seed)
    workers = Workers(strategy)
    if not workers.is_chief:
        display.notes.line(f"Worker {workers.index} of {workers.count}; worker 0 shows the run.")
        display = Display(is_shown=False)
        hide_phases()
    with report_lost_workers(workers), Workdir(workdir, is_held=workers.is_chief) as directory:
        record = run_record(config, source, seed, data_path=data_path, command=command)
        directory.check_same(record["identity"])
        is_there = is_done(config, directory.path)
        workers.any(False)  # nobody writes before all have looked
        if is_there:
            if workers.is_chief:
                keep_ids(config, split, directory.path)
            display.notes.heading("This run is done; its results again:")
            show_finished(directory.path, display)
            _say_what_was_not_computed(config, directory.path, display)
            return
        for arm in parse_arms(config.comparison.arms):
            _train_arm(arm, config, source, split, directory.path, seed, record, display, strategy)
        path = directory.path
        _train_one(config, source, split, path, seed, record, display, strategy, callbacks)


def _say_what_was_not_computed(config: ConfigDict, path: Path, display: Display) -> None:
    """Shows the metrics that are asked for now and were not when the run finished."""
    known = read_result(path)["test"]
    missing = [name for name in metrics_of(config).names if name not in known]
    if missing:
        display.line(
            f"  not computed by this run: {', '.join(missing)}; --mode=evaluate --workdir={path} "
            "with the same --config.evaluation.* computes them"
        )


def _train_arm(
    arm: Arm,
    config: ConfigDict,
    source: Source,
    split: Split,
    path: Path,
    seed: int,
    record: dict[str, Any],
    display: Display,
    strategy: tf.distribute.Strategy,
) -> None:
    """Trains one baseline arm into its own work directory, unless that is finished."""
    own = configure_arm(config, arm)
    workers = Workers(strategy)
    with Workdir(path / "baselines" / arm.name, is_held=workers.is_chief) as directory:
        own_record = {**record, "config": as_json(own), "identity": identity(own, source, seed)}
        directory.check_same(own_record["identity"])
        is_there = is_done(own, directory.path)
        workers.any(False)
        if is_there:
            return
        _train_one(own, source, split, directory.path, seed, own_record, display, strategy)


def _train_one(
    config: ConfigDict,
    source: Source,
    split: Split,
    path: Path,
    seed: int,
    record: dict[str, Any],
    display: Display,
    strategy: tf.distribute.Strategy,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains one run to its end and finishes its work directory."""
    taught = teach(config, source, split, path=path, seed=seed, display=display, strategy=strategy)
    keras.utils.set_random_seed(seed)
    labels = taught.labels if taught else None
    experiment = build(config, split, seed, strategy=strategy, labels=labels)
    is_chief = experiment.workers.is_chief
    store, _ = experiment.stores(path)
    log = JsonLines(path / "metrics.jsonl", is_written=is_chief)
    progress, name = restored(store, config, display)
    if name:
        display.notes.line(f"  resuming from {name} in {path}")
    else:
        start_warm(config, experiment, split, path=path, progress=progress, display=display)
    if is_chief:
        check_run_file(path, "metrics.jsonl")
        write_hashed_json(path / "config.json", record)  # not before the checkpoint was found good
        write_run_ids(config, split, path)
    log.cut_after(progress.step)
    show_run(config, experiment, display)
    loop = _make_loop(config, experiment, split, path, seed, progress, log, display)
    fit(config, experiment, loop, display, callbacks if is_chief else ())
    if not config.training.finish:
        display.notes.line("  trained; the test set was not looked at (training.finish=false)")
        return
    if experiment.workers.count > 1:
        give_whole_memory(config, experiment, store)
    finish(
        config=config,
        experiment=experiment,
        loop=loop,
        split=split,
        path=path,
        seed=seed,
        display=display,
        ceiling=_ceiling(config, source, split, knows_noise=True),
        ceiling_without_noise=_ceiling(config, source, split, knows_noise=False),
        source=source,
        teacher=taught.facts if taught else {},
        labels=labels,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _make_loop(
    config: ConfigDict,
    experiment: Experiment,
    split: Split,
    path: Path,
    seed: int,
    progress: Progress,
    log: JsonLines,
    display: Display,
) -> TrainingLoop:
    workers = experiment.workers
    store, best_store = experiment.stores(path, num_kept=config.training.checkpoints_kept)
    board = Board(path / "tensorboard", is_written=workers.is_chief)
    board.cut_after(progress.step)
    floor = _floor(config, split)
    gate = GATES[config.gate.kind](config.gate, floor)
    if progress.gate_state:
        gate.state = progress.gate_state
    if progress.step == 0 and gate.opens_at_start():
        experiment.host.open_gate(0)
        progress.gate_epoch = 0
    settings = loop_settings(config, experiment.steps_per_epoch, floor=floor)
    return TrainingLoop(
        ufnrec=experiment.model,
        host=experiment.host,
        gate=gate,
        evaluators={
            part: make_evaluator(config, split, part, seed, workers) for part in EVALUATION_PARTS
        },
        best=experiment.best,
        store=store,
        best_store=best_store,
        metrics_log=log,
        board=board,
        bar=step_bar(display, label_of(config), settings, progress, num_steps=experiment.num_steps),
        settings=settings,
        progress=progress,
        workers=workers,
    )


def _floor(config: ConfigDict, split: Split) -> float:
    """Returns the validation metric of the popularity baseline."""
    if not config.gate.popularity_lift:
        return 0.0
    mask = config.evaluation.mask
    ranks = baseline_ranks(Popularity().fit(split), split, "validation", mask=mask)
    metric = config.training.monitor or "ndcg@10"
    scores = metrics_from_ranks(ranks, chosen=metrics_of(config))
    return config.gate.popularity_lift * scores[metric]


def _ceiling(
    config: ConfigDict, source: Source, split: Split, *, knows_noise: bool
) -> dict[str, float]:
    """Returns the test metrics of planted data's true probabilities; empty for other data.

    Without the noise, which nothing can learn, they are empty for large catalogues, too.
    """
    truth = source.truth
    if truth is None or (not knows_noise and truth.settings.num_items > MAX_EXACT_ITEMS):
        return {}
    ranks = ceiling_ranks(truth, split, "test", knows_noise=knows_noise)
    return metrics_from_ranks(ranks, chosen=metrics_of(config))
