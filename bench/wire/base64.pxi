# Base64 (RFC 4648 §4) in C, for the compiled modules that include this.

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memset

cdef const char *ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
cdef unsigned char VALUES[256]
"""The values of the characters. The highest bit marks other characters."""
memset(VALUES, 0x80, sizeof(VALUES))
cdef int each
for each in range(64):
    VALUES[<unsigned char>ALPHABET[each]] = each


cdef bytes decoded(const unsigned char *text, Py_ssize_t size, Py_ssize_t count):
    """Return the `count` bytes of a base64 text without escapes; None if it is not base64."""
    cdef bytes data = PyBytes_FromStringAndSize(NULL, count)
    cdef unsigned char *into = <unsigned char *><char *>data
    cdef unsigned int group, odd = 0
    cdef unsigned char fourth, third
    cdef Py_ssize_t at, place = 0
    for at in range(0, size - 4, 4):
        odd |= VALUES[text[at]] | VALUES[text[at + 1]] | VALUES[text[at + 2]] | VALUES[text[at + 3]]
        group = (
            <unsigned int>VALUES[text[at]] << 18 | <unsigned int>VALUES[text[at + 1]] << 12
            | <unsigned int>VALUES[text[at + 2]] << 6 | VALUES[text[at + 3]]
        )
        into[place], into[place + 1], into[place + 2] = group >> 16, group >> 8 & 0xFF, group & 0xFF
        place += 3
    at = size - 4
    third = 0 if count - place == 1 else VALUES[text[at + 2]]
    fourth = 0 if count - place < 3 else VALUES[text[at + 3]]
    odd |= VALUES[text[at]] | VALUES[text[at + 1]] | third | fourth
    group = <unsigned int>VALUES[text[at]] << 18 | <unsigned int>VALUES[text[at + 1]] << 12
    group |= <unsigned int>third << 6 | fourth
    into[place] = group >> 16
    if count - place > 1:
        into[place + 1] = group >> 8 & 0xFF
    if count - place > 2:
        into[place + 2] = group & 0xFF
    return None if odd & 0x80 else data
