"""A trained model used from ``config.json`` and ``model.safetensors`` alone; the table of its predictions; its card."""

import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import trilemma as tl
from trilemma.cli.audit import run_predictions
from trilemma.cli.main import main
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError
from trilemma.report.evidence import OneModel
from trilemma.report.model_page import write_model_page
from trilemma.training.execution import Execution
from trilemma.trial.card import card, plain
from trilemma.trial.title import title_of_run
from trilemma.words import techniques_in_words

CPU = Execution("cpu", 20, "float32")
RECIPE = tl.Recipe(model="convnet-4", epsilon=8.0, batch_size=20, epochs=0.5, norm_groups=2, evaluations=1)
NAMES = ("=cmd|'/c calc'!A1", "<script>alert(1)</script>", "plain")


def of(count, seed, channels=3, size=(10, 12)):
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, channels, *size), dtype=np.uint8), np.arange(count) % 3)


@pytest.fixture(scope="module")
def data():
    return Dataset("mine", of(60, 0), of(45, 1), NAMES, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return tl.train(RECIPE, data, tmp_path_factory.mktemp("runs") / "one", execution=CPU)


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """The two files in a folder of their own."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(run.folder / name, folder)
    return folder


def test_two_files_give_the_logits_that_the_run_measured(run, alone, data):
    model = tl.load_model(alone)
    table = pd.read_parquet(run.folder / "signals.parquet")
    measured = np.stack(table[~table.member]["logits"])
    images = data.test.images
    logits = model.logits(images)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, measured, atol=1e-5)
    assert model.classes == NAMES
    assert (model.predict(images) == measured.argmax(1)).all()
    np.testing.assert_allclose(model.predict_proba(images).sum(1), 1, atol=1e-6)
    assert not model.network.training
    by_hand = model.network(model.prepared(images)).detach().numpy()
    np.testing.assert_allclose(by_hand, logits, atol=1e-6)


def test_a_model_a_run_and_an_audit_are_a_few_lines_of_text(run, alone):
    """Guards: a page of text where a notebook shows one of them."""
    model = tl.load_model(alone)
    assert re.fullmatch(r"<Model: .*weights; \d+ classes .*>", str(model))
    assert len(str(model)) < 200
    assert re.fullmatch(r"<Run .*: .*; accuracy 0\.\d+, AUC 0\.\d+ \(threshold\)>", str(run))
    audited = tl.audit(run_predictions(run.folder), attacks=["threshold"], resamples=50)
    first, second = str(audited).splitlines()
    assert first.startswith("<Audit: ")
    assert first.endswith("headline threshold")
    assert second.strip().startswith("threshold")


def test_the_same_images_in_any_form_give_the_same_logits(alone, data, tmp_path):
    model, images = tl.load_model(alone), data.test.images[:4]
    expected = model.logits(images)
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
    for index, picture in enumerate(pictures):
        (tmp_path / f"{index}").mkdir()
        picture.save(tmp_path / f"{index}" / "image.png")
    files = [tmp_path / f"{index}" / "image.png" for index in range(4)]
    forms = [images.transpose(0, 2, 3, 1), torch.from_numpy(images), list(images), pictures, files, str(tmp_path)]
    for form in forms:
        np.testing.assert_array_equal(model.logits(form), expected)
    for form in (pictures[0], images[0], files[0]):
        np.testing.assert_allclose(model.logits(form), expected[:1], atol=1e-6)
    gray = np.asarray(pictures[0].convert("L"))
    Image.fromarray(gray).save(tmp_path / "gray.png")  # a gray file among color ones counts as it did in training
    np.testing.assert_array_equal(model.logits(tmp_path / "gray.png"), model.logits(np.stack([gray] * 3)[None]))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((2, 3, 12, 12), np.uint8),
            "is 12×12 pixels .*, but the model takes 12×10: ask for resizing",
        ),
        (np.zeros((2, 10, 12), np.uint8), "holds no images with 3 channels"),
        (np.zeros((2, 4, 10, 12), np.uint8), "holds no images with 3 channels"),
        (np.zeros((2, 3, 10, 12)), "must be uint8"),
        ([], "no image to classify"),
        ("nowhere.png", "cannot read nowhere.png"),
        ("no\0where.png", "cannot read"),
        (io.BytesIO(b"image"), "an object of type BytesIO is not an image: give uint8 arrays, PIL images, or names"),
        ([io.BytesIO(b"image")], "an object of type BytesIO is not an image"),
        (b"image", "an object of type bytes is not an image"),
        ([(np.zeros((3, 10, 12), np.uint8), 1)], "an object of type tuple is not an image"),
        (None, "an object of type NoneType is not an image"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_images_that_do_not_fit_are_refused_in_one_line(alone, images, message):
    with pytest.raises(InputError, match=message) as caught:
        tl.load_model(alone).predict(images)
    assert "\n" not in str(caught.value)


def test_resizing_only_where_it_is_asked_for(tmp_path):
    square = Dataset("gray", of(40, 0, 1, (8, 8)), of(40, 1, 1, (8, 8)), ("a", "b", "c"))
    tl.train(RECIPE, square, tmp_path / "run", execution=CPU)
    model, large = tl.load_model(tmp_path / "run"), of(3, 2, 1, (20, 16)).images[:, 0]
    with pytest.raises(InputError, match="16×20 pixels"):
        model.predict(large)
    squares = [Image.fromarray(row).crop((0, 2, 16, 18)) for row in large]
    rows = [np.asarray(square.resize((8, 8), Image.Resampling.LANCZOS)) for square in squares]
    np.testing.assert_array_equal(model.logits(large, resize=True), model.logits(np.stack(rows)))
    with pytest.raises(InputError, match="is in color"):
        model.predict([Image.fromarray(of(1, 3, 3, (8, 8)).images[0].transpose(1, 2, 0))])


def test_a_file_of_another_run_or_none_is_refused(alone, data, tmp_path):
    other = tl.train(tl.Recipe(**{**RECIPE.to_dict(), "seed": 1}), data, tmp_path / "other", execution=CPU)
    shutil.copytree(alone, tmp_path / "copy")
    shutil.copy(other.folder / "model.safetensors", tmp_path / "copy")
    with pytest.raises(InputError, match="belongs to a different run"):
        tl.load_model(tmp_path / "copy")
    save_file(load_file(alone / "model.safetensors"), tmp_path / "copy" / "model.safetensors")
    with pytest.raises(InputError, match="does not say which images and classes"):
        tl.load_model(tmp_path / "copy")
    with pytest.raises(InputError, match=r"model\.safetensors is a file: give the folder of a run"):
        tl.load_model(tmp_path / "copy" / "model.safetensors")
    (tmp_path / "copy" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no model.safetensors"):
        tl.load_model(tmp_path / "copy")


def test_a_network_of_ones_own_is_given_again(data, tmp_path):
    def network():
        return nn.Sequential(nn.Flatten(), nn.Linear(360, 3))

    run = tl.train(RECIPE, data, tmp_path / "run", network=network(), execution=CPU)
    with pytest.raises(InputError, match="a network of your own"):
        tl.load_model(tmp_path / "run")
    with pytest.raises(InputError, match="network is an object of type int: give a torch"):
        tl.load_model(tmp_path / "run", network=5)
    for layers, says in (
        (
            [nn.Flatten(), nn.Linear(360, 4)],
            r"(1.weight has the shape [3, 360] in the file, and [4, 360] in the network)",
        ),
        ([nn.Flatten(), nn.Linear(360, 3), nn.Linear(3, 3)], "(the file lacks its 2.weight and 2.bias)"),
        ([nn.Linear(360, 3)], "(it lacks 1.bias and 1.weight of the file)"),
    ):
        with pytest.raises(
            InputError, match=re.escape(f"model.safetensors {says}: give the network that these weights")
        ):
            tl.load_model(tmp_path / "run", network=nn.Sequential(*layers))
    model = tl.load_model(tmp_path / "run", network=network())
    assert model.predict(data.test.images).shape == (45,)
    # The recipe's model was not trained, and is named nowhere.
    for text in (repr(run), repr(model), (tmp_path / "run" / "README.md").read_text("utf-8")):
        assert "Sequential" in text
        assert "convnet" not in text
    page = write_model_page(OneModel.read(tmp_path / "run"), tmp_path / "run", [])
    assert re.search(r"Its\s+network\s+is\s+Sequential", page.read_text("utf-8"))


def test_the_file_carries_the_privacy_statement(alone):
    with safe_open(alone / "model.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["trilemma"])
    assert about["privacy"]["epsilon"] <= 8
    assert about["privacy"]["noise_source"] == "secret"
    assert about["privacy"]["statement"].startswith("The weights are differentially private with ε = ")
    assert not {"truth", "ceiling"} & set(about["privacy"])


def test_predict_writes_what_the_model_says_and_no_formula(run, data, tmp_path, capsys):
    member = np.arange(45) < 20
    np.savez(tmp_path / "images.npz", images=data.test.images, labels=data.test.labels, member=member)
    logits = tl.load_model(run.folder).logits(data.test.images).astype(np.float64)
    shutil.copy(tmp_path / "images.npz", tmp_path / "IMAGES.NPZ")
    for images, name in (("images.npz", "found"), ("IMAGES.NPZ", "FOUND")):
        for ending in ("csv", "parquet", "npz"):
            out = tmp_path / f"{name}.{ending if name.islower() else ending.upper()}"
            assert main(["predict", str(run.folder), str(tmp_path / images), "--out", str(out)]) == 0
    assert (tmp_path / "FOUND.CSV").read_bytes() == (tmp_path / "found.csv").read_bytes()
    assert (tmp_path / "FOUND.PARQUET").read_bytes() == (tmp_path / "found.parquet").read_bytes()
    csv, parquet = pd.read_csv(tmp_path / "found.csv"), pd.read_parquet(tmp_path / "found.parquet")
    np.testing.assert_array_equal(parquet[[f"logit_{name}" for name in NAMES]], logits)
    np.testing.assert_array_equal(csv[[f"logit_{name}" for name in NAMES]], logits)
    assert list(parquet["predicted"]) == [NAMES[index] for index in logits.argmax(1)]
    assert not any(str(cell).startswith("=") for cell in csv["predicted"])
    assert list(parquet["label"]) == [NAMES[label] for label in data.test.labels]
    with np.load(tmp_path / "found.npz") as arrays:
        np.testing.assert_array_equal(arrays["logits"], logits)
        np.testing.assert_array_equal(arrays["member"], member)
        np.testing.assert_array_equal(arrays["labels"], data.test.labels)
    capsys.readouterr()
    for arguments, message in (
        ([str(tmp_path), "x.csv"], "holds no config.json"),
        ([str(run.folder), "x.txt"], "must end in .csv"),
        ([str(run.folder), str(tmp_path / "found.csv")], "is already there"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["predict", arguments[0], str(tmp_path / "images.npz"), "--out", arguments[1]])
        assert ended.value.code == 2
        assert re.search(message, capsys.readouterr().err)


def test_the_card_says_what_may_be_released_and_stays_text(run):
    text = (run.folder / "README.md").read_text()
    config, result = (json.loads((run.folder / name).read_text()) for name in ("config.json", "result.json"))
    assert text == card(title_of_run(run.folder, config), config, result)
    head = text.split("---\n")[1]
    values = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in head.splitlines())}
    assert values["library_name"] == "trilemma"
    metrics = values["model-index"][0]["results"][0]["metrics"]
    assert metrics[0] == {"type": "accuracy", "name": "test accuracy", "value": round(result["accuracy"], 4)}
    assert "<script>" not in text
    assert plain(NAMES[1]) in text
    assert f"The network is {config['recipe']['model']} (a small convolutional network), trained in " in text
    assert f"updates with {techniques_in_words(config['recipe']['techniques']) or 'none of the package'}" in text
    assert f"{result['train_accuracy']:.3f}" not in text or result["train_accuracy"] == result["accuracy"]
    ignored = (run.folder / ".gitignore").read_text().split("\n")
    assert {"signals.parquet", "*.private.json", "checkpoint*"} <= set(ignored)
    assert not {"model.safetensors", "config.json", "README.md"} & set(ignored)


def test_an_export_that_computes_something_else_is_not_kept(run, tmp_path, capsys, monkeypatch):
    """That a correct export is kept is tested with the real commands, in ``end_to_end/test_one_model.py``."""
    for name in ("onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="the extra onnx is not installed")
    monkeypatch.setattr("trilemma.cli.export.TOLERANCE", -1.0)
    with pytest.raises(SystemExit):
        main(["export", str(run.folder), "--onnx", str(tmp_path / "model.onnx")])
    assert "onnxruntime differs from torch" in capsys.readouterr().err
    assert not (tmp_path / "model.onnx").exists()


def test_export_without_its_extra_says_what_to_install(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("trilemma.cli.export._NEEDED", ("onnx_that_is_not_there",))
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run.folder), "--onnx", str(tmp_path / "model.onnx")])
    assert ended.value.code == 2
    assert "pip install 'trilemma[onnx]'" in capsys.readouterr().err
