"""RePlay's SASRec (PyPI replay-rec[torch]) for exactly N steps, then lists of ten for all users.

Its own parts throughout: ParquetModule, SasRec, its losses, Lightning's trainer, SeenItemsFilter.
Variants:
 - `best`: what its documentation names for a CPU. TargetAwareAdaptiveTrimTransform cuts a batch to
   its longest history, LengthBucketedQueryEncoder encodes 32 histories of like length together,
   AdaptiveTrimTransform does the cutting for lists; one thread for PyTorch and Arrow. Its
   UniformNegativeSamplingTransform draws one set of negatives for the whole batch. Cross-entropy is
   its LogInCE, the same for one positive as its CE, which scores filled positions too;
 - `position`: the same, but a transform here draws negatives for every position, as ours does;
 - `default`: from_params and make_default_sasrec_transforms as they come.
The test event is given to neither; the validation event is in the history of the lists only.
"""

import os
import sys
import warnings
from typing import Any

from benchmarks.peer_drivers.common import (
    SHAPES,
    Arguments,
    Journal,
    UserError,
    read_sequences,
    run_driver,
)

BUCKET = 32
RANKING_BATCH = 256
ITEM, USER, SEEN = "item_id", "user_id", "seen_ids"


def train(arguments: Arguments, journal: Journal) -> None:
    """Trains `num_steps` steps."""
    os.environ.update(ARROW_NUM_THREADS="1", ARROW_IO_THREADS="1")
    warnings.filterwarnings("ignore")
    try:
        import lightning
        import polars
        from replay.nn.lightning import LightningModule
        from replay.nn.lightning.optimizer import OptimizerFactory
    except ImportError as error:
        raise UserError(f"{sys.executable} lacks a package: {error}.") from error

    sequences = read_sequences(arguments.data)
    num_items = max(map(max, sequences))
    rows = [[item - 1 for item in items[:-2]] for items in sequences]
    polars.DataFrame({USER: range(len(rows)), ITEM: rows}).write_parquet("train.parquet")

    class Steps(lightning.Callback):
        """Notes each step."""

        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int
        ) -> None:
            journal.step(float(outputs["loss"]), num_users=len(batch["padding_mask"]))

    schema = _schema(num_items)
    module = LightningModule(
        _model(schema, arguments), optimizer_factory=OptimizerFactory(learning_rate=1e-3)
    )
    data = _data("train", schema, arguments, longest=0)
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    lightning.Trainer(
        max_steps=arguments.num_steps, limit_val_batches=0, callbacks=[Steps()], **quiet
    ).fit(module, datamodule=data)
    if arguments.num_rankings:
        _rank(module, schema, sequences, arguments, journal, quiet)


def _schema(num_items: int) -> Any:
    """Returns RePlay's description of the one feature, items 0 to `num_items` - 1."""
    from replay.data import FeatureHint, FeatureSource, FeatureType
    from replay.data.nn import TensorFeatureInfo, TensorFeatureSource, TensorSchema

    return TensorSchema(
        [
            TensorFeatureInfo(
                ITEM,
                is_seq=True,
                feature_type=FeatureType.CATEGORICAL,
                embedding_dim=SHAPES.width,
                padding_value=num_items,
                cardinality=num_items,
                feature_hint=FeatureHint.ITEM_ID,
                feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, ITEM)],
            )
        ]
    )


def _model(schema: Any, arguments: Arguments) -> Any:
    """Returns SasRec with the loss and the encoder of the variant."""
    from replay.nn.loss import BCESampled, LogInCE
    from replay.nn.sequential import LengthBucketedQueryEncoder, SasRec

    model = SasRec.from_params(
        schema,
        embedding_dim=SHAPES.width,
        num_heads=SHAPES.num_heads,
        num_blocks=SHAPES.num_blocks,
        max_sequence_length=SHAPES.max_length,
        dropout=SHAPES.dropout,
    )
    body, loss = model.body, model.loss
    if arguments.variant != "default":
        body.encoder = LengthBucketedQueryEncoder(body.encoder, bucket_size=BUCKET)
        loss = LogInCE(schema[ITEM].cardinality)
    if arguments.loss == "bce":
        loss = BCESampled()
    return SasRec(body=body, loss=loss)


def _data(split: str, schema: Any, arguments: Arguments, *, longest: int) -> Any:
    """Returns the batches of a split: "train", or "predict" with histories up to `longest`."""
    import torch
    from replay.data.nn.parquet import ParquetModule
    from replay.nn.transform import (
        AdaptiveTrimTransform,
        TargetAwareAdaptiveTrimTransform,
        UniformNegativeSamplingTransform,
    )
    from replay.nn.transform.template import make_default_sasrec_transforms

    num_items = schema[ITEM].cardinality

    class PositionNegatives(torch.nn.Module):
        """Draws negatives for every position."""

        def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
            shape = (*batch["padding_mask"].shape, arguments.num_negatives)
            return {**batch, "negative_labels": torch.randint(num_items, shape)}

    transforms = make_default_sasrec_transforms(schema)[split]
    if arguments.variant != "default":
        # Before the last, which groups the features.
        if split == "train":
            names = [ITEM, "positive_labels"]
            transforms.insert(2, TargetAwareAdaptiveTrimTransform(names))
        else:
            transforms.insert(1, AdaptiveTrimTransform([ITEM]))
    if split == "train" and arguments.loss == "bce":
        transforms.append(
            PositionNegatives()
            if arguments.variant == "position"
            else UniformNegativeSamplingTransform(num_items, arguments.num_negatives)
        )
    padded = {"padding": num_items}
    columns = {USER: {}, ITEM: {"shape": SHAPES.max_length + (split == "train"), **padded}}
    if split == "predict":
        columns[SEEN] = {"shape": longest, **padded}
    return ParquetModule(
        SHAPES.batch_size if split == "train" else RANKING_BATCH,
        {split: columns},
        {split: transforms},
        **{f"{split}_path": f"{split}.parquet"},
    )


def _rank(
    module: Any,
    schema: Any,
    sequences: list[list[int]],
    arguments: Arguments,
    journal: Journal,
    quiet: dict[str, Any],
) -> None:
    """Makes the lists of all users, items of the history masked."""
    import lightning
    import polars
    from replay.nn.lightning.callback import PolarsTopItemsCallback
    from replay.nn.lightning.postprocessor import SeenItemsFilter

    rows = [[item - 1 for item in items[:-1]] for items in sequences]
    table = polars.DataFrame({USER: range(len(rows)), ITEM: rows, SEEN: rows})
    table.write_parquet("predict.parquet")
    data = _data("predict", schema, arguments, longest=max(map(len, rows)))
    for _ in range(arguments.num_rankings):
        top = PolarsTopItemsCallback(
            top_k=10,
            query_column=USER,
            item_column=ITEM,
            postprocessors=[SeenItemsFilter(schema[ITEM].cardinality, SEEN)],
        )
        trainer = lightning.Trainer(callbacks=[top], inference_mode=True, **quiet)
        trainer.predict(module, datamodule=data, return_predictions=False)
        top.get_result()
        journal.ranking(len(sequences))


if __name__ == "__main__":
    run_driver(train)
