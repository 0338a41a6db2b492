/* The queue of outgoing bytes (see outq.h). Called by the transports of byte streams, on
 * the loop's thread, with the GIL held.
 *
 * Invariants: `bytes` is the sum of the pieces' sizes, each of which is > 0; `room` != 0
 * only while the last piece is a slab. A slab is a bytes object with one reference that
 * nobody else has seen, so that it may be written to. */
#include "outq.h"

#include <string.h>

/* Up to this size copying costs less than a piece of its own. */
#define CL_SMALL_PIECE 512
/* With the header of a bytes object and malloc's own words: 4 and 16 KiB. */
#define CL_SLAB_FIRST (4096 - 64)
#define CL_SLAB_NEXT (16384 - 64)
#define CL_PIECES_FIRST 4

static OutPiece *
piece_at(const OutQueue *queue, uint32_t i)
{
    return &queue->pieces[(queue->head + i) & (queue->capacity - 1)];
}

static int
make_room(OutQueue *queue)
{
    uint32_t capacity = queue->capacity > 0 ? queue->capacity * 2 : CL_PIECES_FIRST;
    OutPiece *pieces =
        capacity > queue->capacity ? PyMem_Malloc(capacity * sizeof(OutPiece)) : NULL;
    if (pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < queue->count; i++) {
        pieces[i] = *piece_at(queue, i);
    }
    PyMem_Free(queue->pieces);
    queue->pieces = pieces;
    queue->capacity = capacity;
    queue->head = 0;
    return 0;
}

/* Lets go of a piece, the memory of which stays as it is unless it is secret. */
static void
drop_piece(const OutQueue *queue, const OutPiece *piece)
{
    if (queue->secret && piece->copied) {
        char *slab = PyBytes_AS_STRING(piece->owner);
        memset(slab, 0, (size_t)(piece->data + piece->size - slab));
        /* The compiler must not know that nobody reads it any more. */
        __asm__ volatile("" : : "r"(slab) : "memory");
    }
    Py_DECREF(piece->owner);
}

/* Steals owner, on failure too. */
static int
append_piece(OutQueue *queue, PyObject *owner, const char *data, size_t size,
             bool copied)
{
    if (queue->count == queue->capacity && make_room(queue) < 0) {
        Py_DECREF(owner);
        return -1;
    }
    queue->count++;
    *piece_at(queue, queue->count - 1) = (OutPiece){owner, data, size, copied};
    queue->bytes += size;
    queue->room = 0;
    return 0;
}

int
outq_append_copy(OutQueue *queue, const char *data, size_t size)
{
    if (queue->room >= size) {
        OutPiece *last = piece_at(queue, queue->count - 1);
        memcpy((char *)last->data + last->size, data, size);
        last->size += size;
        queue->room -= (uint32_t)size;
        queue->bytes += size;
        return 0;
    }
    size_t capacity = size;
    if (size <= CL_SMALL_PIECE) {
        capacity = queue->count == 0 ? CL_SLAB_FIRST : CL_SLAB_NEXT;
    }
    PyObject *slab = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)capacity);
    if (slab == NULL) {
        return -1;
    }
    memcpy(PyBytes_AS_STRING(slab), data, size);
    if (append_piece(queue, slab, PyBytes_AS_STRING(slab), size, true) < 0) {
        return -1;
    }
    queue->room = (uint32_t)(capacity - size);
    return 0;
}

int
outq_append(OutQueue *queue, PyObject *owner, const Py_buffer *view, size_t skip)
{
    const char *data = (const char *)view->buf + skip;
    size_t size = (size_t)view->len - skip;
    if (size <= CL_SMALL_PIECE || !PyBytes_CheckExact(owner)) {
        return outq_append_copy(queue, data, size);
    }
    return append_piece(queue, Py_NewRef(owner), data, size, false);
}

int
outq_fill(const OutQueue *queue, struct iovec *vector, int max)
{
    int count = queue->count < (uint32_t)max ? (int)queue->count : max;
    for (int i = 0; i < count; i++) {
        const OutPiece *piece = piece_at(queue, (uint32_t)i);
        vector[i].iov_base = (char *)piece->data;
        vector[i].iov_len = piece->size;
    }
    return count;
}

void
outq_consume(OutQueue *queue, size_t size)
{
    queue->bytes -= size;
    while (size > 0) {
        OutPiece *piece = piece_at(queue, 0);
        if (piece->size > size) {
            piece->data += size;
            piece->size -= size;
            return;
        }
        size -= piece->size;
        drop_piece(queue, piece);
        queue->head = (queue->head + 1) & (queue->capacity - 1);
        queue->count--;
    }
    if (queue->count == 0) {
        outq_clear(queue);
    }
}

void
outq_clear(OutQueue *queue)
{
    for (uint32_t i = 0; i < queue->count; i++) {
        drop_piece(queue, piece_at(queue, i));
    }
    PyMem_Free(queue->pieces);
    bool secret = queue->secret;
    outq_init(queue);
    queue->secret = secret;
}
