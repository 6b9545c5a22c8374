"""Forward passes of the other backbones in NumPy, float64, from their descriptions.

Imports nothing of the package under test. One left-padded history at a time, without dropout.
Weights come in one flat list in the order that each function names.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tests.reference.numpy_sasrec import attention

Weights = Sequence[np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution function of x."""
    return x * np.vectorize(lambda value: 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)


def normed(x: np.ndarray, epsilon: float, gamma=1.0, beta=0.0) -> np.ndarray:
    spread = x.std(axis=-1, keepdims=True)
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(spread**2 + epsilon) * gamma + beta


def taker(weights: Weights) -> Iterator[np.ndarray]:
    return iter([np.asarray(weight, np.float64) for weight in weights])


def gru4rec(weights: Weights, history: np.ndarray, *, num_blocks: int) -> np.ndarray:
    """Item table, output (kernel, bias) where the state has another size than the items; then a
    layer: input (kernel, bias), recurrent (kernel, bias), gates in the order reset, update, new.
    """
    take = taker(weights)
    table = next(take)
    output = [next(take), next(take)] if len(weights) > 1 + 4 * num_blocks else None
    hidden = table[history]
    for _ in range(num_blocks):
        kernel, bias, recurrent, recurrent_bias = (next(take) for _ in range(4))
        size = recurrent.shape[0]
        reset, update, new = (slice(part * size, (part + 1) * size) for part in range(3))
        state, states = np.zeros(size), []
        for item, x in zip(history, hidden, strict=True):
            if item:
                ours, its = x @ kernel + bias, state @ recurrent + recurrent_bias
                r = sigmoid(ours[reset] + its[reset])
                z = sigmoid(ours[update] + its[update])
                n = np.tanh(ours[new] + r * its[new])
                state = (1 - z) * n + z * state
            states.append(state)
        hidden = np.array(states)
    return hidden if output is None else hidden @ output[0] + output[1]


def bucket(seconds: int) -> int:
    """Twice the floor of the logarithm to base 2, and one more from 1.5 times that power on."""
    power = math.floor(math.log2(max(seconds, 1)))
    return 2 * power + (seconds >= 1.5 * 2**power)


def gap_vectors(tables: Weights, history: np.ndarray, times: np.ndarray) -> np.ndarray:
    """What is added to the item vectors, [L, D]: row 0 of the first table for the first event, else
    that after the bucket of the gap before; of a second table that of the gap to the next time."""
    found = np.zeros((len(history), tables[0].shape[1]))
    real = np.flatnonzero(history)
    for place, column in enumerate(real):
        gap = times[column] - times[column - 1]
        found[column] = tables[0][1 + bucket(gap) if place else 0]
        if len(tables) > 1:
            found[column] += tables[1][bucket(times[column + 1] - times[column])]
    return found


def hstu(
    weights: Weights,
    history: np.ndarray,
    *,
    num_blocks: int,
    num_heads: int,
    time: str = "none",
    times: np.ndarray | None = None,
) -> np.ndarray:
    """Item table, with `time` gaps or both those of `gap_vectors`; a unit: U, V, Q, K together,
    bias by distance, with `time` bias or both that by time, output (kernel, bias); last the norm
    (gamma, beta). `times` [L] of the columns, or [L + 1] with that of the request."""
    take = taker(weights)
    table = next(take)
    has_gaps, has_bias = time in ("gaps", "both"), time in ("bias", "both")
    times = np.zeros(len(history)) if times is None else times
    asks = len(times) > len(history)
    length, width = len(history), table.shape[1]
    size = width // num_heads
    real = np.flatnonzero(history)
    x = table[history] * math.sqrt(width)
    if has_gaps:
        x += gap_vectors([next(take) for _ in range(1 + asks)], history, times)
    for _ in range(num_blocks):
        kernel, bias = next(take), next(take)
        time_bias = next(take) if has_bias else None
        output, output_bias = next(take), next(take)
        projected = normed(x, 1e-6) @ kernel
        u, v, q, k = np.split(projected * sigmoid(projected), 4, axis=-1)
        mixed = np.zeros((length, width))
        for head in range(num_heads):
            part = slice(head * size, (head + 1) * size)
            for i in real:
                for j in real[real <= i]:
                    logit = q[i, part] @ k[j, part] + bias[i - j]
                    if time_bias is not None:
                        logit += time_bias[bucket(times[i + asks] - times[j])]
                    mixed[i, part] += logit * sigmoid(logit) / length * v[j, part]
        x = x + (normed(mixed, 1e-6) * u) @ output + output_bias
        x[history == 0] = 0
    return normed(x, 1e-6, next(take), next(take))


def circular(x: np.ndarray, real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """Transform over L by its definition, times the weights [D, L // 2 + 1], and back."""
    length = len(x)
    column = np.arange(length)
    result = np.zeros(x.shape)
    for frequency in range(length // 2 + 1):
        wave = np.exp(2j * np.pi * frequency * column / length)
        weight = real[:, frequency] + 1j * imaginary[:, frequency]
        term = (wave[:, None] * (weight * (wave.conj() @ x))).real / length
        # Each but the zeroth and the highest of an even length stands for its mirror image too.
        result += term * (1 if frequency == 0 or 2 * frequency == length else 2)
    return result


def causal(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolution with weights [D, L] by distance, nothing before the window."""
    result = np.zeros(x.shape)
    for column in range(len(x)):
        for back in range(column + 1):
            result[column] += kernel[:, back] * x[column - back]
    return result


def fed(x: np.ndarray, take: Iterator[np.ndarray]) -> np.ndarray:
    """norm(x + W2 gelu(W1 x)): inner (kernel, bias), outer (kernel, bias), norm (gamma, beta)."""
    inner, inner_bias, outer, outer_bias = (next(take) for _ in range(4))
    hidden = gelu(x @ inner + inner_bias) @ outer + outer_bias
    return normed(x + hidden, 1e-12, next(take), next(take))


def embedded(history: np.ndarray, take: Iterator[np.ndarray], padding: str) -> np.ndarray:
    """norm(item + position), `zero` without an item in padding: tables, norm (gamma, beta)."""
    items, positions = next(take).copy(), next(take)
    items[0] *= padding == "released"
    return normed(items[history] + positions, 1e-12, next(take), next(take))


def fmlp(
    weights: Weights, history: np.ndarray, *, num_blocks: int, filter: str, padding: str = "zero"
) -> np.ndarray:
    """What `embedded` takes; a block: filter (real and imaginary part, or kernel), norm (gamma,
    beta), what `fed` takes."""
    take = taker(weights)
    keep = (history > 0)[:, None] if filter == "causal" else 1
    x = embedded(history, take, padding) * keep
    for _ in range(num_blocks):
        mixed = causal(x, next(take)) if filter == "causal" else circular(x, next(take), next(take))
        x = fed(normed(x + mixed, 1e-12, next(take), next(take)), take) * keep
    return x


def lowest(x: np.ndarray, low_frequencies: int) -> np.ndarray:
    """What of x [L, D] is of the frequencies 0, +-1, ... +-(c // 2)."""
    length = len(x)
    angle = 2 * np.pi * (np.arange(length)[:, None] - np.arange(length)[None, :]) / length
    limit = low_frequencies // 2
    return np.sum([np.cos(k * angle) for k in range(-limit, limit + 1)], axis=0) / length @ x


def mean_of_newest(x: np.ndarray, history: np.ndarray, count: int) -> np.ndarray:
    """Mean of each real column and those just before it, at most so many, padding left out."""
    result = np.zeros(x.shape)
    for column in np.flatnonzero(history).tolist():
        taken = [j for j in range(max(column - count + 1, 0), column + 1) if history[j]]
        result[column] = x[taken].mean(axis=0)
    return result


def bsarec(
    weights: Weights,
    history: np.ndarray,
    *,
    num_blocks: int,
    num_heads: int,
    filter: str,
    frequency_share: float,
    low_frequencies: int,
    padding: str = "zero",
) -> np.ndarray:
    """What `embedded` takes; a block: beta, six weights of attention, norm of the filter, norm of
    attention (gamma, beta each), what `fed` takes."""
    take = taker(weights)
    length, is_real = len(history), history > 0
    keep = is_real[:, None] if filter == "causal" else 1
    column = np.arange(length)
    # A padded column sees itself, so that it sees something; or as released everything.
    is_visible = (column[:, None] >= column) & is_real | np.eye(length, dtype=bool)
    if padding == "released":
        is_visible[~is_real] = True
    x = embedded(history, take, padding) * keep
    for _ in range(num_blocks):
        beta, own = next(take), [next(take) for _ in range(6)]
        if filter == "causal":
            low = mean_of_newest(x, history, math.ceil(length / low_frequencies))
        else:
            low = lowest(x, low_frequencies)
        rescaled = normed(x + low + beta**2 * (x - low), 1e-12, next(take), next(take))
        attended = attention(x, x, own, num_heads=num_heads, is_visible=is_visible)
        attended = normed(x + attended, 1e-12, next(take), next(take))
        x = frequency_share * rescaled + (1 - frequency_share) * attended
        x = fed(x, take) * keep
    return x
