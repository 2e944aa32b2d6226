"""TensorFlow Datasets: the same photos by name and as a folder; splits of its own; names it does not know."""

import pathlib
import time
import urllib.request

import numpy as np
import pictures
import pytest

from finetune_lib import catalog, data, splits


@pytest.fixture
def flowers(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures.use_catalogue(monkeypatch, pictures.FLOWERS)


@pytest.fixture
def nothing_prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """An empty catalogue, and no network."""
    pictures.use_catalogue(monkeypatch, tmp_path / "tfds")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it may have been made for other proxies


@pictures.needs_flowers
def test_photos_by_name_and_as_a_folder_are_the_same(flowers: None, tmp_path: pathlib.Path) -> None:
    by_name = data.load("tf_flowers", image_size=(64, 48))
    assert by_name.class_names == ("dandelion", "daisy", "tulips", "sunflowers", "roses")
    assert by_name.sizes == {"train": 600, "validation": 200, "test": 200}
    assert by_name.name == "tf_flowers" and by_name.augment is data.augmentation.photos
    assert by_name.provenance.source == "TensorFlow Datasets tf_flowers/3.0.1"
    assert "tensorflow.org" in by_name.provenance.url and by_name.provenance.sha256 in repr(
        by_name.provenance
    )
    builder = catalog.find("tf_flowers")
    encoded = catalog._encoded(builder, "train").as_numpy_iterator()
    for number, example in enumerate(encoded):
        folder = tmp_path / "flowers" / by_name.class_names[example["label"]]
        pictures.write(folder / f"{997 * number % 1000}.jpg", example["image"])
    as_folder = data.load(tmp_path / "flowers", image_size=(64, 48))
    assert as_folder.class_names == tuple(sorted(by_name.class_names))
    assert as_folder.provenance.sha256 == by_name.provenance.sha256
    assert as_folder.sizes == by_name.sizes and as_folder.notes == by_name.notes
    for part in splits.PARTS:
        found = [
            sorted(
                (dataset.class_names[label], pictures.digest(image))
                for image, label in getattr(dataset, part).as_numpy_iterator()
            )
            for dataset in (by_name, as_folder)
        ]
        assert found[0] == found[1]


@pictures.needs_flowers
def test_few_labels_of_photos_and_another_draw(flowers: None) -> None:
    first, again, other = (
        data.load("tf_flowers", labels_per_class=3, seed=seed, image_size=(32, 32)) for seed in (0, 0, 1)
    )
    assert np.bincount(pictures.labels(first.train)).tolist() == [3] * 5
    assert pictures.digests(first.train) == pictures.digests(again.train) != pictures.digests(other.train)
    assert pictures.digests(first.test) == pictures.digests(other.test)
    image, label = next(iter(data.load("tf_flowers", labels_per_class=1).train))
    assert image.shape == (224, 224, 3) and image.dtype == "uint8" and label.dtype == "int64"


def test_a_set_with_parts_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    pictures.use_catalogue(monkeypatch, tmp_path)
    import tensorflow_datasets as tfds

    class Clouds(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = tuple(tfds.core.BuilderConfig(name=name) for name in ("open", "secret"))

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "image": tfds.features.Image(encoding_format="png"),
                "label": tfds.features.ClassLabel(names=["dog", "cat"]),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                homepage="https://example.com/clouds",
                redistribution_info={"license": "CC0"},
            )

        def _split_generators(self, _: object) -> dict:
            secret = range(12, 60) if self.builder_config.name == "secret" else range(50, 60)
            return {
                "train": self._generate_examples(range(20), secret),
                "test": self._generate_examples(range(15, 35), secret),
                "unsupervised": self._generate_examples(range(50, 60), secret),
            }

        def _generate_examples(self, numbers: range, secret: range):
            for number in numbers:
                label = -1 if number in secret else number % 2
                yield number, {"image": np.asarray(pictures.picture(number)), "label": label}

    three_files = tfds.download.DownloadConfig(num_shards=3)
    for name in ("clouds/open", "clouds/secret"):
        tfds.builder(name).download_and_prepare(download_config=three_files)
    dataset = data.load("clouds/open", image_size=pictures.SIZE)
    assert dataset.name == "clouds_open" and dataset.class_names == ("dog", "cat")
    assert dataset.provenance.url == "https://example.com/clouds" and dataset.provenance.licence == "CC0"
    assert dataset.sizes == {"train": 12, "validation": 3, "test": 20}
    assert dataset.notes == (
        "5 images were left out: identical to another one of the same class, byte for byte.",
    )
    images = [pictures.digest(pictures.picture(number)) for number in range(35)]
    found = pictures.parts(dataset)
    assert found["test"] == set(images[15:]) and found["train"] | found["validation"] == set(images[:15])
    secret = data.load("clouds/secret", image_size=pictures.SIZE)
    assert secret.sizes == {"train": 8, "validation": 2, "test": 2}
    assert secret.notes == ("28 images were left out, without a label.",)
    assert set().union(*pictures.parts(secret).values()) == set(images[:12])
    for stream in (dataset.train, dataset.validation, dataset.test, secret.train):
        for image, label in stream.as_numpy_iterator():
            assert images.index(pictures.digest(image)) % 2 == label


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("tf_flower", ValueError, "no data set called 'tf_flower': it is neither a ... mean 'tf_flowers'"),
        ("digitz", ValueError, "no data set called 'digitz' ... Did you mean 'digits'?"),
        ("my photos", ValueError, "no data set called 'my photos': it is neither a folder in"),
        ("photos.zip", ValueError, "no data set called 'photos.zip'"),
        ("https://example.com/cats", ValueError, "no data set called 'https://example.com/cats'"),
        ("huggingface:cifar10", ValueError, "no data set called 'huggingface:cifar10'"),
        ("imdb_reviews", ValueError, "not a set of images with one label each: it holds text, label. Choose"),
        ("coco/2017", ValueError, "not a set of images with one label each: it holds ... objects. Choose"),
        ("eurosat/infra", ValueError, "TensorFlow Datasets cannot open 'eurosat/infra' ... infra not found"),
        ("tf_flowers:9.9.9", ValueError, "cannot open 'tf_flowers:9.9.9' ... version 9.9.9, only: 3.0.1."),
        ("tf_flowers", OSError, "not on this machine ... cannot be reached ... 'digits_wild'"),
        ("imagenet2012", OSError, "could not be downloaded ... need to register on https://image-net.org"),
    ],
)
def test_a_name_that_cannot_be_had_is_told_so_at_once(
    name: str, kind: type[Exception], words: str, nothing_prepared: None
) -> None:
    started = time.monotonic()
    with pytest.raises(kind, match=pictures.said(words)) as caught:
        data.load(name)
    assert caught.type is kind and time.monotonic() - started < 20


def test_flowers_are_available_where_they_are_prepared(
    nothing_prepared: None, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    assert not catalog.flowers_available()
    pictures.write(tmp_path / "tfds" / "tf_flowers" / "3.0.1" / "dataset_info.json", b"")
    assert catalog.flowers_available()
