"""The code on the pages about adapters and embedding runs as it stands."""

import pathlib

import numpy as np
import pytest
from adapters_helpers import importorskip

import lmikit

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"


def blocks(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    return [part.split("```")[0] for part in text.split("```python\n")[1:]]


def test_adapters_page():
    importorskip("torch")
    (code,) = blocks("adapters.md")
    names = {}
    exec(compile(code, "adapters.md", "exec"), names)
    assert names["network"].dims == (4, 8, 2)


@pytest.mark.parametrize("index", range(4))
def test_embedding_page(index, tmp_path):
    names = {}
    exec(compile(blocks("embedding.md")[index], "embedding.md", "exec"), names)
    if "robust_on_box" in names:
        check_robustness(names["robust_on_box"], tmp_path)
    if "certify_all" in names:
        assert callable(names["certify_all"])


def check_robustness(robust_on_box, folder):
    network = lmikit.Network.from_arrays([np.eye(2), 3.0 * np.eye(2)], [[0.0, 0.0], [1.0, 0.0]])
    network.save(folder / "net.npz")
    head = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)"
    for half, answer in ((0.1, True), (2.0, False)):
        limits = "".join(
            f"(assert (<= X_{k} {centre + half}))(assert (>= X_{k} {centre - half}))"
            for k, centre in enumerate((1.0, 0.0))
        )
        (folder / "p.vnnlib").write_text(head + limits + "(assert (<= Y_0 0.0))")
        assert robust_on_box(folder / "net.npz", folder / "p.vnnlib") is answer
