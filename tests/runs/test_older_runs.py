"""Work directories of earlier versions of the program: what they were good for they still are."""

import json
import shutil

import pytest

from tests.helpers.runs import read, run, train
from ufnrec_tf.common.files import write_json


@pytest.fixture(params=[{}, {"has_forgotten": True}], ids=["plain", "forgotten"])
def older(request, trained, tmp_path):
    """A finished directory as it was before `data.exclude_users`, also one with users removed."""
    path = shutil.copytree(trained, tmp_path / "run")
    record = read(path / "config.json")
    del record["config"]["data"]["exclude_users"], record["identity"]["data.exclude_users"]
    write_json(path / "config.json", {**record, **request.param})
    document = read(path / "export" / "1" / "ufnrec.json")
    del document["item_vectors"], document["files"]["item_vectors.npy"]
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
def test_an_older_run_goes_on(older, capsys):
    steps = read(older / "result.json")["steps"]
    assert train(older, "--config.training.num_epochs=4") == 0, capsys.readouterr().err
    assert read(older / "result.json")["steps"] > steps
