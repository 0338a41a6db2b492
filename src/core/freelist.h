/* Dead objects kept for reuse, one list per type in each Loop (GIL builds only).
 *
 * An object on a list is untracked, its own fields are cleared, its type reference and
 * the zeroed part of its base are still in place. */
#ifndef CL_CORE_FREELIST_H
#define CL_CORE_FREELIST_H

#include "../py/compat.h"

#include <limits.h>
#include <stdbool.h>

/* Enough for the ten thousand handles of a large turn; an idle loop gives back all but
 * CL_FREELIST_IDLE of them, CL_FREELIST_TRIM at each blocking wait. */
#define CL_FREELIST_MAX 16384
#define CL_FREELIST_IDLE 1024
#define CL_FREELIST_TRIM 64

typedef struct FreeList {
    int count;
    PyObject *first; /* chained through the word behind the object's header */
} FreeList;

static inline PyObject **
freelist_next(PyObject *op)
{
    return (PyObject **)(op + 1);
}

/* New ref: a revived object, not yet tracked; NULL (no exception) when empty. */
static inline PyObject *
freelist_take(FreeList *list)
{
    PyObject *op = list->first;
    if (!CL_FREELIST || op == NULL) {
        return NULL;
    }
    list->first = *freelist_next(op);
    *freelist_next(op) = NULL;
    list->count--;
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
    *freelist_next(op) = list->first;
    list->first = op;
    list->count++;
    return true;
}

/* Frees at most `most` objects, but leaves `keep`. */
static inline void
freelist_trim(FreeList *list, int keep, int most)
{
    PyObject *op;
    while (list->count > keep && most-- > 0 && (op = list->first) != NULL) {
        PyTypeObject *type = Py_TYPE(op);
        list->first = *freelist_next(op);
        *freelist_next(op) = NULL;
        list->count--;
        PyObject_GC_Del(op);
        Py_DECREF(type);
    }
}

/* Frees what the list holds. */
static inline void
freelist_clear(FreeList *list)
{
    freelist_trim(list, 0, INT_MAX);
}

#endif
