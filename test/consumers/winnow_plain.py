"""Reads Winnow's batches with nothing but Python: over HTTP, from a subprocess, or from any file of an Arrow IPC stream.

    for batch in batches("http://localhost:8910", steps=1000, rank=0, worldSize=8, images=1):
        batch["step"], batch["id"], batch["image"]      # int, list of str, list of bytes
"""
import http.client
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request


def batches(url, steps, step=0, every=1, patience=60, reader=None, **query):
    """Batches of one rank in order of step. A lost connection is asked for again, from the step that is due."""
    reader, left, waited = reader or read_stream, steps, 0
    while left > 0:
        asked = urllib.parse.urlencode({"step": step, "steps": left, "every": every, **query})
        try:
            with urllib.request.urlopen(f"{url}/batches?{asked}", timeout=patience) as response:
                for batch in reader(response):
                    yield batch
                    step, left, waited = step + every, left - 1, 0
        except urllib.error.HTTPError as error:
            if error.code != 503:  # 503: the server is full for now
                raise ValueError(error.read().decode()) from error
        except (OSError, EOFError, http.client.HTTPException):
            pass
        if left > 0:
            waited += 1
            if waited > patience:
                raise ConnectionError(f"expected batches from {url}, got none for {waited} tries")
            time.sleep(min(1, 0.05 * waited))


def batches_of_command(command):
    """Batches that a command such as ["winnow", "batches", store, "--steps", "100"] writes to its stdout."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        yield from read_stream(process.stdout)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")


def read_stream(file):
    """Record batches of an Arrow IPC stream as dicts: metadata by key (step as int), columns as lists."""
    fields, dictionaries = [], {}
    while True:
        mark, size = struct.unpack("<iI", read(file, 8))
        if size == 0:
            return
        message = Table.root(read(file, size))
        kind, header, length = message.byte(1), message.table(2), message.int64(3)
        body = read(file, length)
        if kind == 1:
            fields = [Field(one) for one in header.tables(1)]
        elif kind == 2:
            entries = next(columns(header.table(1), body, [TEXT], {}))
            dictionaries[header.int64(0)] = entries
        elif kind == 3:
            batch = {entry.text(0): entry.text(1) for entry in message.tables(4)}
            batch["step"] = int(batch["step"])
            batch.update(zip((field.name for field in fields), columns(header, body, fields, dictionaries)))
            yield batch


def columns(batch, body, fields, dictionaries):
    """Values of each field, None where null."""
    n = batch.int64(0)
    spans = iter(struct.unpack_from("<qq", batch.bytes, at) for at in batch.structs(2, 16))

    def take():
        offset, length = next(spans)
        return body[offset : offset + length]

    for field in fields:
        bits = take()
        if field.dictionary is not None:
            values = [dictionaries[field.dictionary][code] for code in struct.unpack_from(f"<{n}i", take())]
        elif field.type in (4, 5):  # binary, text
            ends, data = struct.unpack_from(f"<{n + 1}i", take()), take()
            values = [bytes(data[ends[i] : ends[i + 1]]) for i in range(n)]
            values = [value.decode() for value in values] if field.type == 5 else values
        else:  # uint64
            values = list(struct.unpack_from(f"<{n}Q", take()))
        yield values if len(bits) == 0 else [value if bits[i >> 3] >> (i & 7) & 1 else None for i, value in enumerate(values)]


def read(file, count):
    data = bytearray()
    while len(data) < count:
        some = file.read(count - len(data))
        if not some:
            raise EOFError(f"the stream ended {count - len(data)} bytes early")
        data += some
    return memoryview(data)


class Table:
    """A flatbuffer table."""

    def __init__(self, data, at):
        self.bytes, self.at = data, at
        self.fields = at - struct.unpack_from("<i", data, at)[0]

    @classmethod
    def root(cls, data):
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def slot(self, field):
        if 4 + 2 * field >= struct.unpack_from("<H", self.bytes, self.fields)[0]:
            return None
        offset = struct.unpack_from("<H", self.bytes, self.fields + 4 + 2 * field)[0]
        return self.at + offset if offset else None

    def follow(self, at):
        return at + struct.unpack_from("<I", self.bytes, at)[0]

    def byte(self, field):
        return self.bytes[self.slot(field)] if self.slot(field) is not None else 0

    def int64(self, field):
        return struct.unpack_from("<q", self.bytes, self.slot(field))[0] if self.slot(field) is not None else 0

    def table(self, field):
        return Table(self.bytes, self.follow(self.slot(field))) if self.slot(field) is not None else None

    def structs(self, field, size):
        if self.slot(field) is None:
            return []
        start = self.follow(self.slot(field))
        return [start + 4 + i * size for i in range(struct.unpack_from("<I", self.bytes, start)[0])]

    def tables(self, field):
        return [Table(self.bytes, self.follow(at)) for at in self.structs(field, 4)]

    def text(self, field):
        start = self.follow(self.slot(field))
        return bytes(self.bytes[start + 4 : start + 4 + struct.unpack_from("<I", self.bytes, start)[0]]).decode()


class Field:
    def __init__(self, table=None):
        self.name = table.text(0) if table else ""
        self.type = table.byte(2) if table else 5
        encoding = table.table(4) if table else None
        self.dictionary = encoding.int64(0) if encoding else None


TEXT = Field()
