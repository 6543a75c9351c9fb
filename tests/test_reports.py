"""Reports: the page says what the API says, loads nothing, escapes everything."""

import html.parser
import json
import re

import browser_helpers
import numpy as np
import pytest

import lmikit
from lmikit import EclipseFast, GraphBuilder, InputError, LipSDP, Network, SpectralProduct
from lmikit.cli import main
from lmikit.reports import report


def network(seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((6, 4), (5, 6), (3, 5))
    weights = [rng.standard_normal(shape) / 2 for shape in shapes]
    return Network.from_arrays(weights, [rng.standard_normal(len(w)) for w in weights], "relu")


class Page(html.parser.HTMLParser):
    """The tags in order, data-* numbers by name, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.numbers, self.tags, self.words = [], {}, [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for key, value in attributes:
            if key.startswith("data-"):
                self.numbers.setdefault(key[5:], []).append(float.fromhex(value))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def assert_self_contained(text):
    page = Page(text)
    kinds = {tag for tag, _ in page.tags}
    assert not kinds & {"script", "link", "iframe", "object", "embed", "form", "a"}
    for _, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key == "href"]
        assert attributes.get("src", "data:").startswith("data:")
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    return page


def test_the_page_says_what_the_api_says():
    net, methods = network(), [LipSDP(), EclipseFast(), SpectralProduct()]
    found = report(net, methods=methods, title="three layers")
    page = assert_self_contained(found.to_html())
    expected = sorted(lmikit.lipschitz(net, method).bound for method in methods)
    assert page.numbers["method-bound"] == expected
    assert page.numbers["bound"] == [expected[0]]
    assert page.numbers["lower"] == [found.lower] == [lmikit.lower_bound(net).value]
    assert page.numbers["ratio"] == [expected[0] / found.lower]
    norms = [np.linalg.norm(w, 2) for w in net.weights]
    np.testing.assert_allclose(page.numbers["norm"], norms, rtol=1e-6)
    assert all(shown >= norm * (1 - 1e-12) for shown, norm in zip(page.numbers["norm"], norms, strict=True))
    words = " ".join(page.words)
    assert net.digest in words
    assert found.best.certificate.claim in words
    for result in found.results:
        assert result.sha256 in words


def test_hashes_are_those_of_the_saved_certificates(tmp_path):
    import hashlib

    found = report(network(), methods=[EclipseFast()], lower=False)
    found.best.certificate.save(tmp_path / "c.json")
    assert hashlib.sha256((tmp_path / "c.json").read_bytes()).hexdigest() == found.best.sha256
    assert lmikit.check(tmp_path / "c.json", network())


def test_data_are_certified_and_attacked():
    net = network(1)
    X = np.random.default_rng(2).uniform(-1, 1, (6, 4))
    y = net(X).argmax(axis=1)
    y[0] = (y[0] + 1) % 3  # one that is wrong from the start
    found = report(net, (X, y), methods=[EclipseFast()], lower=False, time_limit=5.0)
    page = assert_self_contained(found.to_html())
    assert page.numbers["clean"] == [found.points.clean_accuracy] == [5 / 6]
    assert page.numbers["radius"] == sorted(found.attacked)
    assert page.numbers["certified"] == [
        float(found.points.certified_at([r])[0]) for r in sorted(found.attacked)
    ]
    assert page.numbers["attacked"] == [found.attacked[r] for r in sorted(found.attacked)]
    assert all(c <= a for c, a in zip(page.numbers["certified"], page.numbers["attacked"], strict=True))
    assert max(page.numbers["certified"]) > 0


def test_a_graph_and_what_it_has_no_method_for():
    builder = GraphBuilder()
    x = builder.input(3)
    rng = np.random.default_rng(0)
    graph = builder.output(x + rng.standard_normal((3, 3)) @ builder.relu(rng.standard_normal((3, 3)) @ x))
    found = report(graph, methods=[LipSDP(), EclipseFast()], lower=False)
    page = assert_self_contained(found.to_html())
    assert page.numbers["bound"] == [lmikit.lipschitz(graph).bound]
    assert "not proven: InputError" in " ".join(page.words)
    assert [m.method for m in report(graph, lower=False).results if m.certificate is None] == []
    with pytest.raises(InputError, match="network is list"):
        report([])


def residual(seed=0):
    """A small classifier with a skip, data that it mostly gets right."""
    rng = np.random.default_rng(seed)
    draw = lambda m, n: rng.standard_normal((m, n)) / np.sqrt(n)  # noqa: E731
    builder = GraphBuilder()
    x = builder.input(4)
    h = builder.relu(draw(6, 4) @ x + rng.standard_normal(6))
    graph = builder.output(draw(3, 6) @ (h + builder.apply("tanh", draw(6, 6) @ h)))
    X = rng.uniform(-2, 2, (12, 4))
    y = graph(X).argmax(axis=1)
    y[0] = (y[0] + 1) % 3
    return graph, X, y


def test_data_of_a_graph_are_certified_by_global_bounds():
    graph, X, y = residual()
    found = report(graph, (X, y), methods=[LipSDP()], lower=False)
    page = assert_self_contained(found.to_html())
    pairs = lmikit.pairwise_bounds(graph, LipSDP(), each_pair=True)
    expected = lmikit.certified_radius(pairs, graph(X), logit_error=1e-12)
    expected[graph(X).argmax(axis=1) != y] = 0.0
    np.testing.assert_allclose(found.points.radii, expected, rtol=1e-6, atol=1e-9)
    assert page.numbers["certified"] == [float((found.points.radii >= r).mean()) for r in found.attacked]
    assert all(c <= a for c, a in zip(page.numbers["certified"], page.numbers["attacked"], strict=True))
    assert max(page.numbers["certified"]) > 0
    assert min(page.numbers["attacked"]) < page.numbers["clean"][0] == 11 / 12
    words = " ".join(page.words)
    assert "by the proven global bound of each difference of two outputs" in words
    assert "not certified one by one" in words
    unproven = report(graph, (X, y), methods=[EclipseFast()], lower=False)
    assert "proven, not at all: no method proved a global bound" in " ".join(
        assert_self_contained(unproven.to_html()).words
    )
    with pytest.raises(InputError, match="y has labels 0 to 3"):
        report(graph, (X, np.arange(12) % 4))
    with pytest.raises(InputError, match="X has shape"):
        report(graph, (X[:, :2], y))


def test_names_cannot_become_markup(monkeypatch):
    evil = "<script>alert('x')</script>\"&'"
    found = report(network(), methods=[EclipseFast()], lower=False, title=evil)
    page = assert_self_contained(found.to_html())
    assert evil in "".join(page.words)
    assert "<script" not in found.to_html()


def test_without_matplotlib_the_page_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = report(network(), methods=[EclipseFast()], lower=False).to_html()
    assert "no picture, plots need the module" in text
    assert "<img" not in text


def test_the_command(tmp_path, capsys):
    net, page = network(), tmp_path / "report.html"
    net.save(tmp_path / "a<b>.npz")
    X = np.random.default_rng(0).uniform(-1, 1, (2, 4))
    np.savez(tmp_path / "data.npz", X=X, y=net(X).argmax(axis=1))
    arguments = ["report", str(tmp_path / "a<b>.npz"), str(tmp_path / "data.npz"), "-o", str(page), "--json"]
    assert main([*arguments, "--methods", "eclipse-fast,spectral-product", "--first", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    shown = assert_self_contained(page.read_text())
    assert shown.numbers["bound"] == [told["bound"]] == [lmikit.lipschitz(net, EclipseFast()).bound]
    assert "a&lt;b&gt;.npz" in page.read_text()
    assert set(told["certificates"].values()) <= set(re.findall("[0-9a-f]{64}", page.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(scheme, tmp_path):
    """The page as a browser draws it: something to see, the scheme's colours, and no error in the console."""
    graph, X, y = residual()
    report(graph, (X, y), methods=[LipSDP(), SpectralProduct()], title="residual").save(tmp_path / "r.html")
    seen = browser_helpers.look(tmp_path / "r.html", scheme, tmp_path / "r.png")
    assert seen["drawn"]
    assert not seen["errors"]
    assert (tmp_path / "r.png").stat().st_size > 10_000
    assert (sum(seen["background"]) > 3 * 128) == (scheme == "light")
