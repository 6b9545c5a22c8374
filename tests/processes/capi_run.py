"""Runs a SavedModel through TensorFlow's C API, with neither our code nor TensorFlow's Python.

Run apart: `python -I tests/capi_run.py LIBRARY MODEL` reads requests as JSON from standard input,
[[signature, {input: lists of strings, or a number}], ...], and prints the answers in that form.
This is how a server in another language loads a model: a session, and tensors by name.
"""

import ctypes
import json
import os
import struct
import sys

STRING, INT32, FLOAT, BOOL = 7, 3, 1, 10  # of types.proto
TSTRING_BYTES = 24  # of tensorflow/c/tf_tstring.h
P, N = ctypes.c_void_p, ctypes.c_size_t


class Buffer(ctypes.Structure):
    _fields_ = (("data", P), ("length", N), ("deallocator", P))


class Output(ctypes.Structure):
    _fields_ = (("operation", P), ("index", ctypes.c_int))


def fields(data):
    """(field number, value) of a protobuf message: bytes where length-delimited, else a number."""
    place = 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        yield key >> 3, data[place : place + size]
        place += size


def values(data, number):
    return [value for found, value in fields(data) if found == number]


def by_name(data, number):
    """A map<string, message> of a message."""
    return {values(e, 1)[0].decode(): values(e, 2)[0] for e in values(data, number)}


class Model:
    def __init__(self, library, path):
        self.c = ctypes.CDLL(library)
        pointers = "TF_NewStatus TF_NewGraph TF_NewSessionOptions TF_NewBuffer TF_AllocateTensor "
        pointers += "TF_LoadSessionFromSavedModel TF_TensorData TF_GraphOperationByName "
        pointers += "TF_StringGetDataPointer"
        for name in pointers.split():
            getattr(self.c, name).restype = P
        self.c.TF_Message.restype = ctypes.c_char_p
        self.c.TF_Message.argtypes = self.c.TF_GetCode.argtypes = [P]
        self.c.TF_Dim.restype = ctypes.c_int64
        self.c.TF_StringGetSize.restype = N
        self.status = P(self.c.TF_NewStatus())
        self.graph, meta = P(self.c.TF_NewGraph()), P(self.c.TF_NewBuffer())
        tags = (ctypes.c_char_p * 1)(b"serve")
        options = P(self.c.TF_NewSessionOptions())
        self.session = P(
            self.c.TF_LoadSessionFromSavedModel(
                options, None, path.encode(), tags, 1, self.graph, meta, self.status
            )
        )
        self.check()
        buffer = ctypes.cast(meta, ctypes.POINTER(Buffer)).contents
        # MetaGraphDef.signature_def; its inputs are field 1, its outputs field 2.
        self.signatures = by_name(ctypes.string_at(buffer.data, buffer.length), 5)

    def check(self):
        if self.c.TF_GetCode(self.status):
            raise RuntimeError(self.c.TF_Message(self.status).decode())

    def output(self, info):
        """A tensor's place in the graph, of a TensorInfo: its name is `operation:index`."""
        operation, _, index = values(info, 1)[0].decode().partition(":")
        found = P(self.c.TF_GraphOperationByName(self.graph, operation.encode()))
        assert found.value, operation
        return Output(found, int(index))

    def tensor(self, value):
        if isinstance(value, int):
            tensor = P(self.c.TF_AllocateTensor(INT32, None, 0, N(4)))
            ctypes.memmove(P(self.c.TF_TensorData(tensor)), struct.pack("<i", value), 4)
            return tensor
        is_flat = isinstance(value[0], str)
        texts = value if is_flat else [text for row in value for text in row]
        sizes = [len(value)] if is_flat else [len(value), len(value[0])]
        dims = (ctypes.c_int64 * len(sizes))(*sizes)
        size = N(TSTRING_BYTES * len(texts))
        tensor = P(self.c.TF_AllocateTensor(STRING, dims, len(sizes), size))
        start = self.c.TF_TensorData(tensor)
        for place, text in enumerate(texts):
            string, data = P(start + place * TSTRING_BYTES), text.encode()
            self.c.TF_StringInit(string)
            self.c.TF_StringCopy(string, data, N(len(data)))
        return tensor

    def lists(self, tensor):
        start = self.c.TF_TensorData(tensor)
        if self.c.TF_TensorType(tensor) == BOOL:
            return [bool(byte) for byte in ctypes.string_at(start, self.c.TF_Dim(tensor, 0))]
        rows, columns = (self.c.TF_Dim(tensor, axis) for axis in (0, 1))
        count = rows * columns
        if self.c.TF_TensorType(tensor) == FLOAT:
            flat = list(struct.unpack(f"<{count}f", ctypes.string_at(start, 4 * count)))
        else:
            strings = [P(start + place * TSTRING_BYTES) for place in range(count)]
            flat = [
                ctypes.string_at(
                    self.c.TF_StringGetDataPointer(s), self.c.TF_StringGetSize(s)
                ).decode()
                for s in strings
            ]
        return [flat[row * columns : (row + 1) * columns] for row in range(rows)]

    def run(self, name, inputs):
        signature = self.signatures[name]
        takes, gives = by_name(signature, 1), by_name(signature, 2)
        assert takes.keys() == inputs.keys()
        places = (Output * len(inputs))(*(self.output(takes[key]) for key in inputs))
        tensors = (P * len(inputs))(*(self.tensor(value).value for value in inputs.values()))
        wanted = (Output * len(gives))(*map(self.output, gives.values()))
        got = (P * len(gives))()
        self.c.TF_SessionRun(
            self.session,
            None,
            *(places, tensors, len(inputs)),
            *(wanted, got, len(gives)),
            *(None, 0, None, self.status),
        )
        self.check()
        return {key: self.lists(P(tensor)) for key, tensor in zip(gives, got, strict=True)}


def main():
    model = Model(*sys.argv[1:])
    answers = [model.run(*request) for request in json.load(sys.stdin)]
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & {"tensorflow", "keras", "numpy", "ufnrec_tf"}
    print(json.dumps(answers), flush=True)
    os._exit(0)  # the library's own end is not what is tried


if __name__ == "__main__":
    main()
