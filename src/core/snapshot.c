/* Snapshots: one copy of the current context for all the timers made in it.
 *
 * Most timers are time-outs that never fire, so a copy for each is a waste, of which the
 * cyclic collector's share is the largest: it visits every context there is. A timer
 * holds the loop's snapshot instead and makes its own copy of that when it fires or when
 * somebody asks for its context (handle_own_context), so that nobody can tell.
 *
 * Called by handle.c on the loop's thread. Not on free-threaded builds, where a handle
 * may die on any thread.
 *
 * Invariants: a snapshot is never entered and never shown to Python; the variables of a
 * context are an immutable mapping, so two contexts with the same mapping are equal, and
 * whoever sets a variable has another mapping from then on; the loop holds its snapshot
 * exactly as long as a handle does (snapshot_users), so that it keeps no value alive. */
#include "handle.h"

/* visitproc: the mapping is what a context refers to beside the context before it. */
static int
note_variables(PyObject *op, void *found)
{
    if (!PyContext_CheckExact(op)) {
        *(PyObject **)found = op;
    }
    return 0;
}

/* Borrowed: the mapping of a context, for comparing only; NULL when there is none. */
static PyObject *
variables_of(PyObject *context)
{
    PyObject *found = NULL;
    (void)Py_TYPE(context)->tp_traverse(context, note_variables, &found);
    return found;
}

int
handle_borrow_context(Handle *handle)
{
    Loop *loop = handle->native;
    PyObject *current = CL_FASTPATH && CL_FREELIST ? compat_current_context() : NULL;
    PyObject *variables = current != NULL ? variables_of(current) : NULL;
    if (variables == NULL) {
        handle->context = PyContext_CopyCurrent();
        return handle->context != NULL ? 0 : -1;
    }
    if (loop->snapshot == NULL || variables_of(loop->snapshot) != variables) {
        PyObject *snapshot = PyContext_CopyCurrent();
        if (snapshot == NULL) {
            return -1;
        }
        Py_XSETREF(loop->snapshot, snapshot);
        loop->snapshot_users = 0;
    }
    loop->snapshot_users++;
    handle->context = Py_NewRef(loop->snapshot);
    handle->borrows_context = true;
    return 0;
}

void
handle_return_context(Handle *handle, PyObject *own)
{
    Loop *loop = handle->native;
    PyObject *context = handle->context;
    handle->context = own;
    handle->borrows_context = false;
    if (context == loop->snapshot && --loop->snapshot_users == 0) {
        loop->snapshot = NULL;
        Py_DECREF(context);
    }
    Py_DECREF(context);
}

int
handle_own_context(Handle *handle)
{
    PyObject *snapshot = Py_NewRef(handle->context);
    PyObject *own = PyContext_Copy(snapshot);
    Py_DECREF(snapshot);
    if (own == NULL) {
        return -1;
    }
    if (CL_LIKELY(handle->borrows_context)) {
        handle_return_context(handle, own);
    }
    else {
        Py_DECREF(own); /* the collector's callbacks have asked for it meanwhile */
    }
    return 0;
}
