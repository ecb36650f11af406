# Base64 (RFC 4648 §4) in C, for the compiled modules that include this.

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy

cdef const char *ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
cdef unsigned int PARTS[4][256]
"""The part of each character in a group, by its place in the group. In memory, its first three
bytes are those of the audio, and the fourth one marks characters that are not of base64."""


cdef void fill_parts() noexcept:
    cdef unsigned char *part
    cdef unsigned int group
    cdef int place, character, value
    for place in range(4):
        for character in range(256):
            part = <unsigned char *>&PARTS[place][character]
            part[0], part[1], part[2], part[3] = 0, 0, 0, 1
        for value in range(64):
            part = <unsigned char *>&PARTS[place][<unsigned char>ALPHABET[value]]
            group = <unsigned int>value << (18 - 6 * place)
            part[0], part[1], part[2], part[3] = group >> 16, group >> 8 & 0xFF, group & 0xFF, 0


fill_parts()


cdef bytes decoded(const unsigned char *text, Py_ssize_t size, Py_ssize_t count):
    """Return the `count` bytes of a base64 text without escapes; None if it is not base64."""
    cdef bytes data = PyBytes_FromStringAndSize(NULL, count)
    cdef unsigned char *into = <unsigned char *><char *>data
    cdef unsigned int group, all_groups = 0
    cdef unsigned char fourth, third
    cdef Py_ssize_t at, place = 0
    for at in range(0, size - 4, 4):
        group = PARTS[0][text[at]] | PARTS[1][text[at + 1]]
        group |= PARTS[2][text[at + 2]] | PARTS[3][text[at + 3]]
        all_groups |= group
        memcpy(into + place, &group, 4)  # the next group overwrites the fourth byte
        place += 3
    at = size - 4
    third = c"A" if count - place == 1 else text[at + 2]
    fourth = c"A" if count - place < 3 else text[at + 3]
    group = PARTS[0][text[at]] | PARTS[1][text[at + 1]] | PARTS[2][third] | PARTS[3][fourth]
    all_groups |= group
    memcpy(into + place, &group, count - place)
    return None if (<unsigned char *>&all_groups)[3] else data
