"""RecTools' SASRec (PyPI rectools[torch]) for exactly N steps, then lists of ten for all users.

Variants:
 - `model`: SASRecModel with its own data preparation, negatives, losses and trainer;
 - `fast`: FlatSASRecNet and build_sequences of rectools.fast_transformers, which come without a
   trainer for plain ids: the loop, Adam, the negatives (uniform) and the two losses stand here.
   Only real positions are scored, which its own `forward` does not do, and is the cheaper way.
Both have dropout 0.5 and no validation. The test event is given to neither; the validation event
is in the history of the lists only.
"""

import sys
from typing import Any

from benchmarks.peer_drivers.common import (
    SHAPES,
    Arguments,
    Journal,
    UserError,
    read_sequences,
    run_driver,
)

RANKING_BATCH = 256
LEARNING_RATE = 1e-3


def train(arguments: Arguments, journal: Journal) -> None:
    """Trains `num_steps` steps."""
    try:
        import rectools.fast_transformers
        import rectools.models.nn.transformers.sasrec  # noqa: F401
    except ImportError as error:
        raise UserError(f"{sys.executable} lacks a package: {error}.") from error
    (_train_fast if arguments.variant == "fast" else _train_model)(arguments, journal)


def _train_model(arguments: Arguments, journal: Journal) -> None:
    """Trains SASRecModel, and calls its `recommend`."""
    import pandas as pd
    import pytorch_lightning as lightning
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    def note(trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        journal.step(float(outputs["loss"]), num_users=len(batch["x"]))

    def make_trainer() -> Any:
        return lightning.Trainer(
            max_steps=arguments.num_steps,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[lightning.callbacks.LambdaCallback(on_train_batch_end=note)],
        )

    sequences = read_sequences(arguments.data)
    model = SASRecModel(
        n_blocks=SHAPES.num_blocks,
        n_heads=SHAPES.num_heads,
        n_factors=SHAPES.width,
        dropout_rate=SHAPES.dropout,
        session_max_len=SHAPES.max_length,
        batch_size=SHAPES.batch_size,
        loss="BCE" if arguments.loss == "bce" else "softmax",
        n_negatives=arguments.num_negatives,
        lr=LEARNING_RATE,
        recommend_batch_size=RANKING_BATCH,
        recommend_torch_device="cpu",
        get_trainer_func=make_trainer,
    )

    def dataset(num_held_out: int) -> Any:
        rows = [
            (user, item, 1, time)
            for user, items in enumerate(sequences)
            for time, item in enumerate(items[:-num_held_out])
        ]
        events = pd.DataFrame(rows, columns=["user_id", "item_id", "weight", "datetime"])
        events["datetime"] = pd.to_datetime(events["datetime"], unit="s")
        return Dataset.construct(events)

    model.fit(dataset(2))
    for number in range(arguments.num_rankings):
        if not number:
            histories, users = dataset(1), list(range(len(sequences)))
        model.recommend(users=users, dataset=histories, k=10, filter_viewed=True)
        journal.ranking(len(users))


def _train_fast(arguments: Arguments, journal: Journal) -> None:
    """Trains FlatSASRecNet in a plain loop."""
    import torch
    from rectools.fast_transformers import FlatSASRecNet, build_sequences
    from torch.nn import functional

    def tensors(num_held_out: int) -> tuple[Any, ...]:
        users, items, times = [], [], []
        for user, sequence in enumerate(read_sequences(arguments.data)):
            for time, item in enumerate(sequence[:-num_held_out]):
                users.append(user)
                items.append(item)
                times.append(time)
        return torch.tensor(users), torch.tensor(items), torch.tensor(times)

    inputs, targets, known_items, _ = build_sequences(*tensors(2), max_len=SHAPES.max_length)
    net = FlatSASRecNet(
        n_items=len(known_items),
        n_factors=SHAPES.width,
        n_blocks=SHAPES.num_blocks,
        n_heads=SHAPES.num_heads,
        session_max_len=SHAPES.max_length,
        dropout=SHAPES.dropout,
    )
    adam = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)

    def loss_of(rows: Any) -> Any:
        x, y = inputs[rows], targets[rows]
        is_real = y != net.PADDING_IDX
        if arguments.loss == "cross_entropy":
            logits = net.encode(x)[is_real] @ net.all_item_embeddings().T
            return functional.cross_entropy(logits, y[is_real] - 1)
        positives = y[is_real][:, None]
        shape = len(positives), arguments.num_negatives
        candidates = torch.cat([positives, torch.randint(1, net.n_items + 1, shape)], dim=1)
        logits = (net.item_emb(candidates) @ net.encode(x)[is_real][:, :, None])[:, :, 0]
        labels = torch.zeros_like(logits)
        labels[:, 0] = 1
        return functional.binary_cross_entropy_with_logits(logits, labels)

    net.train()
    while len(journal.losses) < arguments.num_steps:
        for rows in torch.randperm(len(inputs)).split(SHAPES.batch_size):
            adam.zero_grad(set_to_none=True)
            loss = loss_of(rows)
            loss.backward()
            adam.step()
            journal.step(float(loss.detach()), num_users=len(rows))
            if len(journal.losses) == arguments.num_steps:
                break
    if arguments.num_rankings:
        _rank_fast(net, known_items, arguments, journal)


def _rank_fast(net: Any, known_items: Any, arguments: Arguments, journal: Journal) -> None:
    """Makes the lists of FlatSASRecNet, items of the history masked."""
    import torch

    numbers = {int(item): place for place, item in enumerate(known_items.tolist(), start=1)}
    histories = [
        [numbers[item] for item in items[:-1] if item in numbers]
        for items in read_sequences(arguments.data)
    ]
    longest = max(map(len, histories))
    seen = torch.zeros(len(histories), longest, dtype=torch.long)
    for row, items in enumerate(histories):
        if items:
            seen[row, -len(items) :] = torch.tensor(items)
    net.eval()
    for _ in range(arguments.num_rankings):
        with torch.inference_mode():
            table = torch.cat([torch.zeros(1, SHAPES.width), net.all_item_embeddings()]).T
            for rows in seen.split(RANKING_BATCH):
                scores = net.encode_last(rows[:, -SHAPES.max_length :]) @ table
                scores.scatter_(1, rows, -torch.inf)  # item 0 fills short rows
                scores.topk(10)
        journal.ranking(len(histories))


if __name__ == "__main__":
    run_driver(train)
