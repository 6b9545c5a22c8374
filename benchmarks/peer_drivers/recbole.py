"""RecBole's SASRec with cross-entropy, its Trainer for exactly N steps.

Its code is github RUCAIBox/RecBole in --path, or the package recbole from PyPI without one.

Set: its configuration values of CONFIG, the rest at its default (GELU, Adam 1e-3, the leave-one-out
split of its sequential models). Its data augmentation makes a sample of every prefix of a user's
train events, and a step takes `train_batch_size` prefixes; so that 1,000 users mean the same on
both sides, a step counts as prefixes / (mean prefixes a user) users. From outside:
 - its loader is cut to N batches, repeated if there are fewer;
 - names that NumPy 2 dropped and RecBole 1.2.1 reads are given back: float_, complex_, unicode_;
 - `thop` and `ray`, which it needs only for counting FLOPs and tuning, are not imported.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peer_drivers.common import (
    SHAPES,
    Arguments,
    Journal,
    UserError,
    import_root,
    read_sequences,
    run_driver,
)

CONFIG: dict[str, object] = {
    "data_path": "data",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "MAX_ITEM_LIST_LENGTH": SHAPES.max_length,
    "hidden_size": SHAPES.width,
    "inner_size": SHAPES.width,
    "n_layers": SHAPES.num_blocks,
    "n_heads": SHAPES.num_heads,
    "hidden_dropout_prob": SHAPES.dropout,
    "attn_dropout_prob": SHAPES.dropout,
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "train_batch_size": SHAPES.batch_size,
    "epochs": 1,
    "use_gpu": False,
    "state": "ERROR",
}


class Cut:
    """RecBole's loader, `num_batches` batches long; all else is the loader's."""

    def __init__(self, loader: Any, *, num_batches: int) -> None:
        self._loader = loader
        self._num_batches = num_batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Any]:
        given = 0
        while True:
            for batch in self._loader:
                if given == self._num_batches:
                    return
                given += 1
                yield batch


def train(arguments: Arguments, journal: Journal) -> None:
    """Trains `num_steps` steps."""
    if arguments.path:
        import_root(arguments.path, "recbole/model/sequential_recommender/sasrec.py")
    _write_inter(read_sequences(arguments.data))
    # RecBole reads what it takes for its own arguments.
    sys.argv = sys.argv[:1]
    try:
        _restore_names()
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed
    except ImportError as error:
        raise UserError(f"{sys.executable} lacks a package: {error}.") from error
    config = Config(model="SASRec", dataset="bench", config_dict=CONFIG)
    init_seed(config["seed"], config["reproducibility"])
    loader, _, _ = data_preparation(config, create_dataset(config))
    model = get_model("SASRec")(config, loader.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
    users = loader.dataset.inter_feat["user_id"]
    prefixes_a_user = len(users) / len(set(users.tolist()))
    journal.notes = {"prefixes_a_user": prefixes_a_user}
    _note_steps(model, prefixes_a_user, to=journal)
    trainer.fit(Cut(loader, num_batches=arguments.num_steps), saved=False, verbose=False)


def _note_steps(model: Any, prefixes_a_user: float, *, to: Journal) -> None:
    """Notes loss and users of each step that the optimizer takes."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    loss_of = model.calculate_loss
    latest = [(0.0, 0.0)]

    def calculate_loss(batch: Any) -> Any:
        loss = loss_of(batch)
        latest[0] = float(loss.detach()), len(batch) / prefixes_a_user
        return loss

    model.calculate_loss = calculate_loss
    register_optimizer_step_post_hook(lambda *_: to.step(latest[0][0], num_users=latest[0][1]))


def _restore_names() -> None:
    """Gives NumPy the names back that RecBole asks it for."""
    import numpy

    names = {"float_": numpy.float64, "complex_": numpy.complex128, "unicode_": numpy.str_}
    for name, value in names.items():
        if not hasattr(numpy, name):
            setattr(numpy, name, value)


def _write_inter(sequences: list[list[int]]) -> None:
    """Writes the log in RecBole's form, an event's place in its sequence as its time."""
    folder = Path("data/bench")
    folder.mkdir(parents=True)
    with (folder / "bench.inter").open("w", encoding="utf-8") as lines:
        lines.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, items in enumerate(sequences, start=1):
            lines.writelines(f"{user}\t{item}\t{time}\n" for time, item in enumerate(items))


if __name__ == "__main__":
    run_driver(train)
