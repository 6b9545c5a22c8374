"""Similar items: by file, in Python, and by the lines that the docs show for an index."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.helpers.runs import run as run_command
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.items import read_items
from ufnrec_tf.recommend.recommender import Recommender

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def model(trained):
    return Recommender(trained / "export")


@pytest.mark.slow
def test_a_file_of_items_gets_what_python_gets(trained, model, tmp_path, capsys):
    items, output = tmp_path / "items.txt", tmp_path / "out.csv"
    known = model.items["item_id"].tolist()

    def similar(*arguments, output=output):
        given = ("--mode=recommend", f"--workdir={trained}", f"--output={output}", "--top_k=4")
        return run_command(*given, f"--similar={items}", *arguments), capsys.readouterr()

    items.write_text("\n".join([known[3], "nobody", known[0], known[3]]))
    with pytest.warns(UserWarning, match="`items`: 1 of 3 item ids are unknown"):
        right = model.similar([known[3], "nobody", known[0]], top_k=4)
    assert right["similar_to"].tolist() == [known[3]] * 4 + [known[0]] * 4
    code, screen = similar()
    assert (code, screen.out.count("warning: ")) == (0, 1)
    assert (
        "does not know 1 of 3 items" in screen.out
        and "8 similar items; items asked for: 2" in screen.out
    )
    best, parquet = right["item"][0], tmp_path / "out.parquet"
    assert similar(f"--exclude={best}", output=parquet)[0] == 0
    left = model.similar([known[3], known[0]], top_k=4, exclude=best)
    assert left["item"][:3].tolist() == right["item"][1:4].tolist()
    for found, expected in ((pd.read_csv(output), right), (pd.read_parquet(parquet), left)):
        assert set(found.pop("known_items")) == {1}
        pd.testing.assert_frame_equal(found, expected[[*found]], check_dtype=False)
    output.unlink()
    items.write_text("nobody\n")
    for arguments, words in (
        ((), "does not know 1 of 1 items, such as 'nobody'; it knows ids such as"),
        (("--histories=train",), "--histories, --users or --similar, not both"),
    ):
        code, screen = similar(*arguments)
        assert (code, screen.err.count("\n")) == (1, 1) and words in screen.err
    assert not output.exists()
    for wrong, words in ((["nobody"], "1 of 1 item ids"), ([], "no id"), ([[1]], "Nested")):
        with pytest.raises(UserError, match=words):
            model.similar(wrong)


def test_the_lines_of_the_docs_find_what_the_model_finds(trained, model):
    """Those for faiss and hnswlib run where the package is installed."""
    section = DOCS.read_text(encoding="utf-8").split("**Your own index.**")[1]
    blocks = re.findall(r"```python\n(.*?)```", section.split("**Smaller tables.**")[0], re.DOTALL)
    assert len(blocks) == 6
    items: Any = read_items(model.path)
    a12, b7 = items["item_id"][:2]
    values = {"runs/mine/export/1": str(model.path), '"a12"': f'"{a12}"', '"b7"': f'"{b7}"'}
    names: dict[str, Any] = {}
    for block in blocks:
        package = next((name for name in ("faiss", "hnswlib") if f"{name}." in block), "")
        if package and importlib.util.find_spec(package) is None:
            continue
        names |= {package: importlib.import_module(package)} if package else {}
        for old, new in values.items():
            block = block.replace(old, new)
        exec(block, names)
        rows: Any = names.get("rows")
        if package and "query" in block and "item]" not in block:
            found = [raw for raw in names["item_ids"][rows[0]] if raw not in (a12, b7)][:5]
            assert found == names["best"].tolist()
        elif package:
            assert names["item_ids"][rows[0, 1:]].tolist() == names["alike"].tolist()
    assert names["best"].tolist() == model.recommend([[a12, b7]], top_k=5)["item"].tolist()
    similar: Any = model.similar(a12, top_k=5)
    assert names["alike"].tolist() == similar["item"].tolist()
    np.testing.assert_allclose(
        similar["score"],
        (names["units"] @ names["units"][names["item"][0]])[
            [names["item_ids"].tolist().index(raw) for raw in similar["item"]]
        ],
        rtol=1e-5,
    )
