/* The memory of emptied bytearrays, kept for the next one to be filled.
 *
 * A stream's buffer is filled and emptied for each message. CPython gives its memory back
 * each time, and so does this: a connection that waits holds none. But it goes to the
 * next buffer to be filled instead of to the allocator, which makes of it and of the
 * piece of a byte that bytearray keeps four of its calls a message. */
#ifndef CL_PY_SPARES_H
#define CL_PY_SPARES_H

#include "compat.h"

#define CL_SPARES_MAX 128

typedef struct Spares {
    PyObject *arrays[CL_SPARES_MAX]; /* bytearrays; the first `count` have memory */
    int count;
    size_t bytes; /* how much these have */
} Spares;

/* array += data, array being an exact bytearray. 0, or -1 with BufferError or
 * MemoryError. */
int spares_append(Spares *spares, PyObject *array, const char *data, size_t size);

/* del array[:size], 0 <= size <= its length. As above. */
int spares_drop(Spares *spares, PyObject *array, Py_ssize_t size);

void spares_clear(Spares *spares);

#endif
