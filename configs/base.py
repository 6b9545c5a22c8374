"""Every key of the configuration: its default, meaning, unit and the paper's symbol.

An experiment is a file beside this one with a function `configure(config)` that changes some of
the keys. `--config.SECTION.KEY=VALUE` on the command line changes them last. The first sentence of
a key's text is also shown by itself.
"""

from ufnrec_tf.config import AllBut, Condition, Option

OPTIONS = {
    "data": {
        "name": Option(
            "",
            "A published data set, or `planted`, instead of --data. planted: the embedded "
            "synthetic log. A published data set is downloaded once, after its licence is shown: "
            "ml-100k, ml-1m, ml-20m, ml-25m, ml-32m, steam, gowalla, lastfm-2k, lastfm-1k, "
            "lastfm-1k-artists, yelp (its file has to be put into the cache by hand), "
            "amazon-2014-CATEGORY, amazon-2018-CATEGORY, amazon-2023-CATEGORY, "
            "amazon-2023-0core-CATEGORY.",
        ),
        "cache": Option(
            "",
            "Folder for downloaded data sets. Empty: $UFNREC_CACHE, else "
            "$XDG_CACHE_HOME/ufnrec_tf, else ~/.cache/ufnrec_tf.",
            is_path=True,
        ),
        "mirror": Option(
            "",
            "Address of a cache folder to download from instead of the publishers. It begins with "
            "https:// or http://127.0.0.1.",
        ),
        "sha256": Option(
            "", "Expected SHA-256 of the published log. Empty: the known one, if there is one."
        ),
        "download_titles": Option(
            True,
            "Also download the titles, categories and prices of a published data set. They may be "
            "a file of their own, which can be larger than the log (Amazon, Steam).",
        ),
        "format": Option(
            "auto",
            "Form of the log. auto: the form is guessed. A file that begins with Parquet's magic "
            "bytes is parquet, one with a typed header is inter, one with a JSON object in each "
            "line is jsonl, one with lines of user::item::rating::time is dat, one with a header "
            "with commas or tabs is csv, and one with two fields in each line is pairs. "
            "Everything else is sequences (user item item ..., oldest first). histories: one "
            "history a line, items only, oldest first, for --mode=recommend --histories=FILE.",
            choices=(
                *("auto", "pairs", "sequences", "inter", "csv", "jsonl", "dat", "parquet"),
                "histories",
            ),
        ),
        "user_column": Option("", "Name of the user column. Empty: the usual names are tried."),
        "item_column": Option("", "Name of the item column. Empty: the usual names are tried."),
        "time_column": Option(
            "",
            "Name of the time column, which holds numbers or dates. Empty: the usual names are "
            "tried, then the column whose values are all dates or numbers since 1970. none: the "
            "order of the file is the order in time.",
        ),
        "event_column": Option(
            "",
            "Name of the column of event types, such as view, cart and purchase. Only events uses "
            "it. Empty: the usual names are tried.",
        ),
        "time_format": Option(
            "",
            "Form of the dates in the time column, as strptime has it, such as '%d.%m.%Y %H:%M'. "
            "Empty: ISO 8601 dates, other forms that can be read in one way only, or numbers.",
        ),
        "time_unit": Option(
            "auto",
            "Unit of the numbers in the time column, counted since 1970. auto: the unit in which "
            "all of them lie between 1980 and 2100. If there is no such unit, only the order of "
            "the numbers is used.",
            choices=("auto", "s", "ms", "us", "ns"),
        ),
        "rating_column": Option(
            "",
            "Name of the rating column, which holds numbers. It is read only if min_rating is "
            "set. none: there is no rating column.",
        ),
        "separator": Option(
            "",
            "Field separator of a csv file. Empty: the header shows it: tab, comma, semicolon, bar "
            "or space.",
        ),
        "strip": Option(
            True,
            "Remove spaces around ids. false: they are part of the id.",
        ),
        "repeats": Option(
            "keep",
            "What to do with an event whose user and item occurred before. Such events are "
            "counted in either case.",
            choices=("keep", "drop"),
        ),
        "titles": Option(
            "",
            "File with a table of items: titles, categories, prices. It may be CSV, TSV, text "
            "separated by ; or |, .item, MovieLens's movies.dat or u.item, JSON lines or Parquet. "
            "Empty: the .item file beside an .inter file.",
            is_path=True,
        ),
        "title_column": Option(
            "",
            "Name of the title column of the item table, or its number where the table has no "
            "header. Empty: the usual names are tried (title, product_name, name, ...). none: the "
            "titles are not read.",
        ),
        "exclude_users": Option(
            "",
            "Filter 1: leave out the users of this file, which has one raw id a line. Empty: keep "
            "all.",
            is_path=True,
        ),
        "null_ids": Option(
            "keep",
            "What to do with an event whose user or item is a null word, such as nan, NULL or -. "
            "keep: the word is an id like any other, and an empty id is an error. drop: such "
            "events and those with an empty id are left out. It comes after exclude_users.",
            choices=("keep", "drop"),
        ),
        "null_times": Option(
            "refuse",
            "What to do with an event whose time is empty or a null word. refuse: it is an error. "
            "drop: such events are left out.",
            choices=("refuse", "drop"),
        ),
        "events": Option(
            (),
            "Event types that count, such as purchase,cart. Events of other types are left out. "
            "Empty: all count.",
        ),
        "min_rating": Option(0.0, "Filter 2: leave out events with a lower rating. 0: keep all."),
        "start": Option(
            "",
            "Filter 3: leave out events before this moment, 2019-01-31 or a number. Empty: keep "
            "the oldest.",
        ),
        "end": Option(
            "", "Filter 3: leave out events at this moment and after it. Empty: keep the newest."
        ),
        "duplicates": Option(
            "keep",
            "Filter 4: drop leaves out an event that says again what an earlier one says: same "
            "user, item and time, and same rating and event type where these are read. It comes "
            "before the repeats.",
            choices=("keep", "drop"),
        ),
        "k_core": Option(
            0,
            "Filter 5: leave out users and items with fewer events. It comes after the repeats "
            "and is applied again until none has fewer. 0: keep all.",
            minimum=0,
        ),
        "min_user_events": Option(0, "Filter 5: k_core of the users only.", minimum=0),
        "min_item_events": Option(0, "Filter 5: k_core of the items only.", minimum=0),
        "min_length": Option(
            0,
            "Filter 6: leave out users with fewer events. It is applied once, after the other "
            "filters.",
            minimum=0,
        ),
        "planted_generator": Option(
            "factors", "How the planted log is made.", choices=("factors", "attributes")
        ),
        "planted_users": Option(2000, "Users of the planted log.", minimum=2),
        "planted_items": Option(1000, "Items of the planted log.", minimum=10),
        "planted_mean_length": Option(
            20.0, "Mean number of events of a user of the planted log.", minimum=5
        ),
        "planted_false_negative_rate": Option(
            0.1, "Share of a user's unobserved items that the user likes.", minimum=0, maximum=0.9
        ),
        "planted_popularity_bias": Option(
            1.0, "Standard deviation of the logarithm of an item's popularity.", minimum=0
        ),
        "planted_noise": Option(
            0.5, "Standard deviation of the taste of one user for one item.", minimum=0
        ),
        "planted_drift": Option(
            2.0, "Weight of the last item in the choice of the next one.", minimum=0
        ),
        "planted_seed": Option(0, "Seed of the planted log.", minimum=0, maximum=2**63 - 1),
    },
    "split": {
        "name": Option(
            "leave_one_out",
            "How events are split into train, validation and test. leave_one_out: the last event "
            "of a user is test and the one before it validation. Users with fewer than 3 events "
            "only train. leave_last_n: the same with the last num_targets events and as many "
            "before them, each ranked by all events before it. Users with fewer than 2 n + 1 "
            "events only train. temporal: events before a date train, those from it on are "
            "validation, and those from a second date on are test. The target is a user's first "
            "event after the date. user_holdout: some users train, the others are ranked on their "
            "last event by all events before it. What leaks: with temporal only which items will "
            "exist. With the others, training sees events of other users that are later than a "
            "target. The summary of the data says how many.",
            choices=("leave_one_out", "leave_last_n", "temporal", "user_holdout"),
        ),
        "num_targets": Option(
            1,
            "leave_last_n: targets of each user in validation and in test. Paper: 1.",
            minimum=1,
        ),
        "validation_time": Option(
            0.0,
            "temporal: the moment at which validation begins. It is an ISO date (2024-03-01, "
            "2024-03-01T12:00, in UTC without an offset) or a number of seconds since 1970. Where "
            "the times of the file are not dates it is one of the file's own numbers (see "
            "data.time_unit). 0: validation_share decides.",
            or_text=True,
        ),
        "test_time": Option(
            0.0,
            "temporal: the moment at which test begins, written like validation_time. 0: "
            "test_share decides.",
            or_text=True,
        ),
        "validation_share": Option(
            0.1,
            "Share of the data that is validation. temporal: the share of all events, those just "
            "before test. user_holdout: the share of the users.",
            minimum=0,
            maximum=0.9,
        ),
        "test_share": Option(
            0.1,
            "Share of the data that is test. temporal: the share of all events, the newest ones. "
            "user_holdout: the share of the users.",
            minimum=0,
            maximum=0.9,
        ),
        "seed": Option(
            0,
            "user_holdout: seed of the draw of the users. The draw depends only on it and on the "
            "user ids.",
            minimum=0,
            maximum=9_999_999_999,
        ),
    },
    "backbone": {
        "name": Option(
            "sasrec",
            "Network: sasrec, gru4rec, fmlp, bsarec, hstu or your own. Your own class is "
            "path/to/file.py:ClassName (CONTRIBUTING.md explains what it has to provide).",
            choices=("sasrec", "gru4rec", "fmlp", "bsarec", "hstu"),
            takes_code=True,
            is_path=True,
        ),
        "variant": Option(
            "authors",
            "sasrec: form of the blocks. authors: blocks as released, which attend to padding. "
            "corrected: layer normalisation before each part of a block, and a mask over padding. "
            "input_residual: as authors, but with the residual of attention from the block's "
            "input, and with torch's initial weights. It is the block of the published figures "
            "with cross-entropy (configs/beauty_sasrec_published.py).",
            choices=("authors", "corrected", "input_residual"),
        ),
        "width": Option(50, "Embedding size. Paper: d.", minimum=1),
        "num_blocks": Option(
            2, "Number of blocks. gru4rec: number of recurrent layers.", minimum=0
        ),
        "num_heads": Option(1, "Number of attention heads. It has to divide the width.", minimum=1),
        "hidden_width": Option(0, "gru4rec: size of the recurrent state. 0: the width.", minimum=0),
        "filter": Option(
            "circular",
            "fmlp and bsarec: items that the filter reads. circular (the papers): the whole "
            "window, later items included, which needs training.windows=prefixes. causal: earlier "
            "items only. It trains every position at once, at a fraction of the cost.",
            choices=("circular", "causal"),
        ),
        "padding": Option(
            "zero",
            "fmlp and bsarec with filter=circular: padded columns of a window. zero: they hold the "
            "embedding of their position only, and attend only to themselves. released (the "
            "papers' code): they also hold the item table's row of padding, which is drawn at the "
            "start and never trained, and attend to the whole window.",
            choices=("zero", "released"),
        ),
        "frequency_share": Option(
            0.7,
            "bsarec: share of the filter in a block; attention has the rest. Paper: alpha.",
            minimum=0,
            maximum=1,
        ),
        "low_frequencies": Option(
            5, "bsarec: how many frequencies of the window count as low. Paper: c.", minimum=1
        ),
        "initializer": Option(
            "normal",
            "bsarec: how matrices start. normal (the paper's code): normally distributed with "
            "deviation 0.02. xavier (MTandHJ/RecBoard): Xavier's normal distribution.",
            choices=("normal", "xavier"),
        ),
        "time": Option(
            "none",
            "What the network reads of the times of events. none: only their order. gaps (sasrec "
            "and hstu): a learnt vector for the time since the event before, in buckets of its "
            "logarithm, is added to each item's. bias (hstu): attention has a learnt bias for the "
            "time between two events, beside that for their distance. both (hstu): gaps and bias. "
            "Other backbones take only none. The log needs dates or seconds since 1970.",
            choices=("none", "gaps", "bias", "both"),
        ),
        "request_time": Option(
            False,
            "Also read the time at which the next item is asked for: in training and evaluation "
            "that of the target, in serving the present. Other models do not know it, so that "
            "results say so. The published HSTU reads it.",
        ),
        "dropout": Option(0.5, "Dropout rate.", minimum=0, maximum=0.99),
        "attention_dropout": Option(
            -1.0,
            "sasrec and bsarec: dropout rate of the attention weights. -1: the same as dropout.",
            minimum=-1,
            maximum=0.99,
        ),
        "precision": Option(
            "float32",
            "Number type of the network. mixed_bfloat16: the network computes in bfloat16, while "
            "weights, scores and loss stay float32. It is meant for GPUs and slower on most CPUs. "
            "float64: for comparing runs digit by digit.",
            choices=("float32", "mixed_bfloat16", "float64"),
        ),
        "max_length": Option(
            50,
            "Newest items of a history that the network reads. Older transitions are trained only "
            "with training.windows=all or prefixes.",
            minimum=1,
        ),
    },
    "loss": {
        "name": Option(
            "pooled_bce",
            "Loss: pooled_bce (authors), cross_entropy or another. pooled_bce: one binary "
            "cross-entropy over all positives and negatives. bce: binary cross-entropy with one "
            "negative for each positive. nce: summed negatives with shifted logits. gbce: binary "
            "cross-entropy with calibrated positives. sampled_softmax, sampled_softmax_logq: "
            "cross-entropy over the sampled negatives, without and with a correction by which "
            "they stand for the whole catalogue. scaled_cross_entropy: the same with the "
            "negatives' part multiplied by a factor. cross_entropy: over the whole catalogue. Your "
            "own class is path/to/file.py:ClassName (CONTRIBUTING.md explains what it has to "
            "provide).",
            choices=(
                *("pooled_bce", "bce", "nce", "gbce", "sampled_softmax", "sampled_softmax_logq"),
                *("scaled_cross_entropy", "cross_entropy"),
            ),
            takes_code=True,
            is_path=True,
        ),
        "calibration": Option(
            0.75,
            "gbce: the degree t of calibration. 0: plain binary cross-entropy. 1: full "
            "calibration.",
            minimum=0,
            maximum=1,
        ),
        "scale": Option(
            100.0, "scaled_cross_entropy: factor of the negatives. Paper: alpha.", minimum=0.001
        ),
        "label_smoothing": Option(
            0.0,
            "cross_entropy: share of each target that is spread evenly over the catalogue.",
            minimum=0,
            maximum=0.99,
        ),
    },
    "negatives": {
        "count": Option(
            100,
            "Negatives for each position. The loss may take fewer: bce 1, cross_entropy 0. Paper: "
            "N.",
            minimum=1,
            maximum=60000,
        ),
        "shared": Option(
            False,
            "Draws one set of negatives for all users of a step, of which each leaves out the "
            "items that it has seen. Cheaper, above all with many items.",
        ),
        "probes": Option(
            32,
            "Candidates for each position that are drawn only for the memory. Used where the loss "
            "takes no negatives or one.",
            minimum=1,
            maximum=60000,
        ),
    },
    "memory": {
        "policy": Option(
            "ufnrec",
            "Treatment of false negatives: plain, ufnrec or another. plain: no memory. replay: "
            "hard negatives are remembered and shown again. remove: suspects are left out "
            "of the step. neutral: they are left out for good. flip: they get label 1. ufnrec: "
            "they get label 1, softened by the teacher. random: as many labels are flipped as "
            "with flip, but of random negatives, as a control. ufnrec_safe: a bounded share of "
            "positives is replaced by suspects that have proven themselves (safe_*). ufnrec_soft: "
            "no memory; a part of each target is given to items that a teacher expects "
            "(teacher.kind).",
            choices=(
                *("plain", "replay", "remove", "flip", "ufnrec", "random", "neutral"),
                *("ufnrec_safe", "ufnrec_soft"),
            ),
        ),
        "safe_patience": Option(
            2,
            "ufnrec_safe: a candidate becomes a suspect once it has been remembered for more than "
            "this many looks in a row.",
            minimum=0,
        ),
        "safe_period": Option(
            8, "ufnrec_safe: the teacher looks every this many steps.", minimum=1
        ),
        "safe_probes": Option(
            32,
            "ufnrec_safe: candidates that a look draws for each position.",
            minimum=1,
            maximum=60000,
        ),
        "safe_slots": Option(
            8, "ufnrec_safe: items that a row can remember. Each takes 4 to 8 bytes.", minimum=1
        ),
        "safe_budget": Option(
            0.1, "ufnrec_safe: largest share of positives that is replaced.", minimum=0, maximum=1
        ),
        "patience": Option(5, "A negative shown more often is a suspect. Paper: m.", minimum=0),
        "slots": Option(
            16,
            "Counted items that a row can hold. Each takes 4 to 8 bytes, and each training "
            "transition has a row.",
            minimum=1,
            maximum=65536,
        ),
        "capacity": Option(
            0,
            "Items that a row remembers and shows again at most. 0: as many as there are "
            "negatives.",
            minimum=0,
        ),
        "max_flips": Option(
            1,
            "Suspects of a position in one step at most, those with the highest counts first. 0 "
            "(authors): no limit.",
            minimum=0,
        ),
        "duplicates": Option(
            False,
            "Let an item be remembered twice. true (authors): it then counts twice, and a fresh "
            "draw of an item that is shown again keeps label 0. false: neither happens.",
        ),
        "counting": Option(
            "cumulative",
            "What happens to the count of an item that is no longer remembered. cumulative "
            "(authors): the count stays. consecutive: it begins again.",
            choices=("cumulative", "consecutive"),
        ),
        "flip": Option(
            "once",
            "How long a flip lasts. once (authors): one step. sticky: as long as the item "
            "outranks the positive.",
            choices=("once", "sticky"),
        ),
    },
    "teacher": {
        "decay": Option(
            0.999,
            "Decay of the averaged weights after the warm-up. Paper: d.",
            minimum=0,
            maximum=1,
        ),
        "weight": Option(0.3, "Weight of the consistency term. Paper: alpha.", minimum=0),
        "always": Option(False, "Average the weights from the first step, with every policy."),
        "agreement": Option(
            "outranks",
            "What the teacher has to say of a suspect before its label is flipped. outranks: the "
            "suspect scores higher than the positive. half: its probability is above 0.5. none "
            "(authors): nothing. Policies without a teacher do not ask.",
            choices=("outranks", "half", "none"),
        ),
        "dropout": Option(
            False, "Let the teacher score with dropout. true is the authors' choice."
        ),
        "consistency_mean": Option(
            "all",
            "Entries over which the consistency term is averaged. flipped (authors): only flipped "
            "entries, so that one of them can weigh hundreds of times as much as an ordinary "
            "entry. all: all entries.",
            choices=("all", "flipped"),
        ),
        "soft_label_only": Option(
            True,
            "Train a flipped entry that the teacher has scored only on the teacher's label. false "
            "(authors): also on the label 1, which the teacher may contradict.",
        ),
        "kind": Option(
            "hindsight",
            "ufnrec_soft: the teacher that gives the soft labels. hindsight: a network that reads "
            "what the user took before and after the target. It is trained first, on train events "
            "only. runs: finished runs. ema: the average of the student's own weights, from the "
            "opening of the gate on.",
            choices=("hindsight", "runs", "ema"),
        ),
        "runs": Option(
            (),
            "runs: work directories of finished runs on the same data, separated by commas. The "
            "mean of their probabilities gives the labels.",
        ),
        "mass": Option(
            0.3,
            "ufnrec_soft: share of each target that goes to the soft labels. The observed item "
            "keeps the rest.",
            minimum=0,
            maximum=1,
        ),
        "num_labels": Option(
            50,
            "ufnrec_soft: most items among which the share of a target is divided. Stored labels "
            "take 8 bytes an item and transition.",
            minimum=1,
            maximum=65536,
        ),
        "temperature": Option(
            1.0,
            "ufnrec_soft: number by which the teacher's scores are divided before the softmax. "
            "Above 1: its labels are less sure.",
            minimum=0.01,
        ),
        "outranking_only": Option(
            False,
            "ufnrec_soft: give soft labels only to the observed item and to items that the "
            "teacher puts above it.",
        ),
        "labels": Option(
            "teacher",
            "ufnrec_soft: where the soft labels come from. teacher: the teacher. The others are "
            "controls with the same mass. uniform: random items. popularity: random items, drawn "
            "by their number of train events. later: the user's own next train items, each with "
            "half the share of the one before. alike: the teacher's labels, each item replaced by "
            "a random one that is as popular.",
            choices=("teacher", "uniform", "popularity", "later", "alike"),
        ),
        "folder": Option(
            "",
            "Folder in which teacher and labels are made once and shared by several runs. Empty: "
            "WORKDIR/teacher, in a comparison a folder in WORKDIR/teachers for each teacher.",
            is_path=True,
        ),
        "num_epochs": Option(36, "hindsight: epochs that the teacher is trained.", minimum=1),
        "time": Option(
            "none",
            "hindsight: what the teacher reads of the times of events. none: only their order. "
            "gaps: the time between neighbours, before and after the target, whatever the student "
            "reads.",
            choices=("none", "gaps"),
        ),
        "seed": Option(
            -1,
            "hindsight and alike: seed of the teacher. -1: the run's; in a comparison 0.",
            minimum=-1,
        ),
        "left_out": Option(
            0.05,
            "hindsight: share of train transitions that are left out of the teacher's loss. They "
            "show what it knows.",
            minimum=0,
            maximum=0.5,
        ),
        "folds": Option(
            1,
            "hindsight: teachers that are trained, each without its part of the train transitions "
            "in its loss. The labels of a transition are those of the teacher that has not learned "
            "it. Each costs as much as one. 1: one teacher, which has learned nearly all.",
            minimum=1,
            maximum=5,
        ),
    },
    "gate": {
        "kind": Option(
            "validation",
            "When memory and teacher start. validation: when the best validation metric has risen "
            "by less than gate.least_rise over gate.patience evaluations. plateau (authors): when "
            "the loss of an epoch falls by less than a 200th of its first fall. epochs: after "
            "gate.epochs. never: not at all.",
            choices=("plateau", "validation", "epochs", "never"),
        ),
        "epochs": Option(
            20,
            "epochs: completed epochs before the gate opens. 0: it opens at the first step.",
            minimum=0,
        ),
        "patience": Option(
            5, "validation: number of evaluations over which the rise is measured.", minimum=1
        ),
        "least_rise": Option(
            0.01,
            "validation: relative rise that keeps the gate shut. 0: any rise does.",
            minimum=0,
        ),
        "popularity_lift": Option(
            1.5,
            "validation: the gate stays shut until the metric is this many times that of "
            "recommending by popularity. A model learns first what is popular, and its metric "
            "rests there for a while. Early stopping waits in the same way.",
            minimum=0,
        ),
    },
    "optimizer": {
        "learning_rate": Option(1e-3, "Adam's learning rate.", minimum=0),
        # With a decay of 1 or an epsilon of 0 the first step divides 0 by 0.
        "beta_1": Option(0.9, "Adam's decay of the first moment.", minimum=0, maximum=0.999999),
        "beta_2": Option(0.98, "Adam's decay of the second moment.", minimum=0, maximum=0.999999),
        "epsilon": Option(1e-8, "Adam's epsilon, added after the bias correction.", minimum=1e-30),
        "weight_decay": Option(0.0, "Weight decay. 0: none.", minimum=0),
        "weight_decay_kind": Option(
            "decoupled",
            "How weights decay. decoupled: in each step a weight loses the share learning_rate * "
            "weight_decay. coupled (torch's Adam): weight_decay * weight is added to the "
            "gradient, after clipping, and goes through Adam's moments.",
            choices=("decoupled", "coupled"),
        ),
        "clip_norm": Option(
            0.0, "Norm to which the gradient is clipped. 0: it is not clipped.", minimum=0
        ),
        "warm_up_steps": Option(0, "Steps of linear warm-up.", minimum=0),
        "schedule": Option(
            "constant", "Learning rate after the warm-up.", choices=("constant", "cosine")
        ),
        "l2": Option(0.0, "Weight of the item table's norm in the loss.", minimum=0),
        "lazy_rows": Option(
            False,
            "Moves only those rows of the item table that a step has read (lazy Adam), so that a "
            "step of a sampled loss hardly grows with the number of items. The moments of the "
            "other rows stay as they are, and weights do not decay there.",
        ),
    },
    "training": {
        "recipe": Option(
            "auto",
            "Settings of a run without --config. auto: those that no flag names are chosen by the "
            "size of the log: loss, network, batch, evaluations and stopping. base: the values "
            "that this page shows.",
            choices=("auto", "base"),
        ),
        "batch_size": Option(128, "Users in a step, over all replicas.", minimum=1),
        "num_epochs": Option(200, "Largest number of epochs.", minimum=0),
        "max_steps": Option(0, "Largest number of steps. 0: no limit.", minimum=0),
        "draw": Option(
            "permutation",
            "How batches are drawn. permutation: each window once in an epoch. with_replacement "
            "(authors): each batch is drawn anew, from distinct users.",
            choices=("permutation", "with_replacement"),
        ),
        "windows": Option(
            "last",
            "Windows of a history that are trained. last (authors): the newest max_length "
            "transitions of a user. all: every transition, in windows that do not overlap. "
            "prefixes: every transition as the last one of its own window. That takes many more "
            "steps and is for backbones that read later items.",
            choices=("last", "all", "prefixes"),
        ),
        "monitor": Option(
            "ndcg@10",
            "Validation metric that selects the weights and stops training, the largest value "
            "being the best. Any metric of evaluation.metrics at evaluation.cutoffs. Empty: the "
            "last weights are taken.",
        ),
        "patience": Option(
            10,
            "Evaluations without a better one after which training stops. 0: it never stops early.",
            minimum=0,
        ),
        "steps_per_execution": Option(1, "Steps in one call of the compiled graph.", minimum=1),
        "jit_compile": Option(
            True,
            "Compile the step with XLA, except for lookup and record. A compiled step costs less "
            "than half, and compiling takes some seconds for each program. false: for few steps, "
            "or to debug one.",
        ),
        "checkpoint_minutes": Option(
            2.0, "Minutes between checkpoints, also within an epoch. 0: none by time.", minimum=0
        ),
        "checkpoint_steps": Option(
            0,
            "Steps between checkpoints, in addition to those by time. 0: none by steps.",
            minimum=0,
        ),
        "checkpoints_kept": Option(
            2, "Newest checkpoints that are kept. The best weights are always kept.", minimum=1
        ),
        "warm_start": Option(
            "",
            "Work directory of an older run of the same backbone, perhaps on another log. A new "
            "run begins with its selected weights and its memory, matched by raw ids, and has its "
            "settings where no others are given. Empty: from random weights.",
            is_path=True,
        ),
        "deterministic": Option(
            False, "Use TensorFlow's deterministic operations. They are slower."
        ),
        "finish": Option(
            True,
            "Score the test set, export and show results at the end. false: stop after training, "
            "as the trials of a sweep do. The same command with true then does the rest.",
        ),
    },
    "evaluation": {
        "every": Option(1, "Epochs between evaluations on validation.", minimum=1),
        "test_every": Option(
            0,
            "Epochs between evaluations on test, which are only to watch and never select. 0: the "
            "test set is scored once, at the end.",
            minimum=0,
        ),
        "weights": Option(
            "auto",
            "Weights that are scored: the student's or the teacher's average. auto: the teacher's "
            "if there is a teacher (with ufnrec_safe: better; in a comparison with such an arm, in "
            "every arm that has a teacher). better: both are scored, and those with the better "
            "validation metric count.",
            choices=("auto", "student", "teacher", "better"),
        ),
        "mask": Option(
            "seen",
            "Items that are left out of the candidates. seen: the items of the history (at test "
            "also the validation item). train: the items of training. none: no item, for data in "
            "which users take items again.",
            choices=("seen", "train", "none"),
        ),
        "sampled_negatives": Option(
            0,
            "Also compute the authors' metric against this many random items. 100: hr@10_uni100. "
            "0: full ranking only.",
            minimum=0,
        ),
        "metrics": Option(
            ("hr", "ndcg", "mrr"),
            "Metrics: hr, ndcg, mrr, recall, map or your own. Your own function is "
            "path/to/file.py:name (CONTRIBUTING.md explains what it has to return). Each target "
            "has a ranking of its own, so that recall equals hr and map equals mrr. hr@10, "
            "ndcg@10 and mrr are always computed.",
            parts=Option(
                "hr",
                "A metric.",
                choices=("hr", "ndcg", "mrr", "recall", "map"),
                takes_code=True,
            ),
        ),
        "cutoffs": Option(
            (1, 5, 10, 20),
            "Lengths of the lists at which metrics are computed.",
            parts=Option(10, "A length.", minimum=1),
        ),
        "batch_size": Option(512, "Users that are scored at once.", minimum=1),
    },
    "detection": {
        "most_rows": Option(
            500_000,
            "Largest number of rows of false_negatives.parquet. Flagged pairs come first, then "
            "those with the highest counts. ufnrec_soft: most pairs of stored labels that are "
            "judged, of users at random.",
            minimum=1,
        ),
    },
    "distribution": {
        "strategy": Option(
            "one",
            "Devices that train. one: one device. mirrored: all GPUs of this machine. auto: "
            "mirrored if there are several GPUs, else one. multi_worker: the processes that "
            "TF_CONFIG or Slurm names.",
            choices=("auto", "one", "mirrored", "multi_worker"),
        ),
        "start_minutes": Option(
            10.0,
            "multi_worker: minutes to wait for the other processes at the start. 0: no limit.",
            minimum=0,
        ),
        "num_virtual_devices": Option(
            0, "Split the CPU into this many devices, to try replicas. 0: no.", minimum=0
        ),
    },
    "export": {
        "top_k": Option(10, "Items that the default signature returns.", minimum=1),
        "mask_seen": Option(True, "Never recommend an item of the given history."),
        "fallback": Option(
            "popularity",
            "Answer to a history without a known item. popularity: the items with the most "
            "training events. model: the network's answer to an empty window.",
            choices=("popularity", "model"),
        ),
        "versions_kept": Option(
            3,
            "Newest versions that stay in the export folder. 0: all. The newest always stays.",
            minimum=0,
        ),
        "path": Option(
            "",
            "Folder that --mode=export publishes to, such as one that a server watches. Empty: "
            "WORKDIR/export, where --mode=train always writes and which --mode=recommend and "
            "--mode=serve read (serve also reads --export=FOLDER).",
            is_path=True,
        ),
        "warm_up": Option(
            "all",
            "Warm-up requests for TensorFlow Serving. all: one for each signature. batching: none "
            "for recommend and recommend_filtered, which a server with --enable_batching refuses. "
            "none: no requests.",
            choices=("all", "batching", "none"),
        ),
        "table": Option(
            "float32",
            "Number type of the exported item vectors. bfloat16: half the space. int8: a quarter "
            "of the space, with a scale for each item. Recall against float32 and latency are "
            "measured and written to ufnrec.json.",
            choices=("float32", "bfloat16", "int8"),
        ),
        "onnx": Option(
            False,
            "Also write onnx/model.onnx, over whole-number ids, and its vocabulary into each "
            "version. Needs pip install 'ufnrec-tf[onnx]'.",
        ),
    },
    "serving": {
        "poll_seconds": Option(1.0, "Seconds between two looks for a new version.", minimum=0.05),
        "timeout_seconds": Option(
            10.0,
            "Seconds in which the body of a request has to arrive, and in which it is answered.",
            minimum=0.1,
        ),
        "max_concurrent": Option(
            256, "Requests that are answered at once. One more gets status 429.", minimum=1
        ),
        "max_batch": Option(64, "Histories that are joined into one call of the model.", minimum=1),
        "max_body_bytes": Option(
            1 << 20, "Largest size of the body of a request, in bytes.", minimum=64, maximum=1 << 40
        ),
        "max_instances": Option(256, "Largest number of histories in a request.", minimum=1),
        "max_history": Option(
            10000,
            "Largest number of ids in a history, and in a list to exclude or allow.",
            minimum=1,
        ),
        "max_k": Option(
            1000, "Largest number of items that may be requested for a history.", minimum=1
        ),
    },
    "comparison": {
        "baselines": Option(
            ("popularity", "markov"),
            "Simple baselines in the tables of a run or a comparison: popularity, markov, itemknn.",
            parts=Option("popularity", "A baseline.", choices=("popularity", "markov", "itemknn")),
        ),
        "arms": Option(
            (),
            "Arms of a comparison. Each is a name of the table ARMS (base, ema, replay, ...), a "
            "policy (plain, ...), or NAME:SECTION.KEY=VALUE,SECTION.KEY=VALUE. --mode=train trains "
            "them as baselines into WORKDIR/baselines. --mode=compare compares them.",
        ),
        "seeds": Option(
            (0, 1, 2),
            "Seeds with which --mode=compare trains every arm.",
            parts=Option(0, "A seed.", minimum=0, maximum=2**32 - 1),
        ),
        "reference": Option(
            "", "The arm with which --mode=compare compares the others. Empty: the first."
        ),
        "run": Option(
            "",
            "ARM/SEED, the only run that --mode=compare trains. No report is written. Empty: all "
            "runs.",
        ),
        "stop_hopeless": Option(
            0.0,
            "Stop an arm that is clearly worse than the reference on validation. After each seed "
            "--mode=compare trains no further seeds of an arm whose interval lies below the "
            "reference by more than this share (0.05: 5%). 0: never.",
            minimum=0,
        ),
        "margin": Option(
            0.01,
            "Relative difference up to which --mode=compare counts two arms as alike (0.01: 1%). "
            "The verdict is no difference if the whole interval lies within it.",
            minimum=0,
        ),
        "resamples": Option(
            10000,
            "Resamples of users for the intervals of future lifts in --mode=compare.",
            minimum=100,
        ),
        "sample_users": Option(3, "Users whose recommendations are shown at the end.", minimum=0),
    },
    "sweep": {
        "space": Option(
            (),
            "What --mode=sweep searches, separated by commas. Each part is SECTION.KEY=LOW:HIGH, "
            "SECTION.KEY=LOW:HIGH:STEP, SECTION.KEY=log:LOW:HIGH or SECTION.KEY=A|B|C.",
        ),
        "trials": Option(
            20,
            "Number of trials, failed ones included. With a larger number the same command "
            "continues the search.",
            minimum=1,
        ),
        "minutes": Option(
            0.0, "Minutes of trials after which no further trial begins. 0: no limit.", minimum=0
        ),
        "sampler": Option(
            "tpe",
            "How settings are chosen. tpe: near those of good earlier trials. random: at random. "
            "grid: all combinations.",
            choices=("tpe", "random", "grid"),
        ),
        "startup_trials": Option(
            5, "Trials that tpe draws at random, and before which no trial is pruned.", minimum=1
        ),
        "prune_after": Option(
            0,
            "Epochs after which a trial may be pruned. It is pruned if its best validation metric "
            "is below the median of the other trials at that epoch. -1: no trial is pruned.",
            minimum=-1,
        ),
    },
}

_A_LOG: Condition = {"data.name": AllBut(("planted",))}
_PUBLISHED: Condition = {"data.name": AllBut(("", "planted"))}
_OPENS: Condition = {"gate.kind": AllBut(("never",))}
_FINDS = ("remove", "flip", "ufnrec", "random", "neutral")
_REMEMBERS: Condition = {"memory.policy": ("replay", *_FINDS), **_OPENS}
_SUSPECTS: Condition = {"memory.policy": _FINDS, **_OPENS}
_SOFTENED: Condition = {"memory.policy": ("ufnrec",), **_OPENS}
_SAFE: Condition = {"memory.policy": ("ufnrec_safe",)}
_FINISHES: Condition = {"training.finish": (True,)}
_GATED: Condition = {"memory.policy": AllBut(("plain", "ufnrec_soft"))}
_SOFT: Condition = {"memory.policy": ("ufnrec_soft",)}
_TAUGHT: Condition = {**_SOFT, "teacher.labels": ("teacher", "alike")}
_HINDSIGHT: Condition = {**_TAUGHT, "teacher.kind": ("hindsight",)}
_BY_RUNS: Condition = {**_TAUGHT, "teacher.kind": ("runs",)}
_BY_AVERAGE: Condition = {**_TAUGHT, "teacher.kind": ("ema",)}
_LATER: Condition = {**_SOFT, "teacher.labels": ("later",)}
_STOPS: Condition = {"training.monitor": AllBut(("",)), "training.patience": AllBut((0,))}

USED_IF: dict[str, tuple[Condition, ...]] = {
    "data.cache": (_PUBLISHED,),
    "data.mirror": (_PUBLISHED,),
    "data.sha256": (_PUBLISHED,),
    "data.download_titles": (_PUBLISHED,),
    "data.format": (_A_LOG,),
    "data.user_column": (_A_LOG,),
    "data.item_column": (_A_LOG,),
    "data.time_column": (_A_LOG,),
    "data.rating_column": ({"data.min_rating": AllBut((0.0,))}, {"data.rating_column": ("none",)}),
    "data.time_unit": (_A_LOG, {"data.time_column": AllBut(("none",))}),
    "data.event_column": ({"data.events": AllBut(((),))},),
    "data.time_format": (_A_LOG, {"data.time_column": AllBut(("none",))}),
    "data.strip": (_A_LOG,),
    "data.null_ids": (_A_LOG,),
    "data.null_times": (_A_LOG,),
    "data.duplicates": (_A_LOG,),
    "data.separator": (_A_LOG,),
    "data.repeats": (_A_LOG,),
    "data.titles": (_A_LOG,),
    "data.planted_*": ({"data.name": ("planted",)},),
    "split.num_targets": ({"split.name": ("leave_last_n",)},),
    "split.*_time": ({"split.name": ("temporal",)},),
    "split.validation_share": (
        {"split.name": ("temporal", "user_holdout"), "split.validation_time": (0.0, "")},
        {"split.name": ("user_holdout",)},
    ),
    "split.test_share": (
        {"split.name": ("temporal", "user_holdout"), "split.test_time": (0.0, "")},
        {"split.name": ("user_holdout",)},
    ),
    "split.seed": ({"split.name": ("user_holdout",)},),
    "backbone.padding": ({"backbone.filter": ("circular",)},),
    "backbone.request_time": ({"backbone.time": AllBut(("none",))},),
    "loss.calibration": ({"loss.name": ("gbce",)},),
    "loss.scale": ({"loss.name": ("scaled_cross_entropy",)},),
    "loss.label_smoothing": ({"loss.name": ("cross_entropy",)},),
    "optimizer.lazy_rows": ({"loss.name": AllBut(("cross_entropy",)), "optimizer.l2": (0.0,)},),
    "negatives.count": ({"loss.name": AllBut(("bce", "cross_entropy"))},),
    "negatives.shared": ({"loss.name": AllBut(("bce", "cross_entropy"))},),
    "negatives.probes": ({"loss.name": ("bce", "cross_entropy"), **_REMEMBERS},),
    "memory.safe_*": ({**_SAFE, **_OPENS},),
    "memory.patience": (_REMEMBERS,),
    "memory.slots": (_REMEMBERS,),
    "memory.capacity": (_REMEMBERS,),
    "memory.duplicates": (_REMEMBERS,),
    "memory.counting": (_REMEMBERS,),
    "memory.max_flips": (_SUSPECTS,),
    "memory.flip": ({**_SUSPECTS, "memory.policy": _FINDS[:-1]},),
    "teacher.decay": (_SOFTENED, _SAFE, _SOFT, {"teacher.always": (True,)}),
    "teacher.always": ({"memory.policy": AllBut(("ufnrec_safe", "ufnrec_soft"))},),
    "teacher.dropout": (_SOFTENED, _SAFE, _BY_AVERAGE),
    "teacher.weight": (_SOFTENED,),
    "teacher.agreement": (_SOFTENED,),
    "teacher.consistency_mean": (_SOFTENED,),
    "teacher.soft_label_only": (_SOFTENED,),
    "teacher.kind": (_TAUGHT,),
    "teacher.runs": (_BY_RUNS,),
    "teacher.mass": (_SOFT,),
    "teacher.num_labels": (_SOFT,),
    "teacher.temperature": (_TAUGHT,),
    "teacher.outranking_only": (_TAUGHT,),
    "teacher.labels": (_SOFT,),
    "teacher.folder": (_HINDSIGHT, _BY_RUNS, _LATER),
    "teacher.num_epochs": (_HINDSIGHT,),
    "teacher.time": (_HINDSIGHT,),
    "teacher.seed": (_HINDSIGHT, {**_BY_RUNS, "teacher.labels": ("alike",)}),
    "teacher.left_out": (_HINDSIGHT,),
    "teacher.folds": (_HINDSIGHT,),
    "gate.kind": (_GATED, _BY_AVERAGE),
    "gate.epochs": tuple({"gate.kind": ("epochs",), **user} for user in (_GATED, _BY_AVERAGE)),
    **{
        f"gate.{key}": (
            {"gate.kind": ("validation",), **_GATED},
            {"gate.kind": ("validation",), **_BY_AVERAGE},
        )
        for key in ("patience", "least_rise")
    },
    "gate.popularity_lift": (
        {"gate.kind": ("validation",), **_GATED},
        {"gate.kind": ("validation",), **_BY_AVERAGE},
        _STOPS,
    ),
    "optimizer.weight_decay_kind": ({"optimizer.weight_decay": AllBut((0.0,))},),
    "training.patience": ({"training.monitor": AllBut(("",))},),
    "detection.most_rows": tuple(
        {**user, **_FINISHES} for user in (_GATED, _HINDSIGHT, _BY_RUNS, _LATER)
    ),
    "export.*": (_FINISHES,),
    "comparison.baselines": (_FINISHES,),
    "comparison.sample_users": (_FINISHES,),
    "distribution.start_minutes": ({"distribution.strategy": ("multi_worker",)},),
    "sweep.startup_trials": ({"sweep.sampler": ("tpe",)},),
}
"""Keys, some by a pattern, that are read only under a condition, or under one of several. A key
that is given where none of them is met is named in the heading of the run."""

_WORDS = {
    "--data": "data dataset data_path path input input_file file train train_file train_data log",
    "--workdir": "workdir out outdir out_dir output_dir save_dir save_path log_dir logdir "
    "train_dir result_dir results_dir run_dir exp_dir checkpoint_dir model_dir dir",
    "--seed": "seed random_seed random_state rng_seed",
    "--top_k": "top_k topk top k topn top_n num_recommendations n_recommendations",
    "--histories": "histories history history_file users_file",
    "--output": "output output_file out_file outfile",
    "--config": "config config_file cfg conf yaml",
    "--mode": "mode command action task stage",
    "--quiet": "quiet silent verbose verbosity q v",
    "data.user_column": "user_column user_col user_field userid_col user_id_field uid_field",
    "data.item_column": "item_column item_col item_field itemid_col item_id_field iid_field",
    "data.time_column": "time_column time_col time_field timestamp_col timestamp_column ts_col",
    "data.rating_column": "rating_column rating_col rating_field label_field",
    "data.separator": "separator sep delimiter delim field_separator",
    "data.format": "format file_format filetype file_type",
    "data.k_core": "k_core kcore core min_interactions min_count",
    "data.min_rating": "min_rating rating_threshold threshold",
    "backbone.name": "model backbone network arch architecture encoder",
    "backbone.width": "width dim d emb embed embedding hidden emb_dim embed_dim embedding_dim "
    "embedding_size emb_size hidden_dim hidden_size hidden_units num_units d_model n_embd units",
    "backbone.num_blocks": "blocks layers num_blocks num_layers n_layers n_layer nlayers depth "
    "num_hidden_layers",
    "backbone.num_heads": "heads num_heads n_heads n_head nhead nheads head "
    "num_attention_heads attention_heads",
    "backbone.dropout": "dropout drop drop_rate dropout_rate dropout_prob dropout_p p_dropout "
    "hidden_dropout hidden_dropout_prob",
    "backbone.attention_dropout": "attention_dropout attn_dropout attn_dropout_prob "
    "attn_dropout_rate attention_dropout_rate attention_probs_dropout_prob",
    "backbone.max_length": "max_length max_len maxlen maxlength seq_len seqlen seq_length "
    "sequence_length max_seq_len max_seq_length max_sequence_length window history_length L",
    "backbone.precision": "precision dtype fp16 bf16 amp mixed_precision",
    "loss.name": "loss loss_type loss_fn criterion objective",
    "negatives.count": "negatives negs neg num_neg num_negs n_neg neg_num num_negatives "
    "n_negatives negative_samples neg_samples num_samples",
    "memory.policy": "policy method",
    "teacher.decay": "ema ema_decay momentum",
    "teacher.weight": "alpha consistency_weight",
    "optimizer.learning_rate": "lr learning_rate learningrate rate base_lr max_lr eta",
    "optimizer.weight_decay": "weight_decay wd decay_rate",
    "optimizer.l2": "l2 l2_reg l2_emb reg regularization",
    "optimizer.clip_norm": "clip_norm clip grad_clip gradient_clip max_grad_norm clip_grad_norm",
    "optimizer.warm_up_steps": "warm_up warmup warmup_steps warm_up_steps",
    "optimizer.schedule": "schedule scheduler lr_scheduler lr_schedule",
    "training.batch_size": "batch_size batchsize batch bs bsz train_batch_size",
    "training.num_epochs": "epochs epoch num_epochs n_epochs nepochs max_epochs num_train_epochs "
    "max_epoch",
    "training.max_steps": "steps max_steps num_steps iterations max_iter num_iterations",
    "training.patience": "patience early_stopping early_stop stopping_step early_stop_patience",
    "training.monitor": "monitor metric valid_metric val_metric eval_metric",
    "training.warm_start": "warm_start warmstart pretrained init_from load_from finetune "
    "fine_tune state_dict_path checkpoint ckpt resume_from",
    "training.deterministic": "deterministic reproducibility reproducible",
    "evaluation.every": "every eval_every eval_step eval_steps eval_interval val_interval",
    "evaluation.batch_size": "eval_batch_size test_batch_size val_batch_size",
    "evaluation.sampled_negatives": "eval_negatives num_eval_negatives test_negatives",
    "distribution.strategy=auto": "gpu gpus num_gpus n_gpus gpu_id device devices cuda "
    "distributed use_gpu",
}
WORDS = {word: key for key, words in _WORDS.items() for word in words.lower().split()}
"""Words under which other programs have a key or flag, for the hint where one of them is given."""
