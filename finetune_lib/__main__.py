"""The main job: fine-tune a pretrained network on a few labelled images, and show what that gained.

On the embedded default: GlyphNet, pretrained on printed glyphs, learns handwritten digits seen under wild
conditions from five examples of each. Takes about a minute on two processor cores.
"""

import argparse
import contextlib
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

from finetune_lib import environment


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit code: 0, 1 for an error that was explained, 130 after Ctrl-C."""
    options = parse(arguments)
    try:
        with run_folder(options.output) as folder:
            run(folder, options.seed)
    except KeyboardInterrupt:
        print("\nStopped. Nothing was kept.", file=sys.stderr)
        return 130
    except (OSError, FloatingPointError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m finetune_lib",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("runs") / "digits_wild_GlyphNet",
        help="folder for the results (default: %(default)s); one that exists is kept, and a number added",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="another seed draws other training images and other random numbers",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.seed < 2**31:
        parser.error("--seed must be 0 or more, and less than 2147483648")
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


def run(folder: pathlib.Path, seed: int) -> None:
    """Train the three answers, measure them on the test images once, and write everything into ``folder``."""
    environment.log_errors_only()
    from finetune_lib import backbones, comparison, data, evaluation, results

    dataset = data.load("digits_wild", labels_per_class=5, seed=seed)
    print(f"Data: {dataset}\nBackbone: GlyphNet, pretrained on printed glyphs\n")
    scratch = comparison.from_scratch(dataset, "GlyphNet", seed=seed)
    frozen = comparison.frozen(dataset, "GlyphNet", seed=seed)
    boundary = backbones.get("GlyphNet").fine_tune_from
    tuned = comparison.fine_tuned(frozen, dataset, unfreeze_from=boundary, seed=seed)
    answers = [scratch, frozen, tuned]
    evaluations = [evaluation.evaluate(answer.model, dataset) for answer in answers]
    print("\n" + results.table(answers, evaluations))
    results.write(folder, dataset, answers, evaluations)


if __name__ == "__main__":
    sys.exit(main())
