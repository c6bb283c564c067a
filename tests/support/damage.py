"""Files damaged on purpose: odd bytes, words and numbers, payloads that run code, bombs. Every choice is `rng`'s."""

import copy
import io
import json
import os
import pickle
import random
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
TREES = (".json", ".jsonl", ".yaml", ".yml")
ODD_VALUES = re.split(
    r"[|\n]",
    r"""!!python/object/apply:os.system ['touch ran']|!!python/name:os.system|[&a [*a]]|{? [a] : b}|!!int ''|1e400|.nan
NaN|-.inf|-1|0|true|2001-99-99|!!float ''|!!binary x|!!set {a}|!!timestamp x|null|[]|{}|"\0"|0.5|"\uD800"|../../ran|/etc
{a: {b: {c: [1, 2]}}}|1000000000000|'1'|[1, x]|!!bool x|&a {<<: *a}|~/ran|day|[[1]]|"a\nb"|""",
)
ODD_VALUES += ["9" * 5000, "0x" + "f" * 4000, "a" * 3000, "k" * 10**7 + ": 1", "[" * 3000, "/dev/zero"]
ODD_NODES: list[Any] = [None, True, -1, 0, 0.5, 7, float("inf"), float("nan"), 10**30, "", "x", "0", "\0", "../../ran"]
ODD_NODES += ["9" * 500, "٣", [], {}, [[1]], [None], [1, "x"], {"a": {"b": [1]}}, {"0": None}, "/dev/zero"]
ODD_JSON = [value for value in ODD_VALUES if re.match(r"[-0-9.\[{\"Ntn]", value)]
ODD_PATHS = re.split(
    r"[|\n]",
    r"""../../../ran|/etc/passwd|labels|.||a b c|origin_images/day/../..|~|out/000000.png|#|val.txt
labels/day/000000.png|origin_images/day/999999.png|origin_images/day/000000.png|origin_images//day/000000.png""",
)
ODD_PATHS += ["\0", "\udcff", "x" * 5000]
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


class _Payload:
    """What a pickle runs when it is loaded without a guard."""

    def __init__(self, *call: object) -> None:
        self._call = call

    def __reduce__(self) -> tuple:
        return self._call[0], self._call[1:]


def hostile_pickle(rng: random.Random) -> bytes:
    """A pickle that runs code, or that is far larger than its file."""
    ran = rng.choice([(os.system, "touch ran"), (eval, "open('ran', 'w')"), (open, "ran", "w"), (os.mkdir, "ran")])
    wrapped = {"saliency": _Payload(*ran), "state_dict": _Payload(*ran)}
    return rng.choice(
        [
            *[pickle.dumps(wrapped, protocol) for protocol in range(5)],
            pickle.dumps(_Payload(np.zeros, 10**12)),
            pickle.dumps(_Payload(bytearray, 10**12)),
            b"\x80\x04" + b"(" * 100_000 + b"t" * 100_000 + b".",
            b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
            b"\x80\x04Nr\xff\xff\xff\x7f.",
            b"cposix\nsystem\n(S'touch ran'\ntR.",
            b"\x80\x04})" + b"2\x86" * 60 + b"Ns.",  # a key that takes for ever to hash
        ]
    )


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Some content with a few bytes flipped, cut, added, doubled, or turned into numbers at the edge."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = int(rng.random() ** rng.choice((1, 3)) * len(made))  # heads matter more than bodies
        match rng.randrange(7):
            case 0 | 1:
                made[at : at + 1] = rng.randbytes(1)
            case 2:
                del made[at:]
            case 3:
                del made[at : at + rng.randrange(64)]
            case 4:
                made[at:at] = rng.randbytes(rng.randrange(1, 64))
            case 5:
                size = rng.choice((1, 2, 4, 8))
                number = rng.choice(NUMBERS) % 256**size
                made[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
            case _:
                made[at:at] = made[at : at + rng.randrange(256)] * rng.choice((1, 2, 50))
    return bytes(made)


def damaged_inside(rng: random.Random, content: bytes) -> bytes:
    """A zip archive or PNG with damage under checksums that fit, so that it gets past them; else as `damaged`."""
    if content.startswith(b"PK"):
        made = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
            parts = {name: old.read(name) for name in old.namelist()}
            pickles = [name for name in parts if name.endswith(".pkl")]
            victim = rng.choice(pickles or list(parts))
            parts[victim] = hostile_pickle(rng) if rng.random() < 0.2 else damaged(rng, parts[victim])
            for name, part in parts.items():
                new.writestr(name, part, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
        return made.getvalue()
    if content.startswith(b"\x89PNG"):
        chunks, at = [], 8
        while at < len(content):
            end = at + 8 + int.from_bytes(content[at : at + 4], "big")
            chunks.append((content[at + 4 : at + 8], content[at + 8 : end]))
            at = end + 4
        victim = rng.randrange(len(chunks))
        name, body = chunks[victim]
        is_pixels = name == b"IDAT" and sum(other == name for other, _ in chunks) == 1
        chunks[victim] = name, zlib.compress(damaged(rng, zlib.decompress(body))) if is_pixels else damaged(rng, body)
        framed = ((struct.pack(">I", len(body)), name + body) for name, body in chunks)
        return content[:8] + b"".join(size + part + struct.pack(">I", zlib.crc32(part)) for size, part in framed)
    return damaged(rng, content)


def spoil(rng: random.Random, path: Path) -> None:
    """Damage a file in its place; now and then it is another kind of file, a folder, or a link to itself."""
    content = path.read_bytes()
    path.unlink()
    match rng.randrange(12):
        case 0:
            shutil.copyfile(rng.choice(sorted(other for other in Path("seeds").iterdir() if other.is_file())), path)
        case 1:
            path.write_bytes(rng.choice((b"", b"\0", rng.randbytes(300), hostile_pickle(rng), BOMB.encode())))
        case 2:
            links = [lambda to=to: path.symlink_to(to) for to in (path.name, "/etc/passwd", "/dev/zero")]
            pipes = [lambda: os.mkfifo(path)] if path.suffix in (*TREES, ".onnx") else []
            rng.choice([path.mkdir, *links, *pipes])()
        case 3 | 4 | 5 | 6:
            path.write_bytes(damaged_inside(rng, content))
        case _:
            path.write_bytes(damaged(rng, content))


def spoil_text(rng: random.Random, path: Path, odd: list[str]) -> None:
    """Odd words in the place of some words of a YAML file, a JSON file or a list; lines that are lost or doubled."""
    text = path.read_text()
    for _ in range(rng.choice((1, 1, 1, 3))):
        lines = text.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        match rng.randrange(12):
            case 0:
                lines[at:] = lines[at][: rng.randrange(len(lines[at]))]
            case 1:
                lines[at:at] = rng.choice((lines, lines[at : at + 3], [" " * rng.randrange(5)]))
            case 2 if odd is ODD_VALUES:
                lines = [BOMB, *(re.sub(r": .*", lambda m: rng.choice((": *a11", m[0])), line) for line in lines)]
            case _:
                word = rng.choice(list(re.finditer(r'[^\s:,[\]{}"]+|"[^"]*"', lines[at])) or [re.match("", lines[at])])
                lines[at] = lines[at][: word.start()] + rng.choice(odd) + lines[at][word.end() :]
        text = "".join(lines) or "x"
    path.write_bytes(text.encode(errors="surrogateescape"))


def spoil_tree(rng: random.Random, path: Path) -> None:
    """Odd values and keys in a JSON or YAML file, or in a line of a .jsonl file; it stays one."""
    is_json = path.suffix in (".json", ".jsonl")
    parts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    at = rng.randrange(len(parts))
    tree = [json.loads(parts[at]) if is_json else yaml.safe_load(parts[at])]
    for _ in range(rng.choice((1, 1, 1, 3))):
        _spoil_node(rng, tree)
    parts[at] = json.dumps(tree[0]) if is_json else yaml.safe_dump(tree[0], sort_keys=False)
    path.write_text("\n".join(parts))


def _spoil_node(rng: random.Random, node: Any) -> None:
    """Change one entry of a list or a mapping, or of those in it."""
    key = rng.choice([*(node if isinstance(node, dict) else range(len(node)))])
    if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.85:
        return _spoil_node(rng, node[key])
    match rng.randrange(8):
        case 0 if len(node) > 1:
            del node[key]
        case 1 if isinstance(node, dict):
            node[rng.choice(("", "x", "../ran", "day", "1", "\ud7ff" * 300))] = node.pop(key)
        case 1:
            node.append(node[key])
        case 2:
            node[key] = [node[key]]
        case _:
            node[key] = copy.deepcopy(rng.choice(ODD_NODES))
    return None


def spoil_graph(rng: random.Random, path: Path) -> None:
    """Other operators, wires, shapes, types and metadata in an ONNX file, which stays an ONNX file."""
    model = onnx.load(path)
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    for _ in range(rng.choice((1, 1, 3))):
        constants = [attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t")]
        node, tensor, port = (
            rng.choice(some) for some in (graph.node, [*graph.initializer, *constants], [*graph.input, *graph.output])
        )
        match rng.randrange(9):
            case 0:
                node.op_type = rng.choice([*(other.op_type for other in graph.node), "Loop", "If", "Tile", "Nope"])
            case 1 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(names)
            case 8 if node.input:
                _blow_up(rng, graph, node)
            case 2 if len(graph.node) > 1:
                graph.node.remove(node)
            case 3:
                tensor.dims[:] = [rng.choice(NUMBERS) % 2**63 for _ in range(rng.randrange(5))]
            case 4:
                port.type.tensor_type.elem_type = rng.randrange(17)
            case 5:
                for dim in port.type.tensor_type.shape.dim:
                    dim.dim_value = rng.choice((*NUMBERS[:6], 3, 48, 64))
            case 6:
                tensor.data_location = onnx.TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value=rng.choice(("/etc/passwd", "../ran", "day.mp4")))
            case _:
                for entry in model.metadata_props:
                    entry.value = rng.choice((entry.value, entry.value, "0", "9" * 5000, "x", "-1", "{0: 'a'", "٣"))
    path.write_bytes(model.SerializeToString())


def _blow_up(rng: random.Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """The largest value of something large is added to an input of the node."""
    size = [rng.choice((2**10, 2**14, 2**20, 2**31, 2**33, 2**62)) for _ in range(rng.choice((1, 2, 3)))]
    count = sum(1 for other in graph.node if other.name.startswith("blown"))
    large, most, more = (f"{name}{count}" for name in ("large", "most", "more"))
    tensor = onnx.numpy_helper.from_array(np.array(size), f"size{count}")
    made = [onnx.helper.make_node("Constant", [], [tensor.name], f"blown{count}", value=tensor)]
    match rng.randrange(3):
        case 0:
            made.append(onnx.helper.make_node("ConstantOfShape", [tensor.name], [large]))
        case 1:
            made.append(onnx.helper.make_node("RandomUniform", [], [large], shape=size))
        case _:
            made.append(onnx.helper.make_node("Expand", [node.input[0], tensor.name], [large]))
    made.append(onnx.helper.make_node("ReduceMax", [large], [most], keepdims=0))
    made.append(onnx.helper.make_node("Add", [node.input[0], most], [more]))
    at = list(graph.node).index(node)
    node.input[0] = more
    for new in reversed(made):
        graph.node.insert(at, new)


def spoil_either(rng: random.Random, path: Path, how: Callable[..., None], *more: object) -> Path:
    """Damage a file in the way of its kind, or as any other."""
    chance = rng.random()
    if how is spoil_text and path.suffix in TREES and chance < 0.5:
        spoil_tree(rng, path)
    elif chance < 0.8:
        how(rng, path, *more)
    else:
        spoil(rng, path)
    return path
