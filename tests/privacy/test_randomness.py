"""The random stream: AES's known answers, an independent implementation, statistics at false-alarm rate 1e-6 each."""

import hashlib
import math

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trilemma.privacy import RandomStream
from trilemma.privacy.randomness import tensors_digest

ALARM = 1e-6
KEY = bytes(range(32))


def words_of(key, position, count):
    """Counter mode from single blocks of AES, one counter at a time."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    blocks = -(-count // 2)
    stream = b"".join(encryptor.update((position + i).to_bytes(16, "big")) for i in range(blocks))
    return [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(count)]


def test_nist_s_known_answers():
    """SP 800-38A, F.5.5 (CTR-AES256.Encrypt): the four output blocks."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    stream = RandomStream(key, int("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 16))
    expected = (
        "0bdf7df1591716335e9a8b15c860c502"
        "5a6e699d536119065433863c8f657b94"
        "1bc12c9c01610d5d0d8bd6a3378eca62"
        "2956e1c8693536b1bee99c73a31576b6"
    )
    assert stream._words(8).numpy().tobytes().hex() == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=6), st.integers(0, 2**100))
def test_numbers_are_those_of_the_blocks_in_their_order(requests, position):
    """Python's own arithmetic on blocks that are encrypted one at a time; none is used twice, none is left out."""
    stream = RandomStream(KEY, position)
    for normal, count in requests:
        if normal:
            pairs = -(-count // 2)
            words = words_of(KEY, position, 2 * pairs)
            radii = [math.sqrt(-2 * math.log(((w & (2**63 - 1)) + 0.5) / 2**63)) for w in words[::2]]
            angles = [2 * math.pi * (w & (2**53 - 1)) / 2**53 for w in words[1::2]]
            expected = [r * math.cos(a) for r, a in zip(radii, angles, strict=True)]
            expected += [r * math.sin(a) for r, a in zip(radii, angles, strict=True)]
            numbers = stream.normal(count)
            np.testing.assert_allclose(numbers.numpy(), expected[:count], rtol=1e-13, atol=1e-14)
            position += pairs
        else:
            numbers = stream.uniform(count)
            assert numbers.tolist() == [(w & (2**53 - 1)) / 2**53 for w in words_of(KEY, position, count)]
            position += -(-count // 2)
        assert numbers.dtype == torch.float64
        assert numbers.shape == (count,)
    assert torch.equal(stream.get_state(), RandomStream(KEY, position).get_state())


def test_more_normals_than_are_computed_at_once():
    count = 2 * 2**14 + 7
    numbers = RandomStream(KEY).normal(count)
    words = words_of(KEY, 0, 2 * (2**14 + 4))
    for pair in (0, 1, 2**14 - 1, 2**14, 2**14 + 2):
        radius = math.sqrt(-2 * math.log(((words[2 * pair] & (2**63 - 1)) + 0.5) / 2**63))
        angle = 2 * math.pi * (words[2 * pair + 1] & (2**53 - 1)) / 2**53
        assert float(numbers[pair]) == pytest.approx(radius * math.cos(angle), rel=1e-12)
        assert float(numbers[2**14 + 4 + pair]) == pytest.approx(radius * math.sin(angle), rel=1e-12)


def p_values(numbers, law):
    """P-values of shape, mean, variance and correlations with later numbers; each is exact or normal at this size."""
    z = numbers.numpy() if law == "norm" else (numbers.numpy() - 0.5) * math.sqrt(12)
    n, kurtosis = len(z), 3 if law == "norm" else 1.8
    lags = {lag: float((z[lag:] * z[:-lag]).sum()) / math.sqrt(n - lag) for lag in (1, 2, n // 2)}
    scores = {
        "mean": z.mean() * math.sqrt(n),
        "variance": float((z**2).mean() - 1) * math.sqrt(n / (kurtosis - 1)),
        **{f"lag {lag}": value for lag, value in lags.items()},
    }
    return {"shape": stats.kstest(numbers.numpy(), law).pvalue} | {
        name: 2 * stats.norm.sf(abs(score)) for name, score in scores.items()
    }


@pytest.mark.parametrize(("draw", "law"), [(RandomStream.uniform, "uniform"), (RandomStream.normal, "norm")])
@pytest.mark.parametrize("key", [b"", b"a", b"b", b"a" * 100])
def test_numbers_follow_their_law(draw, law, key):
    """False alarm 1e-6 for each p-value."""
    numbers = p_values(draw(RandomStream.keyed(key), 200_000), law)
    assert min(numbers.values()) > ALARM, numbers


def test_every_bit_of_the_uniform_numbers_is_fair():
    """False alarm 1e-6 over the 53."""
    bits = (RandomStream(KEY).uniform(100_000) * 2**53).to(torch.int64)
    ones = [int((bits >> i & 1).sum()) for i in range(53)]
    assert min(stats.binomtest(count, 100_000, 0.5).pvalue for count in ones) > ALARM / 53


def test_the_tail_of_the_normal_numbers():
    """Beyond 4 std there is what there must be (false alarm 1e-6), and none ever exceeds 9.42, which the radius of the
    smallest word gives."""
    count = 5_000_000
    beyond = int((RandomStream(KEY).normal(count).abs() > 4).sum())
    assert stats.binomtest(beyond, count, 2 * stats.norm.sf(4)).pvalue > ALARM

    class Smallest(RandomStream):
        def _words(self, count):
            return torch.zeros(count, dtype=torch.int64)

    assert float(Smallest(KEY).normal(1)) == pytest.approx(math.sqrt(2 * math.log(2**64)), rel=1e-12)


def test_streams_of_different_keys_share_nothing():
    """All pairs of 20 streams, both laws: correlation, false alarm 1e-6; and no number twice."""
    streams = [RandomStream.keyed(b"%d" % i) for i in range(18)] + [RandomStream.secret() for _ in range(2)]
    numbers = torch.stack([stream.normal(50_000) for stream in streams])
    assert len(numbers.flatten().unique()) == numbers.numel()
    score = (numbers @ numbers.T / math.sqrt(50_000)).fill_diagonal_(0)
    assert 2 * stats.norm.sf(float(score.abs().max())) > ALARM / 190


def test_what_was_drawn_never_comes_back():
    """However draws are mixed.  Of 63 bits, two of 100,000 numbers are alike once in a billion times."""
    stream = RandomStream(KEY)
    draws = [stream.normal(1 + i % 7) if i % 2 else stream.uniform(1 + i % 5) for i in range(20_000)]
    numbers = torch.cat(draws)
    assert len(numbers.unique()) == len(numbers)


def test_a_state_is_all_of_a_stream():
    stream = RandomStream.secret()
    stream.normal(11)
    other = RandomStream.secret()
    other.set_state(stream.get_state())
    assert torch.equal(other.normal(9), stream.normal(9))
    assert other.key_digest == stream.key_digest
    state = stream.get_state()
    assert (state.dtype, state.shape) == (torch.uint8, (48,))
    for wrong in (state[:-1], state.long(), torch.Generator().get_state()):
        with pytest.raises(ValueError, match="state is uint8"):
            stream.set_state(wrong)
    with pytest.raises(ValueError, match="32 bytes"):
        RandomStream(b"short")


def test_a_digest_tells_keys_apart_and_not_what_they_are():
    first, other = RandomStream.keyed(b"a"), RandomStream.keyed(b"b")
    assert first.key_digest == RandomStream.keyed(b"a").key_digest != other.key_digest
    first.uniform(5)
    assert first.key_digest == RandomStream.keyed(b"a").key_digest
    assert bytes(first.get_state()[:32].tolist()).hex() not in first.key_digest
    # Nor is it the plain hash, which another purpose may publish.
    assert first.key_digest != hashlib.sha256(bytes(first.get_state()[:32].tolist())).hexdigest()


def test_a_digest_of_tensors_tells_names_types_shapes_and_contents_apart():
    """Guards: two networks of one number of weights that get the same key, or two sums the same noise."""
    content = torch.arange(6.0)
    tensors = [
        {"a": content},
        {"b": content},
        {"a": content.reshape(2, 3)},
        {"a": content.reshape(3, 2)},
        {"a": content.view(torch.int32)},
        {"a": content.flip(0)},
        {"a": content[:3], "b": content[3:]},
        {"a": content[:4], "b": content[4:]},
        {},
    ]
    assert len({tensors_digest(some) for some in tensors}) == len(tensors)
    assert tensors_digest({"b": content, "a": -content}) == tensors_digest({"a": -content, "b": content.clone()})


def test_derived_streams_share_nothing_unless_all_is_the_same():
    """With their parent, another position, another key, other material; all pairs, false alarm 1e-6."""

    def streams():
        parent = RandomStream(KEY)
        first, second = parent.derived(b"a"), parent.derived(b"a")
        return [first, second, RandomStream(KEY).derived(b"b"), RandomStream(bytes(32)).derived(b"a"), parent]

    numbers = torch.stack([stream.normal(50_000) for stream in streams()])
    assert len(numbers.flatten().unique()) == numbers.numel()
    score = (numbers @ numbers.T / math.sqrt(50_000)).fill_diagonal_(0)
    assert 2 * stats.norm.sf(float(score.abs().max())) > ALARM / 10
    assert all(torch.equal(a.normal(5), b.normal(5)) for a, b in zip(streams(), streams(), strict=True))


def test_threads_change_nothing():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        several = RandomStream(KEY).normal(300_001)
        torch.set_num_threads(1)
        assert torch.equal(RandomStream(KEY).normal(300_001), several)
    finally:
        torch.set_num_threads(threads)
