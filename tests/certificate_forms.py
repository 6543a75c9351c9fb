"""Forms of a certificate file that every reader must judge alike: one field or spelling changed at a time."""

import copy
import json

_VALUES = (
    None, True, False, 0, 1, 2, -1, 10**12, "", "x", "0x1p+0", "0x0p+0", [], {}, [0], [1, 1], {"x": 1},
)  # fmt: skip
_SPELLINGS = (
    str.upper,
    str.lower,
    lambda t: " " + t,
    lambda t: t + " ",
    lambda t: t + "\n",
    lambda t: t + "\0",
    lambda t: "+" + t,
    lambda t: "-" + t,
    lambda t: t[1:],
    lambda t: t[:-1],
    lambda t: t + "0",
    lambda t: t.replace("0x", "0X", 1),
    lambda t: t.replace("0x1", "0x2", 1),
    lambda t: t.replace("0x1", "0x01", 1),
    lambda t: t.replace("p+", "p", 1),
    lambda t: t.replace("p", "p+", 1),
    lambda t: t.replace("p+", "p+9", 1),
    lambda t: t.replace("p+", "p+00", 1),
    lambda t: t.replace("0x1", "0x1.", 1),
    lambda t: t.replace("p+", ".0p+", 1),
    lambda t: t.replace("1", "\N{ARABIC-INDIC DIGIT ONE}", 1),
    lambda t: t + "=",
    lambda t: t + "====",
    lambda t: t.rstrip("="),
    lambda t: t[:4] + "\n" + t[4:],
    lambda t: t.replace("+", "-").replace("/", "_"),
    lambda t: _spare_bits(t),
    lambda t: "0x1.fffffffffffff8p+0",
    lambda t: "0x0.00000000000018p-1022",
    lambda t: "0x1.8p-1074",
    lambda t: "0x1p-1075",
    lambda t: "0x1p+1024",
)
_NUMBERS = ("1.0", "1e0", "-0", "01", "+1", "1_0", "NaN", "Infinity", "0x1", "1" + "0" * 5000)
_WHOLE = (
    lambda t: t + " ",
    lambda t: "\n" + t,
    lambda t: t + "{}",
    lambda t: t + ",",
    lambda t: t[:-1],
    lambda t: "\ufeff" + t,
    lambda t: "[" + t + "]",
    lambda t: t.replace('"', "'"),
    lambda t: t[:-1] + ",}",
    lambda t: "/**/" + t,
    lambda t: "",
    lambda t: "null",
    lambda t: "[" * 100000,
    lambda t: t.replace("lmikit-cert", "lmikit\\u002dcert"),
    lambda t: t.replace('"version"', '"version": 1, "version"'),
    lambda t: t.replace('"dims"', '"dims": [1], "dims"'),
)


def forms(text):
    """(name, bytes of a file) for every place of the valid file `text` and every change made to it."""
    data = json.loads(text)
    for path in list(_paths(data)):
        where = ".".join(map(str, path))
        old = _at(data, path)
        for value in _VALUES:
            if value != old or type(value) is not type(old):
                yield f"{where} = {value!r}", _encoded(_with(data, path, value))
        if isinstance(old, str):
            for k, change in enumerate(_SPELLINGS):
                if change(old) != old:
                    yield f"{where} spelt {k}", _encoded(_with(data, path, change(old)))
        if isinstance(old, int):
            for number in _NUMBERS:
                marked = json.dumps(_with(data, path, "@mark@"))
                yield f"{where} = {number[:20]}", marked.replace('"@mark@"', number).encode()
        if isinstance(old, dict):
            yield f"{where} with more", _encoded(_with(data, path, {**old, "more": 1}))
        if isinstance(old, list):
            yield f"{where} longer", _encoded(_with(data, path, [*old, *old[-1:]]))
            yield f"{where} shorter", _encoded(_with(data, path, old[:-1]))
            yield f"{where} as object", _encoded(_with(data, path, dict(enumerate(old))))
        yield f"{where} in a list", _encoded(_with(data, path, [old]))
        yield f"{where} missing", _encoded(_without(data, path))
    for k, change in enumerate(_WHOLE):
        yield f"whole {k}", change(text.strip()).encode()
    raw = text.encode()
    for k, spoilt in enumerate(
        (b"\xff" + raw, raw.replace(b"lmikit", b"lm\xffkit", 1), raw + b"\xc3", b"\0" * 9)
    ):
        yield f"bytes {k}", spoilt
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        yield encoding, text.encode(encoding)


def _spare_bits(text):
    """Base64 whose unused last bits are not zero."""
    body = text.rstrip("=")
    return body[:-1] + chr(ord(body[-1]) + 1) + "=" * (len(text) - len(body)) if body else text


def _encoded(data):
    return json.dumps(data).encode()


def _paths(data, prefix=()):
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in children:
        yield (*prefix, key)
        yield from _paths(value, (*prefix, key))


def _at(data, path):
    for key in path:
        data = data[key]
    return data


def _with(data, path, value):
    result = copy.deepcopy(data)
    _at(result, path[:-1])[path[-1]] = value
    return result


def _without(data, path):
    result = copy.deepcopy(data)
    del _at(result, path[:-1])[path[-1]]
    return result
