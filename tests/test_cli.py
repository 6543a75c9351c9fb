"""The command line: exit codes, one clear line for every bad input, nothing half-written."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from adapters_helpers import importorskip

import lmikit
from lmikit.cli import main

DEMO = [np.array([[1.0, 2], [-1, 1]]), np.array([[1.0, -1], [2, 1]]), np.array([[1.0, 1]])]


def write_npz(path, weights):
    np.savez(path, **{f"W{k}": w for k, w in enumerate(weights)})
    return str(path)


@pytest.fixture
def net(tmp_path):
    return write_npz(tmp_path / "net.npz", DEMO)


def test_bound_save_check_round_trip(net, tmp_path, capsys):
    cert = str(tmp_path / "cert.json")
    assert main(["bound", net, "--save", cert]) == 0
    assert "proven bound" in capsys.readouterr().out
    for flags in ([], ["--exact"]):
        assert main(["check", cert, net, *flags]) == 0
        assert "accepted" in capsys.readouterr().out


def test_check_in_a_new_process(net, tmp_path):
    cert = str(tmp_path / "cert.json")
    assert main(["bound", net, "--save", cert]) == 0
    command = [sys.executable, "-m", "lmikit", "check", cert, net, "--exact", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_bound_json(net, capsys):
    assert main(["bound", net, "--json", "--lower"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["proven"] is True
    assert float.fromhex(data["bound_hex"]) == data["bound"] >= data["sampled_lower_bound"]


def test_every_method_and_solver_name_works(net, capsys):
    from lmikit.cli._commands import method_names

    for name in method_names():
        assert main(["bound", net, "--method", name]) == 0, name
    capsys.readouterr()
    assert main(["bound", net, "--method", "lipsdp", "--solver", "clarabel"]) == 0


def test_compare_plot(net, tmp_path, capsys):
    plot = tmp_path / "plot.png"
    assert main(["compare", net, "--plot", str(plot), "--methods", "eclipse-fast,lipsdp"]) == 0
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert "LipSDP" in capsys.readouterr().out


def test_a_certificate_for_another_net_is_refused(net, tmp_path, capsys):
    cert = str(tmp_path / "cert.json")
    assert main(["bound", net, "--save", cert]) == 0
    other = write_npz(tmp_path / "other.npz", [DEMO[0] * 1.5, *DEMO[1:]])
    assert main(["check", cert, other]) == 1
    assert "refused" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["cut", "format", "field", "binary"])
def test_what_is_no_certificate_is_bad_input(net, tmp_path, capsys, change):
    cert = tmp_path / "cert.json"
    assert main(["bound", net, "--save", str(cert)]) == 0
    text = cert.read_text()
    changed = {
        "cut": text[: len(text) // 2],
        "format": text.replace("lmikit-cert", "another"),
        "field": text.replace('"margin"', '"margins"'),
        "binary": "\xff\0",
    }[change]
    cert.write_text(changed, encoding="latin-1")
    capsys.readouterr()
    assert main(["check", str(cert), net]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("lmikit: InputError: ")
    assert shown.err.count("\n") == 1
    assert main(["check", str(cert), net, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["ok"] is False


def _bad_inputs(folder):
    good = [w.copy() for w in DEMO]
    nan = [good[0] * np.nan, *good[1:]]
    chain = [np.ones((32, 4)), np.ones((10, 64))]
    whole = folder / "whole.npz"
    np.savez(whole, W0=good[0])
    (folder / "cut.npz").write_bytes(whole.read_bytes()[:60])
    np.savez(folder / "objects.npz", W0=np.array([["a", {}]], dtype=object))
    np.savez(folder / "nothing.npz")
    (folder / "net.txt").write_text("1 2 3")
    return {
        "NaN weights": ["bound", write_npz(folder / "nan.npz", nan)],
        "shapes": ["bound", write_npz(folder / "chain.npz", chain)],
        "truncated": ["bound", str(folder / "cut.npz")],
        "objects": ["bound", str(folder / "objects.npz")],
        "empty": ["bound", str(folder / "nothing.npz")],
        "unknown ending": ["bound", str(folder / "net.txt")],
        "missing file": ["bound", str(folder / "absent.npz")],
        "activation": ["bound", write_npz(folder / "a.npz", good), "--activation", "swishy"],
        "method": ["bound", write_npz(folder / "m.npz", good), "--method", "magic"],
        "solver": ["bound", write_npz(folder / "s.npz", good), "--solver", "magic"],
        "solve ending": ["solve", str(folder / "net.txt")],
    }


CASES = ["NaN weights", "shapes", "truncated", "objects", "empty", "unknown ending", "missing file"]
CASES += ["activation", "method", "solver", "solve ending"]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, name):
    assert main(_bad_inputs(tmp_path)[name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("lmikit: ")
    assert "Traceback" not in captured.err


def test_refused_bound_writes_no_certificate(tmp_path):
    cert = tmp_path / "cert.json"
    assert main([*_bad_inputs(tmp_path)["NaN weights"], "--save", str(cert)]) == 2
    assert not cert.exists()


def test_certificate_to_a_missing_folder_is_bad_input(net, tmp_path, capsys):
    assert main(["bound", net, "--save", str(tmp_path / "absent" / "cert.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_solvers_lists_every_solver(capsys):
    assert main(["solvers"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("Clarabel", "SCS", "MOSEK", "CVXPY", "LowRank"))


@pytest.mark.slow
def test_demo(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["seconds"] < 60
    assert all(row["refused"] for row in data["refusals"])
    assert (tmp_path / "demo" / "bounds.png").is_file()


def test_import_is_light():
    """Importing lmikit brings in numpy, scipy and clarabel at most."""
    code = "import sys, lmikit; print(' '.join(sorted(m.split('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    optional = {"torch", "jax", "sklearn", "matplotlib", "cvxpy", "scs", "mosek", "networkx", "cupy", "flint"}
    assert optional.isdisjoint(done.stdout.split())
    assert lmikit.__version__


def test_a_lower_bound_is_sampled_only_when_asked_for(net, tmp_path, capsys):
    cert = tmp_path / "cert.json"
    for flags, sampled in (([], False), (["--no-lower"], False), (["--lower"], True)):
        assert main(["bound", net, "--json", "--save", str(cert), *flags]) == 0
        lower = json.loads(capsys.readouterr().out)["sampled_lower_bound"]
        assert (lower is not None) is sampled
        assert lmikit.Certificate.load(cert, lmikit.load_network(net)).lower == lower
    assert main(["compare", net, "--methods", "eclipse-fast", "--no-lower"]) == 0
    assert "sampled" not in capsys.readouterr().out


def test_a_time_limit_is_for_the_sampling_too(tmp_path, capsys):
    rng = np.random.default_rng(0)
    wide = [rng.standard_normal((200, 150)), rng.standard_normal((200, 200)), rng.standard_normal((10, 200))]
    big = write_npz(tmp_path / "big.npz", wide)
    command = ["bound", big, "--method", "spectral-product", "--lower", "--json"]
    limit = 0.2
    start = time.process_time()
    assert main([*command, "--time-limit", str(limit)]) == 0
    limited = time.process_time() - start
    start = time.process_time()
    assert main(command) == 0
    assert limited < 0.6 * (time.process_time() - start)
    short, long = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert 0.0 < short["sampled_lower_bound"] <= long["sampled_lower_bound"] <= long["bound"]


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf"])
def test_a_time_limit_is_a_positive_number_of_seconds(limit, net, capsys):
    for command in (["bound", net], ["compare", net]):
        assert main([*command, f"--time-limit={limit}"]) == 2
        assert "expected seconds above 0" in capsys.readouterr().err


def test_json_has_no_numbers_that_json_has_not(tmp_path, capsys):
    problem = lmikit.lmi.Problem()
    x = problem.scalar("x")
    problem.minimise(x)
    problem.subject_to(x >= 1.0)
    problem.subject_to(x <= 0.0)
    lmikit.lmi.write_sdpa(problem.compile(), tmp_path / "none.dat-s")
    assert main(["solve", str(tmp_path / "none.dat-s"), "--json"]) == 1
    strict = {"parse_constant": lambda word: pytest.fail(f"{word} is not JSON")}
    assert json.loads(capsys.readouterr().out, **strict)["status"] == "INFEASIBLE"


def test_options_of_readers(tmp_path, capsys):
    onnx = importorskip("onnx")
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    weights = [helper.make_tensor(f"W{k}", TensorProto.FLOAT, w.shape, w.ravel()) for k, w in enumerate(DEMO)]
    nodes = [
        helper.make_node("Gemm", ["x", "W0"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "W1"], ["c"], transB=1),
        helper.make_node("Softmax", ["c"], ["d"]),
    ]
    outputs = [value(name, TensorProto.FLOAT, [None, 2]) for name in ("c", "d")]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [None, 2])], outputs, weights[:2])
    path = str(tmp_path / "net.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    assert main(["bound", path]) == 2
    assert "pass --output NAME" in capsys.readouterr().err
    assert main(["bound", path, "--output", "d"]) == 2
    assert "--logits" in capsys.readouterr().err
    assert main(["bound", path, "--output", "d", "--logits", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["bound"]
    assert main(["bound", path, "--output", "c", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bound"] == first


def test_the_order_of_layers(tmp_path, capsys):
    numpy_file = importorskip("safetensors.numpy")
    path = str(tmp_path / "net.safetensors")
    numpy_file.save_file({f"{name}.weight": w for name, w in zip("cab", DEMO, strict=True)}, path)
    assert main(["bound", path]) == 2
    assert "pass --order A,B" in capsys.readouterr().err
    assert main(["bound", path, "--order", "c,a,b"]) == 0


def test_options_of_another_kind_of_file_are_refused(net, capsys):
    for flags in (["--output", "y"], ["--logits"], ["--order", "a,b"]):
        assert main(["bound", net, *flags]) == 2
        assert "; net.npz is none" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error(net):
    command = (
        f'"{sys.executable}" -c "import sys; from lmikit.cli import main; sys.exit(main())" inspect "{net}"'
    )
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.stdout.strip() in ("0", "141")  # 0 where it wrote all before the reader left
