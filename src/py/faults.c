/* The fault table's Python face. Called by tests, from any thread; the table is the
 * process's, not the interpreter's, as the kernel is. */
#include "faults.h"

#ifdef CLOOP_DEBUG

#include "../os/sys.h"

/* The call's number, or -1 with ValueError. */
static int
fault_find(const char *name)
{
    int call = sys_fault_find(name);
    if (call < 0) {
        PyErr_Format(PyExc_ValueError, "no system call %s in the fault table", name);
    }
    return call;
}

PyDoc_STRVAR(
    fault_set_doc,
    "_fault_set($module, name, nth, errno, times=1, /)\n--\n\n"
    "Let the nth use of the system call from now (1: the next) fail with errno.\n\n"
    "The times - 1 uses after it fail as well. An earlier order for the same call is\n"
    "replaced. ValueError for a call that is not in the table or counts below 1.\n"
    "Thread-safe. Debug builds only.");

static PyObject *
module_fault_set(PyObject *module, PyObject *args)
{
    const char *name;
    int nth, error, times = 1;

    CL_UNUSED(module);
    if (!PyArg_ParseTuple(args, "sii|i:_fault_set", &name, &nth, &error, &times)) {
        return NULL;
    }
    int call = fault_find(name);
    if (call < 0) {
        return NULL;
    }
    if (nth < 1 || times < 1 || error < 1
        || sys_fault_set((SysCall)call, (unsigned)nth, (unsigned)times, error) < 0) {
        PyErr_SetString(PyExc_ValueError, "nth, errno and times must be positive");
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    fault_one_byte_doc,
    "_fault_one_byte($module, on, /)\n--\n\n"
    "Read and write byte streams one byte at a time, or no longer.\n\n"
    "Datagrams and event descriptors are left alone. Thread-safe. Debug builds only.");

static PyObject *
module_fault_one_byte(PyObject *module, PyObject *on)
{
    CL_UNUSED(module);
    int truth = PyObject_IsTrue(on);
    if (truth < 0) {
        return NULL;
    }
    sys_fault_one_byte(truth);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fault_clear_doc, "_fault_clear($module, /)\n--\n\n"
                              "Let every system call work again, and count from 0.\n\n"
                              "Thread-safe. Debug builds only.");

static PyObject *
module_fault_clear(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    CL_UNUSED(module);
    sys_fault_clear();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    fault_counts_doc,
    "_fault_counts($module, /)\n--\n\n"
    "A dict from each system call's name to (uses, failures ordered by _fault_set).\n\n"
    "Both are counted since the last _fault_clear. Thread-safe. Debug builds only.");

static PyObject *
module_fault_counts(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    CL_UNUSED(module);
    PyObject *counts = PyDict_New();
    if (counts == NULL) {
        return NULL;
    }
    for (int call = 0; call < CL_SYS_COUNT; call++) {
        PyObject *pair = Py_BuildValue("kk", sys_fault_uses((SysCall)call),
                                       sys_fault_hits((SysCall)call));
        if (pair == NULL
            || PyDict_SetItemString(counts, sys_fault_name((SysCall)call), pair) < 0) {
            Py_XDECREF(pair);
            Py_DECREF(counts);
            return NULL;
        }
        Py_DECREF(pair);
    }
    return counts;
}

static PyMethodDef fault_methods[] = {
    {"_fault_set", module_fault_set, METH_VARARGS, fault_set_doc},
    {"_fault_one_byte", module_fault_one_byte, METH_O, fault_one_byte_doc},
    {"_fault_clear", module_fault_clear, METH_NOARGS, fault_clear_doc},
    {"_fault_counts", module_fault_counts, METH_NOARGS, fault_counts_doc},
    {NULL, NULL, 0, NULL},
};

int
faults_add(PyObject *module)
{
    return PyModule_AddFunctions(module, fault_methods);
}

#else

int
faults_add(PyObject *module)
{
    CL_UNUSED(module);
    return 0;
}

#endif
