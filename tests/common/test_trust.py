"""What comes from others is data: nothing of it is run, unpickled or let out of its folder.

Three things are code, and are run as the user asks for it: a configuration file, a backbone's file,
and a SavedModel, whose graph may do what TensorFlow can.
"""

import ast
import json
from pathlib import Path

import pytest

from tests.test_architecture import ROOT
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import read_json
from ufnrec_tf.reading.prepare.prepare import prepare
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import LogSettings

OURS = [
    path
    for place in ("main.py", "ufnrec_tf", "configs", "examples", "tests", "benchmarks")
    for path in ([ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py")))
]
IMPORTS = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "jsonpickle", "marshal", "shelve"),
    *("yaml", "xmlrpc", "telnetlib", "ftplib", "pty"),
}
"""Modules that run what they read, or send it in the clear."""
NAMES = {"eval", "exec", "compile", "__import__"}
"""Built-in functions that run a text."""
ATTRIBUTES = {
    *("read_pickle", "to_pickle", "enable_unsafe_deserialization", "Lambda", "read_hdf"),
    *("extractall", "unpack_archive", "system", "popen", "getoutput", "getstatusoutput"),
    *("exec_module", "urlopen", "urlretrieve", "_create_unverified_context", "CERT_NONE"),
}
ALLOWED = {
    # A file that the user names as code.
    ("ufnrec_tf/common/user_code.py", "exec_module"),
    # The drivers run other people's programs, in an environment of their own.
    ("benchmarks/peer_drivers/torch_script.py", "exec"),
    ("benchmarks/peer_drivers/torch_script.py", "compile"),
    # The lines that the documentation shows.
    ("tests/recommend/test_similar.py", "exec"),
}


def words_of(node):
    """Yields what of a node may be forbidden."""
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names if is_in(IMPORTS, alias.name))
    elif isinstance(node, ast.ImportFrom):
        yield from (node.module for _ in [0] if is_in(IMPORTS, node.module or ""))
        yield from (alias.name for alias in node.names if alias.name in ATTRIBUTES)
    elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        yield node.attr
    elif isinstance(node, ast.Call):
        yield from of_call(node)


def of_call(node):
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    if isinstance(node.func, ast.Name) and node.func.id in NAMES:
        yield node.func.id
    if is_true(named.get("shell")) or ("shell" in named and not is_constant(named["shell"])):
        yield "shell="
    if is_true(named.get("allow_pickle")):
        yield "allow_pickle="
    if "safe_mode" in named or named.keys() & {"custom_objects"}:
        yield "safe_mode="
    if "verify" in named and not is_true(named["verify"]):
        yield "verify="
    is_load = isinstance(node.func, ast.Attribute) and node.func.attr == "load"
    if is_load and ast.unparse(node.func.value) in ("np", "numpy") and "allow_pickle" not in named:
        yield "np.load without allow_pickle=False"


def is_in(names, dotted):
    return dotted.split(".")[0] in names


def is_constant(node):
    return isinstance(node, ast.Constant)


def is_true(node):
    return is_constant(node) and node.value is True


def forbidden(text):
    """Yields the forbidden words of a program's text with their lines."""
    for node in ast.walk(ast.parse(text)):
        for word in words_of(node):
            yield word, getattr(node, "lineno", 0)


def test_nothing_runs_what_it_reads():
    found = {
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in OURS
        for word, line in forbidden(path.read_text(encoding="utf-8"))
        if (path.relative_to(ROOT).as_posix(), word) not in ALLOWED
    }
    assert not found
    assert len(OURS) > 200


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("import pickle as p", "pickle"),
        ("def f():\n from marshal import loads", "marshal"),
        ("from pandas import read_pickle", "read_pickle"),
        ("import pandas; pandas.read_pickle(x)", "read_pickle"),
        ("np.load(x)", "np.load without allow_pickle=False"),
        ("np.load(x, allow_pickle=True)", "allow_pickle="),
        ("eval(x)", "eval"),
        ("subprocess.run(x, shell=True)", "shell="),
        ("subprocess.run(x, shell=is_posix)", "shell="),
        ("keras.models.load_model(x, safe_mode=False)", "safe_mode="),
        ("tar.extractall(x)", "extractall"),
        ("os.system(x)", "system"),
        ("urllib.request.urlopen(x)", "urlopen"),
        ("requests.get(x, verify=False)", "verify="),
    ],
)
def test_the_check_sees(text, word):
    assert word in [found for found, _ in forbidden(text)]


@pytest.mark.parametrize(
    "text",
    ["np.load(x, allow_pickle=False)", "re.compile(x)", "ast.literal_eval(x)", "json.load(f)"],
)
def test_the_check_lets_pass(text):
    assert not list(forbidden(text))


def test_addresses_are_asked_in_one_module():
    """web.py lets https pass, and http to this machine: tests/test_downloads.py."""
    modules = {"urllib.request", "http.client", "requests", "httpx", "socket", "aiohttp", "urllib3"}
    askers = set()
    for path in sorted((ROOT / "ufnrec_tf").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            askers |= {
                path.relative_to(ROOT / "ufnrec_tf").as_posix() for n in names if n in modules
            }
    assert {name for name in askers if not name.startswith("serving/")} - LISTENERS == {
        "reading/published/download.py"
    }


LISTENERS = {"serve.py", "cluster.py", "children.py"}
"""Modules that may open a socket of this machine, and ask nobody's address."""


@pytest.fixture
def folder(tmp_path):
    """A prepared folder of two users."""
    log, made = tmp_path / "log.csv", tmp_path / "made"
    log.write_text("user,item\nu,a\nu,b\nv,a\nv,c\n", encoding="utf-8")
    prepare(str(log), LogSettings(), workdir=made, display=Display())
    return made


@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_manifest_names_no_file_outside_its_folder(tmp_path, folder, is_absolute):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    inside = Path(manifest["shards"][0]["file"])
    outside = tmp_path / "precious.parquet"
    (folder / inside).rename(outside)
    before = outside.read_bytes()
    manifest["shards"][0]["file"] = str(outside) if is_absolute else f"../{outside.name}"
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json: damaged \(no entry of a file"):
        read_prepared(folder)
    assert outside.read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value"), [("users", "2"), ("events", -1), ("repeats", None), ("num_bytes", 1.5)]
)
def test_a_manifest_counts_in_whole_numbers(folder, key, value):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["shards"][0][key] = value
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        read_prepared(folder)


def test_json_that_is_nested_too_deep_is_damaged(folder):
    (folder / "manifest.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json: cannot be read as JSON"):
        read_json(folder / "manifest.json")
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        read_prepared(folder)
