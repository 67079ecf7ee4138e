"""Winnow's batches as a PyTorch dataset. Each item is a whole batch of this rank: DataLoader(feed, batch_size=None, num_workers=4)."""
from torch.utils.data import IterableDataset, get_worker_info

try:
    import pyarrow.ipc
except ImportError:
    pyarrow = None
import urllib.parse
import urllib.request

import winnow_plain


class WinnowFeed(IterableDataset):
    def __init__(self, url, rank, world_size, steps, images=True, **query):
        self.url, self.steps, self.step = url, steps, 0
        self.query = {"rank": rank, "worldSize": world_size, "images": int(images), **query}

    def __iter__(self):
        worker = get_worker_info()
        every = worker.num_workers if worker else 1  # worker w of n takes every n-th step from its own: none is seen twice
        step = self.step + (worker.id if worker else 0)
        count = len(range(step, self.steps, every))
        if count == 0:
            return
        if pyarrow is None:
            yield from winnow_plain.batches(self.url, count, step, every, **self.query)
            return
        asked = urllib.parse.urlencode({"step": step, "steps": count, "every": every, **self.query})
        with urllib.request.urlopen(f"{self.url}/batches?{asked}") as response:
            stream = pyarrow.ipc.open_stream(response)
            for _ in range(count):
                rows, metadata = stream.read_next_batch_with_custom_metadata()
                batch = {key.decode(): value.decode() for key, value in metadata.items()}
                yield {**batch, "step": int(batch["step"]), **rows.to_pydict()}

    def done(self, batch):
        """Call it after training on a batch: what is saved is what was trained on, not what workers have read ahead."""
        self.step = batch["step"] + 1

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]
