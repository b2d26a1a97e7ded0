"""Predictions from tables of every kind and from models."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trilemma as tl
from trilemma.attacks import Predictions
from trilemma.cli.predict import predictions_of, with_names
from trilemma.data.dataset import Split
from trilemma.errors import DataWarning, InputError

N, CLASSES = 60, ("cat", "dog", "NA")


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {
        "logits": rng.normal(size=(N, 3)).astype(np.float32).astype(np.float64),
        "labels": rng.integers(0, 3, N),
        "member": np.arange(N) % 2 == 0,
        "groups": rng.integers(0, 2, N),
    }


def table_of(arrays, names=CLASSES):
    outputs = {f"logit_{name}": arrays["logits"][:, index] for index, name in enumerate(names)}
    return pd.DataFrame(
        {"image": "x.png", "label": arrays["labels"], "member": arrays["member"], "group": arrays["groups"], **outputs}
    )


def same(predictions, arrays):
    np.testing.assert_array_equal(predictions.outputs, arrays["logits"])
    for name in ("labels", "member", "groups"):
        np.testing.assert_array_equal(getattr(predictions, name), arrays[name])


def test_every_kind_of_file_gives_the_same_predictions_to_the_last_bit(arrays, tmp_path):
    table = table_of(arrays)
    table.to_csv(tmp_path / "p.csv", index=False)
    table.to_parquet(tmp_path / "p.parquet")
    table.to_feather(tmp_path / "p.feather")
    with pa.OSFile(str(tmp_path / "p.arrow"), "wb") as file, pa.ipc.new_file(file, pa.Schema.from_pandas(table)) as out:
        out.write_table(pa.Table.from_pandas(table))
    np.savez(tmp_path / "p.npz", **arrays)
    for ending in ("csv", "parquet", "feather", "arrow", "npz"):
        same(Predictions.load(tmp_path / f"p.{ending}"), arrays)
        same(Predictions.load((tmp_path / f"p.{ending}").rename(tmp_path / f"Q.{ending.upper()}")), arrays)
    same(Predictions.from_table(table), arrays)
    same(Predictions.from_table(pa.Table.from_pandas(table)), arrays)
    first, two = (tl.audit(Predictions.load(tmp_path / f"Q.{ending}"), resamples=100) for ending in ("CSV", "NPZ"))
    assert first.attacks == two.attacks


WORDS = {
    "member": [(True, False), (1, 0), ("yes", "no"), ("Member", "nonmember"), ("train", "test"), (1.0, 0.0)],
    "member name": ["member", "Is_Member", "in_train", "split"],
    "label name": ["label", "Target", "y", "y_true"],
}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    member=st.sampled_from(WORDS["member"]),
    member_name=st.sampled_from(WORDS["member name"]),
    label_name=st.sampled_from(WORDS["label name"]),
    named=st.booleans(),
    numbered=st.booleans(),
    shuffled=st.permutations(range(3)),
)
def test_usual_names_and_words_are_understood(arrays, member, member_name, label_name, named, numbered, shuffled):
    names = ("0", "1", "2") if numbered else CLASSES
    table = table_of(arrays, names)
    order = list(table.columns[:4]) + [f"logit_{names[index]}" for index in (shuffled if numbered else range(3))]
    table = table[order].rename(columns={"label": label_name, "member": member_name})
    table[member_name] = [member[0] if value else member[1] for value in arrays["member"]]
    if named:
        table[label_name] = [names[label] for label in arrays["labels"]]
    same(Predictions.from_table(table), arrays)


def test_columns_can_be_given_and_probabilities_and_a_sigmoid_are_read(arrays):
    powers = np.exp(arrays["logits"])
    probs = powers / powers.sum(1, keepdims=True)
    table = pd.DataFrame(
        {f"p.{index}": probs[:, index] for index in range(3)} | {"species": arrays["labels"], "known": "no"}
    )
    table.loc[arrays["member"], "known"] = "yes"
    given_columns = {"prob": "p.", "label": "species", "member": "known"}
    np.testing.assert_array_equal(Predictions.from_table(table, columns=given_columns).probs, probs)
    score = arrays["logits"][:, 0]
    binary = pd.DataFrame({"logit": score, "label": score > 0, "member": arrays["member"]})
    binary["label"] = binary["label"].astype(int)
    np.testing.assert_array_equal(Predictions.from_table(binary).logits, np.stack([np.zeros(N), score], axis=1))
    sigmoid = 1 / (1 + np.exp(-score))
    alone = binary.rename(columns={"logit": "prob"}).assign(prob=sigmoid)
    np.testing.assert_array_equal(Predictions.from_table(alone).probs, np.stack([1 - sigmoid, sigmoid], axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="label"), "no column 'label'"),
        (lambda t: t.rename(columns={"label": "lable"}), "did you mean 'lable'"),
        (lambda t: t.drop(columns="member"), "no column 'member'"),
        (lambda t: t.assign(member="perhaps"), "holds 'perhaps'"),
        (lambda t: t.assign(label="cow"), "the label 'cow', which no column"),
        (lambda t: t.assign(logit_dog="=1+1"), "'logit_dog' of the table holds something other than numbers"),
        (lambda t: t.drop(columns=[f"logit_{name}" for name in CLASSES]), "no columns of outputs"),
        (lambda t: t.assign(label=7), "labels must lie in 0 to 2"),
        (lambda t: t.assign(label="-"), "the label '-', which no column"),
        (lambda t: t.assign(logit_dog=pd.Timestamp("2020-01-01")), "'logit_dog' of the table holds something other"),
        (lambda t: t.assign(logit_dog=1j), "'logit_dog' of the table holds something other than numbers"),
        (lambda t: t.assign(weight="heavy"), "'weight' of the table holds something other than numbers"),
        (lambda t: t.assign(source=["a.png", None] * (N // 2)), "'source' of the table holds no value in row 1"),
        (lambda t: t.assign(logit_margin=0.5), "'logit_margin' of the table would be the output for a class 'margin'"),
        (lambda t: t.assign(logit_entropy=0.5), "'logit_entropy' of the table would be the output for a class"),
        (lambda t: t.assign(logit_cat_scaled=0.5), "'logit_cat_scaled' of the table would be the output for a class"),
        (lambda t: t.assign(logit_7=0.5, logit_8=0.5), "'logit_cat' of the table would be the output"),
        (lambda t: t.assign(prob_0=0.5, prob_1=0.5), "columns logit_ for cat, dog and NA, and prob_ for 0 and 1"),
        (lambda t: t.assign(logits=[[0.0, 1.0]] * (N - 1) + [[0.0]]), "'logits' .* in every row, but row 59"),
        (lambda t: t.assign(logits=[None] + [[0.0, 1.0]] * (N - 1)), "'logits' .* in every row, but row 0"),
        (lambda t: t.assign(logits=[["a", "b"]] * N), "'logits' .* in every row, but row 0"),
        (lambda t: dict(t), "object of type dict: give a data frame"),
        (lambda t: None, "object of type NoneType: give a data frame"),
        (lambda t: t.assign(logit_dog=np.nan), "NaN or infinite"),
    ],
)
def test_what_is_missing_or_wrong_is_named_in_one_line(arrays, change, message):
    with pytest.raises(InputError, match=message) as caught:
        Predictions.from_table(change(table_of(arrays)))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="columns are for label"):
        Predictions.from_table(table_of(arrays), columns={"lable": "x"})
    with pytest.raises(InputError, match="no column 'lab'"):
        Predictions.from_table(table_of(arrays), columns={"label": "lab"})


def test_a_file_that_is_no_table_or_too_large_is_refused(arrays, tmp_path):
    for ending in ("parquet", "arrow", "csv"):
        (tmp_path / f"p.{ending}").write_bytes(b"\x00\xff" * 40)
        with pytest.raises(InputError, match=f"p.{ending}"):
            Predictions.load(tmp_path / f"p.{ending}")
    table_of(arrays).to_parquet(tmp_path / "large.parquet")
    with pytest.raises(InputError, match="over the limit"):
        Predictions.load(tmp_path / "large.parquet", max_bytes=1000)


def test_a_module_and_a_classifier_are_asked(arrays):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).train()
    inputs = torch.randn(N, 4)
    labels = torch.from_numpy(arrays["labels"])
    sides = [(inputs[:40], labels[:40]), (inputs[40:], labels[40:])]
    expected = module.eval()(inputs).detach().numpy()
    module.train()
    sets = [TensorDataset(*side) for side in sides]
    loaders = [DataLoader(side, batch_size=7) for side in sets]
    columns = [(inputs, labels[:, None]) for inputs, labels in sides]
    for train, test in (sides, sets, loaders, columns):
        predictions = Predictions.from_model(module, train, test)
        np.testing.assert_allclose(predictions.logits, expected, atol=1e-6)
        np.testing.assert_array_equal(predictions.labels, arrays["labels"])
        assert (predictions.member == (np.arange(N) < 40)).all()
        assert module.training
    with pytest.raises(InputError, match="does not accept the inputs of train"):
        Predictions.from_model(module, (inputs[:, :2], labels), sides[1])
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    images = np.zeros((20, 1, 8, 8), dtype=np.uint8)
    with pytest.raises(InputError, match="float32, normalized"):
        Predictions.from_model(flat, Split(images, np.zeros(20, dtype=np.int64)), sides[1])
    names = np.array(CLASSES)[arrays["labels"]]
    classifier = LogisticRegression().fit(inputs[:40], names[:40])
    predictions = Predictions.from_estimator(classifier, inputs, names, np.arange(N) < 40)
    np.testing.assert_array_equal(predictions.probs, classifier.predict_proba(inputs))
    assert [classifier.classes_[label] for label in predictions.labels] == list(names)
    column = Predictions.from_estimator(classifier, inputs, names[:, None], np.arange(N) < 40)
    np.testing.assert_array_equal(column.labels, predictions.labels)
    with pytest.raises(InputError, match="not one of the classes"):
        Predictions.from_estimator(classifier, inputs, ["cow"] * N, np.arange(N) < 40)
    with pytest.raises(InputError, match="has no predict_proba"):
        Predictions.from_estimator(object(), inputs, names, np.arange(N) < 40)


class Raising(nn.Module):
    def forward(self, inputs):
        raise KeyError("x")


class InPlace(nn.Module):
    def forward(self, inputs):
        return inputs.sub_(0.5)


INPUTS, LABELS = np.ones((N, 3), np.float32), np.arange(N) % 3


@pytest.mark.parametrize(
    ("model", "train", "message"),
    [
        (nn.Identity(), None, "train does not give batches .TypeError"),
        (nn.Identity(), 5, "train does not give batches .TypeError"),
        (nn.Identity(), (INPUTS, np.eye(3)[LABELS]), r"labels of train must be \(n,\), .* not \(60, 3\): for one-hot"),
        (nn.Identity(), (INPUTS, [[0], [1, 2]]), "labels of train cannot be read as one array"),
        (nn.Identity(), (5, LABELS), "train has 0 inputs but 60 labels"),
        (nn.Identity(), (["a"] * N, LABELS), "does not accept the inputs of train .(ValueError|TypeError)"),
        (nn.Identity(), [(INPUTS, LABELS), (INPUTS[:, :2], LABELS)], "different numbers of classes for different"),
        (Raising(), (INPUTS, LABELS), "does not accept the inputs of train .KeyError"),
        (max, (INPUTS, LABELS), "the model is an object of type builtin_function_or_method: give a torch.nn.Module"),
        (None, (INPUTS, LABELS), "the model is an object of type NoneType"),
    ],
)
def test_what_is_no_model_or_no_batch_is_refused_in_one_line(model, train, message):
    with pytest.raises(InputError, match=message) as caught:
        Predictions.from_model(model, train, (INPUTS, LABELS))
    assert "\n" not in str(caught.value)


def test_a_module_that_writes_in_place_gets_a_copy():
    """Guards: the caller's images are changed by an audit."""
    inputs = np.ones((N, 3), np.float32)
    predictions = Predictions.from_model(InPlace(), (inputs[:30], LABELS[:30]), (inputs[30:], LABELS[30:]))
    assert (inputs == 1).all()
    assert (predictions.logits == 0.5).all()


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (INPUTS[:, :2], LABELS, "LogisticRegression does not give probabilities of one label for X .ValueError"),
        (INPUTS, np.eye(3)[LABELS], "the y must be"),
        (INPUTS, None, "the y must be"),
    ],
)
def test_what_a_classifier_cannot_take_is_refused_in_one_line(inputs, labels, message):
    classifier = LogisticRegression().fit(np.eye(3), np.arange(3))
    with pytest.raises(InputError, match=message) as caught:
        Predictions.from_estimator(classifier, inputs, labels, np.arange(N) < 40)
    assert "\n" not in str(caught.value)


SIGMOID = np.arange(N) / N
OUTCOMES = np.arange(N) % 3 == 0
FIRST = ("0", "00", "False", "no", "neg", "class_0", "Class 0")


@pytest.mark.parametrize(
    ("columns", "labels", "classes"),
    [
        ({"prob_0": 1 - SIGMOID, "prob_1": SIGMOID}, OUTCOMES, ("0", "1")),
        ({"prob_0": 1 - SIGMOID, "prob_1": SIGMOID}, OUTCOMES.astype(str), ("0", "1")),
        ({"prob": SIGMOID}, OUTCOMES, ("0", "1")),
        ({"sigmoid": SIGMOID}, np.char.lower(OUTCOMES.astype(str)), ("0", "1")),
        ({"prob_sick": SIGMOID}, OUTCOMES.astype(float), ("0", "1")),
        ({"prob_sick": SIGMOID}, np.where(OUTCOMES, "sick", "healthy"), ("healthy", "sick")),
        ({"prob_ill": SIGMOID}, np.where(OUTCOMES, "ill", "well"), ("well", "ill")),
        ({"prob_True": SIGMOID, "prob_False": 1 - SIGMOID}, OUTCOMES, ("False", "True")),
        ({"prob_true": SIGMOID, "prob_false": 1 - SIGMOID}, OUTCOMES.astype(int), ("false", "true")),
        ({"prob_pos": SIGMOID, "prob_neg": 1 - SIGMOID}, OUTCOMES.astype(int), ("neg", "pos")),
        ({"prob_class_1": SIGMOID, "prob_class_0": 1 - SIGMOID}, OUTCOMES, ("class_0", "class_1")),
        *(({f"prob_{name}": 1 - SIGMOID}, OUTCOMES, ("0", "1")) for name in FIRST),
        *(({f"prob_{name}": 1 - SIGMOID}, OUTCOMES.astype(int), ("0", "1")) for name in FIRST),
        *(({f"prob_{name}": SIGMOID}, OUTCOMES.astype(int), ("0", "1")) for name in ("1", "yes", "class_1", "covid19")),
        ({"prob_0": 1 - SIGMOID, "prob_1": SIGMOID, "logit_true": SIGMOID + 1}, OUTCOMES, ("0", "1")),
        ({"prob": SIGMOID, "logit_margin": SIGMOID - 1}, OUTCOMES, ("0", "1")),
    ],
)
def test_labels_of_two_classes_may_be_booleans_or_the_name_of_the_only_column(columns, labels, classes):
    """Guards: outputs for the class 0 that are taken for those of the class 1, which turns every attack around."""
    table = pd.DataFrame({**columns, "label": labels, "member": np.arange(N) % 2 == 0})
    predictions = Predictions.from_table(table)
    assert predictions.class_names == classes
    np.testing.assert_array_equal(predictions.labels, OUTCOMES)
    np.testing.assert_allclose(predictions.outputs[:, 0], 1 - SIGMOID)


@pytest.mark.parametrize("name", ["prob_0", "prob_1", "logit_0", "logit_1"])
@pytest.mark.parametrize("labels", [OUTCOMES, OUTCOMES.astype(int), OUTCOMES.astype(str)])
def test_a_single_column_of_either_class_says_what_both_say(name, labels):
    score = SIGMOID if name.endswith("1") else (1 - SIGMOID if name.startswith("prob") else -SIGMOID)
    table = pd.DataFrame({name: score, "label": labels, "member": np.arange(N) % 2 == 0})
    differences = np.diff(Predictions.from_table(table).outputs, axis=1)[:, 0]
    np.testing.assert_allclose(differences, 2 * SIGMOID - 1 if name.startswith("prob") else SIGMOID)


@pytest.mark.parametrize(
    ("name", "columns"), [("prob_2", None), ("p_0", {"prob": "p_0"}), ("score0", {"prob": "score0"})]
)
def test_a_single_column_of_a_class_that_is_not_certain_is_refused(name, columns):
    table = pd.DataFrame({name: SIGMOID, "label": OUTCOMES, "member": np.arange(N) % 2 == 0})
    with pytest.raises(InputError, match="name it after the class 0 or 1"):
        Predictions.from_table(table, columns=columns)


NUMBERED = [
    ["no", "yes"],
    ["False", "True"],
    ["neg", "pos"],
    [str(k) for k in range(12)],
    [f"class_{k}" for k in range(12)],
    [f"digit_{k}" for k in range(12)],
    ["0", "class_1", "y_2", "3"],
]


@settings(deadline=None, max_examples=40)
@given(names=st.sampled_from(NUMBERED), order=st.randoms(use_true_random=False))
def test_columns_of_numbered_classes_may_be_in_any_order(names, order):
    labels, logits = np.arange(N) % len(names), np.random.default_rng(0).normal(size=(N, len(names)))
    columns = [(f"logit_{name}", logits[:, index]) for index, name in enumerate(names)]
    order.shuffle(columns)
    predictions = Predictions.from_table(pd.DataFrame({**dict(columns), "label": labels, "member": np.arange(N) % 2}))
    np.testing.assert_array_equal(predictions.outputs, logits)
    np.testing.assert_array_equal(predictions.labels, labels)
    assert predictions.class_names == tuple(names)


@settings(deadline=None, max_examples=40)
@given(names=st.sampled_from([*NUMBERED, ["3", "1", "0"], ["true", "margin", "7"]]).flatmap(st.permutations))
def test_a_table_of_predict_gives_back_the_classes_whatever_they_are_called(names):
    labels, logits = np.arange(N) % len(names), np.random.default_rng(0).normal(size=(N, len(names)))
    model = SimpleNamespace(classes=tuple(names))
    carried = with_names({"label": labels, "member": np.arange(N) % 2}, "label", model.classes)
    predictions = Predictions.from_table(pd.DataFrame(predictions_of(model, logits, ("x",) * N) | carried))
    assert [predictions.class_names[label] for label in predictions.labels] == [names[label] for label in labels]
    np.testing.assert_array_equal(predictions.outputs, logits[:, [names.index(n) for n in predictions.class_names]])


def test_names_of_images_are_numbered(arrays):
    names = np.array([f"{row % 20}.png" for row in range(N)])
    predictions = Predictions.from_table(table_of(arrays).assign(source=names))
    assert (np.equal.outer(predictions.sources, predictions.sources) == np.equal.outer(names, names)).all()


def test_a_column_that_no_label_names_is_said(arrays):
    """It may be a class without examples, or no class's output: only its owner knows."""
    table = table_of(arrays).assign(label=np.array(CLASSES)[arrays["labels"]])
    same(Predictions.from_table(table), arrays)
    with pytest.warns(DataWarning, match="the table has outputs for owl, which no label names"):
        assert Predictions.from_table(table.assign(logit_owl=0.5)).class_names == (*CLASSES, "owl")


def test_a_single_column_that_counts_as_class_1_by_its_place_alone_is_said():
    table = pd.DataFrame({"prob_benign": SIGMOID, "label": OUTCOMES.astype(int), "member": np.arange(N) % 2 == 0})
    with pytest.warns(DataWarning, match="'prob_benign' of the table counts as the output for class 1"):
        assert Predictions.from_table(table).class_names == ("0", "1")


@pytest.mark.parametrize("labels", [["sick", "healthy", "dead"], ["well", "healthy"], ["sick"]])
def test_one_column_of_outputs_and_other_than_its_two_labels_is_refused(labels):
    table = pd.DataFrame({"prob_sick": SIGMOID, "label": np.resize(labels, N), "member": np.arange(N) % 2 == 0})
    with pytest.raises(InputError, match="must hold 'sick' and one other label; give one column for each class"):
        Predictions.from_table(table)


def test_the_label_that_no_column_is_named_after_is_the_one_that_is_blamed():
    table = pd.DataFrame({f"logit_{name}": np.arange(4.0) for name in ("cat", "dog")})
    table["label"], table["member"] = ["cat", "dog", "wolf", "cat"], [0, 1, 0, 1]
    with pytest.raises(InputError, match="has the label 'wolf', which no column of outputs is named after"):
        Predictions.from_table(table)
