"""What it costs in accuracy to train on a few stored views of each image instead of a new one every epoch.

    python tests/benchmarks/augmented_views.py measure digits_wild
    python tests/benchmarks/augmented_views.py measure tf_flowers     needs the photos and ImageNet weights
    python tests/benchmarks/augmented_views.py report                 the table, and the figure beside this

Five draws of the training images, each with 1, 2, 4 or 8 views and online; head first, then the layers from a
cut point on, by the recipes of ``finetune_lib.comparison``. A row of the CSV file is a draw; those that are
there are skipped.
"""

import argparse
import csv
import dataclasses
import pathlib
import statistics

import matplotlib.figure
import numpy as np

from finetune_lib import batches, comparison, data, evaluation, plots

RESULTS = pathlib.Path(__file__).with_name("augmented_views.csv")
FIGURE = pathlib.Path(__file__).with_name("augmented_views.png")
VIEWS: tuple[batches.Views, ...] = (1, 2, 4, 8, "online")
# Data: backbone, labels a class, and where the boundary is in the second stage.
SETTINGS = {"digits_wild": ("GlyphNet", 5, "block3"), "tf_flowers": ("MobileNetV2", 20, "block_13")}
STAGES = ("head", "fine-tuned")
FIELDS = ("data", "views", "seed", *STAGES)


def measure(data_name: str, views: batches.Views, seed: int) -> dict:
    """Test accuracy after each stage."""
    backbone_name, labels_per_class, boundary = SETTINGS[data_name]
    dataset = data.load(data_name, labels_per_class=labels_per_class, seed=seed)
    recipes = [dataclasses.replace(recipe, views=views) for recipe in comparison.recipes(backbone_name)]
    head = comparison.frozen(dataset, backbone_name, recipe=recipes[0], seed=seed, verbose=0)
    tuned = comparison.fine_tuned(
        head, dataset, unfreeze_from=boundary, recipe=recipes[1], seed=seed, verbose=0
    )
    accuracies = [evaluation.evaluate(answer.model, dataset).accuracy for answer in (head, tuned)]
    return dict(zip(FIELDS, (data_name, views, seed, *accuracies), strict=True))


def rows() -> list[dict]:
    """What was measured so far."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def measure_all(data_name: str, draws: int) -> None:
    """Measure what is missing, a row at a time."""
    there = {(row["data"], row["views"], row["seed"]) for row in rows()}
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not there:
            writer.writeheader()
        for seed in range(draws):
            for views in VIEWS:
                if (data_name, str(views), str(seed)) not in there:
                    writer.writerow(row := measure(data_name, views, seed))
                    file.flush()
                    print(row, flush=True)


def report() -> None:
    """Print the table, and draw it."""
    shown, figure = [], matplotlib.figure.Figure(figsize=(8, 3.4), layout="constrained")
    panels = figure.subplots(1, len(SETTINGS))
    for axes, data_name in zip(panels, SETTINGS, strict=True):
        for stage, colour, shift in zip(STAGES, (plots.GREY, plots.BLUE), (-0.06, 0.06), strict=True):
            means, spreads = [], []
            for views in VIEWS:
                found = [
                    100 * float(row[stage])
                    for row in rows()
                    if (row["data"], row["views"]) == (data_name, str(views))
                ]
                means.append(statistics.mean(found))
                spreads.append(statistics.stdev(found))
                shown.append(
                    [data_name, stage, str(views), f"{means[-1]:.1f} ± {spreads[-1]:.1f}", str(len(found))]
                )
            axes.errorbar(
                np.arange(len(VIEWS)) + shift, means, spreads, fmt="o-", color=colour, capsize=3, label=stage
            )
        axes.set_xticks(range(len(VIEWS)), [str(views) for views in VIEWS])
        axes.set(xlabel="augmented views an image", ylabel="test accuracy (%)", title=data_name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(FIGURE, dpi=120)
    print(plots.table(["data", "stage", "views", "test accuracy (%)", "draws"], shown))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["measure", "report"])
    parser.add_argument("data", nargs="?", choices=list(SETTINGS), default="digits_wild")
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    if options.command == "measure":
        measure_all(options.data, options.draws)
    else:
        report()
