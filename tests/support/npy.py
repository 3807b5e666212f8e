"""The bytes of .npy files without NumPy, for tests."""
import array, struct


def npy(code, shape, values):
    head = "{'descr': '<%s', 'fortran_order': False, 'shape': %s, }" % (code, tuple(shape))
    head += ' ' * (63 - (10 + len(head)) % 64) + '\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode() + \
        array.array({'f4': 'f', 'f8': 'd', 'i8': 'q'}[code], values).tobytes()


def write(name, data):
    with open(name, 'wb') as file:
        file.write(data)
