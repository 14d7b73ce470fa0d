"""The training of benchmarks.work.whole_run, as a user of torch would write it."""

from pathlib import Path

import torch
from torch import nn

from benchmarks.systems import child
from benchmarks.work.whole_run import (
    BATCH,
    CLIP,
    DECAY,
    DROPOUT,
    HIDDEN,
    RATE,
    images,
    schedule,
)


def train(data_dir: Path, epochs: int, devices: int) -> float:
    """Returns the test accuracy."""
    torch.manual_seed(0)
    torch.set_num_threads(devices)
    xs, labels, test_xs, test_labels = (
        torch.from_numpy(a.copy()) for a in images(data_dir)
    )
    labels, test_labels = labels.long(), test_labels.long()
    lstm = nn.LSTM(28, HIDDEN, batch_first=True)
    head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 10))
    params = [*lstm.parameters(), *head.parameters()]
    steps = len(xs) // BATCH
    optimizer = torch.optim.AdamW(params, RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(epochs * steps))
    accuracy = 0.0
    for _ in range(epochs):
        head.train()
        for batch in torch.randperm(len(xs))[: steps * BATCH].split(BATCH):
            optimizer.zero_grad()
            hs, _ = lstm(xs[batch])
            nn.functional.cross_entropy(head(hs[:, -1]), labels[batch]).backward()
            nn.utils.clip_grad_norm_(params, CLIP)
            optimizer.step()
            rate.step()
        head.eval()
        with torch.no_grad():
            logits = torch.cat([head(lstm(x)[0][:, -1]) for x in test_xs.split(500)])
        accuracy = (logits.argmax(1) == test_labels).float().mean().item()
    return accuracy


if __name__ == "__main__":
    child.main(train)
