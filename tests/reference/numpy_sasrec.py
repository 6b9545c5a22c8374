"""SASRec's forward pass in NumPy, float64, one history at a time, written from its description.

It imports nothing of the package under test. Weights come in one flat list, in the order
item table, position table, then for each block: attention norm (gamma, beta), query (kernel,
bias), key and value together (kernel, bias), output (kernel, bias), feed-forward norm (gamma,
beta), inner (kernel, bias), outer (kernel, bias); last the final norm (gamma, beta).
"""

from collections.abc import Sequence

import numpy as np

WEIGHTS_A_BLOCK = 14
EPSILON = 1e-8


def layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Normalises the last axis."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def attention(
    queries: np.ndarray,
    values: np.ndarray,
    weights: Sequence[np.ndarray],
    *,
    num_heads: int,
    is_visible: np.ndarray,
) -> np.ndarray:
    """Multi-head attention of [L, D] queries over [L, D] values; is_visible [L, L]."""
    query_kernel, query_bias, kv_kernel, kv_bias, output_kernel, output_bias = weights
    length, width = queries.shape
    size = width // num_heads
    query = queries @ query_kernel + query_bias
    key = values @ kv_kernel[:, :width] + kv_bias[:width]
    value = values @ kv_kernel[:, width:] + kv_bias[width:]
    mixed = np.zeros((length, width))
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(length):
            seen = np.flatnonzero(is_visible[i])
            logits = np.array([query[i, part] @ key[j, part] for j in seen]) / np.sqrt(size)
            share = np.exp(logits - logits.max())
            share /= share.sum()
            mixed[i, part] = share @ value[seen][:, part]
    return mixed @ output_kernel + output_bias


def encode(
    weights: Sequence[np.ndarray],
    history: Sequence[int] | np.ndarray,
    *,
    variant: str,
    num_heads: int,
) -> np.ndarray:
    """Vectors float64 [L, D] of one left-padded history [L], without dropout."""
    weights = [np.asarray(weight, np.float64) for weight in weights]
    items, positions = weights[:2]
    padded = np.asarray(history)
    length, width = len(padded), items.shape[1]
    is_real = np.not_equal(padded, 0)
    column = np.arange(length)
    is_visible = column[:, None] >= column[None, :]
    if variant == "corrected":
        # A padded query sees itself, so that it sees something; nobody reads what comes out.
        is_visible = (is_visible & is_real[None, :]) | np.eye(length, dtype=bool)
    hidden = (items[padded] * np.sqrt(width) + positions) * is_real[:, None]
    num_blocks = (len(weights) - 4) // WEIGHTS_A_BLOCK
    for block in range(num_blocks):
        own = weights[2 + block * WEIGHTS_A_BLOCK :][:WEIGHTS_A_BLOCK]
        norm_1, attention_weights, norm_2, feed = own[:2], own[2:8], own[8:10], own[10:]
        query = layer_norm(hidden, *norm_1)
        values = query if variant == "corrected" else hidden
        attended = attention(
            query, values, attention_weights, num_heads=num_heads, is_visible=is_visible
        )
        if variant == "corrected":
            hidden = hidden + attended
            fed = layer_norm(hidden, *norm_2)
        else:
            residual = hidden if variant == "input_residual" else query
            hidden = layer_norm(residual + attended, *norm_2)
            fed = hidden
        fed = np.maximum(fed @ feed[0] + feed[1], 0) @ feed[2] + feed[3]
        hidden = (hidden + fed) * is_real[:, None]
    return layer_norm(hidden, *weights[-2:])
