"""The command line in a child process, of an installed package too, which has no main.py."""

import ufnrec_tf
from tests.helpers.runs import ROOT
from ufnrec_tf.runs.child_process import run_child


def test_an_installed_package_starts_its_children(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages"
    installed.mkdir()
    for name in ("ufnrec_tf", "configs"):
        (installed / name).symlink_to(ROOT / name)
    monkeypatch.setattr(ufnrec_tf, "__file__", str(installed / "ufnrec_tf" / "__init__.py"))
    monkeypatch.setattr("pathlib.Path.resolve", lambda path: path)  # keeps the links
    ended = run_child(["--help=memory.patience"], tmp_path / "log.txt")
    assert ended.exit_code == 0, ended.last_words
    assert run_child(["--sede=1"], tmp_path / "log.txt").exit_code == 2
