"""Decides on Winnow's rows with nothing but Python: a filter for a recipe's `command:`.

    def decide(row):                              # {"row": 17, "uri": "pool/a.jpg", "width": 640, …}
        return None if row["width"] >= 256 else f"only {row['width']} wide"

    run(decide)                                   # reads stdin, writes stdout

Run as a program it rejects rows whose uri contains one of its arguments. With pyarrow the same is
`pyarrow.ipc.open_stream(sys.stdin.buffer)` and `pyarrow.ipc.new_stream(sys.stdout.buffer, schema)`.
"""
import struct
import sys

from winnow_plain import Table, read


def run(decide, source=None, sink=None):
    """Calls decide(row) on every row that is still in; a text rejects it and says why, None keeps it."""
    sink = sink or sys.stdout.buffer
    sink.write(message(1, SCHEMA))
    for batch in read_rows(source or sys.stdin.buffer):
        rows = [dict(zip(batch, values)) for values in zip(*batch.values())]
        decided = [(row["row"], decide(row)) for row in rows if row["status"] == "ok"]
        sink.write(decisions(decided))
    sink.write(END)
    sink.flush()


def read_rows(file):
    """Record batches as dicts of columns: whole numbers, texts, bytes, and vectors as tuples of float."""
    fields = []
    while True:
        mark, size = struct.unpack("<iI", read(file, 8))
        if size == 0:
            return
        header = Table.root(read(file, size))
        body = read(file, header.int64(3))
        if header.byte(1) == 1:
            fields = header.table(2).tables(1)
        elif header.byte(1) == 3:
            yield dict(columns(header.table(2), body, fields))


def columns(batch, body, fields):
    n = batch.int64(0)
    spans = iter(struct.unpack_from("<qq", batch.bytes, at) for at in batch.structs(2, 16))

    def take():
        offset, length = next(spans)
        return body[offset : offset + length]

    for field in fields:
        bits, kind, of = take(), field.byte(2), field.table(3)
        if kind in (4, 5):  # binary, text
            ends, data = struct.unpack_from(f"<{n + 1}i", take()), take()
            values = [bytes(data[ends[i] : ends[i + 1]]) for i in range(n)]
            values = [value.decode() for value in values] if kind == 5 else values
        elif kind == 16:  # a vector of float32: a list of fixed length over a column of its own
            take()
            d = struct.unpack_from("<i", of.bytes, of.slot(0))[0]
            flat = struct.unpack_from(f"<{n * d}f", take())
            values = [flat[i * d : (i + 1) * d] for i in range(n)]
        else:  # uint32, uint64
            width = struct.unpack_from("<i", of.bytes, of.slot(0))[0]
            values = list(struct.unpack_from(f"<{n}{'I' if width == 32 else 'Q'}", take()))
        yield field.text(0), values if len(bits) == 0 else [value if bits[i >> 3] >> (i & 7) & 1 else None for i, value in enumerate(values)]


def decisions(decided):
    """One record batch: row uint64, keep bool, reason text."""
    n = len(decided)
    texts = [(reason or "").encode() for _, reason in decided]
    ends = [0]
    for text in texts:
        ends.append(ends[-1] + len(text))
    buffers = [b"", struct.pack(f"<{n}Q", *(row for row, _ in decided)), b"", bits([reason is None for _, reason in decided]), b"", struct.pack(f"<{n + 1}i", *ends), b"".join(texts)]
    body, spans = b"", []
    for one in buffers:
        spans.append(struct.pack("<qq", len(body), len(one)))
        body += one + bytes(-len(one) % 8)
    nodes = [struct.pack("<qq", n, 0)] * 3
    return message(3, [(0, "<q", n), (1, "structs", nodes), (2, "structs", spans)], body)


def bits(flags):
    packed = bytearray((len(flags) + 7) // 8)
    for i, flag in enumerate(flags):
        packed[i >> 3] |= flag << (i & 7)
    return bytes(packed)


def message(kind, header, body=b""):
    """An Arrow message: mark, length, flatbuffer header, body."""
    flat = flatbuffer([(0, "<h", 4), (1, "<B", kind), (2, "table", header), (3, "<q", len(body))])
    return struct.pack("<iI", -1, len(flat)) + flat + body


END = struct.pack("<iI", -1, 0)


def flatbuffer(fields):
    """Tables are lists of (field, kind, value); everything lies in cells of eight bytes, parents before children."""
    data = bytearray(8)
    struct.pack_into("<I", data, 0, put_table(data, fields))
    return bytes(data) + bytes(-len(data) % 8)


def put_table(data, fields):
    slots = max((field for field, _, _ in fields), default=-1) + 1
    vtable = len(data)
    data += bytes(4 + 2 * slots)
    data += bytes(-len(data) % 8)
    at = len(data)
    data += bytes(8 + 8 * len(fields))
    struct.pack_into("<HH", data, vtable, 4 + 2 * slots, 8 + 8 * len(fields))
    struct.pack_into("<i", data, at, at - vtable)
    for cell, (field, kind, value) in enumerate(fields):
        place = at + 8 + 8 * cell
        struct.pack_into("<H", data, vtable + 4 + 2 * field, place - at)
        if kind in PUT:
            struct.pack_into("<I", data, place, PUT[kind](data, value) - place)
        else:
            struct.pack_into(kind, data, place, value)
    return at


def put_text(data, value):
    encoded = value.encode() + b"\0"
    data += bytes(-len(data) % 4)
    at = len(data)
    data += struct.pack("<I", len(encoded) - 1) + encoded
    data += bytes(-len(data) % 8)
    return at


def put_structs(data, structs):
    data += bytes(-(len(data) + 4) % 8)
    at = len(data)
    data += struct.pack("<I", len(structs)) + b"".join(structs)
    return at


def put_tables(data, tables):
    data += bytes(-len(data) % 8)
    at = len(data)
    data += struct.pack("<I", len(tables)) + bytes(4 * len(tables))
    data += bytes(-len(data) % 8)
    for i, fields in enumerate(tables):
        place = at + 4 + 4 * i
        struct.pack_into("<I", data, place, put_table(data, fields) - place)
    return at


PUT = {"table": put_table, "text": put_text, "structs": put_structs, "tables": put_tables}


def column(name, kind, of):
    return [(0, "text", name), (1, "<B", 1), (2, "<B", kind), (3, "table", of), (5, "tables", [])]


SCHEMA = [(1, "tables", [column("row", 2, [(0, "<i", 64), (1, "<B", 0)]), column("keep", 6, []), column("reason", 5, [])])]


if __name__ == "__main__":
    wanted = sys.argv[1:]
    run(lambda row: next((f"its uri contains {word}" for word in wanted if word in row["uri"]), None))
