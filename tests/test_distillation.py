"""The student learns the teacher's answers, whatever the labels say."""

import keras
import numpy as np
import pytest

from finetune_lib import data, distillation, evaluation, freezing

layers = keras.layers
CLASSES = ["dark", "bright", "red"]


def images(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    shift = random.integers(0, 200, (count, 1, 1, 3))
    return (random.integers(0, 56, (count, 8, 8, 3)) + shift).astype("uint8")


def dataset(labels: int | None = None) -> data.ImageDataset:
    """Labels are random, or all the same."""
    random = np.random.default_rng(0)
    parts = {
        part: (
            images(count, seed),
            random.integers(0, 3, count) if labels is None else np.full(count, labels),
        )
        for part, count, seed in (("train", 60, 0), ("validation", 30, 1), ("test", 30, 2))
    }
    return data.from_arrays("random", CLASSES, **parts)


def network(width: int, seed: int, activation: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(width, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.1)(x)
    return keras.Model(image, layers.Dense(3, activation=activation, name="logits")(x), name=f"net{width}")


@pytest.fixture(scope="module")
def teacher() -> keras.Model:
    model = network(16, seed=1)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([8 * kernel, bias])  # sure of itself
    return model


def probabilities(model: keras.Model) -> np.ndarray:
    return evaluation.evaluate(model, dataset(), "validation").probabilities


def test_the_student_comes_to_answer_as_the_teacher(teacher):
    before = teacher.get_weights()
    student = network(8, seed=2)
    far = np.abs(probabilities(student) - probabilities(teacher)).mean()
    divergences = distillation.distil(
        teacher,
        student,
        dataset(),
        copies=2,
        epochs=60,
        learning_rate=1e-2,
        augment=lambda image, seed: image,
    )
    assert len(divergences) == 60 and divergences[-1] < 0.2 * divergences[0]
    assert all(value >= 0 for value in divergences)
    assert np.abs(probabilities(student) - probabilities(teacher)).mean() < 0.4 * far
    assert not student.compiled
    for old, new in zip(before, teacher.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_labels_are_not_read_and_the_seed_decides(teacher):
    def weights(labels: int | None, seed: int) -> list[np.ndarray]:
        student = network(4, seed=2)
        distillation.distil(teacher, student, dataset(labels), copies=2, epochs=2, augment=shifted, seed=seed)
        return student.get_weights()

    def shifted(image, seed):
        return keras.ops.clip(image + 10.0 * keras.ops.cast(seed[0] % 3, "float32"), 0, 255)

    first, same, other = weights(None, 3), weights(1, 3), weights(None, 4)
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_student_that_is_the_teacher_stays_as_it_is(teacher):
    """Whatever the temperature: the student's logits are those that belong to the teacher's probabilities."""
    for temperature in (1.0, 4.0):
        student = keras.models.clone_model(teacher)
        student.set_weights(teacher.get_weights())
        (divergence,) = distillation.distil(
            teacher, student, dataset(), epochs=1, temperature=temperature, learning_rate=1e-12
        )
        # Dropout makes the student a little unlike itself.
        assert 0 <= divergence < 0.1
        assert np.allclose(probabilities(student), probabilities(teacher), atol=1e-5)


def test_the_teacher_may_end_in_a_softmax(teacher):
    other = network(16, seed=1, activation="softmax")
    other.set_weights(teacher.get_weights())
    answers = []
    for each in (teacher, other):
        student = network(4, seed=2)
        distillation.distil(each, student, dataset(), epochs=2)
        answers.append(probabilities(student))
    assert np.allclose(*answers, atol=1e-4)


def test_only_what_is_trainable_learns(teacher):
    student = freezing.freeze(network(4, seed=2))
    before = student.get_weights()
    distillation.distil(teacher, student, dataset(), epochs=1)
    moved = [not np.array_equal(a, b) for a, b in zip(before, student.get_weights(), strict=True)]
    assert moved == [False, False, True, True]


def test_bad_requests_say_what_to_do(teacher):
    given = dataset()
    with pytest.raises(ValueError, match=r"temperature is 0.5"):
        distillation.distil(teacher, network(4, 0), given, temperature=0.5)
    with pytest.raises(ValueError, match=r"copies is 0"):
        distillation.distil(teacher, network(4, 0), given, copies=0)
    with pytest.raises(ValueError, match=r"'logits', does not give logits. End it in keras.layers.Dense\(3"):
        distillation.distil(teacher, network(4, 0, activation="softmax"), given)
    image = keras.Input((8, 8, 3))
    two = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(image)))
    with pytest.raises(ValueError, match=r"3 output\(s\), the student 2, and random has 3 classes"):
        distillation.distil(teacher, two, given)
    frozen = network(4, 0)
    frozen.trainable = False
    with pytest.raises(ValueError, match=r"Nothing in 'net4' is trainable"):
        distillation.distil(teacher, frozen, given)


def test_weights_that_are_lost_are_found(teacher):
    with pytest.raises(FloatingPointError):
        distillation.distil(teacher, network(4, 0), dataset(), epochs=3, learning_rate=float("inf"))
