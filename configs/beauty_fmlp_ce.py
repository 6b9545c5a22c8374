"""Amazon Beauty: FMLP-Rec, plain training with full cross-entropy.

    python main.py --config=configs/beauty_fmlp_ce.py --data=beauty.txt

A recipe of this library: width 64, 4 blocks, dropout .4. The filter is causal, so that every
position of a history is trained at once, and the learning rate fits that. The published figures
for this loss, test NDCG@10 .0597 and HR@10 .0992, are those of MTandHJ/CE-SCE-LLMRec, which has the
circular filter (and starts the filters of all blocks alike, which is not done here). Its settings,
in hours on two cores:

    --config.backbone.filter=circular --config.backbone.padding=released \
    --config.training.windows=prefixes --config.training.batch_size=512 \
    --config.backbone.dropout=0.5 --config.optimizer.learning_rate=1e-4 \
    --config.optimizer.beta_2=0.999 --config.optimizer.weight_decay=5e-4 \
    --config.optimizer.weight_decay_kind=coupled --config.training.patience=0 \
    --config.evaluation.every=5

Expected: not run yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.name = "fmlp"
    config.backbone.filter = "causal"
    config.backbone.width = 64
    config.backbone.num_blocks = 4
    config.backbone.dropout = 0.4
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.gate.kind = "never"
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
