"""What am I running on? Versions, processor or GPU, Colab, network (lesson 00)."""

import importlib.metadata
import os
import pathlib
import platform
import sys
import tempfile
import urllib.error
import urllib.request

import platformdirs

DRIVE = pathlib.Path("/content/drive/MyDrive")  # where Colab mounts it
PACKAGES = ("finetune-lib", "tensorflow", "keras", "numpy", "ipywidgets")
COLAB_GPU_ADVICE = (
    "No GPU. For one, choose Runtime > Change runtime type > Hardware accelerator: T4 GPU > Save, "
    "then run the notebook again from the top. Without one it runs, too, only slower."
)
MOUNT = "    from google.colab import drive; drive.mount('/content/drive'{})"
NO_DRIVE_ADVICE = (
    "Google Drive is not mounted: the models that you train here and your progress end with this Colab "
    "session, and those of an earlier session are gone. To keep them, and to find what an earlier session "
    "kept in Drive, run this in a new cell, then this cell once more:\n" + MOUNT.format("")
)
LOST_DRIVE_ADVICE = (
    "Google Drive was mounted, but no longer answers. Run this in a new cell, then this cell once more:\n"
    + MOUNT.format(", force_remount=True")
)


def on_colab() -> bool:
    """Whether this is a Google Colab notebook."""
    return "google.colab" in sys.modules  # Colab's kernel imports it before the first cell


def drive() -> pathlib.Path | None:
    """The learner's Google Drive, which outlives a Colab session; None elsewhere, or if it is not mounted."""
    # os.path, since pathlib's raises where a mounted folder has lost its connection.
    return DRIVE if on_colab() and os.path.isdir(DRIVE) else None  # noqa: PTH112


def local_course_folder() -> pathlib.Path:
    """Where a learner's work is kept, if nobody says otherwise: a folder among the user's data."""
    return platformdirs.user_data_path("finetune_lib", appauthor=False) / "course"


def course_folder() -> pathlib.Path:
    """Where a learner's models and progress are kept.

    The folder that the variable FINETUNE_COURSE names; on Colab one in Google Drive, if that is mounted, for
    it outlives the session; otherwise one among the user's data.
    """
    if chosen := os.environ.get("FINETUNE_COURSE"):
        return pathlib.Path(chosen).expanduser()
    if mounted := drive():
        return mounted / "finetune_course"
    return local_course_folder()


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
    """Print versions, processor cores and GPU; on Colab the way to a GPU and to Google Drive, if it has none.

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

    if on_colab() and not os.environ.get("FINETUNE_COURSE"):
        print(_drive_report())


def _drive_report() -> str:
    """Where work is kept on Colab, or what to do if it is not; in a new session, what is left of another."""
    if drive() is None:
        return LOST_DRIVE_ADVICE if os.path.lexists(DRIVE.parent) else NO_DRIVE_ADVICE
    text = f"What you train and your progress are kept in Google Drive, in {course_folder().name}."
    # It lies on the session's own disk, and ends with it.
    mark = pathlib.Path(tempfile.gettempdir()) / "finetune_lib_session"
    if not mark.exists():
        mark.touch()
        if course_folder().is_dir():
            text += (
                " This is a new session: of an earlier one, only what is there is left, and the notebooks "
                "find it by themselves. Run this notebook from the top."
            )
    return text


def can_reach(url: str, seconds: float = 5.0) -> bool:
    """Whether a file on the network can be had: asks for its header, for at most ``seconds``."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False
