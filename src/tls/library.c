/* Finding the OpenSSL that Python has loaded, and whether its ssl module's objects look as
 * we expect (see library.h). Called when the first TLS connection of an interpreter is
 * made, with the GIL held.
 *
 * Nothing is loaded and nothing linked: a handle on the shared object of _ssl gives the
 * functions that _ssl itself calls. When there is no such object (built into Python), when
 * a function is missing (before OpenSSL 1.1.1) or when the pointer that should be an SSL *
 * is not one, the reason is said and the portable way taken. */
#include "library.h"

#include "../os/sys.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#ifndef RTLD_NOLOAD
#define RTLD_NOLOAD 0
#endif
#define CL_BIO_TYPE_SOURCE_SINK 0x0400
/* No SSL is smaller than that, in any version. */
#define CL_SSL_LEAST 1024

const TlsLibrary *tls_library;

/* Filled once, before tls_library points at it; by interpreters that may run at the same
 * time, each with a GIL of its own or none. */
static TlsLibrary loaded;
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

/* Fills *library. The name of what is missing, or NULL. */
static const char *
find_functions(void *handle, TlsLibrary *library)
{
    /* A void * is no function pointer to ISO C; POSIX says that it is one. */
#define CL_MEMBER(name, result, arguments)                                             \
    {                                                                                  \
        void *address = dlsym(handle, #name);                                          \
        if (address == NULL) {                                                         \
            return #name;                                                              \
        }                                                                              \
        memcpy(&library->name, &address, sizeof(address));                             \
    }
    CL_TLS_FUNCTIONS(CL_MEMBER)
#undef CL_MEMBER
    return NULL;
}

/* 0, or -1 when OpenSSL has no memory. */
static int
make_method(TlsLibrary *library)
{
    library->method = library->BIO_meth_new(CL_BIO_TYPE_SOURCE_SINK | 127, "cloop");
    return library->method != NULL
                   && library->BIO_meth_set_read(library->method, direct_bio_read)
                   && library->BIO_meth_set_write(library->method, direct_bio_write)
                   && library->BIO_meth_set_ctrl(library->method, direct_bio_ctrl)
               ? 0
               : -1;
}

/* Are these objects of the very types that _ssl makes, and do they look as expected? The
 * pointer is asked only when it is one to memory of ours. */
static bool
looks_right(const TlsLibrary *library, State *state, PyObject *inner, PyObject *context)
{
    const Py_ssize_t least = (Py_ssize_t)(sizeof(PyObject) + sizeof(void *));
    PyTypeObject *inner_type = (PyTypeObject *)state->SSLSocketType;
    PyTypeObject *context_type = (PyTypeObject *)state->SSLContextType;
    if (inner_type == NULL || context_type == NULL || !Py_IS_TYPE(inner, inner_type)
        || !PyObject_TypeCheck(context, context_type)
        || inner_type->tp_basicsize < least + (Py_ssize_t)sizeof(void *)
        || context_type->tp_basicsize < least) {
        return false;
    }
    void *pointer = library_ssl_of(inner);
    return (uintptr_t)pointer % sizeof(void *) == 0
           && sys_is_mapped(pointer, CL_SSL_LEAST)
           && library->SSL_get_SSL_CTX(pointer) == library_context_of(context);
}

/* 1 when the SSL * in a new SSLObject answers with the SSL_CTX * in its context, 0 when
 * not, -1. */
static int
check_layout(const TlsLibrary *library, State *state)
{
    PyObject *ssl = state->ssl_module;
    PyObject *protocol = PyObject_GetAttrString(ssl, "PROTOCOL_TLS_CLIENT");
    PyObject *incoming = PyObject_CallMethod(ssl, "MemoryBIO", NULL);
    PyObject *outgoing = PyObject_CallMethod(ssl, "MemoryBIO", NULL);
    PyObject *context = NULL, *sslobj = NULL, *inner = NULL;
    int rc = -1;
    if (protocol == NULL || incoming == NULL || outgoing == NULL) {
        goto done;
    }
    context = PyObject_CallMethod(ssl, "SSLContext", "O", protocol);
    if (context == NULL
        || PyObject_SetAttrString(context, "check_hostname", Py_False) < 0) {
        goto done;
    }
    sslobj = PyObject_CallMethod(context, "wrap_bio", "OO", incoming, outgoing);
    inner = sslobj == NULL ? NULL : PyObject_GetAttrString(sslobj, "_sslobj");
    if (inner == NULL) {
        goto done;
    }
    rc = looks_right(library, state, inner, context);
done:
    Py_XDECREF(inner);
    Py_XDECREF(sslobj);
    Py_XDECREF(context);
    Py_XDECREF(outgoing);
    Py_XDECREF(incoming);
    Py_XDECREF(protocol);
    return rc;
}

/* Does the library found call itself what _ssl was told by its own? 1, 0 or -1. */
static int
check_version(const TlsLibrary *library, PyObject *module)
{
    PyObject *number = PyObject_GetAttrString(module, "OPENSSL_VERSION_NUMBER");
    if (number == NULL) {
        return -1;
    }
    unsigned long version = PyLong_AsUnsignedLongMask(number);
    Py_DECREF(number);
    if (version == (unsigned long)-1 && PyErr_Occurred()) {
        return -1;
    }
    return library->OpenSSL_version_num() == version;
}

/* Makes library the process's, unless there is one already. 0, or -1 when OpenSSL has no
 * memory. */
static int
publish(TlsLibrary *library)
{
    int rc = 0;
    (void)pthread_mutex_lock(&loading);
    if (tls_library == NULL) {
        rc = make_method(library);
        if (rc == 0) {
            loaded = *library;
            tls_library = &loaded;
        }
    }
    (void)pthread_mutex_unlock(&loading);
    return rc;
}

/* The same as library_load, with a handle on _ssl. */
static PyObject *
load_from(State *state, PyObject *module, void *handle)
{
    TlsLibrary library = {0};
    const char *missing = find_functions(handle, &library);
    if (missing != NULL) {
        return PyUnicode_FromFormat("the ssl module's library has no %s", missing);
    }
    int fits = check_version(&library, module);
    if (fits == 1) {
        fits = check_layout(&library, state);
    }
    if (fits < 0) {
        return NULL;
    }
    if (fits == 0) {
        return PyUnicode_FromString("the ssl module's objects look different");
    }
    return publish(&library) < 0 ? PyErr_NoMemory() : Py_NewRef(Py_None);
}

PyObject *
library_load(State *state)
{
    if (!CL_TLS_LAYOUT_KNOWN) {
        return PyUnicode_FromString("this version of Python is not known yet");
    }
    PyObject *module = PyImport_ImportModule("_ssl");
    if (module == NULL) {
        return NULL;
    }
    PyObject *why = NULL;
    PyObject *path = PyObject_GetAttrString(module, "__file__");
    if (path == NULL) {
        PyErr_Clear();
        why = PyUnicode_FromString("the ssl module is built into Python");
    }
    PyObject *encoded = NULL;
    if (path != NULL && PyUnicode_FSConverter(path, &encoded)) {
        void *handle = dlopen(PyBytes_AS_STRING(encoded), RTLD_LAZY | RTLD_NOLOAD);
        if (handle == NULL) {
            why = PyUnicode_FromString("the ssl module's shared object is not found");
        }
        else {
            why = load_from(state, module, handle);
            (void)dlclose(handle); /* _ssl itself stays */
        }
        Py_DECREF(encoded);
    }
    Py_XDECREF(path);
    Py_DECREF(module);
    return why;
}
