"""Every loss under every policy against NumPy: values, gradients, the effect of the policies."""

import numpy as np
import pytest
import tensorflow as tf

from ufnrec_tf.method.candidates import count_entries
from ufnrec_tf.objectives import OBJECTIVES, functions
from ufnrec_tf.objectives.base import Entries, LossSettings
from ufnrec_tf.objectives.functions import (
    MINUS_INFINITY,
    catalogue_log_denominators,
    first_of_each,
    masked_softmax_kl,
)

NUM_ITEMS, NUM_POSITIONS, WIDTH, NUM_PROBES = 30, 7, 4, 5
ALPHA = 0.3
SHIFTS = {
    "nce": np.log(NUM_ITEMS / 6),
    "sampled_softmax_logq": np.log((NUM_ITEMS - 1) / 6),
    "scaled_cross_entropy": np.log(100.0),
}
BINARY = ("pooled_bce", "bce", "nce", "gbce")
POLICIES = ("plain", "remove", "flip", "ufnrec", "ufnrec_soft", "ufnrec_over_flipped")


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Case:
    """Random positions; the last is a filler, of the first two nobody is suspect."""

    def __init__(self, loss: str, policy: str) -> None:
        rng = np.random.default_rng([sum(map(ord, loss)), POLICIES.index(policy)])
        most = OBJECTIVES[loss].most_negatives
        self.loss, self.policy = loss, policy
        self.num_negatives = 6 if most is None else most
        self.num_probes = 0 if most is None else NUM_PROBES
        columns = self.num_probes + self.num_negatives
        items = np.array([rng.permutation(NUM_ITEMS)[: 1 + columns] for _ in range(NUM_POSITIONS)])
        self.candidates = items + 1
        self.vectors = rng.normal(size=(NUM_POSITIONS, WIDTH))
        self.table = rng.normal(size=(NUM_ITEMS + 1, WIDTH))
        self.teacher = rng.normal(0, 2, size=self.candidates.shape)
        suspect = rng.random(self.candidates.shape) < 0.4
        suspect[:, 0] = suspect[:2] = suspect[-1] = False
        if self.num_probes:  # probes are what is remembered
            suspect[:, 1 + self.num_probes :] = False
        nothing = np.zeros_like(suspect)
        self.removed = suspect if policy == "remove" else nothing
        self.flipped = nothing if policy in ("plain", "remove") else suspect
        self.softened = self.flipped & policy.startswith("ufnrec")
        if policy == "ufnrec":  # one that the teacher has not scored
            self.softened[3] = False
        is_probe = nothing.copy()
        is_probe[:, 1 : 1 + self.num_probes] = True
        excluded = rng.random(suspect.shape) < 0.1
        excluded[:, 0] = False
        self.counted = ~(excluded & ~suspect) & ~self.removed & (~is_probe | self.flipped)
        self.counted[-1] = False
        self.soft_only = policy == "ufnrec_soft"
        self.over_flipped = policy == "ufnrec_over_flipped"
        self.smoothing = 0.0
        self.is_candidate: np.ndarray | None = None

    def objective(self):
        return OBJECTIVES[self.loss](
            LossSettings(
                NUM_ITEMS,
                max(self.num_negatives, 1),
                calibration=0.75,
                scale=100.0,
                label_smoothing=self.smoothing,
                is_candidate=self.is_candidate,
            ),
            consistency_weight=ALPHA,
            averages_over_flipped=self.over_flipped,
            uses_soft_label_only=self.soft_only,
            l2=0.0,
        )

    def found(self):
        """Terms, and the gradients by vectors and table."""
        objective = self.objective()
        entries = Entries(
            tf.constant(self.candidates),
            *(tf.constant(flags) for flags in (self.flipped, self.removed, self.counted)),
        )
        vectors, table = (tf.constant(part, tf.float32) for part in (self.vectors, self.table))
        softened = tf.constant(self.softened)
        with tf.GradientTape() as tape:
            tape.watch([vectors, table])
            rows = tf.gather(table, self.candidates)
            terms = objective(
                logits=tf.einsum("pd,pkd->pk", vectors, rows),
                entries=entries,
                is_softened=softened,
                teacher_logits=tf.constant(self.teacher, tf.float32),
                vectors=vectors,
                item_table=table,
                divisors=count_entries(entries, softened, objective.uses_soft_label_only),
            )
        gradients = tape.gradient(terms.total, [vectors, table])
        return terms, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def expected(self, vectors=None, table=None):
        """(ranking, consistency) by loops over positions, in float64."""
        vectors = self.vectors if vectors is None else vectors
        table = self.table if table is None else table
        term = self._binary if self.loss in BINARY else self._softmax
        return term(np.einsum("pd,pkd->pk", vectors, table[self.candidates]), vectors, table)

    def _binary(self, logits, vectors, table):
        shift = SHIFTS.get(self.loss, 0.0)
        positive, negative = 1.0, 1.0
        if self.loss == "gbce":
            rate = 6 / (NUM_ITEMS - 1)
            negative = 1 / 7
            positive = negative * rate * (0.75 * (1 - 1 / rate) + 1 / rate)
        ranking = consistency = num_labels = 0.0
        for place in np.argwhere(self.counted):
            row, column = place
            logit, teacher = logits[row, column] + shift, self.teacher[row, column] + shift
            is_positive = column == 0 or self.flipped[row, column]
            if self.softened[row, column]:
                p, q = sigmoid(teacher), sigmoid(logit)
                consistency += p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
                if self.soft_only:
                    continue
            num_labels += 1
            ranking += positive * softplus(-logit) if is_positive else negative * softplus(logit)
        positions = NUM_POSITIONS - 1
        divisor = self.softened.sum() if self.over_flipped else positions
        if self.loss == "pooled_bce":
            divisor = self.softened.sum() if self.over_flipped else self.counted.sum()
            return 2 * ranking / num_labels, consistency / max(divisor, 1)
        return ranking / positions, consistency / max(divisor, 1)

    def _softmax(self, logits, vectors, table):
        ranking = consistency = 0.0
        for row in range(NUM_POSITIONS - 1):
            targets = [0]
            for column in np.flatnonzero(self.flipped[row]):
                if not (self.soft_only and self.softened[row, column]):
                    targets.append(int(column))
            if self.loss == "cross_entropy":
                gone = self.candidates[row][self.removed[row]]
                known = np.arange(1, NUM_ITEMS + 1)
                known = known if self.is_candidate is None else known[self.is_candidate]
                inside = [item for item in known if item not in gone]
                denominator = np.exp(table[inside] @ vectors[row]).sum()
            else:
                denominator = 0.0
                for column in np.flatnonzero(self.counted[row]):
                    is_drawn = column > 0 and not self.flipped[row, column]
                    shift = SHIFTS.get(self.loss, 0.0) if is_drawn else 0.0
                    denominator += np.exp(logits[row, column] + shift)
            target = np.mean(logits[row, targets])
            if self.smoothing:
                target += self.smoothing * ((table[known] @ vectors[row]).mean() - target)
            ranking += np.log(denominator) - target
            soft = [0, *np.flatnonzero(self.softened[row])]
            p, q = (
                np.exp(x[row, soft]) / np.exp(x[row, soft]).sum() for x in (self.teacher, logits)
            )
            consistency += (p * np.log(p / q)).sum()
        positions = NUM_POSITIONS - 1
        num_softened = self.softened.any(axis=1).sum()
        divisor = max(num_softened, 1) if self.over_flipped else positions
        return ranking / positions, consistency / divisor


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("loss", sorted(OBJECTIVES))
def test_a_loss_under_a_policy_equals_numpy(loss, policy):
    check(Case(loss, policy))


@pytest.mark.parametrize("policy", ["plain", "flip", "remove"])
def test_cross_entropy_with_smoothed_labels_equals_numpy(policy):
    case = Case("cross_entropy", policy)
    case.smoothing = 0.2
    without = case.expected()[0]
    check(case)
    if policy != "remove":  # what is removed is always a candidate
        case.is_candidate = np.arange(NUM_ITEMS) % 3 < 2
        check(case)
        case.is_candidate = None
    case.smoothing = 0.0
    assert abs(case.expected()[0] - without) > 0.01


def check(case: Case) -> None:
    """Compares the terms and their gradients with NumPy's."""
    policy = case.policy
    terms, gradients = case.found()
    by_vectors, by_table = (gradient.numpy() for gradient in gradients)
    ranking, consistency = case.expected()
    assert float(terms.ranking) == pytest.approx(ranking, rel=2e-5)
    assert float(terms.consistency) == pytest.approx(consistency, rel=2e-5, abs=1e-6)
    assert float(terms.total) == pytest.approx(ranking + ALPHA * consistency, rel=2e-5)
    if policy.startswith("ufnrec"):
        assert consistency > 0.01
    rng, step = np.random.default_rng(1), 1e-5
    for _ in range(3):  # the gradient along random directions
        d_vectors, d_table = rng.normal(size=by_vectors.shape), rng.normal(size=by_table.shape)
        sides = []
        for sign in (1, -1):
            moved = case.expected(
                case.vectors + sign * step * d_vectors, case.table + sign * step * d_table
            )
            sides.append(moved[0] + ALPHA * moved[1])
        slope = (sides[0] - sides[1]) / (2 * step)
        found = (by_vectors * d_vectors).sum() + (by_table * d_table).sum()
        assert found == pytest.approx(slope, rel=1e-3, abs=1e-4)
    assert not by_vectors[-1].any()  # a filler
    assert not by_table[0].any()  # padding


@pytest.mark.parametrize("loss", sorted(OBJECTIVES))
def test_policies_differ_from_plain_and_an_unflipped_probe_does_not(loss):
    plain = Case(loss, "plain")
    values = {"plain": plain.expected()[0]}
    for policy in ("remove", "flip"):
        case = Case(loss, policy)
        for name in ("candidates", "vectors", "table"):
            setattr(case, name, getattr(plain, name))
        values[policy] = float(case.found()[0].ranking)
    if loss != "bce":  # one negative that is no suspect: there is nothing to remove
        assert abs(values["remove"] - values["plain"]) > 1e-3
    assert abs(values["flip"] - values["plain"]) > 1e-3
    if plain.num_probes:
        before = float(plain.found()[0].ranking)
        plain.candidates[:, 1 : 1 + plain.num_probes] = 1
        assert float(plain.found()[0].ranking) == pytest.approx(before, rel=1e-6)


def test_removing_nearly_all_of_the_catalogue_stays_finite():
    case = Case("cross_entropy", "remove")
    case.table = case.table * 8
    terms, gradients = case.found()
    assert np.isfinite(float(terms.total))
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("num_positions", "most_positions", "blocks"),
    [(7, 3, 3), (7, 256, 1), (8, 4, 2), (1, 1, 1), (0, 256, 0)],
)
def test_denominators_in_blocks_and_their_gradients(num_positions, most_positions, blocks, dtype):
    """Against NumPy: two items of every second position are removed, one item is no candidate."""
    assert -(-num_positions // most_positions) == blocks
    rng = np.random.default_rng(2)
    vectors, table = rng.normal(0, 1, (num_positions, 5)), rng.normal(0, 1, (33, 5))
    weights = rng.random(num_positions) * (np.arange(num_positions) != 4)  # a filler
    is_candidate = np.arange(33) != 6
    logits = vectors @ table.T
    removed = np.stack([np.argsort(logits[:, :6], axis=1)[:, -1], np.full(num_positions, 20)], 1)
    is_removed = (np.arange(num_positions) % 2 == 1)[:, None] & np.ones((1, 2), bool)
    kept = np.where(is_candidate, np.exp(logits), 0)
    for row in np.flatnonzero(is_removed[:, 0]):
        kept[row, removed[row]] = 0
    sums = kept.sum(axis=1, keepdims=True)
    shares = weights[:, None] * kept / sums
    expected = [(weights[:, None] * np.log(sums)).sum(), shares @ table, shares.T @ vectors]

    own, items = (tf.constant(part, dtype) for part in (vectors, table))
    with tf.GradientTape() as tape:
        tape.watch([own, items])
        rows = tf.gather(items, removed)
        gone = tf.where(is_removed, tf.linalg.matvec(rows, own), MINUS_INFINITY)
        total = catalogue_log_denominators(
            own, items, tf.constant(weights, dtype), gone, is_candidate, most_positions
        )
    found = [total, *map(tf.convert_to_tensor, tape.gradient(total, [own, items]))]
    for value, exact in zip(found, expected, strict=True):
        tolerance = 1e-4 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(value, exact, rtol=tolerance, atol=tolerance / 10)


def test_blocks_are_larger_on_a_gpu(monkeypatch):
    assert functions.block_positions() == functions.BLOCK_POSITIONS
    monkeypatch.setattr(functions, "has_gpu", lambda: True)
    assert functions.block_positions() == functions.GPU_BLOCK_POSITIONS


def test_softmax_divergence_by_hand():
    """Teacher 1/2, 1/2; student 1/4, 3/4 over the marked two: (log 2 + log 2/3) / 2."""
    teacher, student = tf.constant([[0.0, 9.0, 0.0]]), tf.constant([[0.0, -9.0, np.log(3.0)]])
    marked = tf.constant([[True, False, True]])
    expected = 0.5 * (np.log(2) + np.log(2 / 3))
    assert float(masked_softmax_kl(student, teacher, marked)[0]) == pytest.approx(expected, 1e-5)
    assert float(masked_softmax_kl(student, teacher, tf.constant([[True, False, False]]))[0]) == 0.0


def repeated(loss: str) -> Case:
    """A case in which removed items stand in several columns, by probes and by draws."""
    case = Case(loss, "remove")
    case.removed[2:-1, 1:4] = True
    case.candidates[2:-1, 2] = case.candidates[2:-1, 1]
    case.candidates[3, 3] = case.candidates[3, 1]
    case.counted &= ~case.removed
    return case


@pytest.mark.parametrize("loss", sorted(set(OBJECTIVES) - {"bce"}))
def test_an_item_removed_in_several_columns_is_gone_once(loss):
    case = repeated(loss)
    assert float(case.found()[0].ranking) == pytest.approx(case.expected()[0], rel=2e-5)


def test_cross_entropy_without_an_item_that_stands_twice_by_hand():
    """Four items with e^logit 4, 1, 2, 1; item 2 removed in two columns: log(7 / 4), not 6 / 4."""
    table = tf.math.log(tf.constant([[1.0], [4.0], [1.0], [2.0], [1.0]]))
    candidates = tf.constant([[1, 2, 3, 2]])
    removed = tf.constant([[False, True, False, True]])
    counted = tf.constant([[True, False, False, False]])
    nothing = tf.zeros_like(removed)
    objective = OBJECTIVES["cross_entropy"](
        LossSettings(num_items=4, num_negatives=1),
        consistency_weight=0.0,
        averages_over_flipped=False,
        uses_soft_label_only=False,
        l2=0.0,
    )
    entries = Entries(candidates, nothing, removed, counted)
    terms = objective(
        logits=tf.gather(table[:, 0], candidates),
        entries=entries,
        is_softened=nothing,
        teacher_logits=tf.zeros([1, 4]),
        vectors=tf.ones([1, 1]),
        item_table=table,
        divisors=count_entries(entries, nothing, objective.uses_soft_label_only),
    )
    assert float(terms.ranking) == pytest.approx(np.log(7 / 4), rel=1e-6)


def test_first_of_each_keeps_one_entry_an_item():
    items = tf.constant([[5, 2, 5, 2, 5], [1, 1, 1, 3, 3]])
    marked = tf.constant([[False, True, True, True, True], [True, False, True, False, False]])
    expected = [[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    np.testing.assert_array_equal(first_of_each(items, marked).numpy().astype(int), expected)


def test_cross_entropy_without_repeated_items_is_the_same_compiled():
    case = repeated("cross_entropy")
    terms, gradients = case.found()
    compiled_terms, compiled_gradients = tf.function(case.found, jit_compile=True)()
    np.testing.assert_allclose(compiled_terms, terms, rtol=1e-6)
    for compiled, plain in zip(compiled_gradients, gradients, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6)


def operations_of(function: tf.types.experimental.GenericFunction) -> tuple[set[str], set[str]]:
    """Returns the kinds of operations of a function's graph, and of the branches it may call."""
    graph = function.get_concrete_function().graph.as_graph_def()
    in_branches = {node.op for one in graph.library.function for node in one.node_def}
    return {node.op for node in graph.node}, in_branches


def test_cross_entropy_looks_for_repeats_only_where_something_was_removed():
    """Plain training has no candidate but the positive; otherwise the search is a branch."""
    plain = Case("cross_entropy", "plain")
    for name in ("candidates", "teacher", "removed", "flipped", "softened", "counted"):
        setattr(plain, name, getattr(plain, name)[:, :1])
    sorts = {"TopKV2", "ScatterNd"}
    always, sometimes = operations_of(tf.function(plain.found))
    assert not sorts & (always | sometimes)
    always, sometimes = operations_of(tf.function(Case("cross_entropy", "remove").found))
    assert not sorts & always and sorts <= sometimes
