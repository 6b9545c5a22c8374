"""Tests of what each worker keeps, and of dealing it out anew to other numbers of workers."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ufnrec_tf.common.distribution import Workers
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.windows import RowOwners, place
from ufnrec_tf.method.memory_table import RowTable
from ufnrec_tf.runs.checkpoints import CheckpointStore
from ufnrec_tf.runs.worker_state import WorkerState, read_part

NUM_USERS, NUM_ROWS, NUM_SLOTS = 11, 40, 3
USER_IDS = np.array([f"user {number}" for number in range(NUM_USERS)], dtype=object)
USERS_OF_ROWS = np.sort(np.random.default_rng(0).integers(NUM_USERS, size=NUM_ROWS))
OWNERS = RowOwners(USER_IDS, USERS_OF_ROWS)
CONTENT = np.arange(NUM_ROWS * NUM_SLOTS, dtype=np.int32).reshape(NUM_ROWS, NUM_SLOTS) + 1


class Told(Workers):
    """One of several workers that need not wait for the others."""

    def __init__(self, index, count):
        super().__init__()
        self.index, self.count = index, count

    def sum(self, values):
        return values


class Worker:
    """A worker's tables and sums, and its part of the checkpoint."""

    def __init__(self, index, count, *, num_replicas=1, num_slots=NUM_SLOTS):
        self.workers = Told(index, count)
        self.rows = OWNERS.rows_of(index, count)
        size = max(len(self.rows), 1)
        self.items = tf.Variable(tf.zeros([size, num_slots], tf.int32))
        self.flat = tf.Variable(tf.zeros([size], tf.int32))
        self.counters = tf.Variable(tf.zeros([2], tf.int64))
        self.host = tf.Variable(tf.zeros([num_replicas, 3], tf.float64))
        self.state = WorkerState(
            tables={"items": self.items, "flat": self.flat},
            sums={"counters": self.counters, "host": self.host},
            rows_of=OWNERS.rows_of,
            workers=self.workers,
        )

    def fill(self):
        if len(self.rows):
            self.items.assign(CONTENT[self.rows][:, : self.items.shape[1]])
            self.flat.assign(CONTENT[self.rows, 0])
        self.counters.assign([10 + self.workers.index, 1])
        self.host.assign(tf.ones_like(self.host) * (self.workers.index + 1))


def write(folder, num_workers, **keywords):
    for index in range(num_workers):
        worker = Worker(index, num_workers, **keywords)
        worker.fill()
        worker.state.write(folder)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (2, 1), (2, 3), (3, 2), (1, 2)])
def test_every_row_arrives_once_and_sums_stay(tmp_path, before, after):
    write(tmp_path, before)
    workers = [Worker(index, after) for index in range(after)]
    for worker in workers:
        worker.state.read(tmp_path, num_workers=before)
    rows = np.concatenate([worker.rows for worker in workers])
    np.testing.assert_array_equal(np.sort(rows), np.arange(NUM_ROWS))
    for worker in workers:
        np.testing.assert_array_equal(worker.items, CONTENT[worker.rows])
        np.testing.assert_array_equal(worker.flat, CONTENT[worker.rows, 0])
    counters = sum(worker.counters.numpy() for worker in workers)
    assert counters.tolist() == [sum(10 + index for index in range(before)), before]
    total = sum(worker.host.numpy() for worker in workers)
    assert total.tolist() == [[sum(range(1, before + 1))] * 3]


def test_four_replicas_go_on_as_one(tmp_path):
    write(tmp_path, 1, num_replicas=4)
    worker = Worker(0, 1)
    worker.state.read(tmp_path, num_workers=1)
    assert worker.host.numpy().tolist() == [[4, 4, 4]]
    two = Worker(0, 1, num_replicas=2)
    two.state.read(tmp_path, num_workers=1)
    assert two.host.numpy().tolist() == [[4, 4, 4], [0, 0, 0]]


@pytest.mark.parametrize("after", [1, 3])
def test_more_workers_than_users_is_no_error(tmp_path, after):
    write(tmp_path, 40)
    for index in range(after):
        worker = Worker(index, after)
        worker.state.read(tmp_path, num_workers=40)
        np.testing.assert_array_equal(worker.items, CONTENT[worker.rows])


def test_a_damaged_or_missing_part_is_no_checkpoint(tmp_path):
    worker = Worker(0, 1)
    worker.fill()
    store = CheckpointStore(tmp_path, own=worker.state)
    store.save_step(1, {})
    part = next((tmp_path / "step-00000001").glob("worker-*.items.npy"))
    part.write_bytes(bytes(byte ^ 0xFF for byte in part.read_bytes()))
    with pytest.raises(UserError, match="damaged"):
        store.restore("step-00000001")
    part.unlink()
    with pytest.raises(UserError, match="damaged"):
        store.restore("step-00000001")


def test_another_number_of_slots_is_another_model(tmp_path):
    write(tmp_path, 2, num_slots=2)
    with pytest.raises(ValueError, match="shape"):
        Worker(0, 1).state.read(tmp_path, num_workers=2)


class WideWorker(Worker):
    """A worker whose table is one of wide rows, of which few are used."""

    def __init__(self, index, count):
        super().__init__(index, count)
        self.items = RowTable(max(len(self.rows), 1), 300, "items")
        self.state.tables = {**self.state.tables, "items": self.items}

    def fill(self):
        if len(self.rows):
            self.items.assign(WIDE[self.rows])


WIDE = np.zeros([NUM_ROWS, 300], np.int32)
WIDE[:, -3:] = CONTENT
WIDE[::3] = 0
WIDE[7] = np.arange(300) + 1


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 3), (3, 1)])
def test_wide_rows_are_stored_without_their_empty_columns(tmp_path, before, after, is_old):
    for index in range(before):
        worker = WideWorker(index, before)
        worker.fill()
        if is_old:  # as format 2 had them: whole rows
            dense = tf.Variable(worker.items.numpy())
            worker.state.tables = {**worker.state.tables, "items": dense}
        worker.state.write(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.items.*npy"))
    assert is_old or size == 4 * np.count_nonzero(WIDE) + 2 * NUM_ROWS + 2 * 128 * before
    for index in range(after):
        worker = WideWorker(index, after)
        worker.items.assign(np.ones(worker.items.shape, int))  # of another checkpoint, passed over
        worker.state.read(tmp_path, num_workers=before)
        np.testing.assert_array_equal(worker.items.numpy(), WIDE[worker.rows])
    whole = read_part(tmp_path, 0, before).tables["items"]
    np.testing.assert_array_equal(whole, WIDE[OWNERS.rows_of(0, before)])


def test_numbers_of_two_bytes_are_read_into_four_and_back_while_they_fit(tmp_path):
    def worker_of(largest):
        worker: Any = WideWorker(0, 1)
        worker.state.tables["items"] = RowTable(NUM_ROWS, 300, "items", largest=largest)
        return worker, worker.state.tables["items"]

    narrow, wide = worker_of(65_535), worker_of(65_536)
    narrow[1].assign(WIDE)
    for (source, _), (target, table) in ((narrow, wide), (wide, narrow)):
        source.state.write(tmp_path)
        table.assign(np.zeros_like(WIDE))
        target.state.read(tmp_path, num_workers=1)
        np.testing.assert_array_equal(table.numpy(), WIDE)
    wide[1].assign(np.where(WIDE.max() == WIDE, 65_536, WIDE))
    wide[0].state.write(tmp_path)
    with pytest.raises(ValueError, match="2 bytes a number, which do not hold 65536"):
        narrow[0].state.read(tmp_path, num_workers=1)


@pytest.mark.parametrize("name", ["used", "values"])
def test_a_damaged_part_of_a_wide_table_is_found(tmp_path, name):
    worker = WideWorker(0, 1)
    worker.fill()
    worker.state.write(tmp_path)
    (path,) = tmp_path.glob(f"*.items.{name}.npy")
    content = path.read_bytes()
    for damaged in (content[:-1], content[:-1] + b"\x7f", content + b"0"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cut short|checksum|columns"):
            worker.state.read(tmp_path, num_workers=1)


def test_placement_gives_each_window_and_row_to_one_worker():
    users = np.repeat(np.arange(NUM_USERS), 2)
    first_rows = np.searchsorted(USERS_OF_ROWS, users)
    seen, total = np.zeros(len(users), int), 0
    for worker in range(3):
        found = place(users, first_rows, USERS_OF_ROWS, USER_IDS, worker=worker, num_workers=3)
        assert found.is_own is not None
        seen += found.is_own
        total += found.num_rows
        # The worker's rows, one after the other, are those of its users in order.
        own = OWNERS.rows_of(worker, 3)
        assert found.num_rows == len(own)
        has_rows = np.isin(users, USERS_OF_ROWS) & found.is_own
        np.testing.assert_array_equal(own[found.first_rows[has_rows]], first_rows[has_rows])
    assert (seen == 1).all() and total == NUM_ROWS


def test_room_in_a_batch_is_for_nearly_all_of_a_large_one_and_all_of_a_small_one():
    alone = place(np.zeros(4), np.zeros(4), USERS_OF_ROWS, USER_IDS)
    assert alone.rows_a_replica(9, 2) == 5
    half = alone._replace(is_own=np.ones(4, bool), share=0.5)
    assert half.rows_a_replica(8, 1) == 8
    assert half.rows_a_replica(512, 1) == 256 + 128
    assert half.rows_a_replica(512, 4) == 96
