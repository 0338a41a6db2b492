/* Filling and emptying bytearrays (see spares.h). Called by the streams, with the GIL;
 * nothing here runs Python code.
 *
 * Invariants: arrays[i] with i < count is empty and has at most CL_SPARE_BYTES of memory;
 * of those behind, some are NULL and the others have none. */
#include "spares.h"

#include <stdbool.h>
#include <string.h>

#include "../os/platform.h"

/* A larger one goes back to the allocator. */
#define CL_SPARE_BYTES (16 * 1024)
#define CL_SPARES_BYTES ((size_t)1024 * 1024)

#if CL_BYTEARRAY_LAYOUT_KNOWN

/* Gives the memory of one array to the other and the other way round. */
static void
swap_memory(PyByteArrayObject *left, PyByteArrayObject *right)
{
    char *bytes = left->ob_bytes;
    Py_ssize_t alloc = left->ob_alloc;
    left->ob_bytes = left->ob_start = right->ob_bytes;
    left->ob_alloc = right->ob_alloc;
    right->ob_bytes = right->ob_start = bytes;
    right->ob_alloc = alloc;
}

static void
set_size(PyByteArrayObject *array, Py_ssize_t size)
{
    Py_SET_SIZE(array, size);
    array->ob_start[size] = '\0';
}

/* Takes the memory of an array out of which the last byte has gone. False: it is to be
 * given back otherwise. */
static bool
take_memory(Spares *spares, PyByteArrayObject *array)
{
    size_t size = (size_t)array->ob_alloc;
    if (!CL_FREELIST || array->ob_exports != 0 || size == 0 || size > CL_SPARE_BYTES
        || spares->count == CL_SPARES_MAX || spares->bytes + size > CL_SPARES_BYTES) {
        return false;
    }
    PyObject **place = &spares->arrays[spares->count];
    if (*place == NULL) {
        *place = PyByteArray_FromStringAndSize(NULL, 0);
        if (*place == NULL) {
            PyErr_Clear();
            return false;
        }
    }
    Py_SET_SIZE(array, 0);
    swap_memory(array, (PyByteArrayObject *)*place);
    spares->count++;
    spares->bytes += size;
    return true;
}

/* Gives an empty array memory for size bytes, which are its length then. False: there is
 * none of that size. */
static bool
give_memory(Spares *spares, PyByteArrayObject *array, Py_ssize_t size)
{
    if (spares->count == 0 || array->ob_exports != 0) {
        return false;
    }
    PyObject **place = &spares->arrays[spares->count - 1];
    PyByteArrayObject *spare = (PyByteArrayObject *)*place;
    spares->count--;
    spares->bytes -= (size_t)spare->ob_alloc;
    if (spare->ob_alloc <= size) { /* messages have become longer */
        Py_CLEAR(*place);
        return false;
    }
    swap_memory(array, spare);
    /* What the array had of its own: a byte or so of an emptied one. */
    if (spare->ob_alloc != 0) {
        Py_CLEAR(*place);
    }
    set_size(array, size);
    return true;
}

int
spares_append(Spares *spares, PyObject *array, const char *data, size_t size)
{
    Py_ssize_t had = PyByteArray_GET_SIZE(array);
    if ((had != 0 || !give_memory(spares, (PyByteArrayObject *)array, (Py_ssize_t)size))
        && PyByteArray_Resize(array, had + (Py_ssize_t)size) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(array) + had, data, size);
    return 0;
}

int
spares_drop(Spares *spares, PyObject *op, Py_ssize_t size)
{
    PyByteArrayObject *array = (PyByteArrayObject *)op;
    Py_ssize_t left = Py_SIZE(array) - size;
    if (left == 0) {
        return take_memory(spares, array) ? 0 : PyByteArray_Resize(op, 0);
    }
    if (array->ob_exports != 0) {
        return PySequence_DelSlice(op, 0, size);
    }
    array->ob_start += size; /* as the type itself does */
    if (left >= array->ob_alloc / 4) {
        Py_SET_SIZE(array, left);
        return 0;
    }
    int rc = PyByteArray_Resize(op, left);
    if (rc < 0) {
        array->ob_start -= size;
    }
    return rc;
}

#else

int
spares_append(Spares *Py_UNUSED(spares), PyObject *array, const char *data, size_t size)
{
    Py_ssize_t had = PyByteArray_GET_SIZE(array);
    if (PyByteArray_Resize(array, had + (Py_ssize_t)size) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(array) + had, data, size);
    return 0;
}

int
spares_drop(Spares *Py_UNUSED(spares), PyObject *array, Py_ssize_t size)
{
    return PyByteArray_GET_SIZE(array) == size ? PyByteArray_Resize(array, 0)
                                               : PySequence_DelSlice(array, 0, size);
}

#endif

void
spares_clear(Spares *spares)
{
    spares->count = 0;
    spares->bytes = 0;
    for (int i = 0; i < CL_SPARES_MAX; i++) {
        Py_CLEAR(spares->arrays[i]);
    }
}
