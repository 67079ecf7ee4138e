"""Trains a small ViT on Winnow's batches over gloo, and writes the ids that each step saw: step, then ids, a line a step.

    train.py URL RANK WORLD_SIZE RENDEZVOUS STEPS FOLDER [DIE_AT]
"""
import io
import os
import signal
import sys

import numpy
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn

from winnow_torch import WinnowFeed

url, rank, world_size, rendezvous, steps, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), sys.argv[6]
die_at = int(sys.argv[7]) if len(sys.argv) > 7 else None
torch.manual_seed(0)
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)


class SmallViT(nn.Module):
    def __init__(self, d=32, tokens=16):
        super().__init__()
        self.patches = nn.Conv2d(3, d, 8, 8)
        self.places = nn.Parameter(torch.zeros(1, tokens, d))
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(d, 2, 64, batch_first=True, dropout=0), 2)
        self.head = nn.Linear(d, 3)

    def forward(self, images):
        return self.head(self.blocks(self.patches(images).flatten(2).transpose(1, 2) + self.places).mean(1))


def pixels(image):
    return torch.from_numpy(numpy.asarray(Image.open(io.BytesIO(image)).convert("RGB").resize((32, 32)), dtype=numpy.float32) / 255).permute(2, 0, 1)


model = SmallViT()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
feed = WinnowFeed(url, rank, world_size, steps)
checkpoint = f"{folder}/checkpoint-{rank}.pt"
if os.path.exists(checkpoint):
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    feed.load_state_dict(state["feed"])

with open(f"{folder}/seen-{rank}.txt", "a") as seen:
    for batch in torch.utils.data.DataLoader(feed, batch_size=None, num_workers=0):
        images = torch.stack([pixels(image) for image in batch["image"]])
        loss = (model(images) - images.mean((2, 3))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size
        optimizer.step()
        feed.done(batch)
        seen.write(" ".join([str(batch["step"]), *batch["id"]]) + "\n")
        seen.flush()
        if feed.step % 40 == 0:
            torch.save({"model": model.state_dict(), "feed": feed.state_dict()}, checkpoint)
        if feed.step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
print(f"{loss.item():.6f}")
