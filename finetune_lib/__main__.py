"""Fine-tune a pretrained network on a few labelled images, and show what it gains.

Without options: GlyphNet, pretrained on printed glyphs, learns handwritten
digits from five examples of each. It needs no internet connection, and about a
minute. Three answers are trained and compared on images kept back for the test:
  from scratch  without transfer (only for GlyphNet, or with a GPU)
  frozen        a new last layer on the pretrained features
  fine-tuned    the same, then more layers, more slowly
"""

import argparse
import contextlib
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator

from finetune_lib import environment

EMBEDDED = ("digits_wild", "digits")
EXAMPLES = """your own images:
  Put them into one folder for each class, then name the folder that holds those
  folders:

    pets/
      cat/   tom.jpg  felix.png  ...
      dog/   rex.jpg  ...

    python -m finetune_lib --data pets

  Ten images of each class will do for a first try, three are the least. A fifth
  is kept for validation and a fifth for the test. If you have pets/train,
  pets/validation and pets/test with class folders inside, those are used. JPEG,
  PNG, WebP, GIF, BMP and TIFF will do; save HEIC as JPEG first. Without a GPU a
  hundred photos take two to four minutes; the weights of MobileNetV2 are a
  download of 2 MB.

a public data set, downloaded the first time:
    python -m finetune_lib --data tf_flowers --labels-per-class 20

a larger pretrained network (a GPU is advisable):
    python -m finetune_lib --data pets --backbone VGG16

stopped, by Ctrl-C or otherwise:
  The same command goes on from the last finished epoch (the digits, which take a
  minute, begin anew).

stored activations of frozen layers, which make training fast:
    python -m finetune_lib cache            where they are, and how much they take
    python -m finetune_lib cache --clear    remove them all

what comes out:
  A folder with the trained model, its class names, the figures, and report.md,
  which explains them.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit code: 0, 1 for an error that was explained, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["cache"]:
        return show_cache(arguments[1:])
    options = parse(arguments)
    # The digits take a minute; photos can take hours, and then each finished epoch is worth keeping.
    unfinished = options.output.absolute().with_name(f".{options.output.name}-unfinished")
    checkpoint = None if options.data in EMBEDDED else unfinished
    try:
        with run_folder(options.output) as folder:
            run(folder, options, checkpoint)
        shutil.rmtree(unfinished, ignore_errors=True)
    except KeyboardInterrupt:
        goes_on = list(unfinished.rglob("*.npz"))
        kept = "The same command goes on from the last finished epoch." if goes_on else "Nothing was kept."
        print(f"\nStopped. {kept}", file=sys.stderr)
        return 130
    except (OSError, ValueError, FloatingPointError) as error:
        if differences := getattr(error, "differences", None):  # resume.OtherStage
            error = ValueError(
                f"A stopped run of other data or settings is in {unfinished} (they differ in: "
                f"{'; '.join(differences)}). Remove that folder to begin anew, or add --output FOLDER."
            )
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def show_cache(arguments: list[str]) -> int:
    """List the stored activations, or remove them; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m finetune_lib cache",
        description="List the stored activations of frozen layers, the least recently used first. Set the "
        "variable FINETUNE_CACHE to keep them in another folder.",
    )
    parser.add_argument("--clear", action="store_true", help="remove them all")
    options = parser.parse_args(arguments)
    environment.log_errors_only()
    from finetune_lib import activation_cache, plots, store

    folder = activation_cache.default_folder()
    if options.clear:
        print(f"{store.in_words(store.clear(folder))} removed from {folder}")
        return 0
    found = store.entries(folder)
    if found:
        rows = [
            [f"{entry.last_used:%Y-%m-%d %H:%M}", store.in_words(entry.bytes), entry.description]
            for entry in found
        ]
        print(plots.table(["last used", "size", "activations"], rows))
    total, limit = sum(entry.bytes for entry in found), activation_cache.Cache().limit_bytes
    print(f"{len(found)} entries, {store.in_words(total)} of at most {store.in_words(limit)}, in {folder}")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line, and fill in what depends on other options."""
    parser = argparse.ArgumentParser(
        prog="python -m finetune_lib",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER|NAME",
        default=EMBEDDED[0],
        help="a folder with one folder of images for each class; the name of an image classification set in "
        "TensorFlow Datasets; or digits_wild, digits, which come with the course (default: %(default)s)",
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        help="the pretrained network: GlyphNet, which comes with the course; or, downloaded the first time, "
        "MobileNetV2, EfficientNetV2B0, ResNet50, ConvNeXtTiny, VGG16, VGG19, from little work to much "
        "(default: GlyphNet for the digits, MobileNetV2 for everything else)",
    )
    parser.add_argument(
        "--labels-per-class",
        metavar="COUNT",
        type=int,
        help="how many training images of each class to use (default: 5 for the digits, otherwise all)",
    )
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out damaged image files and say how many, instead of stopping with a list of them",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=pathlib.Path,
        help="where the results go; a folder that exists is kept, and a number added (default: a folder in "
        "runs, named after the data and the network)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="another seed draws other training images and other random numbers (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.seed < 2**31:
        parser.error("--seed must be 0 or more, and less than 2147483648")
    if options.labels_per_class is not None and options.labels_per_class < 1:
        parser.error("--labels-per-class must be 1 or more")
    embedded = options.data in EMBEDDED
    options.backbone = options.backbone or ("GlyphNet" if embedded else "MobileNetV2")
    if embedded and options.labels_per_class is None:
        options.labels_per_class = 5
    if options.output is None:
        place = pathlib.Path(options.data).expanduser()
        data_name = re.sub(r"\W+", "_", place.resolve().name if place.is_dir() else options.data)
        options.output = pathlib.Path("runs") / f"{data_name}_{options.backbone}"
    return options


@contextlib.contextmanager
def run_folder(wanted: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which appears under its name only when all is in it; a failed run leaves nothing.

    Raises:
        OSError: if the folder cannot be made, before any work is done.
    """
    wanted = wanted.absolute()
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{wanted.name}-", dir=wanted.parent))
    except OSError as error:
        raise OSError(
            f"The results cannot be written to {wanted} ({error.strerror}). "
            "Choose a folder you may write to: --output FOLDER"
        ) from error
    try:
        yield partial
        partial.chmod(0o755)
        number, final = 1, wanted
        while final.exists():
            number, final = number + 1, wanted.with_name(f"{wanted.name}-{number + 1}")
        partial.rename(final)
        print(f"\nThe model, figures and report are in {final}\nOpen {final / 'report.md'} first.")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def run(folder: pathlib.Path, options: argparse.Namespace, checkpoint: pathlib.Path | None) -> None:
    """Train the answers, measure them on the test images once, and write everything into ``folder``.

    Args:
        checkpoint: where to keep finished epochs, for a run that is stopped.
    """
    environment.log_errors_only()
    from finetune_lib import backbones, classifier, comparison, data, evaluation, results

    backbone = backbones.get(options.backbone)
    # Weights that cannot be had are better told now than after reading thousands of images.
    classifier.build(backbone.name, ("one", "another"))
    photo_size = None if options.data in EMBEDDED else backbone.image_size
    dataset = data.load(
        options.data,
        labels_per_class=options.labels_per_class,
        seed=options.seed,
        image_size=photo_size,
        skip_unreadable=options.skip_unreadable,
    )
    print(f"Data: {dataset}\nBackbone: {backbone.name}, pretrained ({backbone.weights[0]})\n")
    answers, kept = [], {"seed": options.seed, "checkpoint": checkpoint}
    if backbone.name == "GlyphNet" or environment.gpu_names():
        answers.append(comparison.from_scratch(dataset, backbone.name, **kept))
    else:
        print(f"{backbone.name} from scratch is left out: without a GPU it would take hours.")
    frozen = comparison.frozen(dataset, backbone.name, **kept)
    tuned = comparison.fine_tuned(frozen, dataset, unfreeze_from=backbone.fine_tune_from, **kept)
    answers += [frozen, tuned]
    evaluations = [evaluation.evaluate(answer.model, dataset) for answer in answers]
    print("\n" + results.table(answers, evaluations))
    results.write(folder, dataset, answers, evaluations)


if __name__ == "__main__":
    sys.exit(main())
