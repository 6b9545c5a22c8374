"""`ufnrec_safe`: looks, the counts of survivors, the draws, and the bound on its flips."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import MAX_LENGTH, NUM_ITEMS, split_of, tiny_histories
from ufnrec_tf import backbones
from ufnrec_tf.data.batches import make_dataset
from ufnrec_tf.data.splits import seen_train_items
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.method.memory import FalseNegativeMemory
from ufnrec_tf.method.model import UFNRecModel
from ufnrec_tf.method.negatives import UniformNegativeSampler
from ufnrec_tf.method.optimizer import make_optimizer
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.method.positions import pack_batch
from ufnrec_tf.method.safe_flips import SafeFlips, draw_from_softmax
from ufnrec_tf.method.step_state import StepState
from ufnrec_tf.method.teacher import EmaTeacher
from ufnrec_tf.objectives import OBJECTIVES
from ufnrec_tf.objectives.base import LossSettings

SLOTS, PROBES = 3, 12


class World:
    """A tiny log, a teacher with fixed weights, and safe flips."""

    def __init__(self, *, patience=1, period=1, budget=0.5, seed=0) -> None:
        tf.keras.utils.set_random_seed(seed)
        self.split = split_of(tiny_histories(), NUM_ITEMS)
        self.samples = make_samples(self.split, max_length=MAX_LENGTH)
        offsets, items = seen_train_items(self.split)
        self.seen = [
            set(items[offsets[user] : offsets[user + 1]].tolist())
            for user in range(len(offsets) - 1)
        ]
        backbone = backbones.create(
            "sasrec", num_items=NUM_ITEMS, width=8, max_length=MAX_LENGTH, num_blocks=1, dropout=0.5
        )
        for variable in backbone.variables:
            if "float" in str(variable.dtype):
                variable.assign(np.random.default_rng(seed).normal(0, 0.5, variable.shape))
        self.teacher = EmaTeacher(backbone, decay=0.999, uses_dropout=False)
        self.flips = SafeFlips(
            memory=FalseNegativeMemory(
                num_rows=self.samples.num_rows,
                num_items=NUM_ITEMS,
                num_slots=SLOTS,
                num_negatives=PROBES + SLOTS,
                patience=patience,
                capacity=SLOTS,
                is_cumulative=False,
                is_sticky=True,
            ),
            sampler=UniformNegativeSampler(
                num_items=NUM_ITEMS,
                seen_offsets=offsets,
                seen_items=items,
                num_negatives=PROBES + SLOTS,
                seed=seed,
            ),
            period=period,
            budget=budget,
            seed=seed,
        )

    def batches(self, count):
        dataset = make_dataset(
            self.split, self.samples, max_length=MAX_LENGTH, batch_size=16, seed=0
        )
        return list(dataset.take(count))  # all ten windows in each

    def look(self, batch, done=0):
        return self.flips.look(batch, pack_batch(batch), self.teacher, tf.constant(done, tf.int64))

    def scores(self, batch):
        """row -> (user, teacher's logits of all items less the positive's, the positive)."""
        positions = pack_batch(batch)
        vectors = self.teacher.encode_all(positions.inputs.packed).numpy()
        table = self.teacher.backbone.item_embeddings().numpy()
        found = {}
        for place, row in enumerate(positions.rows.numpy()):
            positive = int(positions.positives[place])
            logits = table @ vectors[place]
            user = int(batch["user"][int(positions.batch_rows()[place])])
            found[int(row)] = user, logits - logits[positive], positive
        return found


def test_a_row_remembers_the_best_that_outscore_the_positive_and_counts_looks_in_a_row():
    world = World(patience=1)
    first, second, third, *_ = world.batches(3)
    scores = world.scores(first)
    drawn: list[set[int]] = [set() for _ in range(world.samples.num_rows)]
    memory = world.flips.memory
    for number, batch in enumerate((first, second, third), start=1):
        before = memory.items.numpy(), memory.states.numpy()
        positions = pack_batch(batch)
        fresh = world.flips.sampler(
            users=batch["user"],
            visits=batch["visit"],
            batch_index=tf.cast(positions.batch_rows(), tf.int64),
            positions=positions.indices,
        ).numpy()
        looked = world.look(batch)
        assert int(looked.num_users) == len(world.samples.users)
        assert int(looked.num_shown) == (before[1] % 2).sum()
        items, states = memory.items.numpy(), memory.states.numpy()
        for place, row in enumerate(positions.rows.numpy()):
            user, margins, _ = scores[int(row)]
            held = dict(zip(before[0][row], before[1][row] // 2, strict=True))
            held.pop(0, None)
            # Remembered items take the first columns from as many fresh draws.
            seen = {*held, *fresh[place][len(held) :].tolist()}
            above = sorted((i for i in seen if margins[i] > 0), key=lambda i: -margins[i])
            expected = {item: held.get(item, -1) + 1 for item in above[:SLOTS]}
            row_items, row_states = items[row], states[row]
            found = {
                int(item): int(state) // 2
                for item, state in zip(row_items, row_states, strict=True)
                if item
            }
            assert found == expected, (number, row)
            assert (row_states[row_items > 0] % 2 == 1).all()
            assert not set(found) & world.seen[user]
            drawn[row] |= set(found)
    assert any(len(items) > SLOTS for items in drawn)  # some lost their place to better ones


@pytest.mark.slow
def test_only_survivors_become_substitutes_and_they_outscore_the_positive():
    world = World(patience=1)
    substitutes = world.flips.substitutes
    batches = world.batches(12)
    for batch in batches[:2]:  # seen at the first look, shown once at the second: not above 1
        world.look(batch)
        assert not substitutes.numpy().any()
    scores = world.scores(batches[0])
    seen = 0
    for batch in batches[2:]:
        world.look(batch)
        for row, item in enumerate(substitutes.numpy().tolist()):
            if item:
                assert scores[row][1][item] > 0
                place = world.flips.memory.items.numpy()[row].tolist().index(item)
                assert world.flips.memory.states.numpy()[row, place] // 2 > 1
                seen += 1
    assert seen > 100


def test_what_the_teacher_no_longer_ranks_above_the_positive_is_no_substitute():
    world = World(patience=0)
    batches = world.batches(3)
    for batch in batches[:2]:
        world.look(batch)
    assert world.flips.substitutes.numpy().any()
    table = world.teacher.backbone.item_table
    table.assign(tf.zeros_like(table))  # every item scores alike, the positive too
    world.look(batches[2])
    assert not world.flips.substitutes.numpy().any()


def test_a_positive_that_was_put_in_place_is_no_negative_of_its_row():
    world = World(period=1000, budget=1.0)
    world.flips.substitutes.assign(tf.fill(world.flips.substitutes.shape, 3))

    class Sampler(UniformNegativeSampler):
        def __init__(self):
            """Has no table of items."""

        def __call__(self, *, positions, **_):
            return tf.tile(tf.constant([[3, 4, 5]]), [tf.size(positions), 1])

    host = StepState()
    model = UFNRecModel(
        backbone=world.teacher.backbone.clone(),
        sampler=Sampler(),
        objective=OBJECTIVES["pooled_bce"](
            LossSettings(num_items=NUM_ITEMS, num_negatives=3),
            consistency_weight=0.0,
            averages_over_flipped=False,
            uses_soft_label_only=False,
            l2=0.0,
        ),
        policy=POLICIES["ufnrec_safe"],
        host=host,
        memory=world.flips.memory,
        teacher=world.teacher,
        safe_flips=world.flips,
    )
    model.compile(optimizer=make_optimizer(learning_rate=0.1, beta_1=0.9, beta_2=0.9, epsilon=1e-3))
    model.optimizer.build(model.backbone.trainable_variables)
    host.open_gate(0)
    batch = world.batches(1)[0]
    tf.config.run_functions_eagerly(True)  # tracing costs more than one step does
    try:
        model.train_step(batch)
    finally:
        tf.config.run_functions_eagerly(False)
    sums = host.read_sums()
    assert sums["flips"] == sums["positions"] > 0  # each positive is item 3 now
    assert sums["negatives"] == 2 * sums["positions"]  # items 4 and 5


@pytest.mark.parametrize("budget", [0.0, 0.25, 1.0])
@pytest.mark.slow
def test_no_more_than_the_budget_is_replaced_and_nothing_while_the_gate_is_shut(budget):
    world = World(patience=0, budget=budget)
    batches = world.batches(300)
    for batch in batches[:4]:
        world.look(batch)
    has = world.flips.substitutes.numpy() > 0
    assert has.sum() > 20
    times: Counter[int] = Counter()

    @tf.function(autograph=False)
    def substitute(batch, is_open):
        positions = pack_batch(batch)
        return positions, *world.flips.substitute(batch, positions, is_open)

    for batch in batches:
        positions, same, nothing = substitute(batch, tf.constant(False))
        np.testing.assert_array_equal(same.positives, positions.positives)
        assert not nothing.numpy().any()
        _, changed, is_replaced = substitute(batch, tf.constant(True))
        rows, is_replaced = positions.rows.numpy(), is_replaced.numpy()
        assert not is_replaced[~has[rows]].any()
        expected = np.where(is_replaced, world.flips.substitutes.numpy()[rows], positions.positives)
        np.testing.assert_array_equal(changed.positives, expected)
        times.update(rows[is_replaced].tolist())
    share = sum(times.values()) / (300 * has.sum())
    assert share == pytest.approx(budget, abs=4 * np.sqrt(0.25 / (300 * has.sum())))
    if budget == 0.25:  # every row has its turn, none always
        assert min(times.values()) > 30 and max(times.values()) < 130 and len(times) == has.sum()


def test_looks_come_one_step_in_a_period_and_read_no_dropout():
    world = World(period=4)
    batch = world.batches(1)[0]
    users = [int(world.look(batch, done).num_users) for done in range(12)]
    assert [done for done, count in enumerate(users) if count] == [3, 7, 11]


def test_state_is_whole_in_its_tables():
    """What a checkpoint restores goes on as the original."""
    world, other = World(), World()
    batches = world.batches(8)
    for batch in batches[:4]:
        world.look(batch)
    for name, variable in other.flips.tables.items():
        variable.assign(world.flips.tables[name].numpy())
    for batch in batches[4:]:
        world.look(batch)
        other.look(batch)
    for name, variable in world.flips.tables.items():
        expected = other.flips.tables[name].numpy()
        np.testing.assert_array_equal(variable.numpy(), expected, err_msg=name)
    assert world.flips.substitutes.numpy().any()


def test_the_softmax_is_drawn_from():
    logits = tf.constant([[0.0, np.log(3.0), tf.float32.min, np.log(4.0), tf.float32.min]])
    uniform = (tf.range(8000, dtype=tf.float32) + 0.5) / 8000
    drawn = draw_from_softmax(tf.repeat(logits, 8000, axis=0), uniform).numpy()
    np.testing.assert_array_equal(np.bincount(drawn, minlength=5), [1000, 3000, 0, 4000, 0])
    edge = draw_from_softmax(logits, tf.constant([1.0 - 2.0**-24]))
    assert edge.numpy().tolist() == [3]
