"""A shop's log drawn from a seed: views, carts and purchases with repeats, and titles beside it.

python -m benchmarks.shop --folder=DIR [--events=60000 --seed=0]

It is there to try settings on a log that is like none of the published ones. Visitors come in
visits. A visit is about one category: of the visitor's taste, what goes with the last purchase, or
what all look at. Within it the visitor looks at items of liked brands and prices, at some again,
puts some into the cart and buys some of these. What is used up is bought again weeks later. A
fifth of the items appear in the course of the half year.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

_START = pd.Timestamp("2024-01-01", tz="Europe/Berlin")
_NUM_DAYS = 182
_EVENTS_PER_VISITOR = 10
_EVENTS_PER_ITEM = 15
_ITEMS_PER_CATEGORY = 50
_NUM_BRANDS = 40


class _Shop(NamedTuple):
    """The items and categories of a shop.

    Attributes:
        category: int [items].
        brand: int [items].
        price: float [items], the logarithm of the price, about 0 on average.
        appeal: float [items], the logarithm of how often an item is looked at.
        launch: float [items], the day from which an item is there.
        is_used_up: bool [categories].
        goes_with: int [categories, 3], what is bought after a category.
        share: float [categories], how often anyone looks at a category.
    """

    category: np.ndarray
    brand: np.ndarray
    price: np.ndarray
    appeal: np.ndarray
    launch: np.ndarray
    is_used_up: np.ndarray
    goes_with: np.ndarray
    share: np.ndarray


def generate(num_events: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draws a log and its titles.

    Args:
        num_events: Events, about.
        seed: All of the data follows from it and the number of events.

    Returns:
        The log by time (visitor_id, product_id, event_type, event_time), and the titles
        (product_id, product_name, category).
    """
    rng = np.random.default_rng(seed)
    shop = _make_shop(rng, max(num_events // _EVENTS_PER_ITEM, 2 * _ITEMS_PER_CATEGORY))
    rows: list[tuple[int, int, str, float]] = []
    visitor = 0
    while len(rows) < num_events:
        rows += [(visitor, *event) for event in _events_of_visitor(rng, shop)]
        visitor += 1
    log = pd.DataFrame(rows, columns=["visitor_id", "product_id", "event_type", "event_time"])
    log = log.sort_values("event_time", kind="stable", ignore_index=True)
    names = np.array([rng.bytes(6).hex() for _ in range(visitor)])
    log["visitor_id"] = names[log["visitor_id"]]
    log["product_id"] = log["product_id"] + 100_000
    log["event_time"] = (_START + pd.to_timedelta(log["event_time"], unit="D")).dt.floor("s")
    items = np.arange(len(shop.category))
    titles = pd.DataFrame(
        {
            "product_id": items + 100_000,
            "product_name": [
                f"Brand {brand} category {category} no. {item}"
                for item, brand, category in zip(items, shop.brand, shop.category, strict=True)
            ],
            "category": shop.category,
        }
    )
    return log, titles


def _make_shop(rng: np.random.Generator, num_items: int) -> _Shop:
    num_categories = max(num_items // _ITEMS_PER_CATEGORY, 2)
    share = 1 / (np.arange(num_categories) + 5.0)
    has_launch = rng.random(num_items) < 0.2
    return _Shop(
        category=rng.choice(num_categories, num_items, p=share / share.sum()),
        brand=rng.integers(0, _NUM_BRANDS, num_items),
        price=rng.normal(0, 1, num_items),
        appeal=rng.normal(0, 1.3, num_items),
        launch=np.where(has_launch, rng.uniform(0, _NUM_DAYS, num_items), 0),
        is_used_up=rng.random(num_categories) < 0.2,
        goes_with=rng.integers(0, num_categories, (num_categories, 3)),
        share=share / share.sum(),
    )


def _events_of_visitor(rng: np.random.Generator, shop: _Shop) -> list[tuple[int, str, float]]:
    """Returns a visitor's events: item, type, day since the start."""
    num_categories = len(shop.share)
    taste = rng.dirichlet(40 * shop.share / 8)
    brands = rng.normal(0, 1.2, _NUM_BRANDS)
    price = rng.normal(0, 0.8)
    length = max(rng.lognormal(np.log(_EVENTS_PER_VISITOR) - 0.5, 1.0), 1)
    day = rng.uniform(0, _NUM_DAYS)
    events: list[tuple[int, str, float]] = []
    bought: list[tuple[int, float]] = []
    while len(events) < length and day < _NUM_DAYS:
        moment = np.floor(day) + rng.beta(5, 3)  # few by night
        due = [item for item, since in bought if day - since > 20]
        if due and rng.random() < 0.5:
            item = due[0]
            bought = [(other, day if other == item else since) for other, since in bought]
            events += [(item, "view", moment), (item, "purchase", moment + 0.002)]
        else:
            draw = rng.random()
            if events and draw < 0.3:
                category = rng.choice(shop.goes_with[shop.category[events[-1][0]]])
            elif draw < 0.85:
                category = rng.choice(num_categories, p=taste)
            else:
                category = rng.choice(num_categories, p=shop.share)
            events += _visit(rng, shop, category, brands, price, moment)
            newest, kind, _ = events[-1]
            if kind == "purchase" and shop.is_used_up[shop.category[newest]]:
                bought.append((newest, day))
        day += rng.exponential(9)
    return events


def _visit(
    rng: np.random.Generator,
    shop: _Shop,
    category: int,
    brands: np.ndarray,
    price: float,
    moment: float,
) -> list[tuple[int, str, float]]:
    """Returns the events of a visit to a category: one at least."""
    items = np.flatnonzero((shop.category == category) & (shop.launch <= moment))
    if not items.size:
        items = np.flatnonzero(shop.launch == 0)
    liking = shop.appeal[items] + brands[shop.brand[items]] - np.abs(shop.price[items] - price)
    events: list[tuple[int, str, float]] = []
    for _ in range(rng.geometric(0.35)):
        if events and rng.random() < 0.12:
            item = events[rng.integers(len(events))][0]
        else:
            logits = liking.copy()
            if events:  # what was looked at last leads to items of its brand and price
                last = events[-1][0]
                logits += 1.5 * (shop.brand[items] == shop.brand[last])
                logits -= np.abs(shop.price[items] - shop.price[last])
            shares = np.exp(logits - logits.max())
            item = int(rng.choice(items, p=shares / shares.sum()))
        moment += rng.exponential(0.0015)
        events.append((int(item), "view", moment))
    if rng.random() < 0.25:
        newest = events[-1][0]
        events.append((newest, "cart", moment + 0.0005))
        if rng.random() < 0.5:
            events.append((newest, "purchase", moment + 0.003))
    return events


def main() -> None:
    """Writes shop.csv and shop_titles.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    log, titles = generate(options.events, options.seed)
    for name, table in (("shop.csv", log), ("shop_titles.csv", titles)):
        new = options.folder / f".{name}.new"
        table.to_csv(new, index=False)
        new.replace(options.folder / name)
    print(
        f"{options.folder / 'shop.csv'}: {len(log):,} events, "
        f"{log['visitor_id'].nunique():,} visitors, {log['product_id'].nunique():,} products"
    )


if __name__ == "__main__":
    main()
