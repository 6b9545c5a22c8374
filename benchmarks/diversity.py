"""What diversity costs and gives: NDCG and coverage of a finished run's lists, by diversity.

    python -m benchmarks.diversity --workdir=runs/mine [--diversity=0,0.1,0.3,0.5 --top_k=10]

Every test event is ranked once, by the history before it, as in training's own test with full
ranking: the exported model recommends `top_k` items, and NDCG@k counts the place of what the user
took next. Coverage@k is the share of the catalogue that is in any list, likeness the mean cosine of
the items of a list. --users takes so many users at even distances, for large runs.
"""

import argparse
import json

import numpy as np
import pandas as pd

import ufnrec_tf as ufn


def test_histories(run: ufn.Run, most: int) -> tuple[list[list[str]], np.ndarray]:
    """Returns the history before each test event, and the item that was taken next."""
    ranks = run.ranks
    if most and len(ranks) > most:
        ranks = ranks.iloc[np.linspace(0, len(ranks) - 1, most).astype(int)]
    whole = run._histories.of_users(ranks["user"].drop_duplicates().tolist())
    rows = zip(ranks["user"], ranks["position"], strict=True)
    return [whole[user][:position] for user, position in rows], ranks["item"].to_numpy()


def scores_of(lists: pd.DataFrame, targets: np.ndarray, run: ufn.Run, top_k: int) -> dict:
    """Returns NDCG, coverage and likeness of the lists, `user` the number of the history."""
    model = run.recommender
    hits = lists[lists["item"].to_numpy() == targets[lists["user"].to_numpy()]]
    gains = 1 / np.log2(1 + hits["rank"].to_numpy())
    if model.items is None:
        raise SystemExit("the export is of an older version: run --mode=export again")
    index = pd.Index(model.items["item_id"])
    vectors = model.item_vectors[index.get_indexer(lists["item"])]
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    groups = lists.groupby("user").indices.values()
    alike = [
        ((units[rows] @ units[rows].T).sum() - len(rows)) / (len(rows) * (len(rows) - 1))
        for rows in groups
        if len(rows) > 1
    ]
    return {
        f"ndcg@{top_k}": gains.sum() / len(targets),
        f"coverage@{top_k}": lists["item"].nunique() / len(index),
        f"likeness@{top_k}": float(np.mean(alike)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--diversity", default="0,0.1,0.3,0.5")
    parser.add_argument("--top_k", type=int, default=10)
    parser.add_argument("--users", type=int, default=0, help="test events, 0 for all")
    options = parser.parse_args()
    run = ufn.Run(options.workdir)
    histories, targets = test_histories(run, options.users)
    for diversity in map(float, options.diversity.split(",")):
        lists = run.recommend(histories, top_k=options.top_k, diversity=diversity)
        scores = scores_of(lists, targets, run, options.top_k)
        print(json.dumps({"diversity": diversity, **{k: round(v, 4) for k, v in scores.items()}}))


if __name__ == "__main__":
    main()
