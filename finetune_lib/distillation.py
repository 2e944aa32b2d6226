"""A small student that learns from a large teacher's answers, not from labels (lesson 08)."""

import dataclasses
import math

import keras
import numpy as np
import scipy.special
import tensorflow as tf

from finetune_lib import batches, data, evaluation, graph, optimizers, settings, training


def distil(
    teacher: keras.Model,
    student: keras.Model,
    dataset: data.ImageDataset,
    *,
    copies: int = 8,
    epochs: int = 4,
    temperature: float = 2.0,
    learning_rate: float = 1e-3,
    batch_size: int = 32,
    augment: batches.Augment | None = None,
    seed: int = 0,
) -> list[float]:
    """Train the student to give the teacher's probabilities for augmented copies of the training images.

    Labels are not read, so any images will do that look like those the student will meet. Each copy is made
    once, and the teacher asked about that very copy: teacher and student see the same (Beyer et al.,
    arXiv:2106.05237, "a good teacher is patient and consistent").

    At a high temperature T the teacher's probabilities softmax(logits / T) say more of the classes that it
    holds for unlikely; the student's are taken at the same T (Hinton et al., arXiv:1503.02531). It is trained
    by plain cross-entropy while its last layer gives logits / T, and that is multiplied by T at the end. (The
    factor T squared of that paper scales gradients, and Adam divides by their size.)

    What of the student is trainable learns, as ``freezing`` set it, its BatchNormalization as in
    ``model.fit``. It is left un-compiled. The same seed gives the same weights on a CPU.

    Args:
        teacher: raw RGB 0..255 to logits or probabilities of the classes of ``dataset``; it is only read.
        student: functional, raw RGB 0..255, its last layer a Dense layer that gives logits.
        dataset: only its training images are used.
        copies: augmented versions of each image; there is one, the image itself, if ``augment`` is None.
        epochs: passes over all copies.
        temperature: 1 or more; 1 for the teacher's probabilities as they are.
        learning_rate: Adam's, at the start; it falls along half a cosine to zero.
        batch_size: copies a step.
        augment: see ``fitting.fit``; ``dataset.augment`` suits the images.
        seed: 0 to 2**31 - 1.

    Returns:
        For each epoch the mean Kullback-Leibler divergence, in nats, from the student's probabilities to the
        teacher's, at the temperature: 0 if they agree.

    Raises:
        TypeError: if the student is not functional, or not built.
        ValueError: if teacher, student and classes do not fit each other, the student does not end in logits
            or nothing of it is trainable, or a number is out of its range.
        FloatingPointError: if a weight became NaN or infinite.
    """
    for name, value in (("copies", copies), ("epochs", epochs), ("batch_size", batch_size)):
        settings.require_whole(name, value, 1)
    if not temperature >= 1:
        raise ValueError(f"temperature is {temperature!r}; it is at least 1: probabilities as they are.")
    _require_student(student, teacher, dataset)
    views = _views(dataset, copies if augment else 1, augment, seed)
    outputs = teacher.predict(views.map(lambda image, row: image).batch(64).prefetch(1), verbose=0)
    probabilities = evaluation.to_probabilities(teacher, outputs)
    soft = scipy.special.softmax(np.log(probabilities + 1e-30) / temperature, axis=-1)
    asked = dataclasses.replace(dataset, train=views, sizes=dataset.sizes | {"train": len(soft)})
    stream = batches.of_images(
        asked, epochs=epochs, batch_size=batch_size, augment=None, views=1, seed=seed
    ).training
    answers = tf.constant(soft, tf.float32)
    steps = math.ceil(len(soft) / batch_size)
    training.seed_random_layers(student, seed)
    student.compile(
        keras.optimizers.Adam(optimizers.schedule(learning_rate, epochs * steps)),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False,  # XLA slows convolutions down on a CPU
    )
    student.optimizer.build(student.trainable_variables)  # or TensorFlow traces the first step twice
    _multiply_logits(student, 1 / temperature)
    try:
        history = student.fit(
            stream.map(lambda image, row: (image, tf.gather(answers, row))),
            epochs=epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the stream is shuffled already
            verbose=0,
        )
    finally:
        _multiply_logits(student, temperature)
        student.compiled = False
    training.require_finite_weights(student)
    entropy = float(scipy.special.entr(soft).sum(axis=-1).mean())
    return [float(loss) - entropy for loss in history.history["loss"]]


def _require_student(student: keras.Model, teacher: keras.Model, dataset: data.ImageDataset) -> None:
    graph.require(student)
    last, classes = student.layers[-1], len(dataset.class_names)
    if not isinstance(last, keras.layers.Dense) or evaluation.last_activation(student) != "linear":
        raise ValueError(
            f"The student's last layer, {last.name!r}, does not give logits. End it in "
            f"keras.layers.Dense({classes}, name='logits'), without an activation."
        )
    sizes = {"teacher": teacher.output_shape[-1], "student": student.output_shape[-1]}
    if sizes["student"] != classes or (sizes["teacher"], classes) not in ((classes, classes), (1, 2)):
        raise ValueError(
            f"The teacher has {sizes['teacher']} output(s), the student {sizes['student']}, and "
            f"{dataset.name} has {classes} classes. These must be the same."
        )
    if not student.trainable_weights:
        raise ValueError(f"Nothing in {student.name!r} is trainable. Set student.trainable = True.")


def _views(
    dataset: data.ImageDataset, copies: int, augment: batches.Augment | None, seed: int
) -> tf.data.Dataset:
    """``(image, row)`` of all copies: float32 images 0..255, and their place in the stream, int64."""
    numbered = dataset.train.enumerate()
    streams = [batches.prepared(numbered, dataset, augment, seed, copy) for copy in range(copies)]
    views = streams[0]
    for stream in streams[1:]:
        views = views.concatenate(stream)
    views = views.enumerate().map(lambda row, example: (example[0], row))
    needed = 4 * copies * dataset.sizes["train"] * math.prod((*dataset.image_size, 3))
    return views.cache() if needed <= data.KEPT_BYTES else views


def _multiply_logits(student: keras.Model, factor: float) -> None:
    for weight in student.layers[-1].weights:
        weight.assign(weight * factor)
