"""Images that shrink to a height of one pixel stay images: pooling pads and cuts both axes."""

import numpy as np
import pytest

from lmikit.adapters import from_state_dict


@pytest.mark.parametrize(
    ("pool", "shape", "expected"),
    [
        # windows of 3 x 2 with a row of zeros above and below: a sixth of the pixels that are there
        ("avgpool:3x2:stride=1:padding=1x0", (1, 2), lambda v: (v[:, :-1] + v[:, 1:]) / 6.0),
        # windows of 2 x 1 with a row of zeros above and below: two rows
        ("avgpool:2x1:stride=1:padding=1x0", (2, 3), lambda v: np.vstack([v, v]) / 2.0),
        ("maxpool:2x1:stride=1:padding=1x0", (2, 3), lambda v: np.vstack([v, v])),
        ("avgpool:1x3", (1, 1), lambda v: v.mean(axis=1, keepdims=True)),
        ("avgpool:global", (1, 1), lambda v: v.mean(axis=1, keepdims=True)),
    ],
)
def test_pooling_of_an_image_of_height_one(pool, shape, expected):
    rng = np.random.default_rng(0)
    width = shape[0] * shape[1]
    tensors = {
        "conv.weight": rng.standard_normal((1, 1, 2, 1)),
        "conv.bias": rng.standard_normal(1),
        "fc.weight": rng.standard_normal((3, width)),
        "fc.bias": rng.standard_normal(3),
    }
    network = from_state_dict(tensors, order=["conv", "relu", pool, "fc"], input_shape=(1, 2, 3))
    x = rng.standard_normal((1, 2, 3))
    image = np.maximum(np.einsum("h,hw->w", tensors["conv.weight"].ravel(), x[0]) + tensors["conv.bias"], 0.0)
    value = expected(image[None, :]).ravel()
    np.testing.assert_allclose(
        network(x.ravel()), tensors["fc.weight"] @ value + tensors["fc.bias"], atol=1e-12
    )
