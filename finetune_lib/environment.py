"""What am I running on? Versions, processor or GPU, Colab, network (lesson 00)."""

import importlib.metadata
import os
import pathlib
import platform
import sys
import urllib.error
import urllib.request

DRIVE = pathlib.Path("/content/drive/MyDrive")  # where Colab mounts it
PACKAGES = ("finetune-lib", "tensorflow", "keras", "numpy", "ipywidgets")
COLAB_GPU_ADVICE = (
    "No GPU. For one, choose Runtime > Change runtime type > Hardware accelerator: T4 GPU > Save, "
    "then run the notebook again from the top."
)


def on_colab() -> bool:
    """Whether this is a Google Colab notebook."""
    return "google.colab" in sys.modules  # Colab's kernel imports it before the first cell


def drive() -> pathlib.Path | None:
    """The learner's Google Drive, which outlives a Colab session; None elsewhere, or if it is not mounted."""
    return DRIVE if on_colab() and DRIVE.is_dir() else None


def under_test() -> bool:
    """Whether pytest runs this code; lessons then always use the embedded data and backbone."""
    return "PYTEST_CURRENT_TEST" in os.environ


def versions() -> dict[str, str]:
    """The installed version of each package that the course's results depend on, and Python's."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def gpu_names() -> list[str]:
    """The names of the GPUs that TensorFlow can use, for example ``["Tesla T4"]``; empty without one."""
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in devices]


def processor() -> str:
    """What sort of processor this is, on Linux with its instruction sets, on which results depend."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {flags or platform.processor()}"


def log_errors_only() -> None:
    """Have TensorFlow log errors only: its notes on start-up and on tracing say nothing to a learner."""
    # 3 rather than 2: what its C++ part calls an error, "failed call to cuInit", says that there is no GPU.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # importing TensorFlow sets it


def report() -> None:
    """Print versions, processor cores and GPU, and on Colab without a GPU the way to one.

    From here on TensorFlow logs errors only.
    """
    log_errors_only()
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    gpus = gpu_names()
    if gpus:
        print(f"GPU: {', '.join(gpus)}")
    elif on_colab():
        print(COLAB_GPU_ADVICE)
    else:
        print(f"No GPU: this notebook runs on the processor ({os.cpu_count()} cores).")


def can_reach(url: str, seconds: float = 5.0) -> bool:
    """Whether a file on the network can be had: asks for its header, for at most ``seconds``."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False
