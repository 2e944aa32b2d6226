"""Pruned entries stay zero, whatever trains the model, and leave no trace but zeros."""

import keras
import numpy as np
import pytest
import small_models

from finetune_lib import data, fitting, freezing, pruning

layers = keras.layers


@pytest.fixture
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return freezing.unfreeze_from(small_models.skip(), "stem")


@pytest.fixture(scope="module")
def dataset() -> data.ImageDataset:
    random = np.random.default_rng(0)
    parts = {
        part: (random.integers(0, 256, (count, 8, 8, 3)).astype("uint8"), random.integers(0, 3, count))
        for part, count in (("train", 24), ("validation", 12), ("test", 12))
    }
    return data.from_arrays("random", ["a", "b", "c"], **parts)


def entries(model: keras.Model) -> np.ndarray:
    return np.concatenate([kernel.numpy().ravel() for kernel in pruning.kernels(model).values()])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.75, 0.9])
def test_the_smallest_entries_of_all_kernels_become_zero(model, share):
    before, others = entries(model), [w.numpy() for w in model.weights if not w.name.endswith("kernel")]
    head = model.get_layer("logits").kernel.numpy()
    masks = pruning.prune(model, share)
    after = entries(model)
    assert np.sum(after == 0) == round(share * len(before)), "exactly so many, in all"
    assert np.array_equal(after[after != 0], before[after != 0])
    assert np.abs(before[after == 0]).max(initial=0) <= np.abs(before[after != 0]).min()
    assert np.array_equal(np.concatenate([mask.ravel() for mask in masks.values()]), after != 0)
    assert np.array_equal(model.get_layer("logits").kernel.numpy(), head), "the last kernel is left alone"
    for old, new in zip(others, (w for w in model.weights if not w.name.endswith("kernel")), strict=True):
        assert np.array_equal(old, new)


def test_sparsity_is_counted_by_layer_and_in_all(model):
    assert set(pruning.sparsity(model).values()) == {0.0}
    pruning.prune(model, 0.5)
    shares = pruning.sparsity(model)
    assert set(shares) == {"stem", "block_conv1", "block_shortcut", "block_conv2", "all"}
    assert list(shares)[-1] == "all"
    assert shares["all"] == 0.5 and len(set(shares.values())) > 2
    kernel = model.get_layer("stem").kernel.numpy()
    assert shares["stem"] == np.mean(kernel == 0)


def test_pruning_further_keeps_what_is_zero(model):
    first = pruning.prune(model, 0.5)
    second = pruning.prune(model, 0.75)
    assert all(not (second[path] & ~first[path]).any() for path in first)


OPTIMIZERS = {
    "adam": {},
    "layer-wise, with decay": {"layer_rate_ratio": 10.0, "weight_decay": 0.5, "warm_up": 0.2},
    "momentum": {"optimizer": keras.optimizers.SGD(1e-5, momentum=0.9, nesterov=True)},
    "decay and clipping": {"optimizer": keras.optimizers.AdamW(1e-2, weight_decay=0.5, clipnorm=1.0)},
    "in packets": {"optimizer": keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2)},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zeros_hold_in_fit(model, dataset, name):
    with pruning.held(model, pruning.prune(model, 0.75)):
        before = entries(model)
        fitting.fit(model, dataset, epochs=3, verbose=0, batch_size=8, **OPTIMIZERS[name])
    after = entries(model)
    assert np.array_equal(before == 0, after == 0)
    assert np.mean(before != after) > 0.2, "the others have learned"


def test_zeros_hold_where_part_is_frozen_and_stored(model, dataset):
    freezing.unfreeze_from(model, "block_conv2")
    with pruning.held(model, pruning.prune(model, 0.5)):
        report = fitting.fit(model, dataset, epochs=3, verbose=0)
    assert report.moved["block_conv2"] and not report.moved["stem"]
    assert pruning.sparsity(model)["all"] == 0.5


def test_zeros_hold_in_plain_keras_and_move_afterwards(model, dataset):
    def train():
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(dataset.train.batch(8), verbose=0)

    with pruning.held(model, pruning.prune(model, 0.5)):
        train()
        assert pruning.sparsity(model)["all"] == 0.5
    train()
    assert pruning.sparsity(model)["all"] < 0.1, "which shows that the test would find it"


def test_nothing_is_left_in_the_saved_file(model, dataset, tmp_path):
    with pruning.held(model, pruning.prune(model, 0.5)):
        fitting.fit(model, dataset, epochs=1, verbose=0)
    assert all(kernel.constraint is None for kernel in pruning.kernels(model).values())
    model.save(tmp_path / "pruned.keras")
    loaded = keras.saving.load_model(tmp_path / "pruned.keras", safe_mode=True)
    assert pruning.sparsity(loaded) == pruning.sparsity(model)


def test_a_constraint_that_was_there_holds_too_and_stays(dataset):
    image = keras.Input((8, 8, 3))
    limit = keras.constraints.NonNeg()
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, kernel_constraint=limit, name="conv")(image))
    model = keras.Model(image, layers.Dense(3, name="logits")(x))
    with pruning.held(model, pruning.prune(model, 0.5)):
        fitting.fit(model, dataset, epochs=2, verbose=0)
    assert model.get_layer("conv").kernel.constraint is limit
    assert entries(model).min() == 0 and pruning.sparsity(model)["all"] >= 0.5


def test_zeros_that_moved_are_reported(model):
    masks = pruning.prune(model, 0.5)
    with pytest.raises(RuntimeError, match=r"Entries of stem.* have moved"), pruning.held(model, masks):
        model.get_layer("stem").kernel.assign(model.get_layer("stem").kernel + 1.0)
    assert model.get_layer("stem").kernel.constraint is None


def test_an_error_inside_is_not_hidden_and_releases_the_kernels(model):
    with pytest.raises(KeyboardInterrupt), pruning.held(model, pruning.prune(model, 0.5)):
        raise KeyboardInterrupt
    assert all(kernel.constraint is None for kernel in pruning.kernels(model).values())


def test_layers_with_two_kernels_have_two_entries():
    image = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(4, 3, name="separable")(image)
    x = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3, name="depthwise")(x))
    model = keras.Model(image, layers.Dense(3)(x))
    found = list(pruning.kernels(model))
    assert found == ["separable/depthwise_kernel", "separable/pointwise_kernel", "depthwise"]


def test_bad_requests_say_what_to_do(model):
    for wrong in (1.0, -0.1, 75):
        with pytest.raises(ValueError, match=r"is a share, such as 0.75"):
            pruning.prune(model, wrong)
    other = small_models.plain()
    with (
        pytest.raises(ValueError, match=r"not those of 'plain'"),
        pruning.held(other, pruning.prune(model, 0.5)),
    ):
        pass
    image = keras.Input((8, 8, 3))
    head = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)), name="head")
    with pytest.raises(ValueError, match=r"'head' has 1 layer\(s\) with a kernel"):
        pruning.prune(head, 0.5)
