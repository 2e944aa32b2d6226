"""Three answers to one task: trained from scratch, frozen features, fine-tuned (lessons 00 and 01).

GlyphNet's recipes were chosen on validation images of the wild digits, five labels a class;
``tests/benchmarks/digits_transfer.py`` holds the search and measures the answers over many draws.
MobileNetV2's were chosen on validation photos of tf_flowers, a hundred labels a class. They are starting
points for other data. ``tests/benchmarks/augmented_views.py`` measures what few views of an image cost. Heads
lose less than a point with 8, which fine-tuning makes up for. Fine-tuning itself loses about one, so it takes
a new view every epoch, unless the network is so large that storing its activations matters more.
"""

import dataclasses
import math
import pathlib

import keras

from finetune_lib import batches, classifier, data, fitting, freezing

BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How long and how fast a stage learns.

    Attributes:
        steps: batches of at most 32. Steps rather than epochs: how many a stage needs hardly depends on how
            many images make an epoch.
        learning_rate: where Adam starts; it falls along half a cosine to zero.
        views: how many augmented versions of an image there are, or ``"online"``: see ``fitting.fit``.
    """

    steps: int
    learning_rate: float
    views: batches.Views = "online"


SCRATCH = Recipe(steps=2400, learning_rate=1e-3)
HEAD = Recipe(steps=600, learning_rate=1e-3, views=8)
FINE_TUNE = Recipe(steps=600, learning_rate=3e-4)
PHOTO_HEAD = Recipe(steps=200, learning_rate=2e-3, views=8)
PHOTO_FINE_TUNE = Recipe(steps=300, learning_rate=3e-4)
# For networks that were not tried here: the rate of https://keras.io/guides/transfer_learning.
CAREFUL_FINE_TUNE = Recipe(steps=300, learning_rate=1e-5, views=8)


@dataclasses.dataclass(frozen=True)
class Answer:
    """A trained model and how it came about.

    Attributes:
        name: ``"from scratch"``, ``"frozen"`` or ``"fine-tuned"``.
        model: un-compiled, from raw RGB 0..255 to logits.
        reports: one ``fitting.FitReport`` a stage, in order.
    """

    name: str
    model: keras.Model
    reports: tuple[fitting.FitReport, ...]

    @property
    def trained_parameters(self) -> int:
        """How many numbers the last stage could change."""
        return self.reports[-1].trained_parameters

    @property
    def seconds(self) -> float:
        """Wall-clock training time of all stages."""
        return sum(report.seconds for report in self.reports)


def from_scratch(
    dataset: data.ImageDataset,
    backbone_name: str,
    *,
    recipe: Recipe | None = None,
    seed: int = 0,
    checkpoint: pathlib.Path | None = None,
    verbose: int = 1,
) -> Answer:
    """Train the backbone and its head from random weights: what there is without transfer."""
    keras.utils.set_random_seed(seed)
    model = classifier.build(backbone_name, dataset.class_names, weights=None, image_size=dataset.image_size)
    freezing.unfreeze_from(model, model.layers[0].name, train_batch_normalization=True)
    return Answer(
        "from scratch",
        model,
        (run_stage(model, dataset, "from scratch", recipe or SCRATCH, seed, verbose, checkpoint),),
    )


def frozen(
    dataset: data.ImageDataset,
    backbone_name: str,
    *,
    weights: str = "pretrained",
    recipe: Recipe | None = None,
    seed: int = 0,
    checkpoint: pathlib.Path | None = None,
    verbose: int = 1,
) -> Answer:
    """Keep the pretrained backbone as it is and train a new head on its features."""
    keras.utils.set_random_seed(seed)
    model = classifier.build(
        backbone_name, dataset.class_names, weights=weights, image_size=dataset.image_size
    )
    freezing.freeze(model)
    return Answer(
        "frozen",
        model,
        (
            run_stage(
                model, dataset, "frozen", recipe or recipes(backbone_name)[0], seed, verbose, checkpoint
            ),
        ),
    )


def fine_tuned(
    start: Answer,
    dataset: data.ImageDataset,
    *,
    unfreeze_from: str,
    recipe: Recipe | None = None,
    seed: int = 0,
    checkpoint: pathlib.Path | None = None,
    verbose: int = 1,
) -> Answer:
    """Go on from a trained head: unfreeze the layers from ``unfreeze_from`` on, at a lower rate.

    Head first, because gradients through an untrained head would spoil the features before it has learned to
    read them (Kumar et al., arXiv 2202.10054). ``start.model`` is left as it is.
    """
    model = keras.models.clone_model(start.model)
    model.set_weights(start.model.get_weights())
    freezing.unfreeze_from(model, unfreeze_from)
    report = run_stage(
        model, dataset, "fine-tuned", recipe or recipes(model.name)[1], seed, verbose, checkpoint
    )
    return Answer("fine-tuned", model, (*start.reports, report))


def recipes(backbone_name: str) -> tuple[Recipe, Recipe]:
    """How to train the head, and how to fine-tune."""
    if backbone_name == "GlyphNet":
        return HEAD, FINE_TUNE
    return PHOTO_HEAD, PHOTO_FINE_TUNE if backbone_name == "MobileNetV2" else CAREFUL_FINE_TUNE


def run_stage(
    model: keras.Model,
    dataset: data.ImageDataset,
    label: str,
    recipe: Recipe,
    seed: int,
    verbose: int,
    checkpoint: pathlib.Path | None = None,
) -> fitting.FitReport:
    """``fitting.fit`` by a recipe, with the data set's own augmentation."""
    steps_an_epoch = math.ceil(dataset.sizes["train"] / BATCH_SIZE)
    return fitting.fit(
        model,
        dataset,
        epochs=math.ceil(recipe.steps / steps_an_epoch),
        learning_rate=recipe.learning_rate,
        batch_size=BATCH_SIZE,
        augment=dataset.augment,
        views=recipe.views,
        seed=seed,
        checkpoint=checkpoint,
        label=label,
        verbose=verbose,
    )
