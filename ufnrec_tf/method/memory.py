"""The false-negative memory: the negatives that keep outscoring the positive, and how often."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.method.memory_rows import (
    KeptRows,
    add_at,
    compact,
    flat_slots,
    insert,
    keep_best,
    later_repeats,
    merge,
    sort_entries,
)
from ufnrec_tf.method.memory_table import RowTable, untouched_zeros
from ufnrec_tf.method.memory_usage import MemoryUsage, measure, suspect_pairs


class Lookup(NamedTuple):
    """The memory's content at one step's positions, before anything of the step is recorded.

    Attributes:
        negatives: int32 [P, N], the fresh negatives with remembered items in the first columns.
        is_shown: bool [P, N], True where the negative is a remembered item.
        is_suspect: bool [P, N], True where a shown item's count is now above the patience.
        is_excluded: bool [P, N], True where the negative takes no part in loss and record.
        slot_items: int32 [P, W], the items of the rows' last W slots, ascending, zeros first. No
            row of the step uses more.
        slot_states: int32 [P, W], their states if this visit is recorded; see
            `FalseNegativeMemory`.
    """

    negatives: tf.Tensor
    is_shown: tf.Tensor
    is_suspect: tf.Tensor
    is_excluded: tf.Tensor
    slot_items: tf.Tensor
    slot_states: tf.Tensor


COUNTER_NAMES = ("shown", "ripe", "written", "evictions", "refusals")


class FalseNegativeMemory:
    """Remembers hard negatives of each transition and counts how often they are shown.

    A row is a transition, `row_offset[user] + index`, so that neither a crop nor another window
    length moves it, and padding costs nothing. A row has `num_slots` slots, each an item
    and a state (twice the count, plus 1 while the item is remembered), sorted by
    item with the empty ones first. Item and state take 2 bytes each where the largest item, or
    the largest state that `most_visits` allows, is at most 65,535, else 4; where there are many
    slots, only those in use (`RowTable`). In faithful mode (`allows_duplicates`) the ordered list
    with its repeats stands beside it, 4 bytes an entry.

    Eviction: a row with more items than slots keeps the remembered ones first, in the order in
    which they were written, then the highest counts, ties by the lower item id. An item with a
    count that loses its slot is an eviction, one without a refusal; while there are neither,
    counts are exact.

    The tables are variables: make the memory outside any strategy's scope, on the host of
    the worker that trains these users. `lookup` reads the tables, only `record` changes them.

    Source: arXiv 2208.04116, section 3.1 and 3.2. Deviations are options, each named below.

    Args:
        num_rows: Training transitions.
        num_items: Number of items.
        num_slots: Slots of a row.
        num_negatives: N.
        patience: m; an item whose count is above it is a suspect.
        capacity: Items remembered a row at most; 0 for `num_negatives`. The authors let remembered
            items fill all negatives.
        finds_suspects: False for a memory that only remembers, and calls no item a suspect.
        max_suspects: Largest number of suspects of a row in a step, those with the highest counts;
            0 for no limit (the authors').
        allows_duplicates: True lets a row's list hold an item more than once, each entry
            counting, and keeps a fresh draw equal to a shown item in the loss (the authors').
            False makes the list a set, and excludes such a draw.
        is_cumulative: True keeps a count while its item is not remembered (the authors'). False
            starts it again, so that only consecutive visits count.
        is_sticky: True keeps a suspect remembered while it is hard. False takes it out of the
            list (the authors'), so that a flip lasts one step.
        is_lasting: True makes every draw whose count is above the patience a suspect, remembered
            or not.
        most_visits: No row is recorded more often in the whole run, counts that it starts with
            included; 0 if that is not known.
    """

    def __init__(
        self,
        *,
        num_rows: int,
        num_items: int,
        num_slots: int,
        num_negatives: int,
        patience: int,
        capacity: int = 0,
        finds_suspects: bool = True,
        max_suspects: int = 0,
        allows_duplicates: bool = False,
        is_cumulative: bool = True,
        is_sticky: bool = False,
        is_lasting: bool = False,
        most_visits: int = 0,
    ) -> None:
        self.num_rows = num_rows
        self.num_items = num_items
        self.num_slots = num_slots
        self.patience = patience
        self.finds_suspects = finds_suspects
        self.max_suspects = max_suspects
        self.allows_duplicates = allows_duplicates
        self.is_cumulative = is_cumulative
        self.is_sticky = is_sticky
        self.is_lasting = is_lasting
        self.capacity = min(capacity or num_negatives, num_negatives)
        self.num_shown = self.capacity if allows_duplicates else min(self.capacity, num_slots)
        # A visit raises a count by the entries of the item, of which a list may hold several.
        most = most_visits * (self.capacity if allows_duplicates else 1)
        largest = 2 * most + 1 if most_visits else tf.int32.max
        self.items = RowTable(max(num_rows, 1), num_slots, "items", largest=num_items)
        self.states = RowTable(max(num_rows, 1), num_slots, "states", largest=largest)
        self.lists: tf.Variable | None = None
        if allows_duplicates:
            self.lists = untouched_zeros([max(num_rows, 1), self.capacity], tf.int32, "lists")
        counters = tf.zeros([len(COUNTER_NAMES)], tf.int64)
        self.counters = tf.Variable(counters, trainable=False, name="counters")

    @property
    def tables(self) -> dict[str, RowTable | tf.Variable]:
        """Name to variable [rows, ...]: the tables, which with the counters are the whole state."""
        tables: dict[str, RowTable | tf.Variable] = {"items": self.items, "states": self.states}
        return tables if self.lists is None else {**tables, "lists": self.lists}

    @property
    def variables(self) -> dict[str, RowTable | tf.Variable]:
        """Name to variable: tables and counters."""
        return {**self.tables, "counters": self.counters}

    def read_counters(self, add_up: Callable[[np.ndarray], np.ndarray] | None = None) -> dict:
        """Returns int totals over the run by name: shown, ripe, written, evictions, refusals.

        Args:
            add_up: Sums an array over workers; None for this worker's own.
        """
        counters = self.counters.numpy()
        counters = counters if add_up is None else add_up(counters)
        return dict(zip(COUNTER_NAMES, counters.tolist(), strict=True))

    def suspect_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the suspects of all rows: int64 [K] rows and int32 [K] items."""
        return suspect_pairs(self.items, self.states, self.patience, num_rows=self.num_rows)

    def lookup(self, rows: tf.Tensor, fresh: tf.Tensor) -> Lookup:
        """Returns the memory's content at these rows; changes nothing.

        Args:
            rows: int64 [P], distinct.
            fresh: int32 [P, N], the drawn negatives, 0 where there is none.
        """
        width = self.items.width(rows, least=1 if self.lists is not None else self.num_shown)
        items, states = self.items.read(rows, width), self.states.read(rows, width)
        if self.lists is not None:
            shown, counts, states = self._shown_from_lists(rows, items, states)
        else:
            shown, counts, states = self._shown_from_slots(items, states)
        negatives, is_shown, padding = self._overlay(shown, fresh)
        is_suspect = tf.pad(self._is_suspect(counts), padding)
        is_excluded = negatives == 0
        if not self.allows_duplicates:
            # Shown items stand from the highest on.
            _, is_remembered = flat_slots(tf.reverse(shown, [1]), negatives)
            is_excluded |= is_remembered & ~is_shown
        if self.is_lasting and self.finds_suspects:
            slots, is_found = flat_slots(items, negatives)
            found = tf.where(is_found, tf.gather(tf.reshape(states, [-1]), slots), 0)
            is_suspect |= (_count_of(found) > self.patience) & ~is_excluded
        return Lookup(negatives, is_shown, is_suspect, is_excluded, items, states)

    def record(
        self,
        rows: tf.Tensor,
        lookup: Lookup,
        is_hard: tf.Tensor,
        is_spent: tf.Tensor | None = None,
    ) -> None:
        """Writes a lookup's counts, and the items that the rows remember from now on.

        Args:
            rows: int64 [P], those of the lookup.
            lookup: The result of `lookup` in this step.
            is_hard: bool [P, N], True where the negative's logit is strictly above the positive's.
            is_spent: bool [P, N], suspects that were flipped or removed in this step; None for
                all suspects.
        """
        is_spent = lookup.is_suspect if is_spent is None else is_spent
        is_kept = ~lookup.is_excluded & (~is_spent | self.is_sticky)
        is_written = is_hard & is_kept
        entries = compact(tf.where(is_written, lookup.negatives, 0))
        num_written = num_entries = tf.math.count_nonzero(is_written)
        if self.allows_duplicates and self.capacity < is_written.shape[1]:
            entries = entries[:, : self.capacity]
            num_written = tf.math.count_nonzero(entries)
        kept = self._replace(lookup, entries)
        self.items.write(rows, kept.items, kept.num_used)
        self.states.write(rows, kept.states, kept.num_used)
        if self.lists is not None:
            order = self._with_slot(kept, entries)
            self.lists.scatter_update(tf.IndexedSlices(order, rows))
        counts = [
            tf.math.count_nonzero(lookup.is_shown),
            tf.math.count_nonzero(lookup.is_suspect),
            num_written,
            kept.num_evicted,
            kept.num_refused + num_entries - num_written,
        ]
        self.counters.assign_add(tf.stack(counts))

    def _replace(self, lookup: Lookup, entries: tf.Tensor) -> KeptRows:
        """Returns the rows with their counts, and `entries` int32 [P, K] remembered."""
        items, states = lookup.slot_items, lookup.slot_states
        num_columns = lookup.negatives.shape[1]

        def by_sorting() -> KeptRows:
            merged = merge(
                items,
                states,
                entries,
                num_columns=num_columns,
                num_items=self.num_items,
                capacity=self.capacity,
                is_cumulative=self.is_cumulative,
            )
            return keep_best(merged, self.num_slots)

        can_cut = self.capacity < num_columns and not self.allows_duplicates
        if can_cut or not self.is_cumulative or self.num_slots <= num_columns:
            return by_sorting()
        # Many slots: rows are seldom full, and sorting them would cost more than the whole rest.
        in_order = sort_entries(items, entries)
        has_room = tf.reduce_max(in_order.num_used) <= self.num_slots
        return tf.cond(has_room, lambda: insert(items, states, in_order), by_sorting)

    def _with_slot(self, kept: KeptRows, entries: tf.Tensor) -> tf.Tensor:
        """Returns the entries int32 [P, K] that got a slot, in order, int32 [P, capacity]."""

        def cut() -> tf.Tensor:
            _, has_slot = flat_slots(kept.items, entries)
            return compact(tf.where(has_slot, entries, 0))

        order = tf.cond(kept.num_evicted + kept.num_refused > 0, cut, lambda: entries)
        return tf.pad(order, [[0, 0], [0, self.capacity - tf.shape(order)[1]]])

    def usage(self) -> MemoryUsage:
        """Returns how full the tables are, from one pass over them."""
        return measure(self.items, self.states, self.lists, num_rows=self.num_rows)

    def _is_suspect(self, counts: tf.Tensor) -> tf.Tensor:
        """Returns bool [P, R], the suspects among the shown items with counts int32 [P, R]."""
        is_suspect = counts > self.patience
        if not self.finds_suspects:
            return tf.zeros_like(is_suspect)
        if not self.max_suspects or self.max_suspects >= counts.shape[1]:
            return is_suspect
        best = tf.math.top_k(tf.where(is_suspect, counts, 0), self.max_suspects).indices
        is_best = tf.reduce_any(best[:, :, None] == tf.range(counts.shape[1]), axis=1)
        return is_suspect & is_best

    def _shown_from_slots(
        self, items: tf.Tensor, states: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns shown items [P, R] and their counts, highest id first, and the new states."""
        is_listed = tf.bitwise.bitwise_and(states, 1)
        # All remembered items are shown, so the count of each such slot grows by one.
        counted = states + 2 * is_listed
        shown, slot = tf.math.top_k(items * is_listed, self.num_shown)
        counts = _count_of(tf.gather(counted, slot, batch_dims=1))
        return shown, tf.where(shown > 0, counts, 0), counted

    def _shown_from_lists(
        self, rows: tf.Tensor, items: tf.Tensor, states: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns listed items [P, R] in order, their counts one by one, and the new states."""
        shown = tf.gather(self.lists, rows)
        longest = tf.reduce_max(tf.math.count_nonzero(shown, axis=1, dtype=tf.int32))
        longest = tf.maximum(longest, 1)
        listed = shown[:, :longest]
        is_entry = listed > 0
        slots, _ = flat_slots(items, listed)
        added = add_at(slots, tf.cast(is_entry, tf.int32), tf.size(items))
        states = tf.reshape(states, [-1]) + 2 * added
        # Of two equal entries the first has a count of one less than the second.
        is_repeated = is_entry & (tf.gather(added, slots) > 1)
        counts = tf.where(is_entry, _count_of(tf.gather(states, slots)), 0)
        counts -= later_repeats(listed, is_repeated)
        missing = self.capacity - longest
        counts = tf.ensure_shape(tf.pad(counts, [[0, 0], [0, missing]]), [None, self.capacity])
        return shown, counts, tf.reshape(states, tf.shape(items))

    def _overlay(
        self, shown: tf.Tensor, fresh: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[list[int]]]:
        """Returns negatives [P, N], is_shown [P, N] and the padding from R to N columns."""
        padding = [[0, 0], [0, fresh.shape[1] - self.num_shown]]
        shown = tf.pad(shown, padding)
        is_shown = shown > 0
        return tf.where(is_shown, shown, fresh), is_shown, padding


def _count_of(states: tf.Tensor) -> tf.Tensor:
    """Returns the counts of slots with these states."""
    return tf.bitwise.right_shift(states, 1)
