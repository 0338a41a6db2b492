/* Functions about child processes (see child.h). Called from cloop/process.py, with the
 * GIL held. */
#include "child.h"

#include "../os/sys.h"
#include "../py/err.h"

PyDoc_STRVAR(
    pidfd_open_doc,
    "_pidfd_open($module, pid, /)\n--\n\n"
    "A descriptor that is readable once the process has ended; None where the\n"
    "kernel has none to give (before 5.3, in a sandbox, no descriptor left).");

static PyObject *
module_pidfd_open(PyObject *Py_UNUSED(module), PyObject *pid)
{
    long number = PyLong_AsLong(pid);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int fd = sys_pidfd_open((pid_t)number);
    return fd < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(fd);
}

PyDoc_STRVAR(
    pidfd_send_signal_doc,
    "_pidfd_send_signal($module, pidfd, signum, /)\n--\n\n"
    "Send the signal to the process. ProcessLookupError once it was waited for;\n"
    "OSError as os.kill().");

static PyObject *
module_pidfd_send_signal(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, signum;
    if (!PyArg_ParseTuple(args, "ii:_pidfd_send_signal", &fd, &signum)) {
        return NULL;
    }
    int rc = sys_pidfd_send_signal(fd, signum);
    if (rc < 0) {
        err_set_errno(rc);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef child_functions[] = {
    {"_pidfd_open", module_pidfd_open, METH_O, pidfd_open_doc},
    {"_pidfd_send_signal", module_pidfd_send_signal, METH_VARARGS,
     pidfd_send_signal_doc},
    {NULL, NULL, 0, NULL},
};
