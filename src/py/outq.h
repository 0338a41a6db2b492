/* OutQueue: bytes on their way out of a byte stream, in order, that the kernel has not
 * taken yet.
 *
 * Large bytes objects are referenced; all else is copied (the user may change a bytearray
 * after write), small pieces side by side into slabs, so that a hundred small writes leave
 * as one piece. An empty queue holds no memory. No function here runs Python code: the
 * objects referred to are exact bytes. */
#ifndef CL_PY_OUTQ_H
#define CL_PY_OUTQ_H

#include "compat.h"

#include <stdbool.h>
#include <sys/uio.h>

typedef struct OutPiece {
    PyObject *owner; /* exact bytes; a slab is one that only the queue knows */
    const char *data;
    size_t size;
    bool copied; /* the owner is a slab */
} OutPiece;

typedef struct OutQueue {
    OutPiece *pieces;  /* a circle; NULL while empty */
    uint32_t capacity; /* 0 or a power of two */
    uint32_t head;
    uint32_t count;
    uint32_t room; /* bytes free behind the last piece, which is a slab then */
    size_t bytes;  /* the sum of all sizes */
    bool secret;   /* copies are overwritten before their memory is freed */
} OutQueue;

static inline void
outq_init(OutQueue *queue)
{
    memset(queue, 0, sizeof(*queue));
}

static inline bool
outq_is_empty(const OutQueue *queue)
{
    return queue->count == 0;
}

/* Appends data[0..size-1], which is copied. size > 0. 0, or -1 with MemoryError. */
int outq_append_copy(OutQueue *queue, const char *data, size_t size);

/* Appends owner's bytes from `skip` on; some are left. Holds a ref to an exact bytes
 * until they have left (or copies: small or no exact bytes). owner supports
 * PyBUF_SIMPLE and view is its buffer. 0, or -1 with MemoryError. */
int outq_append(OutQueue *queue, PyObject *owner, const Py_buffer *view, size_t skip);

/* Fills at most max entries, in order. How many. */
int outq_fill(const OutQueue *queue, struct iovec *vector, int max);

/* The first `size` bytes have left. size <= bytes. */
void outq_consume(OutQueue *queue, size_t size);

/* Drops everything. */
void outq_clear(OutQueue *queue);

#endif
