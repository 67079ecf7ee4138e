"""The peers of `winnow bench` that are Python packages (Debian: python3-faiss, python3-sklearn, python3-torch).

Started by src/bench/peer.ts with one JSON argument. Says {"ready": name} or {"missing": reason}; then each line on stdin
is one run, answered with {"seconds", "cpuSeconds", "facts"}. Data stays in memory between runs.
"""
import json
import os
import sys
import time


def assign(s):
    import faiss
    x = vectors(s)
    c = x[: s["k"]].copy()

    def run():
        index = faiss.IndexFlatL2(s["d"])
        index.add(c)
        distance, _ = index.search(x, 1)
        return {"inertia": float(distance.sum(dtype="float64"))}

    return f"python3-faiss {faiss.__version__} IndexFlatL2", run


def product(s):
    """X C' through cblas, in blocks whose result is 16 MB."""
    import ctypes
    import ctypes.util
    import numpy as np
    name = ctypes.util.find_library("openblas")
    if name is None:
        raise ImportError("no OpenBLAS", name="openblas")
    blas = ctypes.CDLL(name)
    blas.openblas_get_corename.restype = ctypes.c_char_p
    x = vectors(s)
    (n, d), k = x.shape, s["k"]
    c = x[:k].copy()
    rows = max(1, min(n, 2**22 // k))
    out = np.empty((rows, k), np.float32)

    def pointer(a):
        return a.ctypes.data_as(ctypes.c_void_p)

    def run():
        for row in range(0, n, rows):
            count = min(rows, n - row)
            blas.cblas_sgemm(101, 111, 112, count, k, d, ctypes.c_float(1), pointer(x[row:]), d, pointer(c), d, ctypes.c_float(0), pointer(out), k)
        return {}

    return f"OpenBLAS SGEMM alone, {blas.openblas_get_corename().decode()}", run


def kmeans(s):
    import faiss
    x = vectors(s)

    def run():
        found = faiss.Kmeans(s["d"], s["k"], niter=s["iterations"], max_points_per_centroid=10**9, min_points_per_centroid=1, seed=0)
        found.train(x)
        distance, _ = found.index.search(x, 1)
        return {"inertia": float(distance.sum(dtype="float64"))}

    return f"python3-faiss {faiss.__version__} Kmeans", run


def sklearn_kmeans(s):
    import sklearn
    from sklearn.cluster import KMeans
    x = vectors(s)

    def run():
        found = KMeans(s["k"], init="random", n_init=1, max_iter=s["iterations"], tol=0, algorithm="lloyd", random_state=0).fit(x)
        return {"inertia": float(found.inertia_)}

    return f"python3-sklearn {sklearn.__version__} KMeans", run


def tree(s):
    import faiss
    x = vectors(s)

    def run():
        points = x
        inertia = None
        for k in s["levels"]:
            found = faiss.Kmeans(s["d"], min(k, len(points)), niter=s["iterations"], max_points_per_centroid=10**9, min_points_per_centroid=1, seed=0)
            found.train(points)
            distance, _ = found.index.search(points, 1)
            inertia = float(distance.sum(dtype="float64")) if inertia is None else inertia
            points = found.centroids
        return {"inertia": inertia}

    return f"python3-faiss {faiss.__version__} Kmeans, level by level, no sampling", run


def batch(s):
    import torch
    from torch.utils.data import DataLoader, RandomSampler
    sampler = RandomSampler(range(s["n"]), generator=torch.Generator().manual_seed(0))

    def run():
        loader = DataLoader(range(s["n"]), batch_size=s["batch"], sampler=sampler, drop_last=True)
        seen = 0
        for step, ids in enumerate(loader):
            if step == s["steps"]:
                break
            seen += len(ids)
        return {"rows": seen}

    return f"python3-torch {torch.__version__} DataLoader, ids alone", run


def vectors(s):
    import numpy as np
    return np.fromfile(s["vectors"], np.float32).reshape(s["n"], s["d"])


WORKS = {"assign": assign, "product": product, "kmeans": kmeans, "sklearn-kmeans": sklearn_kmeans, "tree": tree, "batch": batch}


def main():
    # Libraries print to stdout; what is said to the bench goes through a copy of it.
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(value):
        talk.write(json.dumps(value) + "\n")
        talk.flush()

    settings = json.loads(sys.argv[1])
    try:
        name, run = WORKS[settings["work"]](settings)
    except ImportError as error:
        say({"missing": f"{settings['work']}: {error} (Debian: python3-{error.name})"})
        return
    say({"ready": name})
    for _ in sys.stdin:
        cpu, started = time.process_time(), time.perf_counter()
        facts = run()
        say({"seconds": time.perf_counter() - started, "cpuSeconds": time.process_time() - cpu, "facts": facts})


main()
