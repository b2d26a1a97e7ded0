"""Checkpoints: saved whole, kept in two generations, and refused when damaged."""

import pytest
import torch

from trilemma.errors import InputError
from trilemma.training import checkpoints
from trilemma.training.checkpoints import NAME, PREVIOUS, Checkpoint


def some(value):
    return Checkpoint({"w": torch.full((300,), value), "n": torch.tensor(3)}, {"update": int(value)})


def test_round_trip_and_rotation(tmp_path):
    assert checkpoints.load(tmp_path) == (None, None)
    for value in (1.0, 2.0, 3.0):
        checkpoints.save(tmp_path, some(value))
    checkpoint, note = checkpoints.load(tmp_path)
    assert note is None
    assert checkpoint.header == {"update": 3}
    assert torch.equal(checkpoint.tensors["w"], some(3.0).tensors["w"])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([NAME, PREVIOUS])
    checkpoints.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damage_anywhere_is_noticed_and_the_one_before_is_used(tmp_path):
    checkpoints.save(tmp_path, some(1.0))
    checkpoints.save(tmp_path, some(2.0))
    whole = (tmp_path / NAME).read_bytes()
    damaged = [whole[:cut] for cut in (0, 5, 100, len(whole) - 1)]
    damaged += [
        whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :] for position in range(8, len(whole), 37)
    ]
    for content in damaged:
        (tmp_path / NAME).write_bytes(content)
        checkpoint, note = checkpoints.load(tmp_path)
        assert checkpoint.header == {"update": 1}
        assert "using the one before it" in note
    (tmp_path / PREVIOUS).write_bytes(b"")
    checkpoint, note = checkpoints.load(tmp_path)
    assert checkpoint is None
    assert "damaged" in note


def test_no_space_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, some(1.0))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "serialized", full)
    with pytest.raises(InputError, match="No space left"):
        checkpoints.save(tmp_path, some(2.0))
    assert checkpoints.load(tmp_path)[0].header == {"update": 1}


def large(value):
    """Three tensors of 6 MB and some small ones, as of a wide ResNet with momentum."""
    tensors = {f"w{index}": torch.full((1500, 1000), value + index) for index in range(3)}
    return Checkpoint(tensors | some(value).tensors, {"update": int(value)})


def test_no_file_is_larger_than_16_mb_and_old_pieces_go(tmp_path):
    for value in (1.0, 2.0, 3.0, 4.0):
        checkpoints.save(tmp_path, large(value))
        sizes = [path.stat().st_size for path in tmp_path.iterdir()]
        assert max(sizes) < 16e6
        assert len(sizes) == 2 * min(int(value), 2)  # two files each, of this one and the one before
    checkpoint, _ = checkpoints.load(tmp_path)
    assert checkpoint.header == {"update": 4}
    assert all(torch.equal(checkpoint.tensors[name], value) for name, value in large(4.0).tensors.items())
    checkpoints.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "another", "cut"])
def test_a_damaged_piece_is_noticed(tmp_path, damage):
    checkpoints.save(tmp_path, large(1.0))
    (other,) = tmp_path.glob("checkpoint.*-1.safetensors")
    checkpoints.save(tmp_path, large(2.0))
    (piece,) = set(tmp_path.glob("checkpoint.*-1.safetensors")) - {other}
    if damage == "missing":
        piece.unlink()
    else:
        piece.write_bytes(other.read_bytes() if damage == "another" else piece.read_bytes()[:-9])
    checkpoint, note = checkpoints.load(tmp_path)
    assert checkpoint.header == {"update": 1}
    assert "using the one before it" in note
