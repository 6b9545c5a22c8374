"""Tests of what is made of TF_CONFIG and of Slurm's environment, both faked."""

import json
import os
import subprocess

import pytest

from tests.processes.distributed_run import ROOT
from ufnrec_tf.common.cluster import find_cluster
from ufnrec_tf.common.distribution import make_strategy
from ufnrec_tf.common.errors import UserError

TWO = {"worker": ["a:1", "b:2"]}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)


def given(monkeypatch, cluster, task):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))


def slurm(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


def test_tf_config_names_the_workers_and_this_one(monkeypatch):
    given(monkeypatch, TWO, {"type": "worker", "index": 1})
    cluster = find_cluster()
    assert cluster.cluster_spec().as_dict() == TWO
    assert (cluster.task_type, cluster.task_id) == ("worker", 1)


def test_a_chief_is_a_worker_too(monkeypatch):
    given(monkeypatch, {"chief": ["c:1"], **TWO}, {"type": "chief", "index": 0})
    assert find_cluster().task_type == "chief"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "needs a cluster and a task"),
        ('{"cluster": {"worker": ["a:1"]}}', "needs a cluster and a task"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "job 'ps'"),
        (
            '{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
            "one chief only",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "is none of"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}', "is none"),
        (
            '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
            "same address",
        ),
    ],
)
def test_a_wrong_tf_config_is_told_in_one_line(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=words) as caught:
        find_cluster()
    assert "Expected something like" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_cluster_it_says_how_to_describe_one():
    with pytest.raises(UserError, match=r"TF_CONFIG.*srun.*mirrored"):
        make_strategy("multi_worker")


def test_slurm_on_nodes_without_gpus(monkeypatch):
    """TensorFlow's resolver counts GPUs by nvidia-smi, which is not there."""
    slurm(
        monkeypatch,
        PROCID=2,
        STEP_NUM_TASKS=3,
        STEP_NODELIST="n[1-2]",
        STEP_TASKS_PER_NODE="2,1",
        JOB_ID=5,
        STEP_ID=1,
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cluster = find_cluster()
    first = 12_000 + 36 * 64
    assert cluster.cluster_spec().as_dict() == {
        "worker": [f"n1:{first}", f"n1:{first + 1}", f"n2:{first}"]
    }
    assert cluster.get_task_info() == ("worker", 2)


def test_slurm_leaves_the_choice_of_gpus_to_slurm(monkeypatch):
    slurm(monkeypatch, PROCID=0, STEP_NUM_TASKS=1, STEP_NODELIST="n1", STEP_TASKS_PER_NODE="1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    cluster = find_cluster()
    cluster.cluster_spec()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_slurm_without_a_step_is_told(monkeypatch):
    slurm(monkeypatch, PROCID=0)
    with pytest.raises(UserError, match=r"Slurm.*srun"):
        find_cluster()


def test_virtual_devices_and_workers_exclude_each_other(monkeypatch):
    given(monkeypatch, TWO, {"type": "worker", "index": 1})
    with pytest.raises(UserError, match="num_virtual_devices"):
        make_strategy("multi_worker", num_virtual_devices=2)


@pytest.mark.parametrize("index", [0, 2])
def test_the_kubernetes_job_makes_a_tf_config_that_is_taken(monkeypatch, index):
    text = (ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")
    script = text.partition("            - |\n")[2].partition("          ports:")[0]
    assert "exec python main.py" in script
    script = script.replace("exec python main.py", "printenv TF_CONFIG; exit 0;")
    done = subprocess.run(
        ["sh", "-c", script],
        env={**os.environ, "WORKERS": "3", "JOB_COMPLETION_INDEX": str(index)},
        capture_output=True,
        text=True,
        check=True,
    )
    monkeypatch.setenv("TF_CONFIG", done.stdout)
    cluster = find_cluster()
    workers = [f"ufnrec-{number}.ufnrec:2222" for number in range(3)]
    assert cluster.cluster_spec().as_dict() == {"worker": workers}
    assert cluster.task_id == index
