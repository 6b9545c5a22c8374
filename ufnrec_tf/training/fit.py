"""The steps of a run: `keras.Model.fit` from where a checkpoint stands, with signals handled."""

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import keras
from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.common.tensorflow_setup import without_collecting
from ufnrec_tf.runs.checkpoints import CheckpointStore
from ufnrec_tf.runs.state import Interrupted, Progress
from ufnrec_tf.training.build import Experiment
from ufnrec_tf.training.loop import TrainingLoop


def restored(store: CheckpointStore, config: ConfigDict, display: Display) -> tuple[Progress, str]:
    """Restores the newest undamaged checkpoint; returns its progress and its name, or "" for none.

    Args:
        store: The checkpoints of the run.
        config: The configuration, whose patience may have been raised since.
        display: Shows which checkpoints are damaged.
    """
    found = store.restore_newest("progress", warn=lambda text: display.line(f"  warning: {text}"))
    if found is None:
        return Progress(), ""
    progress = Progress(**found["progress"])
    progress.stopped_early = 0 < config.training.patience <= progress.num_without
    return progress, found["name"]


def fit(
    config: ConfigDict,
    experiment: Experiment,
    loop: TrainingLoop,
    display: Display,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Runs the remaining epochs; an interrupted one is completed first, in a call of its own.

    Args:
        config: The configuration.
        experiment: The model and its data.
        loop: The callback that evaluates, records and stops.
        display: The screen.
        callbacks: The user's own, called after `loop`.

    Raises:
        Interrupted: After a signal, once the checkpoint is written.
    """
    progress, steps = loop.progress, experiment.steps_per_epoch

    def run() -> None:
        if progress.stopped_early or progress.step >= experiment.num_steps:
            return
        model, epoch = experiment.model, progress.step // steps
        model.stop_training = False
        rest = steps - progress.step % steps
        if rest < steps:
            _fit_epochs(experiment, loop, epoch, epoch + 1, rest, callbacks)
            epoch += 1
        if not model.stop_training and epoch < config.training.num_epochs:
            _fit_epochs(experiment, loop, epoch, config.training.num_epochs, steps, callbacks)
        loop.save_last()
        loop.stop_if_asked()
        loop.bar.close(progress.step, is_over=True)

    try:
        with_signals(loop, run)
    except Interrupted as stop:
        display.notes.line(
            f"  stopped at step {stop.step:,}; checkpoint written. The same command resumes it."
        )
        raise
    finally:
        loop.bar.close(progress.step)
        loop.board.flush()


def _fit_epochs(
    experiment: Experiment,
    loop: TrainingLoop,
    first: int,
    last: int,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    with working_on("compiling the training step") as compiling, ExitStack() as tracing:
        tracing.enter_context(without_collecting())

        def end_start(batch: int, logs: dict | None = None) -> None:
            compiling.end()
            tracing.close()

        ended = keras.callbacks.LambdaCallback(on_train_batch_end=end_start)
        experiment.model.fit(
            experiment.dataset(loop.progress.step),
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[ended, loop, *callbacks],
        )


def with_signals(loop: TrainingLoop, run: Callable[[], None]) -> None:
    """Calls `run` while `loop` handles Ctrl-C and SIGTERM, then restores the handlers.

    In a thread other than the main one Python takes no handlers: there a signal does what it does
    without us.
    """
    if threading.current_thread() is not threading.main_thread():
        run()
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, loop.ask_to_stop)
    try:
        run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if loop.signal:  # it came after the last look
        signal.raise_signal(loop.signal)
