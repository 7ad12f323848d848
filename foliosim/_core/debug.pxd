# cython: language_level=3
"""Internal assertions: compiled in with FOLIOSIM_DEBUG=1, else nothing."""

cdef extern from *:
    """
    #if FOLIOSIM_DEBUG
    #include <stdio.h>
    #include <stdlib.h>
    #define FS_DEBUG 1
    #define BUG_ON(condition) do { if (condition) { \\
        fprintf(stderr, "foliosim: BUG at %s:%d: %s\\n", __FILE__, __LINE__, #condition); abort(); } } while (0)
    #else
    #define FS_DEBUG 0
    #define BUG_ON(condition) ((void)0)
    #endif
    """
    enum:
        FS_DEBUG
    void BUG_ON(bint condition) noexcept nogil
