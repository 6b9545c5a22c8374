"""Small item tables and catalogues scored in blocks, against rounding and ranking told plainly."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.runs import read, run
from tests.helpers.serving import (
    ITEM_IDS,
    LENGTH,
    NUM_ITEMS,
    WIDTH,
    FakeBackbone,
    assert_same_ranking,
    brute_forces,
    make_backbone,
    model_of,
    pad,
    random_histories,
    write_export,
)
from ufnrec_tf import backbones
from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.small_table import SmallTable, with_small_table
from ufnrec_tf.export import top_items
from ufnrec_tf.export.retriever import Retriever
from ufnrec_tf.export.small_table_check import recall, table_check_line, with_table_check
from ufnrec_tf.export.top_items import ItemFilters, best_items


def test_int8_by_hand():
    table = np.array([[0, 0, 0], [127, -63.5, 0.4], [-0.254, 0.1, 0.001]], np.float32)
    small = SmallTable(table, "int8")
    np.testing.assert_array_equal(small.values, [[0, 0, 0], [127, -64, 0], [-127, 50, 0]])
    np.testing.assert_allclose(tf.convert_to_tensor(small.scales), np.array([1, 1, 0.002]))
    np.testing.assert_allclose(small.rows(tf.constant([2])), [[-0.254, 0.1, 0]], atol=1e-7)
    scores = small.scores(tf.constant([[1.0, 2.0, 4.0]]), tf.constant(1), tf.constant(3))
    np.testing.assert_allclose(scores, [[127 - 128, -0.254 + 0.2]], atol=1e-6)


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_rounding_is_bounded(kind):
    table = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    read_back = np.asarray(tf.convert_to_tensor(SmallTable(table, kind)))
    half_a_step = {
        "bfloat16": np.abs(table) * 2.0**-8,
        "int8": np.abs(table).max(axis=1, keepdims=True) / 254,
    }[kind]
    assert (np.abs(read_back - table) <= half_a_step * 1.0001).all()
    assert np.abs(read_back - table).max() > 0


class OwnBackbone(Backbone):
    """One that reads its table as the class of a user may, without `embed`."""

    def __init__(self, num_items, width, max_length):
        super().__init__(num_items=num_items, width=width, max_length=max_length)
        self.item_table = self.add_weight(shape=(num_items + 1, width), name="item_table")
        self.build_now()

    def call(self, histories, training=False):
        return tf.cumsum(tf.gather(tf.convert_to_tensor(self.item_table), histories), axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*backbones.BACKBONES, "own"])
def test_every_use_reads_the_small_table(kind):
    """A model over a small table is the model whose float32 table holds the rounded values."""
    own = kind == "own"
    backbone = OwnBackbone(NUM_ITEMS, WIDTH, LENGTH) if own else make_backbone(kind)
    small = with_small_table(backbone, "int8")
    rounded = backbone.clone()
    rounded.item_table.assign(tf.convert_to_tensor(small.item_table))
    assert np.abs(rounded.item_table.numpy() - backbone.item_table.numpy()).max() > 0
    histories = random_histories(12, 9)
    retriever = Retriever(small, ITEM_IDS, max_length=LENGTH)
    answer = retriever.recommend(tf.constant(pad(histories)), 9)
    for row, expected in enumerate(brute_forces(rounded, histories, 9)):
        assert_same_ranking(expected, answer["item_ids"][row].numpy(), answer["scores"][row])


def test_float32_is_the_backbone_itself_and_others_are_refused():
    backbone = FakeBackbone()
    assert with_small_table(backbone, "float32") is backbone
    with pytest.raises(ValueError, match="float32"):
        with_small_table(backbone, "int4")


@pytest.mark.slow
@pytest.mark.parametrize("kind, num_bytes", [("float32", 4), ("bfloat16", 2), ("int8", 1)])
def test_the_table_is_written_once(tmp_path, kind, num_bytes):
    num_items, width = 3000, 32
    ids = np.array(["", *map(str, range(num_items))], object)
    backbone = backbones.create(
        "sasrec", num_items=num_items, width=width, max_length=LENGTH, num_blocks=0
    )
    write_export(tmp_path / "1", backbone, ids, table=kind)
    (data,) = (tmp_path / "1" / "variables").glob("variables.data*")
    table = (num_items + 1) * width * num_bytes + 4 * (num_items + 1) * (kind == "int8")
    others = sum(4 * weight.numpy().size for weight in backbone.weights[1:])
    assert backbone.weights[0] is backbone.item_table
    assert table + others <= data.stat().st_size < table + 1.1 * others + 5000
    answer = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    assert (answer(item_ids=tf.constant([["5", "7"]]))["item_ids"].numpy() != b"").all()


def plainly(scores, hidden, allowed, allows_all, k):
    """The k best columns of each row, told in the plainest way."""
    found = []
    for row, values in enumerate(scores):
        left = [
            column
            for column in range(1, len(values))
            if column not in hidden[row] and (allows_all[row] or column in allowed[row])
        ]
        best = sorted(left, key=lambda column: (-values[column], column))[:k]
        found.append(best + [0] * (k - len(best)))
    return np.array(found)


@pytest.mark.parametrize("k", [1, 4, 23])
@pytest.mark.parametrize("rows, scores", [(5, 1 << 24), (1 << 17, 21), (1, 1), (100, 1 << 24)])
def test_blocks_do_not_change_the_answer(monkeypatch, rows, scores, k):
    monkeypatch.setattr(top_items, "_BLOCK_ROWS", rows)
    monkeypatch.setattr(top_items, "_BLOCK_SCORES", scores)
    monkeypatch.setattr(top_items, "_GROUP", 3)
    rng = np.random.default_rng(2)
    table = rng.integers(0, 4, (3, 23)).astype(np.float32)  # full of ties
    hidden, allowed = rng.integers(0, 23, (3, 6)), rng.integers(0, 23, (3, 9))
    allows_all = np.array([False, True, False])
    seen: list[int] = []

    @tf.function
    def best(k):
        def block(start, stop):
            tf.py_function(lambda n: seen.append(int(n)), [stop - start], [])
            return tf.constant(table)[:, start:stop]

        filters = ItemFilters(
            tf.constant(hidden, tf.int32), tf.constant(allowed, tf.int32), tf.constant(allows_all)
        )
        return best_items(block, filters, num_columns=23, k=k)

    values, indices = best(tf.constant(k))
    expected = plainly(table, hidden, allowed, allows_all, k)
    is_item = np.isfinite(values)
    np.testing.assert_array_equal(np.where(is_item, indices, 0), expected)
    np.testing.assert_array_equal(
        values.numpy()[is_item], np.take_along_axis(table, expected, axis=1)[is_item]
    )
    assert sum(seen) == 23
    assert max(seen) <= max(k, min(rows, scores // 3))


def test_recall_by_hand():
    exact = np.array([[b"a", b"b"], [b"c", b""], [b"", b""]], object)
    assert recall(np.array([[b"b", b"x"], [b"c", b"d"], [b"e", b""]], object), exact) == 0.75


@pytest.mark.slow
def test_what_a_small_table_costs_is_measured():
    backbone = make_backbone("authors")
    small = model_of(backbone, table="int8")
    # Scores that the rounding reverses: their table is all but constant.
    table = 1 + np.random.default_rng(1).normal(size=(NUM_ITEMS + 1, WIDTH)) * 1e-6
    backbone.item_table.assign(table)
    histories = random_histories(20, 6)
    document = with_table_check(small, backbone, ITEM_IDS, histories).document
    check = document["table_check"]
    assert check["table_bytes"] == {"float32": 31 * 8 * 4, "int8": 31 * 8 + 31 * 4}
    assert 0 < check["recall@10"] < 0.8
    assert set(check["p50_ms"]) == {"float32", "int8"}
    line = table_check_line(document)
    assert f"recall@10 against float32 {check['recall@10']:.4f} on 20 histories; 0.00 MB" in line
    exact = model_of(backbone)
    assert with_table_check(exact, backbone, ITEM_IDS, histories) is exact
    assert table_check_line(exact.document) == ""


@pytest.mark.slow
def test_export_keeps_a_small_table(trained, tmp_path, capsys):
    arguments = (f"--workdir={trained}", f"--config.export.path={tmp_path}")
    assert run("--mode=export", *arguments, "--config.export.table=int8") == 0
    document = read(tmp_path / "1" / "ufnrec.json")
    assert document["table_check"]["histories"] == 60
    assert table_check_line(document) in capsys.readouterr().out
