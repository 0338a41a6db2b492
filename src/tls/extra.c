/* What a TLS connection tells of itself: get_extra_info (see tls.h). Called from Python, on
 * the loop's thread. */
#include "../py/args.h"
#include "tls.h"

/* New ref, or NULL, without an exception when there is no such name here. */
static PyObject *
find_extra(Tls *tls, PyObject *name)
{
    static const char *const methods[] = {"peercert", "cipher", "compression"};
    if (tls->extra != NULL) {
        PyObject *value = PyDict_GetItemWithError(tls->extra, name);
        if (value != NULL || PyErr_Occurred()) {
            return Py_XNewRef(value);
        }
    }
    if (!PyUnicode_Check(name)) {
        return NULL;
    }
    if (PyUnicode_CompareWithASCIIString(name, "sslcontext") == 0) {
        return Py_XNewRef(tls->context);
    }
    if (!tls->established || tls->sslobj == NULL) {
        return NULL;
    }
    if (PyUnicode_CompareWithASCIIString(name, "ssl_object") == 0) {
        return Py_NewRef(tls->sslobj);
    }
    for (size_t i = 0; i < CL_COUNT_OF(methods); i++) {
        if (PyUnicode_CompareWithASCIIString(name, methods[i]) != 0) {
            continue;
        }
        PyObject *value =
            PyObject_CallMethod(tls->sslobj, i == 0 ? "getpeercert" : methods[i], NULL);
        if (value == NULL) {
            return NULL;
        }
        if (tls->extra == NULL) {
            tls->extra = PyDict_New();
        }
        if (tls->extra == NULL || PyDict_SetItem(tls->extra, name, value) < 0) {
            Py_CLEAR(value);
        }
        return value;
    }
    return NULL;
}

const char SSLTransport_get_extra_info_doc[] =
    "get_extra_info($self, /, name, default=None)\n--\n\n"
    "What is known about the transport under a name: 'ssl_object', 'peercert',\n"
    "'cipher', 'compression', 'sslcontext', or what the transport below knows;\n"
    "default when nothing is. See the asyncio documentation, section \"Base\n"
    "Transport\".";

PyObject *
SSLTransport_get_extra_info(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    static const char *const names[] = {"name", "default", NULL};
    static const ArgSpec spec = {
        "_SSLProtocolTransport.get_extra_info", names, 2, 1, false, false};
    PyObject *values[2];
    Tls *tls = tls_of(self);
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    PyObject *found = find_extra(tls, values[0]);
    if (found != NULL || PyErr_Occurred()) {
        return found;
    }
    PyObject *fallback = values[1] != NULL ? values[1] : Py_None;
    if (tls->lower == NULL) {
        return Py_NewRef(fallback);
    }
    PyObject *stack[3] = {tls->lower, values[0], fallback};
    return PyObject_VectorcallMethod(tls->state->str_get_extra_info, stack, 3, NULL);
}

PyObject *
SSLTransport_get__extra(PyObject *self, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"sslcontext", "peercert", "cipher",
                                        "compression", "ssl_object"};
    PyObject *extra = PyDict_New();
    for (size_t i = 0; extra != NULL && i < CL_COUNT_OF(names); i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        PyObject *value = name == NULL ? NULL : find_extra(tls_of(self), name);
        if ((value == NULL && PyErr_Occurred())
            || (value != NULL && PyDict_SetItem(extra, name, value) < 0)) {
            Py_CLEAR(extra);
        }
        Py_XDECREF(value);
        Py_XDECREF(name);
    }
    return extra;
}
