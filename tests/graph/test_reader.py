"""MXNet's JSON of all versions, and JSON that is none."""

import json

import pytest

from imagenet_trainer.graph import GraphError, load_json, sym
from imagenet_trainer.system.mxnet_import import mx


def network():
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=4, name="conv")
    x = sym.BatchNorm(x, fix_gamma=False, name="bn")
    x = sym.FullyConnected(sym.Flatten(x, name="flat"), num_hidden=3, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")


def document():
    return json.loads(network().tojson())


def in_version_0_8():
    """The JSON as MXNet 0.8 wrote it: no auxiliary states, unmarked attributes, two keys."""
    old = document()
    names = [node["name"] for node in old["nodes"]]
    kept = [i for i, name in enumerate(names) if "moving" not in name]
    number = {old_index: new for new, old_index in enumerate(kept)}
    nodes = []
    for index in kept:
        node = old["nodes"][index]
        inputs = [[number[i], o] for i, o, _ in node["inputs"] if i in number]
        attributes = node.get("attrs", {}) if node["op"] != "null" else {}
        nodes.append({
            "op": node["op"], "name": node["name"], "param": attributes, "inputs": inputs,
            "backward_source_id": -1,
        })  # fmt: skip
    nodes[names.index("conv_weight")]["attr"] = {"lr_mult": "2"}
    conv = next(node for node in nodes if node["name"] == "conv")
    conv["attr"] = {"ctx_group": "one", "bias_wd_mult": "0.5"}
    heads = [[number[i], o] for i, o, _ in old["heads"]]
    return json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": heads})


def test_old_files_are_upgraded_as_mxnet_does():
    text = in_version_0_8()
    found, wanted = load_json(text), mx.sym.load_json(text)
    assert found.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    for method in ("list_arguments", "list_auxiliary_states", "list_outputs", "attr_dict"):
        assert getattr(found, method)() == getattr(wanted, method)()
    assert found.infer_shape(data=(2, 3, 8, 8)) == wanted.infer_shape(data=(2, 3, 8, 8))


@pytest.mark.parametrize("key", ["param", "attr", "attrs"])
def test_the_keys_of_all_versions(key):
    text = document()
    for node in text["nodes"]:
        node[key] = node.pop("attrs", {})
    assert load_json(json.dumps(text)).tojson() == network().tojson()


def changed(change):
    text = document()
    change(text, {node["name"]: node for node in text["nodes"]})
    return json.dumps(text)


BROKEN = {
    "cut short": (lambda: network().tojson()[:-200], "cut short"),
    "empty": (lambda: "", "cut short"),
    "deep brackets": (lambda: "[" * 100_000, "cut short"),
    "a list": (lambda: "[1, 2]", "not that of a network"),
    "no nodes": (lambda: "{}", "not that of a network"),
    "numbers for text": (
        lambda: changed(lambda t, n: n["conv"]["attrs"].update(kernel=3)), "not that of a network"
    ),
    "unknown operator": (
        lambda: changed(lambda t, n: n["conv"].update(op="Convulution")), "did you mean Convolution"
    ),
    "unknown attribute": (
        lambda: changed(lambda t, n: n["conv"]["attrs"].update(kernell="(3, 3)")),
        "did you mean kernel",
    ),
    "circle": (
        lambda: changed(lambda t, n: n["conv"].update(inputs=[[t["heads"][0][0], 0, 0]] * 3)),
        "a circle",
    ),
    "itself": (
        lambda: changed(lambda t, n: n["bn"].update(inputs=[[len(t["nodes"]) - 3, 0, 0]] * 5)),
        "a circle",
    ),
    "too few inputs": (
        lambda: changed(lambda t, n: n["fc"].update(inputs=n["fc"]["inputs"][:2])),
        "has 2 inputs, but takes 3",
    ),
    "too many inputs": (
        lambda: changed(lambda t, n: n["flat"].update(inputs=n["flat"]["inputs"] * 2)),
        "has 2 inputs, but takes 1",
    ),
    "an output that is not there": (
        lambda: changed(lambda t, n: n["flat"].update(inputs=[[n["flat"]["inputs"][0][0], 3, 0]])),
        "output 3",
    ),
    "negative numbers": (
        lambda: changed(lambda t, n: n["flat"].update(inputs=[[-1, 0, 0]])), "not that of a network"
    ),
    "true for a number": (
        lambda: changed(lambda t, n: n["flat"].update(inputs=[[True, 0, 0]])),
        "not that of a network",
    ),
    "a kernel of a thousand digits": (
        lambda: changed(lambda t, n: n["conv"]["attrs"].update(kernel=f"({'9' * 1000}, 3)")),
        "integers such as",
    ),
    "a version that is no number": (
        lambda: changed(lambda t, n: t.update(attrs={"mxnet_version": ["int", float("inf")]})),
        "not that of a network",
    ),
    "more inputs than memory for their names": (
        lambda: changed(lambda t, n: n["flat"].update(op="Concat", attrs={"num_args": "9" * 10})),
        "at most 20000",
    ),
    "no heads": (lambda: changed(lambda t, n: t.update(heads=[])), "no outputs"),
    "an auxiliary state that is computed": (
        lambda: changed(lambda t, n: n["bn"]["inputs"].__setitem__(3, [3, 0, 0])), "not a variable"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_broken_files_are_refused_in_one_line(case):
    make, what = BROKEN[case]
    with pytest.raises(GraphError) as refused:
        load_json(make())
    assert what in str(refused.value) and "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_other_text_in_names_survives():
    made = sym.FullyConnected(sym.Variable('Bär "1"\n'), num_hidden=2, name="дом")
    assert load_json(made.tojson()).list_arguments() == ['Bär "1"\n', "дом_weight", "дом_bias"]
    assert mx.sym.load_json(made.tojson()).list_arguments() == made.list_arguments()
