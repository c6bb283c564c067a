"""Frozen TensorFlow graphs, written without TensorFlow: protocol buffers by hand."""

import numpy as np

_FLOAT, _INT32 = 1, 3  # TensorFlow's DataType


def _varint(value):
    out = b""
    value &= 2**64 - 1
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _field(number, content):
    """A field of a message: bytes or text by length, integers as they are."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    content = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _shape(sides):
    return b"".join(_field(2, _field(1, side)) for side in sides)


def _tensor(array):
    kind = _INT32 if array.dtype == np.int32 else _FLOAT
    return _field(1, kind) + _field(2, _shape(array.shape)) + _field(4, array.tobytes())


def _node(name, op, inputs=(), **attributes):
    content = _field(1, name) + _field(2, op) + b"".join(_field(3, given) for given in inputs)
    for key, value in attributes.items():
        content += _field(5, _field(1, key) + _field(2, value))
    return _field(1, content)


def _constant(name, array):
    kind = _field(6, _INT32 if array.dtype == np.int32 else _FLOAT)
    return _node(name, "Const", dtype=kind, value=_field(8, _tensor(array)))


def repeating_kernel(scale, channels=1):
    """A 1×1 convolution [1, 1, channels, channels·scale²] whose blocks are the pixels of the input."""
    return np.tile(np.eye(channels, dtype=np.float32), (1, scale**2))[None, None]


def write_frozen_graph(path, scale=3, channels=1, kernel=None, transposed=False):
    """A sub-pixel network as dnn_superres has it (ESPCN_x3.pb): a convolution, a bias, a PReLU of single operators,
    DepthToSpace; [N, h, w, C], the output [N, C, h, w] where it is `transposed`.
    """
    floats = {"T": _field(6, _FLOAT), "data_format": _field(2, "NHWC")}
    strides = _field(1, _field(3, b"\1\1\1\1"))
    kernel = repeating_kernel(scale, channels) if kernel is None else kernel.astype(np.float32)
    nodes = [
        _node("input", "Placeholder", dtype=_field(6, _FLOAT), shape=_field(7, _shape([-1, -1, -1, channels]))),
        _constant("weights", kernel),
        _constant("bias", np.zeros(kernel.shape[3], np.float32)),
        _node("conv", "Conv2D", ["input", "weights"], **floats, strides=strides, padding=_field(2, "SAME")),
        _node("biased", "BiasAdd", ["conv", "bias"], **floats),
        _node("relu", "Relu", ["biased"], T=floats["T"]),
        _node("abs", "Abs", ["biased"], T=floats["T"]),
        _node("sub", "Sub", ["biased", "abs"], T=floats["T"]),
        _constant("slope", np.ones(kernel.shape[3], np.float32)),
        _node("sloped", "Mul", ["slope", "sub"], T=floats["T"]),
        _constant("half", np.array(0.5, np.float32)),
        _node("halved", "Mul", ["sloped", "half"], T=floats["T"]),
        _node("prelu", "Add", ["relu", "halved"], T=floats["T"]),
        _node("larger", "DepthToSpace", ["prelu"], **floats, block_size=_field(3, scale)),
    ]
    if transposed:
        nodes += [
            _constant("order", np.array([0, 3, 1, 2], np.int32)),
            _node("NCHW_output", "Transpose", ["larger", "order"], T=floats["T"], Tperm=_field(6, _INT32)),
        ]
    path.write_bytes(b"".join(nodes))
    return path
