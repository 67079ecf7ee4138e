#!/usr/bin/python3
"""The peers of `bench assign`: faiss's exact search and OpenBLAS's bare SGEMM, one round for each line that is asked.

Usage: assign-faiss.py N D K SEED [X.f32 C.f32]

Reads a line of standard input at a time, `search` or `sgemm`, does one round of it and prints one JSON line:
{"peer", "n", "d", "k", "version", "coretype", "seconds", "cpuSeconds"} (of all threads). So the caller can interleave its own rounds with these.
The matrices are standard normal float32 of the seed, or N x D and K x D little-endian float32 from two files. `search` is
IndexFlatL2.search(x, 1) with all threads; a third path after the files takes its answers, N x (int64 id, float32 distance),
as two raw arrays one after the other. `sgemm` is the product x c' alone through cblas, in blocks whose result is 16 MB.
The kernel of OpenBLAS is chosen by OPENBLAS_CORETYPE in the environment, so each kernel needs its own process.
"""
import ctypes
import ctypes.util
import json
import os
import sys
import time

import faiss
import numpy as np

BLOCK_FLOATS = 1 << 22


def load_blas():
    name = ctypes.util.find_library("openblas")
    if name is None:
        sys.exit("Expected OpenBLAS (Debian: libopenblas0-pthread), found none")
    blas = ctypes.CDLL(name)
    blas.openblas_get_corename.restype = ctypes.c_char_p
    return blas


def sgemm(blas, x, c, out):
    (n, d), k = x.shape, c.shape[0]
    pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)
    rows = out.shape[0]
    for row in range(0, n, rows):
        count = min(rows, n - row)
        blas.cblas_sgemm(101, 111, 112, count, k, d, ctypes.c_float(1), pointer(x[row:]), d, pointer(c), d, ctypes.c_float(0), pointer(out), k)


def main():
    n, d, k, seed = map(int, sys.argv[1:5])
    if len(sys.argv) > 6:
        x = np.fromfile(sys.argv[5], dtype="<f4", count=n * d).reshape(n, d)
        c = np.fromfile(sys.argv[6], dtype="<f4", count=k * d).reshape(k, d)
    else:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, d), dtype=np.float32)
        c = rng.standard_normal((k, d), dtype=np.float32)
    index = faiss.IndexFlatL2(d)
    index.add(c)
    blas = load_blas()
    out = np.zeros((max(1, min(n, BLOCK_FLOATS // k)), k), dtype=np.float32)
    facts = {"n": n, "d": d, "k": k, "version": faiss.__version__, "coretype": blas.openblas_get_corename().decode()}
    for line in sys.stdin:
        peer = line.strip()
        start, cpu = time.perf_counter(), time.process_time()
        if peer == "search":
            distance, nearest = index.search(x, 1)
        elif peer == "sgemm":
            sgemm(blas, x, c, out)
        else:
            sys.exit(f"Expected search or sgemm, got {peer!r}")
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        if peer == "search" and len(sys.argv) > 7:
            with open(sys.argv[7], "wb") as file:
                file.write(nearest.astype("<i8").tobytes() + distance.astype("<f4").tobytes())
        print(json.dumps({"peer": peer, **facts, "seconds": seconds, "cpuSeconds": cpu}), flush=True)


main()
