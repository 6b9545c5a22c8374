"""Windows to batches in tf.data: index arithmetic over flat arrays."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.tensors import shared_constant
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.windows import Placement, Samples


def steps_per_epoch(num_samples: int, batch_size: int, *, draw: str) -> int:
    """Returns the steps of an epoch: floor(W / B) with replacement, else the ceiling."""
    if draw == "with_replacement":
        return max(num_samples // batch_size, 1)
    return -(-num_samples // batch_size)


def _order(samples: Samples, batch_size: int, draw: str, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Returns int64 [steps, B] sample numbers of an epoch, -1 where a batch is not full."""
    num_samples = len(samples.users)
    steps = steps_per_epoch(num_samples, batch_size, draw=draw)
    if draw == "with_replacement":
        # Every batch takes distinct samples, whatever the other batches took.
        def one_batch(step: tf.Tensor) -> tf.Tensor:
            keys = tf.random.stateless_uniform(
                [num_samples], tf.stack([epoch + seed * 1_000_003, step])
            )
            return tf.math.top_k(keys, min(batch_size, num_samples)).indices

        order = tf.map_fn(one_batch, tf.range(steps, dtype=tf.int64), fn_output_signature=tf.int32)
        order = tf.cast(order, tf.int64)
        return tf.pad(order, [[0, 0], [0, batch_size - order.shape[1]]], constant_values=-1)
    order = tf.random.experimental.stateless_shuffle(
        tf.range(num_samples, dtype=tf.int64), tf.stack([tf.constant(seed, tf.int64), epoch])
    )
    order = tf.pad(order, [[0, steps * batch_size - num_samples]], constant_values=-1)
    return tf.reshape(order, [steps, batch_size])


def _deal_out(
    placement: Placement, lengths: np.ndarray, num_rows: int, num_replicas: int
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns the function that splits a batch int64 [B] into replicas' shares [R, num_rows].

    The windows that this worker may train, from the longest to the shortest, are dealt to and fro,
    so that all shares have about as many positions: no replica waits long for another.

    Args:
        placement: The windows of this worker.
        lengths: int32 [W], input events of each window.
        num_rows: Windows of a share at most; -1 fills it up.
        num_replicas: R, the replicas of this worker.
    """
    is_own = None if placement.is_own is None else tf.constant(placement.is_own)
    num_shares = placement.num_shares(num_replicas)
    first_share = placement.worker * num_replicas if is_own is None else 0
    sizes, room = tf.constant(lengths), num_rows * num_shares

    @tf.autograph.experimental.do_not_convert
    def deal(chosen: tf.Tensor, visit: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_here = chosen >= 0
        if is_own is not None:
            is_here &= tf.gather(is_own, tf.maximum(chosen, 0))
        here = tf.boolean_mask(chosen, is_here)
        if num_shares > 1:
            order = tf.argsort(tf.gather(sizes, here), direction="DESCENDING", stable=True)
            here = tf.gather(here, order)
        fits = tf.debugging.assert_less_equal(tf.size(here), room, "more windows than room")
        with tf.control_dependencies([fits]):
            here = tf.pad(here, [[0, room - tf.size(here)]], constant_values=-1)
        rounds = tf.reshape(here, [num_rows, num_shares])
        is_fro = tf.range(num_rows)[:, None] % 2 == 1
        shares = tf.transpose(tf.where(is_fro, tf.reverse(rounds, [1]), rounds))
        own = shares[first_share : first_share + num_replicas]
        return own, tf.fill([num_replicas], visit)

    return deal


def _untuned() -> tf.data.Options:
    """Returns options without tf.data's tuner: there is nothing to tune in these datasets.

    At the end of a worker's process its thread would sleep for up to a minute before it ends.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def make_dataset(
    split: Split,
    samples: Samples,
    *,
    max_length: int,
    batch_size: int,
    seed: int,
    draw: str = "permutation",
    first_step: int = 0,
    placement: Placement | None = None,
    num_replicas: int = 1,
    is_left_out: np.ndarray | None = None,
    num_times: int = 0,
) -> tf.data.Dataset:
    """Returns an endless dataset of batches. The batch of a step depends only on (seed, step).

    With several workers or replicas an element is one replica's share of a step, its rows the
    least number that always suffices; a step is `num_replicas` elements of each worker.

    A batch is a dict, B = batch_size, L = max_length:
        user: int32 [B], -1 for an empty row; history: int32 [B, L], left-padded; positives:
        int32 [B, L], the next item of each column, or [B, 1], that of the newest column, if only
        that is trained; first_position: int32 [B], index in the
        user's history of the window's first transition; first_row: int64 [B], its memory row;
        length: int32 [B]; visit: int64 [B], a number that no other visit of the user has;
        next_items: int32 [B, L], the positives with those that are left out, only if
        `is_left_out` is given; times: int64 [B, num_times], when the event of each column was, in
        seconds, and in column L + 1 when that after the newest was, only if `num_times` is not 0.

    Args:
        split: The split whose train events are trained on.
        samples: The windows of the split.
        max_length: L.
        batch_size: B; a batch holds distinct windows.
        seed: The run's seed.
        draw: `permutation`, each window once an epoch; `with_replacement`, each batch drawn
            anew, so that visits an epoch are about Poisson(1), as in the authors' code.
        first_step: Steps to leave out, when a run resumes.
        placement: The windows that are trained here; None for all of them.
        num_replicas: Replicas among which these are dealt out.
        is_left_out: bool [E], True for a train event that is no positive; for a teacher with
            hindsight. Not with `prefixes`. None for other models.
        num_times: Columns of times: 0, L or L + 1; see `Backbone.num_times`.

    Raises:
        UserError: If times are read and the log has none.
    """
    steps = steps_per_epoch(len(samples.users), batch_size, draw=draw)
    items = shared_constant(split.interactions.items, tf.int32)
    fields = [tf.constant(field) for field in samples[:4]]
    fields.append(tf.constant(samples.first_rows if placement is None else placement.first_rows))
    num_rows = batch_size
    if placement is not None:
        num_rows = placement.rows_a_replica(batch_size, num_replicas)
    num_targets = 1 if samples.only_newest else max_length
    left_out = None if is_left_out is None else tf.constant(is_left_out)
    times = tf.constant(split.interactions.whole_seconds()) if num_times else None

    @tf.autograph.experimental.do_not_convert
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.data.Dataset.from_tensor_slices(_order(samples, batch_size, draw, seed, epoch))
        visits = tf.fill([steps], epoch)
        if draw == "with_replacement":  # a user may come twice an epoch, with other negatives
            visits = tf.range(steps, dtype=tf.int64) + epoch * steps
        return tf.data.Dataset.zip((order, tf.data.Dataset.from_tensor_slices(visits)))

    @tf.autograph.experimental.do_not_convert
    def gather(chosen: tf.Tensor, visit: tf.Tensor) -> dict[str, tf.Tensor]:
        is_real = chosen >= 0
        users, starts, lengths, positions, rows = (
            tf.gather(field, tf.maximum(chosen, 0)) for field in fields
        )
        lengths = tf.where(is_real, lengths, 0)
        column = tf.range(max_length) - (max_length - lengths[:, None])  # [B, L]
        index = starts[:, None] + tf.cast(tf.maximum(column, 0), tf.int64)
        is_target = column >= 0
        following = tf.minimum(index + 1, len(items) - 1)[:, -num_targets:]
        positives = tf.where(is_target[:, -num_targets:], tf.gather(items, following), 0)
        batch = {
            "user": tf.where(is_real, users, -1),
            "history": tf.where(is_target, tf.gather(items, index), 0),
            "positives": positives,
            "first_position": positions,
            "first_row": rows,
            "length": lengths,
            "visit": tf.fill([num_rows], visit),
        }
        if left_out is not None:
            batch["next_items"] = positives
            batch["positives"] = tf.where(tf.gather(left_out, following), 0, positives)
        if times is not None:
            if num_times > max_length:
                index = tf.concat([index, index[:, -1:] + 1], axis=1)
            batch["times"] = tf.gather(times, tf.minimum(index, len(items) - 1))
        return batch

    begin_epoch, skipped = divmod(first_step, steps)
    dataset = tf.data.Dataset.range(begin_epoch, np.iinfo(np.int64).max)
    dataset = dataset.flat_map(epoch_batches).skip(skipped)
    if placement is not None and (placement.num_workers > 1 or num_replicas > 1):
        deal = _deal_out(placement, samples.lengths, num_rows, num_replicas)
        dataset = dataset.map(deal, num_parallel_calls=1, deterministic=True).unbatch()
    dataset = dataset.map(gather, num_parallel_calls=1, deterministic=True)
    # It never ends, and `repeat` says so: with a dataset that may end, the workers would ask each
    # other in every step whether all of them have a batch.
    return dataset.repeat().prefetch(4).with_options(_untuned())
