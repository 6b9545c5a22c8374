"""Every key of the configuration, once: default, meaning, unit, the paper's symbol.

An experiment is a file beside this one with a function `configure(config)` that changes what
differs; `--config.SECTION.KEY=VALUE` comes last.
"""

from ufnrec_tf.config import Option

OPTIONS = {
    "data": {
        "name": Option(
            "",
            "Empty: read --data. planted: the embedded data set. A published one, downloaded once "
            "after its licence is shown: ml-100k, ml-1m, ml-20m, ml-25m, ml-32m, steam, gowalla, "
            "lastfm-2k, lastfm-1k, lastfm-1k-artists, yelp (put by hand), amazon-2014-CATEGORY, "
            "amazon-2018-CATEGORY, amazon-2023-CATEGORY, amazon-2023-0core-CATEGORY.",
        ),
        "cache": Option(
            "",
            "Folder that keeps published data sets; empty: $UFNREC_CACHE, else "
            "$XDG_CACHE_HOME/ufnrec_tf, else ~/.cache/ufnrec_tf.",
        ),
        "mirror": Option(
            "",
            "Address of a served cache folder to download from instead of the publishers, https "
            "or http://127.0.0.1.",
        ),
        "sha256": Option(
            "", "SHA-256 that the published log is held against; empty: what is known of it."
        ),
        "download_titles": Option(
            True,
            "Published data sets: download titles, categories and prices too where they are a "
            "file of their own, which may be larger than the log (Amazon, Steam).",
        ),
        "format": Option(
            "auto",
            "Form of the log. auto: parquet by its first bytes; a typed header is inter; an object "
            "a line is jsonl; user::item::rating::time is dat; a header with commas or tabs is "
            "csv; lines of two fields are pairs; else sequences (user item item ..., oldest "
            "first).",
            choices=("auto", "pairs", "sequences", "inter", "csv", "jsonl", "dat", "parquet"),
        ),
        "user_column": Option("", "Name of the user column; empty: the usual names are tried."),
        "item_column": Option("", "Name of the item column."),
        "time_column": Option(
            "",
            "Name of the time column, numbers or ISO 8601 dates; empty: the usual names; none: "
            "file order.",
        ),
        "time_unit": Option(
            "auto",
            "What numbers in the time column count, since 1970. auto: the unit in which all lie "
            "between 1980 and 2100; in none, they are read for their order alone.",
            choices=("auto", "s", "ms", "us", "ns"),
        ),
        "rating_column": Option(
            "",
            "Name of the rating column, numbers, used by min_rating alone; none: do not read it.",
        ),
        "separator": Option("", "Field separator of a csv file; empty: tab if the header has one."),
        "repeats": Option(
            "keep",
            "Events whose user and item occurred before; counted either way.",
            choices=("keep", "drop"),
        ),
        "titles": Option(
            "",
            "Table of items: titles, categories, prices; CSV, TSV, .item, JSON lines or Parquet. "
            "Empty: the .item file beside an .inter.",
        ),
        "exclude_users": Option(
            "",
            "Filter 1: file of the raw ids of users who are left out, one a line; empty: none is.",
        ),
        "min_rating": Option(0.0, "Filter 2: events with a lower rating are left out; 0: none is."),
        "start": Option(
            "", "Filter 3: first moment that is read, 2019-01-31 or a number; empty: the oldest."
        ),
        "end": Option(
            "", "Filter 3: first moment that is not read any more; empty: all up to the newest."
        ),
        "k_core": Option(
            0,
            "Filter 5, after repeats: users and items with fewer events are left out, again and "
            "again, until none has fewer; 0: none is.",
            minimum=0,
        ),
        "min_user_events": Option(0, "Filter 5: k_core of users alone.", minimum=0),
        "min_item_events": Option(0, "Filter 5: k_core of items alone.", minimum=0),
        "min_length": Option(
            0, "Filter 6: users with fewer events are left out, once, at the end.", minimum=0
        ),
        "planted_generator": Option(
            "factors", "How the planted log is made.", choices=("factors", "attributes")
        ),
        "planted_users": Option(2000, "Users of the planted log.", minimum=2),
        "planted_items": Option(1000, "Items of the planted log.", minimum=10),
        "planted_mean_length": Option(20.0, "Mean events a user.", minimum=5),
        "planted_false_negative_rate": Option(
            0.1, "Share of a user's unobserved items that the user likes.", minimum=0, maximum=0.9
        ),
        "planted_popularity_bias": Option(1.0, "Deviation of an item's log popularity.", minimum=0),
        "planted_noise": Option(0.5, "Deviation of a pair's own taste.", minimum=0),
        "planted_drift": Option(2.0, "Weight of the last item in what comes next.", minimum=0),
        "planted_seed": Option(0, "Seed of the planted log.", minimum=0),
    },
    "split": {
        "name": Option(
            "leave_one_out",
            "leave_one_out: last event test, the one before validation; users with fewer than 3 "
            "train only. leave_last_n: likewise the last num_targets events and as many before, "
            "each ranked by all before it; users with fewer than 2 n + 1 train only. temporal: "
            "train before a date, validation from it on, test from a second date on; the target "
            "is a user's first event after the date. user_holdout: some users train, others are "
            "ranked on their last event by all before it. What leaks: in temporal only which "
            "items will exist; in the others training sees later events than a target, of other "
            "users; the summary of the data says how many.",
            choices=("leave_one_out", "leave_last_n", "temporal", "user_holdout"),
        ),
        "num_targets": Option(
            1,
            "leave_last_n: targets of each user in validation and in test. Paper: 1.",
            minimum=1,
        ),
        "validation_time": Option(
            0.0,
            "temporal: first moment of validation, an ISO date (2024-03-01, 2024-03-01T12:00, UTC "
            "without an offset), or a number: seconds since 1970, or the file's own where its "
            "times are no dates (see data.time_unit); 0: by the share.",
            or_text=True,
        ),
        "test_time": Option(
            0.0, "temporal: first moment of test, likewise; 0: by the share.", or_text=True
        ),
        "validation_share": Option(
            0.1,
            "temporal: share of all events that validation gets, those just before test. "
            "user_holdout: share of the users.",
            minimum=0,
            maximum=0.9,
        ),
        "test_share": Option(
            0.1,
            "temporal: share of all events, the newest, that test gets. user_holdout: share of "
            "the users.",
            minimum=0,
            maximum=0.9,
        ),
        "seed": Option(
            0,
            "user_holdout: of the draw of users, by their ids alone.",
            minimum=0,
            maximum=9_999_999_999,
        ),
    },
    "backbone": {
        "name": Option(
            "sasrec",
            "The network: sasrec, gru4rec, fmlp, bsarec, hstu, or your own class as "
            "path/to/file.py:ClassName (BUILD.md has the contract).",
        ),
        "variant": Option(
            "authors",
            "sasrec alone. authors: blocks as released, padded keys attended to; corrected: "
            "pre-norm blocks and a key-padding mask.",
            choices=("authors", "corrected"),
        ),
        "width": Option(50, "Embedding size. Paper: d.", minimum=1),
        "num_blocks": Option(2, "Blocks; of gru4rec, recurrent layers.", minimum=0),
        "num_heads": Option(1, "Attention heads; divides the width.", minimum=1),
        "hidden_width": Option(
            0, "gru4rec alone: size of the recurrent state; 0: the width.", minimum=0
        ),
        "filter": Option(
            "circular",
            "fmlp and bsarec alone. circular (the papers): over the whole window, later items "
            "too, which needs training.windows=prefixes; causal: over earlier items, which trains "
            "every position at once, at a fraction of the cost.",
            choices=("circular", "causal"),
        ),
        "frequency_share": Option(
            0.7,
            "bsarec alone: share of the filter, the rest is attention's. Paper: alpha.",
            minimum=0,
            maximum=1,
        ),
        "low_frequencies": Option(
            5, "bsarec alone: frequencies of the window that count as low. Paper: c.", minimum=1
        ),
        "dropout": Option(0.5, "Dropout rate.", minimum=0, maximum=0.99),
        "precision": Option(
            "float32",
            "mixed_bfloat16: the network computes in bfloat16; weights, scores and loss stay "
            "float32. For GPUs; slower on most CPUs. float64: for comparing runs digit by digit.",
            choices=("float32", "mixed_bfloat16", "float64"),
        ),
        "max_length": Option(
            50,
            "Newest items of a history that are read; older transitions are trained with "
            "training.windows=all or prefixes alone.",
            minimum=1,
        ),
    },
    "loss": {
        "name": Option(
            "pooled_bce",
            "The loss. pooled_bce (authors): BCE of positives and negatives alike; bce: one "
            "negative a positive; nce: summed negatives, shifted logits; gbce: calibrated; "
            "sampled_softmax, sampled_softmax_logq; scaled_cross_entropy; cross_entropy: the "
            "whole catalogue.",
        ),
        "calibration": Option(0.75, "gbce: t, 0 for plain BCE, 1 fully.", minimum=0, maximum=1),
        "scale": Option(
            100.0, "scaled_cross_entropy: factor of the negatives. Paper: alpha.", minimum=0.001
        ),
    },
    "negatives": {
        "count": Option(
            100,
            "Negatives a position, as many as the loss takes (bce 1, cross_entropy 0). Paper: N.",
            minimum=1,
            maximum=60000,
        ),
        "probes": Option(
            32,
            "Candidates a position drawn for the memory alone, where the loss takes none or one.",
            minimum=1,
            maximum=60000,
        ),
    },
    "memory": {
        "policy": Option(
            "ufnrec",
            "plain: no memory; replay: remember, never flip; remove: leave ripe negatives out "
            "for the step; neutral: for good; flip: label them 1; ufnrec: flip and let the teacher "
            "soften it; random: as many flips as flip, of random negatives, a control; "
            "ufnrec_safe: a bounded share of positives gives way to proven suspects (safe_*).",
        ),
        "safe_patience": Option(
            2, "ufnrec_safe: looks in a row that a suspect has survived, more than.", minimum=0
        ),
        "safe_period": Option(
            8, "ufnrec_safe: the teacher looks at the users of one step in so many.", minimum=1
        ),
        "safe_probes": Option(
            32, "ufnrec_safe: candidates a position that a look draws.", minimum=1, maximum=60000
        ),
        "safe_slots": Option(
            8, "ufnrec_safe: items that a row remembers, 8 bytes each.", minimum=1
        ),
        "safe_budget": Option(
            0.1, "ufnrec_safe: largest share of positives replaced.", minimum=0, maximum=1
        ),
        "patience": Option(
            5, "A negative shown more often than this is ripe. Paper: m.", minimum=0
        ),
        "slots": Option(
            16,
            "Counted items a row can hold, 8 bytes each; a row is a training transition.",
            minimum=1,
            maximum=65536,
        ),
        "capacity": Option(
            0,
            "Items remembered and shown again a row at most; 0: as many as there are negatives.",
            minimum=0,
        ),
        "max_flips": Option(
            1,
            "Suspects a position in a step at most, highest counts first; 0 (authors): any.",
            minimum=0,
        ),
        "duplicates": Option(
            False,
            "true (authors): an item may be remembered twice and then counts twice, and a fresh "
            "draw of a shown item keeps label 0; false: neither.",
        ),
        "counting": Option(
            "cumulative",
            "cumulative (authors): a count outlives the item's stay; consecutive: it starts again.",
            choices=("cumulative", "consecutive"),
        ),
        "flip": Option(
            "once",
            "once (authors): a flip lasts one step; sticky: as long as the item outranks.",
            choices=("once", "sticky"),
        ),
    },
    "teacher": {
        "decay": Option(
            0.999, "Decay of the average after warm-up. Paper: d.", minimum=0, maximum=1
        ),
        "weight": Option(0.3, "Weight of the consistency term. Paper: alpha.", minimum=0),
        "always": Option(False, "Average the weights from the first step, in every policy."),
        "agreement": Option(
            "outranks",
            "What the teacher must say of a suspect before its label is flipped. outranks: it is "
            "above the positive; half: its probability is above 0.5; none (authors): nothing. "
            "Policies without a teacher flip unasked.",
            choices=("outranks", "half", "none"),
        ),
        "dropout": Option(False, "Whether the teacher scores with dropout (authors: true)."),
        "consistency_mean": Option(
            "all",
            "flipped (authors): mean over flipped entries, so that one can weigh hundreds of times "
            "an ordinary one; all: over all entries.",
            choices=("all", "flipped"),
        ),
        "soft_label_only": Option(
            True,
            "A flipped entry that the teacher has scored learns from the teacher alone; false "
            "(authors): from a hard 1 too, which the teacher may contradict.",
        ),
    },
    "gate": {
        "kind": Option(
            "validation",
            "When memory and teacher start. validation: the best validation metric has risen by "
            "less than gate.least_rise over gate.patience evaluations; plateau (authors): the loss "
            "has; epochs: after gate.epochs; never.",
            choices=("plateau", "validation", "epochs", "never"),
        ),
        "epochs": Option(
            20, "kind=epochs: epochs completed before it opens; 0: at the first step.", minimum=0
        ),
        "patience": Option(5, "kind=validation: evaluations it looks back.", minimum=1),
        "least_rise": Option(
            0.01,
            "kind=validation: relative rise over them that keeps it shut; 0: any rise.",
            minimum=0,
        ),
        "popularity_lift": Option(
            1.5,
            "kind=validation: stay shut until the metric is this many times popularity's, since a "
            "model first learns what is popular and rests there. Early stopping waits likewise.",
            minimum=0,
        ),
    },
    "optimizer": {
        "learning_rate": Option(1e-3, "Adam's rate.", minimum=0),
        "beta_1": Option(0.9, "Adam's first decay.", minimum=0, maximum=1),
        "beta_2": Option(0.98, "Adam's second decay.", minimum=0, maximum=1),
        "epsilon": Option(1e-8, "Adam's epsilon, added after the bias correction.", minimum=0),
        "weight_decay": Option(0.0, "Decoupled weight decay.", minimum=0),
        "clip_norm": Option(0.0, "Norm to clip the gradient to; 0: none.", minimum=0),
        "warm_up_steps": Option(0, "Steps of linear warm-up.", minimum=0),
        "schedule": Option(
            "constant", "Learning rate after the warm-up.", choices=("constant", "cosine")
        ),
        "l2": Option(0.0, "Weight of the item table's norm in the loss.", minimum=0),
    },
    "training": {
        "batch_size": Option(128, "Users a step, over all replicas.", minimum=1),
        "num_epochs": Option(200, "Epochs at most.", minimum=0),
        "max_steps": Option(0, "Steps at most; 0: no limit.", minimum=0),
        "draw": Option(
            "permutation",
            "permutation: each window once an epoch; with_replacement (authors): batches drawn "
            "anew, of distinct users.",
            choices=("permutation", "with_replacement"),
        ),
        "windows": Option(
            "last",
            "last (authors): the newest max_length transitions of a user; all: every transition, "
            "in windows that do not overlap; prefixes: every transition as the last of its own "
            "window, many more steps, for backbones that see later items.",
            choices=("last", "all", "prefixes"),
        ),
        "monitor": Option(
            "ndcg@10", "Validation metric that selects and stops; empty: the last weights."
        ),
        "patience": Option(
            10, "Evaluations without a better one before training stops; 0: never.", minimum=0
        ),
        "steps_per_execution": Option(1, "Steps a call into the graph.", minimum=1),
        "jit_compile": Option(
            True,
            "XLA compiles the step but for lookup and record: a third of the cost, after some "
            "seconds a program. false: for a few steps, or to look into one.",
        ),
        "checkpoint_minutes": Option(
            2.0, "Minutes between checkpoints, also within an epoch; 0: none by time.", minimum=0
        ),
        "checkpoint_steps": Option(
            0, "Steps between checkpoints, beside those by time; 0: none by steps.", minimum=0
        ),
        "checkpoints_kept": Option(
            2, "Newest checkpoints that are kept; the best weights always are.", minimum=1
        ),
        "warm_start": Option(
            "",
            "Work directory of an older run, on another log perhaps, of the same backbone: a fresh "
            "run begins with its selected weights and its memory, by raw ids. Empty: from scratch.",
        ),
        "deterministic": Option(False, "TensorFlow's deterministic operations; slower."),
        "finish": Option(
            True,
            "Score the test set once at the end, export, show. false: stop after training, as the "
            "trials of a sweep do; the same command with true goes on to the end.",
        ),
    },
    "evaluation": {
        "every": Option(1, "Epochs between evaluations on validation.", minimum=1),
        "test_every": Option(
            0,
            "Epochs between evaluations on test, to watch only, never used to select; 0: the test "
            "set is scored once, at the end.",
            minimum=0,
        ),
        "weights": Option(
            "auto",
            "auto: the teacher's where there is one (ufnrec_safe: better); better: whichever of "
            "the two validates better, both are scored.",
            choices=("auto", "student", "teacher", "better"),
        ),
        "mask": Option(
            "seen",
            "Items left out of the candidates. seen: the history's (at test the validation item "
            "too); train: train items; none: nothing, for repeat consumption.",
            choices=("seen", "train", "none"),
        ),
        "sampled_negatives": Option(
            0,
            "Also the authors' metric, against this many random items (100): hr@10_uni100.",
            minimum=0,
        ),
        "batch_size": Option(512, "Users a chunk.", minimum=1),
    },
    "detection": {
        "most_rows": Option(
            500_000,
            "Rows of false_negatives.parquet at most, flagged pairs and then the highest counts "
            "first.",
            minimum=1,
        ),
    },
    "distribution": {
        "strategy": Option(
            "one",
            "one: one device; mirrored: all local GPUs; auto: mirrored where there are several "
            "GPUs, else one; multi_worker: the processes that TF_CONFIG or Slurm names.",
        ),
        "start_minutes": Option(
            10.0, "multi_worker: minutes to wait for the others at the start; 0: no end.", minimum=0
        ),
        "num_virtual_devices": Option(0, "Splits the CPU, to try replicas; 0: no.", minimum=0),
    },
    "export": {
        "top_k": Option(10, "Items of the default signature.", minimum=1),
        "mask_seen": Option(True, "Never recommend an item of the given history."),
        "fallback": Option(
            "popularity",
            "What answers a history without a known item. popularity: the items with most train "
            "events; model: what the network makes of an empty window.",
            choices=("popularity", "model"),
        ),
        "versions_kept": Option(
            3, "Newest versions that stay in the folder; 0: all. The newest stays.", minimum=0
        ),
        "path": Option(
            "",
            "Folder of versions that --mode=export publishes to, such as one that a server "
            "watches; empty: WORKDIR/export, where --mode=train always writes, and which "
            "--mode=recommend and serve read (serve: or --export=FOLDER).",
        ),
        "warm_up": Option(
            "all",
            "Warm-up requests for TensorFlow Serving. all: of each signature; batching: without "
            "those that a server with --enable_batching refuses, recommend and "
            "recommend_filtered; none.",
            choices=("all", "batching", "none"),
        ),
        "table": Option(
            "float32",
            "How the export keeps item vectors. bfloat16: half the space; int8: a quarter, a scale "
            "an item. Recall against float32 and latency are measured and kept in ufnrec.json.",
            choices=("float32", "bfloat16", "int8"),
        ),
        "onnx": Option(
            False,
            "Also writes onnx/model.onnx, over whole-number ids, and its vocabulary into each "
            "version; needs pip install 'ufnrec-tf[onnx]'.",
        ),
    },
    "serving": {
        "poll_seconds": Option(
            1.0, "--mode=serve: seconds between looks for a new version.", minimum=0.05
        ),
        "timeout_seconds": Option(
            10.0,
            "Seconds until a request's body has come in, and until it is answered.",
            minimum=0.1,
        ),
        "max_concurrent": Option(
            256, "Requests worked on at once; one more is answered with 429.", minimum=1
        ),
        "max_batch": Option(64, "Histories joined into one call of the model.", minimum=1),
        "max_body_bytes": Option(1 << 20, "Bytes of a request's body.", minimum=64),
        "max_instances": Option(256, "Histories of a request.", minimum=1),
        "max_history": Option(
            10000, "Ids of a history, and of a list to exclude or allow.", minimum=1
        ),
        "max_k": Option(1000, "Items a history that may be asked for.", minimum=1),
    },
    "comparison": {
        "baselines": Option(
            ("popularity", "markov"),
            "Simple baselines in the final table: popularity, markov, itemknn.",
        ),
        "arms": Option(
            (),
            "Arms: names of the table ARMS (base, ema, replay, ...), of policies (plain, ...), or "
            "NAME:SECTION.KEY=VALUE,SECTION.KEY=VALUE. --mode=train trains them as baselines into "
            "WORKDIR/baselines; --mode=compare compares them.",
        ),
        "seeds": Option((0, 1, 2), "--mode=compare: seeds that every arm is trained with."),
        "reference": Option(
            "", "--mode=compare: the arm that the others are compared with; empty: the first."
        ),
        "run": Option("", "--mode=compare: ARM/SEED, to train that run alone; no report."),
        "stop_hopeless": Option(
            0.0,
            "--mode=compare: an arm whose interval on validation lies below the reference by more "
            "than this share (0.05: 5%) after a seed is not trained with further ones; 0: never.",
            minimum=0,
        ),
        "resamples": Option(
            10000, "--mode=compare: resamples of intervals and tests.", minimum=100
        ),
        "sample_users": Option(3, "Users whose recommendations are shown at the end.", minimum=0),
    },
    "sweep": {
        "space": Option(
            (),
            "--mode=sweep: what is searched, by commas: SECTION.KEY=LOW:HIGH, =LOW:HIGH:STEP, "
            "=log:LOW:HIGH, or =A|B|C.",
        ),
        "trials": Option(
            20, "--mode=sweep: trials in all, failed ones counted; more of them go on.", minimum=1
        ),
        "minutes": Option(
            0.0, "--mode=sweep: no trial begins after so many minutes of trials; 0: any.", minimum=0
        ),
        "sampler": Option(
            "tpe",
            "--mode=sweep: tpe: where earlier trials were good; random; grid: all combinations.",
            choices=("tpe", "random", "grid"),
        ),
        "startup_trials": Option(
            5, "--mode=sweep: trials before tpe looks at them and any is pruned.", minimum=1
        ),
        "prune_after": Option(
            0,
            "--mode=sweep: epochs before a trial whose best validation metric is below the median "
            "of the others at that epoch is stopped; -1: none is.",
            minimum=-1,
        ),
    },
}
