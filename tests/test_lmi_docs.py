"""The code of docs/lmi.md runs as it is written."""

import pathlib
import re

import numpy as np
import pytest

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "lmi.md"


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    plt = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("scs")
    plt.switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    by_hand, parameters, infeasible, terms, looking, pieces, files = blocks
    names = {}
    exec(by_hand, names)
    assert names["values"].objective == pytest.approx(names["values"].bound, abs=1e-6)
    A, P = names["A"], names["values"]["P"]
    assert np.linalg.eigvalsh(P - A.T @ P @ A - np.eye(2))[0] > 0  # the margin makes it strict
    exec(parameters, names)
    assert names["fit"].solve().objective == pytest.approx(2.0, abs=1e-6)
    exec(infeasible, names)
    said = capsys.readouterr().out
    assert "trace(P) ≤ 1" in said
    assert "proven" in said
    exec(terms, names)
    coupling = names["wide"].compile().lmis[-1]
    assert coupling.P.nnz + coupling.Q.nnz < 2 * names["W"].size
    exec(looking, names)
    exec(pieces, names)
    assert names["sdp"].residuals(names["solution"].y).violation < 1e-3
    exec(files, names)
    assert (tmp_path / "wide.cbf").exists()
    assert "SOLVED" in said
    plt.close("all")
