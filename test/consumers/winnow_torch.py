"""Winnow's batches as a PyTorch dataset. Each item is a whole batch of this rank: DataLoader(feed, batch_size=None, num_workers=4)."""
from torch.utils.data import IterableDataset, get_worker_info

try:
    import pyarrow.ipc
except ImportError:
    pyarrow = None
import winnow_plain


def read_arrow(file):
    """Record batches as dicts. A stream that ends early is an EOFError."""
    try:
        with pyarrow.ipc.open_stream(file) as stream:
            while True:
                rows, metadata = stream.read_next_batch_with_custom_metadata()
                batch = {key.decode(): value.decode() for key, value in metadata.items()}
                yield {**batch, "step": int(batch["step"]), **rows.to_pydict()}
    except StopIteration:
        return
    except pyarrow.ArrowInvalid as error:
        raise EOFError(str(error)) from error


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
        reader = None if pyarrow is None else read_arrow
        yield from winnow_plain.batches(self.url, count, step, every, reader=reader, **self.query)

    def done(self, batch):
        """Call it after training on a batch: what is saved is what was trained on, not what workers have read ahead."""
        self.step = batch["step"] + 1

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]
