# cython: language_level=3
# What other compiled modules use of the fast path.

ctypedef const unsigned char *Text


cdef class Sieve:
    cdef readonly bint due
    cdef public bint wakes
    cdef object consume_wire(
        self,
        Text wire,
        Py_ssize_t size,
        long long at_ns,
        long long empty_ns,
        bint kernel,
        bint complete,
    )
