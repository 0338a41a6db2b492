/* Spare: the bytes object in which data came last, for what comes next.
 *
 * Most protocols let go of what data_received gives them before they return: they parse
 * it, or send it on. A message of 1 KiB costs the allocator more instructions then than
 * all of the loop's own work for it, and one of 200 KiB may cost page faults. So the maker
 * of such an object gives it back when the protocol has returned, and if nobody else
 * holds it the next one of about its size is made out of it. An object that somebody
 * has kept is theirs alone. */
#ifndef CL_PY_SPARE_H
#define CL_PY_SPARE_H

#include "compat.h"

#include <stdbool.h>

typedef struct Spare {
    PyObject *bytes;     /* made last; a ref only while `ours`, else not looked at */
    Py_ssize_t capacity; /* for how many bytes it was made */
    bool ours;
} Spare;

/* New ref: bytes of this size, to be filled by the caller; NULL with MemoryError. */
PyObject *spare_make(Spare *spare, Py_ssize_t size);

/* Gives *bytes, just made, a smaller size. 0, or -1 with MemoryError and *bytes NULL. */
int spare_shrink(Spare *spare, PyObject **bytes, Py_ssize_t size);

/* Steals bytes, which are of spare_make and have been shown to others. */
void spare_give_back(Spare *spare, PyObject *bytes);

/* Frees what is kept. */
void spare_clear(Spare *spare);

#endif
