import numpy as np
import paddle
import pytest
from paddleseg.models.losses import CrossEntropyLoss

from regenhance_data.predictors.paddleseg.compat import like_paddle_2


@pytest.mark.parametrize("options", [{}, {"weight": [1.0, 2.0, 3.0]}, {"top_k_percent_pixels": 0.5}])
def test_the_mended_loss_is_the_mean_over_the_pixels_that_count(options):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    label = rng.integers(0, 3, (2, 4, 5))
    label[0, 0, 0] = 255
    with like_paddle_2():
        loss = CrossEntropyLoss(**options)(paddle.to_tensor(logits), paddle.to_tensor(label))

    known = label != 255
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    picked = np.take_along_axis(shares, np.where(known, label, 0)[:, None], 1)[:, 0]
    weight = np.array(options.get("weight", [1.0] * 3))[np.where(known, label, 0)] * known
    each = -np.log(picked) * weight
    if "top_k_percent_pixels" in options:
        expected = np.sort(each.ravel())[-each.size // 2 :].mean()
    else:
        expected = each.sum() / weight.sum()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_kinds_of_numbers_mix_inside_the_block_alone():
    kinds = [paddle.to_tensor([True, False]), paddle.to_tensor([2, 3]), paddle.to_tensor([0.5, 1.5])]
    with like_paddle_2():
        for low, one in enumerate(kinds):
            for high in kinds[low:]:
                expected = one.numpy().astype(high.numpy().dtype) * high.numpy()
                np.testing.assert_array_equal((one * high).numpy(), expected)
                np.testing.assert_array_equal((high * one).numpy(), expected)
                assert (one * high).dtype == high.dtype
    with pytest.raises(TypeError):
        kinds[2] * kinds[1]


def test_gradients_pass_the_conversion():
    x = paddle.to_tensor([1.0, 2.0], stop_gradient=False)
    with like_paddle_2():
        (paddle.to_tensor([3, 4]) * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3.0, 4.0])
