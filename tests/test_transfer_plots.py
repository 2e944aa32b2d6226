"""What the figures of lessons 01 and 05 show: accuracy against labels, filters, activation maps."""

import ast
import pathlib
import re

import keras
import numpy as np
import pytest

from finetune_lib import backbones, classifier, transfer_plots

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_accuracy_against_labels_shows_every_draw_and_the_means():
    curves = {"frozen": np.array([[60.0, 80.0], [70.0, 90.0]]), "from scratch": np.array([[30.0, 50.0]])}
    (axes,) = transfer_plots.accuracy_against_labels([1, 5], curves).axes
    lines = [line.get_ydata().tolist() for line in axes.lines]
    assert lines == [[65, 85], [60, 80], [70, 90], [30, 50], [30, 50]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(curves)
    table = transfer_plots.accuracy_against_labels_table([1, 5], curves)
    assert [line.split() for line in table.splitlines()] == [
        ["accuracy", "(%)", "1", "label", "5", "labels", "draws"],
        ["frozen", "65.0", "±", "7.1", "85.0", "±", "7.1", "2"],
        ["from", "scratch", "30.0", "50.0", "1"],  # of one draw there is no spread
    ]


def colour_detector(turned):
    """A network whose only kernel looks for red, behind preprocessing that may turn the channels round."""
    image = keras.Input((8, 8, 3), name="image")
    pixels = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    pixels = pixels[..., ::-1] if turned else pixels
    outputs = keras.layers.Conv2D(2, 3, name="convolution")(pixels)
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="second")(outputs))
    kernel = np.zeros((3, 3, 3, 2), "float32")
    kernel[1, 1, 2 if turned else 0, 0] = 1.0
    kernel[..., 1] = 0.1
    model.get_layer("convolution").set_weights([kernel, np.zeros(2)])
    return model


@pytest.mark.parametrize("turned", [False, True])
def test_a_filter_for_red_is_red_whatever_the_preprocessing(turned):
    model = colour_detector(turned)
    red, grey = transfer_plots.kernels_on_pixels(model, "convolution")
    assert red[1, 1, 0] > 0 and np.count_nonzero(red) == 1
    assert np.allclose(grey, grey[0, 0, 0])
    figure = transfer_plots.filters(model, "convolution")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["0", "1"]  # the longest first
    rows = [line.split() for line in transfer_plots.filters_table(model, "convolution").splitlines()[1:]]
    assert rows == [["0", "1.00", "33%"], ["1", "0.52", "100%"]]


def test_only_a_convolution_on_three_channels_has_colours():
    model = colour_detector(False)
    with pytest.raises(ValueError, match="'second' reads 2 channels"):
        transfer_plots.filters(model, "second")
    with pytest.raises(ValueError, match="no convolution"):
        transfer_plots.filters(model, "image")


@pytest.mark.parametrize("names", [["block1_conv1"], ["block1_conv1", "block4_pool"]])
def test_activation_maps_are_those_of_the_model(names):
    model = classifier.build("GlyphNet", ["a", "b"])
    image = np.random.default_rng(0).uniform(0, 255, (32, 32, 3))
    figure = transfer_plots.activation_maps(model, image, names, channels=3)
    assert len(figure.axes) == 4 * len(names)
    outputs = keras.Model(model.input, model.get_layer(names[-1]).output)(image[np.newaxis].astype("float32"))
    most = np.argsort(-np.asarray(outputs)[0].mean(axis=(0, 1)), kind="stable")[:3]
    assert [axes.get_title() for axes in figure.axes[-3:]] == [str(number) for number in most]
    shown = figure.axes[-1].images[0].get_array()
    assert np.allclose(shown, np.asarray(outputs)[0][..., most[-1]])
    last = transfer_plots.activation_maps_table(model, image, names, channels=3).splitlines()[-1].split()
    assert last[0] == names[-1] and last[-3:] == [str(number) for number in most]


@pytest.mark.parametrize("name", [backbone.name for backbone in backbones.ALL])
def test_the_first_filters_of_every_backbone_can_be_shown(name):
    model = classifier.build(name, ["a", "b"], weights=None, image_size=(64, 64))
    first = next(layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    pictures = [
        axes.images[0].get_array() for axes in transfer_plots.filters(model, first, 9).axes if axes.images
    ]
    assert len(pictures) == 9 and all(0 <= picture.min() <= picture.max() <= 1 for picture in pictures)


def test_the_benchmark_that_lesson_01_quotes_is_the_one_in_the_readme():
    lesson = (ROOT / "notebooks" / "01_transfer_learning.py").read_text(encoding="utf-8")
    quoted = ast.literal_eval(re.search(r"(?ms)^BENCHMARK = (\{.*?^\})", lesson)[1])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = re.findall(r"(?ms)^digits_wild, (\d+) labels a class;(.*?)(?=^digits_wild|^```)", readme)
    found = {
        (method, int(count)): (float(mean), float(sd))
        for count, table in tables
        for method, mean, sd in re.findall(r"(?m)^(\S.*?)  +([\d.]+)% +([\d.]+)%", table)
    }
    for method, by_count in quoted.items():
        for count, numbers in by_count.items():
            assert found[method, count] == numbers, (method, count)
    behind = found["textures, all tuned", 5][0] - found["from scratch", 5][0]
    assert -22 < behind < -18  # "twenty points behind"
