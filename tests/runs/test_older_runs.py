"""Work directories of earlier versions of the program: what they were good for they still are."""

import json
import shutil

import pytest

from tests.helpers.runs import LIGHT, read, rename_back, run, train
from ufnrec_tf.common.files import write_json

pytestmark = pytest.mark.usefixtures("eagerly")

EPOCHS = "--config.training.num_epochs="


@pytest.fixture
def older(trained, tmp_path):
    """A finished directory as it was before `data.exclude_users`, some users removed from it."""
    path = shutil.copytree(trained, tmp_path / "run")
    record = read(path / "config.json")
    del record["config"]["data"]["exclude_users"], record["identity"]["data.exclude_users"]
    del record["sha256"]
    write_json(path / "config.json", {**record, "has_forgotten": True})
    result = read(path / "result.json")
    del result["sha256"], result["files"]
    write_json(path / "result.json", result)
    document = read(path / "export" / "1" / "ufnrec.json")
    del document["item_vectors"], document["files"]["item_vectors.npy"], document["sha256"]
    document["fingerprint"] = "of a document without item_vectors"
    write_json(path / "export" / "1" / "ufnrec.json", document)
    (path / "export" / "1" / "item_vectors.npy").unlink()
    return path


@pytest.mark.slow
def test_an_older_run_is_evaluated_exported_recommended_from_and_reported_on(older, tmp_path):
    expected = read(older / "result.json")["test"]
    assert run("--mode=evaluate", f"--workdir={older}") == 0
    lines = (older / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    assert {name: last[name] for name in expected} == expected
    assert run("--mode=report", f"--workdir={older}") == 0
    output = tmp_path / "out.csv"
    recommend = ("--mode=recommend", f"--workdir={older}", "--histories=train")
    assert run(*recommend, f"--output={output}") == 0
    before = output.read_bytes()
    assert run("--mode=export", f"--workdir={older}") == 0
    assert run(*recommend, f"--output={output}") == 0
    assert output.read_bytes() == before
    assert (older / "export" / "2" / "item_vectors.npy").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
def test_an_older_run_goes_on(older, capsys):
    steps = read(older / "result.json")["steps"]
    assert train(older, "--config.training.num_epochs=4") == 0, capsys.readouterr().err
    assert read(older / "result.json")["steps"] > steps


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
def test_a_run_whose_policy_has_its_older_name_is_evaluated_and_goes_on(tmp_path, capsys):
    path, arms = tmp_path / "run", "--config.comparison.arms=keep"
    assert train(path, *LIGHT, arms, "--config.memory.policy=keep", EPOCHS + "1") == 0
    arm = path / "baselines" / "keep"
    for record in (read(path / "config.json"), read(arm / "config.json")):
        assert record["config"]["memory"]["policy"] == "plain"  # whatever the flag said
        assert record["identity"]["memory.policy"] == "plain"
    rename_back(path)
    assert run("--mode=evaluate", f"--workdir={path}") == 0
    assert run("--mode=report", f"--workdir={path}") == 0
    assert "SASRec, keep</" in (path / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    flags = ("--config.memory.policy=plain", EPOCHS + "2")
    assert train(path, *LIGHT, arms, *flags) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.count("resuming from") == 2  # the run and its arm
    assert read(path / "result.json")["epochs"] == 2
    assert read(path / "config.json")["config"]["memory"]["policy"] == "plain"
    rename_back(path)
    assert [row["label"] for row in read(path / "result.json")["table"]] == ["SASRec", "SASRec"]
