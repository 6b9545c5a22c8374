"""The benchmarks' own arithmetic and answers; nothing here is timed."""

import argparse
import gzip
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import bench, check_gpu, detection, gpu_program, growth, large, peers
from benchmarks.common import machine, measure, median, train_command
from benchmarks.rows import ROWS
from tests.helpers.tiny import NUM_ITEMS, RunSettings, make_run, split_of, tiny_histories
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.readers import read_interactions


@pytest.mark.slow
def test_cost_of_a_process_is_its_own():
    # Long beside the start of a process, which takes a third of a second on a busy machine.
    burn = "import time\nwhile time.process_time() < 1.5: pass\nprint('done')"
    cost = measure([sys.executable, "-c", burn])
    assert cost.output == "done\n"
    assert 1.5 <= cost.cpu_seconds < 5.0
    idle = measure([sys.executable, "-c", "x = bytearray(200_000_000)"])
    assert idle.cpu_seconds < cost.cpu_seconds  # the sum over all children would be larger
    assert idle.peak_rss_bytes > 200_000_000


def test_a_failed_process_is_an_error_that_shows_what_it_printed():
    with pytest.raises(RuntimeError, match="nothing works"):
        measure([sys.executable, "-c", "raise SystemExit('nothing works')"])


@pytest.mark.parametrize("name", list(ROWS))
def test_rows_are_settings_that_exist(name, tmp_path):
    row = ROWS[name]
    command = train_command(
        tmp_path, data=tmp_path, num_steps=5, settings={**bench.SHAPE, **row.settings}
    )
    pairs = [option.removeprefix("--config.").split("=", 1) for option in command[4:]]
    config = load_config(row.config, [(key, value) for key, value in pairs])
    assert config.training.max_steps == 5
    assert config.training.recipe == "base"  # else the loss would be chosen by the size of the log
    assert config.training.batch_size == 128 and config.backbone.width == 50
    assert config.memory.policy == row.settings.get("memory.policy", "ufnrec")
    assert (config.gate.epochs == 0) == (row.visits == 8)  # timed in its working state
    assert row.stretch < row.reach


def test_steps_before_the_clock_are_whole_epochs(tmp_path):
    (tmp_path / "beauty.txt").write_text("u i j\n" * 300, encoding="utf-8")
    assert bench._steps_of(ROWS["ufnrec"], tmp_path) == 8 * 3
    assert bench._steps_of(ROWS["plain"], tmp_path) == 0
    lines = ["user_id:token\titem_id:token", *(f"{n % 129}\t{n}" for n in range(500))]
    (tmp_path / "ml-100k.inter").write_text("\n".join(lines), encoding="utf-8")
    assert bench._steps_of(ROWS["long"], tmp_path) == 8 * 2


def test_large_log_has_the_size_that_was_asked_for(tmp_path):
    for name in ("a.csv", "b.csv"):
        large.generate(tmp_path / name, num_users=20, length=5, num_items=30)
    data = read_interactions(tmp_path / "a.csv")
    assert data.lengths.tolist() == [5] * 20
    assert data.timestamps is not None
    days = (data.timestamps.reshape(20, 5) - 1_500_000_000) // 86_400
    assert (days == [0, 1, 2, 3, 4]).all()  # each event on its own day, in order
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_bad_flags_get_one_line(capsys, tmp_path):
    assert bench.main(["--rows=nothing"]) == 1
    assert bench.main([f"--data={tmp_path}"]) == 1
    assert growth.main(["--axes=nothing"]) == 1
    assert peers.main(["--peer=authors", f"--path={tmp_path / 'no'}", "--data=x"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4 and all(line.startswith("error: ") for line in errors)


def test_exponent_is_the_slope_of_the_last_two_points():
    points = [{"items": 10, "cost": 7.0}, {"items": 100, "cost": 3.0}, {"items": 400, "cost": 48.0}]
    assert growth.exponent(points, "items", "cost") == pytest.approx(2.0)


def test_a_gpu_that_disagrees_is_told():
    cpu = {"losses": [1.0, 0.5], "flips": 100.0, "remembered": 1000, "ndcg@10": 0.1}
    good = {**cpu, "losses": [1.0, 0.5005], "memory_on": "/device:CPU:0"}
    assert check_gpu.compare(cpu, good) == []
    bad = {**good, "losses": [1.0, float("nan")], "flips": 200.0, "memory_on": "/device:GPU:0"}
    assert len(check_gpu.compare(cpu, bad)) == 3


@pytest.fixture
def tiny_step():
    settings = RunSettings(agreement="none", patience=0, dropout=0.1)
    run = make_run(settings, split_of(tiny_histories(), NUM_ITEMS))
    run.host.open_gate(0)
    return run.model, list(run.dataset().take(8))


def test_an_exported_program_is_the_step(tiny_step, without_graphs):
    model, batches = tiny_step
    for batch in batches[:-1]:
        model.train_step(batch)
    program, inputs, sizes = gpu_program.batch_program(model, batches[-1])
    variables = [
        *model.backbone.variables,
        *model.optimizer.variables,
        *model.teacher.backbone.variables,
    ]
    before = [variable.numpy() for variable in variables]
    loss = float(program(*inputs)[0])
    after = [variable.numpy() for variable in variables]
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    assert float(model.train_step(batches[-1])["loss"]) == pytest.approx(loss, rel=1e-6)
    for variable, value in zip(variables, after, strict=True):  # with fillers, so but for rounding
        np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-7)
    assert sizes["flips"] and sizes["positions"] <= sizes["filled_positions"]


def test_the_files_of_a_program_are_whole(tmp_path):
    weights, unread = tf.Variable([1.0, 2.0]), tf.Variable(3.0)

    def program(values: tf.Tensor) -> tuple[tf.Tensor, ...]:
        weights.assign_add(values[:2] * unread)
        return tf.reduce_sum(values), tf.constant([1]), values > 0

    variants = gpu_program.variants_of(gpu_program.Case("", {}, 0, (256, 1024, 4096)), 300)
    assert [(v.block, v.uses_tf32) for v in variants] == [(256, False), (256, True), (1024, True)]
    found = gpu_program.write_program(tmp_path, "tiny", program, [tf.range(4.0)], variants[:2])
    json.dumps({**found, "variables": []})
    assert [value.tolist() for value in found["variables"]] == [3.0, [1.0, 2.0]]
    assert weights.numpy().tolist() == [1.0, 2.0]  # as before
    assert found["replaces"] == {"3": 2}  # behind three outputs and an input, read second
    assert found["losses"] == [6.0] * gpu_program.CHECKED_STEPS
    arrays = gpu_program.load_arrays(tmp_path / found["outputs"])
    assert [array.tolist() for array in arrays[:1] + arrays[3:]] == [[6.0], [1.0, 5.0]]
    for described in found["programs"]:
        assert b"Sum" in gzip.decompress((tmp_path / described["file"]).read_bytes())


def test_a_difference_is_relative_and_nan_never_passes():
    exact = np.array([3.0, 4.0], np.float32)
    assert gpu_program.difference(np.array([3.0, 4.5]), exact) == pytest.approx(0.1)
    assert np.isnan(gpu_program.difference(np.array([3.0, np.nan]), exact))
    assert gpu_program.difference(np.array([True, False]), np.array([True, True])) == 0.5
    assert gpu_program.sample(np.ones((1 << 16) + 1)).stride == 2


def test_machine_and_median():
    assert machine()["cores"] and median([3.0, 1.0, 9.0]) == 3.0


def test_detection_sweeps_settings_that_exist(tmp_path):
    flags = argparse.Namespace(**detection.AXES)
    every = detection.points(flags)
    assert len(every) == 2 * 4 * 3 * 2 * 6
    options = detection.command(every[0], ["training.num_epochs=2"], tmp_path)
    pairs = [o.removeprefix("--config.").split("=", 1) for o in options if "--config." in o]
    config = load_config("configs/demo.py", [(key, value) for key, value in pairs])
    assert config.data.planted_false_negative_rate == 0.0
    assert config.training.num_epochs == 2 and config.memory.policy == "plain"


def test_detection_table_means_over_seeds_and_leaves_out_what_is_not_there(tmp_path):
    point = {"generator": "factors", "rate": "0", "bias": "1", "noise": "2", "policy": "flip"}
    near = {"lift": 1.5, "low": 0.5, "high": 4.0}
    runs = [
        {
            "point": {**point, "seed": seed},
            "settings": [],
            "label": "SASRec+flip",
            "test": {"ndcg@10": ndcg},
            "false_negatives": {
                "detection": {
                    "num_flagged": pairs,
                    "precision": precision,
                    "base_rate": 0.1,
                    "lift": float("nan"),
                },
                "auc": {"count": None, "margin": 0.5},
                "future": {detection.NEAR: near},
            },
        }
        for seed, pairs, precision, ndcg in (("0", 500.0, 0.1, 0.02), ("1", 1500.0, 0.3, 0.04))
    ]
    rows = detection.table(runs).splitlines()
    assert len(rows) == 3
    cells = [cell.strip() for cell in rows[2].strip("|").split("|")]
    assert cells == [
        *("factors", "0", "1", "2", "SASRec+flip", "1,000", "0.200", "0.100", "", "2.500"),
        *("", "", "0.500"),
        *("", "", "1.50 (0.50 to 4.00)", "0.0300"),
    ]
    detection.write(tmp_path, {"machine": {"cores": 2}, "runs": runs})
    kept = json.loads((tmp_path / "detection.json").read_text(encoding="utf-8"))
    assert kept["runs"][0]["false_negatives"]["detection"]["lift"] is None
    assert rows[2] in (tmp_path / "detection.md").read_text(encoding="utf-8")
