/* The spare bytes object of a loop (see spare.h). Called with the GIL held, on the loop's
 * thread; runs no Python code.
 *
 * Invariant: `ours` says that `bytes` is alive with one reference, which is ours, so that
 * it may be written to like a new one. */
#include "spare.h"

/* Up to this size the interpreter's own allocator is as fast. */
#define CL_SPARE_FIRST 512
/* The part of a spare object that may stay unused: a program that keeps what it gets may
 * keep so much more. */
#define CL_UNUSED_PART 8

static bool
fits(const Spare *spare, Py_ssize_t size)
{
    return size <= spare->capacity
           && size >= spare->capacity - spare->capacity / CL_UNUSED_PART;
}

PyObject *
spare_make(Spare *spare, Py_ssize_t size)
{
    if (CL_LIKELY(spare->ours && fits(spare, size))) {
        spare->ours = false;
        compat_bytes_renew(spare->bytes, size);
        return spare->bytes;
    }
    if (!spare->ours) {
        spare->bytes = NULL; /* somebody's, or gone: another may get its address */
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (CL_FREELIST && bytes != NULL && size >= CL_SPARE_FIRST) {
        spare_clear(spare);
        spare->bytes = bytes;
        spare->capacity = size;
    }
    return bytes;
}

int
spare_shrink(Spare *spare, PyObject **bytes, Py_ssize_t size)
{
    if (*bytes == spare->bytes && fits(spare, size)) {
        compat_bytes_renew(*bytes, size);
        return 0;
    }
    if (*bytes == spare->bytes) {
        spare->bytes = NULL; /* its capacity goes */
    }
    return _PyBytes_Resize(bytes, size);
}

void
spare_give_back(Spare *spare, PyObject *bytes)
{
    if (CL_LIKELY(CL_FREELIST && Py_REFCNT(bytes) == 1 && bytes == spare->bytes)) {
        spare->ours = true;
        return;
    }
    Py_DECREF(bytes);
}

void
spare_clear(Spare *spare)
{
    if (spare->ours) {
        spare->ours = false;
        Py_DECREF(spare->bytes);
    }
    spare->bytes = NULL;
}
