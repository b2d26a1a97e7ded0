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
    found, said = checkpoints.load(tmp_path)
    assert said is None
    assert found.header == {"update": 3}
    assert torch.equal(found.tensors["w"], some(3.0).tensors["w"])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([NAME, PREVIOUS])
    checkpoints.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damage_anywhere_is_noticed_and_the_one_before_is_used(tmp_path):
    checkpoints.save(tmp_path, some(1.0))
    checkpoints.save(tmp_path, some(2.0))
    whole = (tmp_path / NAME).read_bytes()
    damaged = [whole[:cut] for cut in (0, 5, 100, len(whole) - 1)]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(8, len(whole), 37)]
    for content in damaged:
        (tmp_path / NAME).write_bytes(content)
        found, said = checkpoints.load(tmp_path)
        assert found.header == {"update": 1}
        assert "using the one before it" in said
    (tmp_path / PREVIOUS).write_bytes(b"")
    found, said = checkpoints.load(tmp_path)
    assert found is None
    assert "damaged" in said


def test_no_space_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, some(1.0))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(InputError, match="No space left"):
        checkpoints.save(tmp_path, some(2.0))
    assert checkpoints.load(tmp_path)[0].header == {"update": 1}
