"""What a run leaves behind: the model, its labels, the history, figures and a report that shows them."""

import csv
import pathlib
from collections.abc import Sequence

from finetune_lib import comparison, data, environment, evaluation, plots


def table(answers: Sequence[comparison.Answer], evaluations: Sequence[evaluation.Evaluation]) -> str:
    """One row an answer: test accuracy with its 95% interval, trained parameters, training seconds."""
    return plots.table(
        ["answer", "test accuracy", "95% interval", "parameters trained", "seconds"],
        rows(answers, evaluations),
    )


def rows(
    answers: Sequence[comparison.Answer], evaluations: Sequence[evaluation.Evaluation]
) -> list[list[str]]:
    """The cells of ``table``."""
    cells = []
    for answer, result in zip(answers, evaluations, strict=True):
        low, high = result.interval
        cells.append(
            [
                answer.name,
                f"{result.accuracy:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{answer.trained_parameters:,}",
                f"{answer.seconds:.0f}",
            ]
        )
    return cells


def write(
    folder: pathlib.Path,
    dataset: data.ImageDataset,
    answers: Sequence[comparison.Answer],
    evaluations: Sequence[evaluation.Evaluation],
) -> None:
    """Write the last answer's model and everything about all of them into an existing folder.

    ``model.keras``, ``labels.txt`` (a class name a line, in the order of the model's outputs),
    ``history.csv``, ``learning_curves.png``, ``confusion_matrix.png`` and ``report.md``.
    """
    best, result = answers[-1], evaluations[-1]
    best.model.save(folder / "model.keras")
    (folder / "labels.txt").write_text("\n".join(dataset.class_names) + "\n", encoding="utf-8")
    write_history(folder / "history.csv", answers)
    plots.learning_curves(best.reports).savefig(folder / "learning_curves.png", dpi=120)
    plots.confusion_matrix(result).savefig(folder / "confusion_matrix.png", dpi=120)
    header = ["answer", "test accuracy", "95% interval", "parameters trained", "seconds"]
    height, width = dataset.image_size
    lines = [header, ["---", *["---:"] * 4], *rows(answers, evaluations)]
    report = f"""# {dataset.name} with {best.model.name}

{dataset}

{chr(10).join("| " + " | ".join(line) + " |" for line in lines)}

The interval speaks of new images from the same sources (Wilson, 95%). The test images were looked at once.

## How the {best.name} network learned

![Loss and accuracy against the epoch, for training and validation images](learning_curves.png)

```
{plots.learning_curves_table(best.reports)}
```

## What the {best.name} network confuses

![Confusion matrix of the test images: true class by row, predicted class by column](confusion_matrix.png)

```
{plots.confusion_table(result)}
```

## Use the model

```python
import keras, numpy, PIL.Image, PIL.ImageOps

model = keras.saving.load_model("model.keras")
labels = open("labels.txt", encoding="utf-8").read().splitlines()
photo = PIL.ImageOps.exif_transpose(PIL.Image.open("photo.jpg")).convert("RGB")
image = numpy.asarray(PIL.ImageOps.fit(photo, ({width}, {height})), "float32")  # raw RGB, 0 to 255
logits = model.predict(image[None])[0]  # one for each class; the largest wins
print(labels[logits.argmax()])
```

## The data

{chr(10).join([f"{dataset.provenance}.", *dataset.notes])}

Made with {", ".join(f"{name} {version}" for name, version in environment.versions().items())}.
"""
    (folder / "report.md").write_text(report, encoding="utf-8")


def write_history(path: pathlib.Path, answers: Sequence[comparison.Answer]) -> None:
    """Every stage's loss and accuracy, an epoch a row; empty where nothing was validated."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["stage", "epoch", "loss", "accuracy", "val_loss", "val_accuracy"])
        stages = {report.label: report for answer in answers for report in answer.reports}
        for label, report in stages.items():
            history = report.history
            validated = dict(
                zip(
                    report.validated_epochs,
                    zip(history["val_loss"], history["val_accuracy"], strict=True),
                    strict=True,
                )
            )
            for epoch, values in enumerate(zip(history["loss"], history["accuracy"], strict=True), start=1):
                writer.writerow([label, epoch, *values, *validated.get(epoch, ("", ""))])
