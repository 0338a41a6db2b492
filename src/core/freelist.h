/* Dead objects kept for reuse, one list per type in each Loop (GIL builds only).
 *
 * An object on a list is untracked, its own fields are cleared, its type reference and
 * the zeroed part of its base are still in place. */
#ifndef CL_CORE_FREELIST_H
#define CL_CORE_FREELIST_H

#include <stdbool.h>

#include "../py/compat.h"

#define CL_FREELIST_MAX 256

typedef struct FreeList {
    int count;
    PyObject *objects[CL_FREELIST_MAX];
} FreeList;

/* New ref: a revived object, not yet tracked; NULL (no exception) when empty. */
static inline PyObject *
freelist_take(FreeList *list)
{
    if (!CL_FREELIST || list->count == 0) {
        return NULL;
    }
    PyObject *op = list->objects[--list->count];
    compat_revive(op);
    return op;
}

/* True when the list has taken the dead, untracked object op. */
static inline bool
freelist_give(FreeList *list, PyObject *op)
{
    if (!CL_FREELIST || list->count == CL_FREELIST_MAX) {
        return false;
    }
    list->objects[list->count++] = op;
    return true;
}

/* Frees what the list holds. */
static inline void
freelist_clear(FreeList *list)
{
    while (list->count > 0) {
        PyObject *op = list->objects[--list->count];
        PyTypeObject *type = Py_TYPE(op);
        PyObject_GC_Del(op);
        Py_DECREF(type);
    }
}

#endif
