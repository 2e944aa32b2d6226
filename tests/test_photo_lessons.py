"""Lessons 04 to 08 on photos, with real ImageNet weights. Run with: pytest -m "network and long"

They need a network, or folders with the files where TFDS_DATA_DIR and KERAS_HOME say.
"""

import os
import re
import subprocess

import jupyter_client
import nbclient
import nbval.kernel
import notebook_tools
import pytest

from finetune_lib import backbones

pytestmark = [pytest.mark.network, pytest.mark.long]
VGG16 = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)


@pytest.mark.parametrize(
    ("name", "backbone_name"),
    [
        ("04_freeze_and_fit", "MobileNetV2"),
        ("05_fine_tune", "MobileNetV2"),
        ("06_evaluate", "MobileNetV2"),
        ("07_deploy", "MobileNetV2"),
        ("08_compress", "MobileNetV2"),
        ("04_freeze_and_fit", "VGG16"),
    ],
)
def test_a_lesson_runs_on_flowers(name, backbone_name, monkeypatch, capsys):
    # GitHub's networked workflow is where VGG16 runs for certain: there it fails rather than being skipped.
    here = backbones.photo_weights_available(VGG16 if backbone_name == "VGG16" else "")
    if not here and backbone_name == "VGG16" and "GITHUB_ACTIONS" not in os.environ:
        pytest.skip(f"{VGG16} cannot be reached, nor is the file in {backbones.weights_folder()}")
    source = notebook_tools.ROOT / "notebooks" / f"{name}.py"
    notebook = notebook_tools.read(source)
    form = next(cell for cell in notebook.cells if 'backbone_name = "auto"' in cell.source)
    form.source = re.sub('(?m)^data_name = "auto"', 'data_name = "tf_flowers"', form.source)
    form.source = re.sub('(?m)^backbone_name = "auto"', f'backbone_name = "{backbone_name}"', form.source)
    # Under pytest a lesson takes what comes with the course; here it is to do what its form says.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    manager = jupyter_client.AsyncKernelManager(
        kernel_name=nbval.kernel.CURRENT_ENV_KERNEL_NAME,
        kernel_spec_manager=nbval.kernel.NbvalKernelspecManager(),
    )
    client = nbclient.NotebookClient(
        notebook, km=manager, timeout=900, resources={"metadata": {"path": str(source.parent)}}
    )
    client.execute(cleanup_kc=True, stderr=subprocess.DEVNULL)  # raises where a cell fails
    text = "\n".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
    )
    assert f"Data: tf_flowers. Backbone: {backbone_name}. (You asked for them.)" in text
    with capsys.disabled():
        print(f"\n{name} on flowers with {backbone_name}\n{text}")
