# %% [markdown]
# # Verify on Colab (for maintainers)
#
# This notebook runs the course's whole test suite on a Colab runtime and prints a dated line for the table
# "last verified" in README.md.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/maintainers/verify_on_colab.ipynb)
#
# On Colab, choose **Runtime > Change runtime type > T4 GPU**, then **Runtime > Run all**.
# Anywhere else, it only says what it would do.

# %%
import datetime
import pathlib
import subprocess
import sys

VERSION = "0.1.0"
REPOSITORY = "https://github.com/OWNER-PLACEHOLDER/finetune-course"
on_colab = "google.colab" in sys.modules
print("Running on Colab." if on_colab else "Not on Colab: here is what this notebook would do there.")

# %% [markdown]
# The package is installed as in every lesson: nothing that Colab preinstalls may change, but tensorflow-metadata.
# The notebooks' own kernels are plain ones, so Colab's drawing settings (`MPLBACKEND`) are kept from them.

# %%
commands = [
    f"git clone -q --depth 1 --branch v{VERSION} {REPOSITORY} course",
    "pip list --format=freeze --exclude finetune-lib --exclude tensorflow-metadata > constraints.txt",
    "pip install -q -c constraints.txt './course[test]'",
    "nvidia-smi --query-gpu=name --format=csv,noheader > gpu.txt || echo 'no GPU' > gpu.txt",
    "cd course && env -u MPLBACKEND python -m pytest 2>&1 | tee ../pytest.txt",
]
for command in commands:
    print("$" if on_colab else "would run:", command)
    if on_colab:
        subprocess.run(
            command, shell=True, check=not command.startswith("cd")
        )  # failed tests get a line, too

# %% [markdown]
# The line for the table, with pytest's own words:


# %%
def last_line(path):
    return pathlib.Path(path).read_text().strip().splitlines()[-1].strip("= ")


if on_colab:
    tensorflow = subprocess.getoutput("pip show tensorflow | sed -n 's/Version: //p'")
    machine = f"Colab, {last_line('gpu.txt')}, TensorFlow {tensorflow}"
    print(f"| {datetime.date.today()} | v{VERSION} | {machine} | {last_line('pytest.txt')} |")
else:
    print("would print: | date | version | machine | result |")
