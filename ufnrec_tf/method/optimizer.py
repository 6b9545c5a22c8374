"""The optimizer: Adam with epsilon where the authors' has it, and schedules of the rate."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class RowGradient(NamedTuple):
    """The gradient of the rows of a table that a step has read; it is zero in the others.

    Attributes:
        rows: int32 [M], the rows, repeats allowed.
        values: float [M, D], the parts of the gradient; those of one row add up.
    """

    rows: tf.Tensor
    values: tf.Tensor

    def sums(self, num_rows: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns float [M, D], each row's gradient once; int32 [M], where an entry's row has it.

        The other entries are zero, so that the norm is that of the whole gradient.

        Args:
            num_rows: Rows of the table.
        """
        # Which of several entries a row takes has no effect: no sort, and no shape of the data's.
        size = tf.size(self.rows)
        owners = tf.tensor_scatter_nd_update(
            tf.zeros([num_rows], tf.int32), self.rows[:, None], tf.range(size)
        )
        places = tf.gather(owners, self.rows)
        return tf.math.unsorted_segment_sum(self.values, places, size), places


class StepSize(NamedTuple):
    """The numbers of a step that are the same for all weights of a dtype.

    Attributes:
        rate: float [], the learning rate, divided by the first moment's bias correction.
        scale: float [], 1 / sqrt of the second moment's bias correction.
    """

    rate: tf.Tensor
    scale: tf.Tensor


class TorchAdam(keras.optimizers.Adam):
    """Keras's Adam with epsilon added after the bias correction.

    step = learning_rate * m_hat / (sqrt(v_hat) + epsilon). Keras adds its epsilon to sqrt(v)
    before the correction, so that early steps differ.

    Source: Kingma & Ba, ICLR 2015, algorithm 1.

    Attributes:
        coupled_decay: See below.
        lazy_rows: See below.

    Args:
        lazy_rows: True moves only those rows of the item table, and of its moments, that the step
            has read (lazy Adam): a step then does not cost more with more items. A row that is not
            read keeps its moments as they are, and no weight decay acts on it. Where every row is
            read it is Adam.
        coupled_decay: Share of a weight that is added to its gradient, after clipping, so that it
            goes through both moments, as the `weight_decay` of torch's Adam does; 0 for none.
        **settings: See `keras.optimizers.Adam`.
    """

    def __init__(
        self, *, coupled_decay: float = 0.0, lazy_rows: bool = False, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.coupled_decay = coupled_decay
        self.lazy_rows = lazy_rows

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"coupled_decay": self.coupled_decay, "lazy_rows": self.lazy_rows}
        return {**super().get_config(), **own}

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        # Keras clips here: each replica's share by itself, and sparse gradients before repeated
        # rows are added up. Neither norm is that of the gradient, which is clipped below instead.
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        pairs = super()._all_reduce_sum_gradients(grads_and_vars)
        if not self.global_clipnorm:
            return pairs
        gradients = [None if g is None else tf.convert_to_tensor(g) for g, _ in pairs]
        clipped, _ = tf.clip_by_global_norm(gradients, self.global_clipnorm)
        return [(g, variable) for g, (_, variable) in zip(clipped, pairs, strict=True)]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its two moments; see `keras.optimizers.Optimizer`."""
        index = self._get_variable_index(variable)
        moments = self._momentums[index], self._velocities[index]
        size = self._step_size(self.iterations + 1, learning_rate, variable.dtype)
        self._move(gradient, variable, *moments, size)

    def _step_size(self, step: Any, rate: Any, dtype: Any) -> StepSize:
        """Returns the size of step number `step`, int64 [] from 1, of weights of a dtype."""
        step = tf.cast(step, dtype)
        correction_1 = 1.0 - tf.pow(tf.constant(self.beta_1, dtype), step)
        correction_2 = 1.0 - tf.pow(tf.constant(self.beta_2, dtype), step)
        return StepSize(tf.cast(rate, dtype) / correction_1, tf.math.rsqrt(correction_2))

    def _move(
        self, gradient: Any, variable: Any, momentum: Any, velocity: Any, size: StepSize
    ) -> None:
        """Updates a variable and its moments, Keras's or TensorFlow's."""
        state = tuple(map(tf.convert_to_tensor, (variable, momentum, velocity)))
        moved = self._moved(tf.convert_to_tensor(gradient), state, size)
        for kept, value in zip((variable, momentum, velocity), moved, strict=True):
            kept.assign(value)

    def _moved(
        self, gradient: tf.Tensor, state: tuple[tf.Tensor, ...], size: StepSize
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the weights and their moments after a step.

        Args:
            gradient: Of the weights' shape.
            state: The weights and their moments before.
            size: The step's, of the weights' dtype.
        """
        weights, momentum, velocity = state
        if self.coupled_decay:
            gradient += self.coupled_decay * weights
        momentum += (gradient - momentum) * (1.0 - self.beta_1)
        velocity += (tf.square(gradient) - velocity) * (1.0 - self.beta_2)
        scale = tf.sqrt(velocity) * size.scale
        return weights - size.rate * momentum / (scale + self.epsilon), momentum, velocity

    def apply_on(
        self,
        gradients: Sequence[tf.Tensor | RowGradient],
        variables: Sequence[Any],
        own: Callable[[Any], tf.Variable],
    ) -> None:
        """Applies gradients to one replica's copies, as `apply_gradients` does on one device.

        The gradients have been summed over replicas already: no collective is left, so that XLA
        can compile this.

        Args:
            gradients: Whole gradients, or those of rows; none of them None.
            variables: As many of Keras's variables, those the optimizer was built with.
            own: Returns this replica's copy of one of Keras's variables.
        """
        iterations, rate = own(self._iterations), self._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            rate = rate(iterations)
        else:
            rate = tf.convert_to_tensor(own(rate))
        found: list[tf.Tensor] = []
        places: list[tf.Tensor | None] = []
        for gradient, variable in zip(gradients, variables, strict=True):
            are_rows = isinstance(gradient, RowGradient)
            sums, place = gradient.sums(variable.shape[0]) if are_rows else (gradient, None)
            found.append(sums)
            places.append(place)
        if self.global_clipnorm:
            found, _ = tf.clip_by_global_norm(found, self.global_clipnorm)
        # Once for all variables: there are dozens, and each operation takes time to trace.
        sizes = {
            dtype: self._step_size(iterations + 1, rate, dtype)
            for dtype in {variable.dtype for variable in variables}
        }
        for gradient, whole, place, variable in zip(
            gradients, found, places, variables, strict=True
        ):
            copy, index = own(variable), self._get_variable_index(variable)
            moments = own(self._momentums[index]), own(self._velocities[index])
            size = sizes[variable.dtype]
            if isinstance(gradient, RowGradient):
                whole = tf.gather(whole, place)
                self._move_rows(gradient.rows, whole, (copy, *moments), size, rate)
                continue
            if self.weight_decay:
                copy.assign_sub(copy * tf.cast(self.weight_decay * rate, copy.dtype))
            self._move(whole, copy, *moments, size)
        iterations.assign_add(1)

    def _move_rows(
        self,
        rows: tf.Tensor,
        gradient: tf.Tensor,
        variables: tuple[tf.Variable, ...],
        size: StepSize,
        rate: Any,
    ) -> None:
        """Updates rows of a table and of its moments; repeats of a row have the same gradient."""
        weights, *moments = (tf.gather(variable, rows) for variable in variables)
        if self.weight_decay:
            weights -= weights * tf.cast(self.weight_decay * rate, weights.dtype)
        moved = self._moved(gradient, (weights, *moments), size)
        for variable, value in zip(variables, moved, strict=True):
            variable.scatter_nd_update(rows[:, None], value)  # repeats write the same


@keras.saving.register_keras_serializable("ufnrec_tf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to a constant rate.

    Args:
        learning_rate: The rate after the warm-up.
        num_steps: Steps of the warm-up; step 0 has rate / num_steps.
    """

    def __init__(self, learning_rate: float, num_steps: int) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.num_steps = num_steps

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the rate, float32 [], of int64 [] `step`, from 0."""
        share = (tf.cast(step, tf.float32) + 1.0) / self.num_steps
        return self.learning_rate * tf.minimum(share, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"learning_rate": self.learning_rate, "num_steps": self.num_steps}


def make_optimizer(
    *,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float = 0.0,
    weight_decay_kind: str = "decoupled",
    clip_norm: float = 0.0,
    warm_up_steps: int = 0,
    schedule: str = "constant",
    num_steps: int = 0,
    lazy_rows: bool = False,
) -> TorchAdam:
    """Returns a new optimizer; call it inside the strategy's scope.

    Args:
        learning_rate: Peak rate.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the square root of the corrected second moment.
        weight_decay: Weight decay, 0 for none.
        weight_decay_kind: `decoupled` (Keras's: each weight shrinks by rate * decay beside its
            step) or `coupled` (torch's Adam: decay * weight is added to the gradient).
        clip_norm: Norm to which the whole gradient is clipped, 0 for none.
        warm_up_steps: Steps of linear warm-up, 0 for none.
        schedule: `constant` or `cosine` (Keras's CosineDecay to 0 at `num_steps`).
        num_steps: Steps of the whole run, read by `cosine`.
        lazy_rows: See `TorchAdam`.
    """
    rate: Any = learning_rate
    if schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warm_up_steps else learning_rate,
            max(num_steps - warm_up_steps, 1),
            warmup_target=learning_rate if warm_up_steps else None,
            warmup_steps=warm_up_steps,
        )
    elif warm_up_steps:
        rate = WarmUp(learning_rate, warm_up_steps)
    is_coupled = weight_decay_kind == "coupled"
    return TorchAdam(
        learning_rate=rate,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        weight_decay=None if is_coupled else weight_decay or None,
        coupled_decay=weight_decay if is_coupled else 0.0,
        global_clipnorm=clip_norm or None,
        lazy_rows=lazy_rows,
    )
