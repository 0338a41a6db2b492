/* What Python sees of the ring and the heap: loop._ready and loop._scheduled, made anew
 * at each look. Entries that have no Handle get one for the occasion. */

#include "handle.h"
#include "loop.h"
#include "task.h"

/* New ref: a Handle that stands for the entry. */
static PyObject *
loop_entry_handle(Loop *loop, const RingEntry *entry)
{
    PyObject *subject = entry->subject;
    if (loop_entry_is_handle(entry)) {
        return Py_NewRef(subject);
    }
    PyObject *callback = entry->run == task_run_step || entry->run == task_run_wakeup
                             ? task_wakeup_callable(subject)
                             : Py_NewRef(subject);
    if (callback == NULL) {
        return NULL;
    }
    PyObject *arg = entry->arg;
    PyObject *handle = handle_new(loop, callback, &arg, arg != NULL, NULL);
    Py_DECREF(callback);
    return handle;
}

PyObject *
loop_list_ready(Loop *loop)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < loop->ready.count; i++) {
        RingEntry entry = *ring_at(&loop->ready, i);
        PyObject *handle = loop_entry_handle(loop, &entry);
        if (handle == NULL || PyList_Append(list, handle) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(handle);
    }
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

PyObject *
loop_list_scheduled(Loop *loop)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < loop->timers.count; i++) {
        HeapNode *node = loop->timers.slots[i].node;
        TimerHandle *timer = CL_CONTAINER_OF(node, TimerHandle, node);
        if (PyList_Append(list, HANDLE_OBJECT(timer)) < 0) {
            Py_CLEAR(list);
        }
    }
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}
