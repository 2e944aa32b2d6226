"""The plain job of ``freeze_boundary.py`` in PyTorch, for comparison; in an environment of its own:

    python -m venv torch-environment
    torch-environment/bin/pip install torch numpy
    torch-environment/bin/python tests/benchmarks/freeze_boundary_torch.py

The same VGG16 (without torchvision), as many images, epochs and cores; the frozen part under ``no_grad``, in
the ``channels_last`` format. Writes what it found into ``freeze_boundary.json``; the best of three runs
counts.
"""

import json
import os
import pathlib
import time

import numpy as np
import torch

FACTS = pathlib.Path(__file__).with_name("freeze_boundary.json")
SIZE, BATCH_SIZE, EPOCHS, IMAGES, VALIDATION_IMAGES, CLASSES, REPEATS = 160, 32, 10, 256, 32, 5, 3
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def features() -> torch.nn.Sequential:
    """VGG16's convolutions."""
    layers: list[torch.nn.Module] = []
    channels = 3
    for block in BLOCKS:
        for width in block:
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU(inplace=True)]
            channels = width
        layers.append(torch.nn.MaxPool2d(2))
    return torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)


def train(images: torch.Tensor, labels: torch.Tensor) -> float:
    """Train a linear head for ``EPOCHS`` epochs; the seconds that took, validation included."""
    body, head = features().eval(), torch.nn.Linear(512, CLASSES)
    optimizer = torch.optim.Adam(head.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * IMAGES // BATCH_SIZE)
    started = time.perf_counter()

    def logits(rows: torch.Tensor) -> torch.Tensor:
        batch = images[rows].to(torch.float32).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            pooled = body(batch / 127.5 - 1).mean(dim=(2, 3))
        return head(pooled)

    for _ in range(EPOCHS):
        for rows in torch.randperm(IMAGES).split(BATCH_SIZE):
            loss = torch.nn.functional.cross_entropy(logits(rows), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            for rows in torch.arange(IMAGES, IMAGES + VALIDATION_IMAGES).split(BATCH_SIZE):
                logits(rows)
    return time.perf_counter() - started


if __name__ == "__main__":
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    generator = np.random.default_rng(0)
    count = IMAGES + VALIDATION_IMAGES
    images = torch.from_numpy(generator.integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8))
    labels = torch.from_numpy(generator.integers(0, CLASSES, count))
    seconds = [train(images, labels) for _ in range(REPEATS)]
    facts = json.loads(FACTS.read_text()) if FACTS.exists() else {}
    facts["torch"] = {
        "version": torch.__version__.split("+")[0],
        "threads": torch.get_num_threads(),
        "images": IMAGES,
        "epochs": EPOCHS,
        "seconds": [round(value, 1) for value in seconds],
    }
    FACTS.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    print(facts["torch"])
