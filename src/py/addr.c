/* Socket addresses (see addr.h).
 *
 * Called by the socket operations and the transports, on the loop's thread, with the GIL
 * held. Nothing here blocks: only literals are taken. */
#include "addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

#define CL_PORT_MAX 65535
#define CL_FLOWINFO_MAX 0xfffff

/* -- from Python ------------------------------------------------------------------- */

/* The int in [0, max] that op is. False: it is something else. */
static bool
read_uint(PyObject *op, unsigned long max, unsigned long *value)
{
    if (!PyLong_CheckExact(op)) {
        return false;
    }
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(op, &overflow);
    if (overflow != 0 || number < 0 || (unsigned long long)number > max) {
        return false;
    }
    *value = (unsigned long)number;
    return true;
}

/* True when op is a str that inet_pton reads as an address of the family. */
static bool
read_literal(PyObject *op, int family, void *bytes)
{
    if (!PyUnicode_CheckExact(op) || !PyUnicode_IS_ASCII(op)) {
        return false;
    }
    const char *text = (const char *)PyUnicode_1BYTE_DATA(op);
    if (strlen(text) != (size_t)PyUnicode_GET_LENGTH(op)) {
        return false;
    }
    return inet_pton(family, text, bytes) == 1;
}

static int
inet_from_object(Addr *addr, PyObject *object)
{
    struct sockaddr_in *inet = &addr->u.inet;
    unsigned long port;
    if (!PyTuple_CheckExact(object) || PyTuple_GET_SIZE(object) != 2
        || !read_uint(PyTuple_GET_ITEM(object, 1), CL_PORT_MAX, &port)) {
        return 0;
    }
    memset(inet, 0, sizeof(*inet));
    if (!read_literal(PyTuple_GET_ITEM(object, 0), AF_INET, &inet->sin_addr)) {
        return 0;
    }
    inet->sin_family = AF_INET;
    inet->sin_port = htons((uint16_t)port);
    addr->length = sizeof(*inet);
    return 1;
}

static int
inet6_from_object(Addr *addr, PyObject *object)
{
    struct sockaddr_in6 *inet6 = &addr->u.inet6;
    if (!PyTuple_CheckExact(object)) {
        return 0;
    }
    Py_ssize_t size = PyTuple_GET_SIZE(object);
    unsigned long port, flowinfo = 0, scope_id = 0;
    if (size < 2 || size > 4
        || !read_uint(PyTuple_GET_ITEM(object, 1), CL_PORT_MAX, &port)
        || (size > 2
            && !read_uint(PyTuple_GET_ITEM(object, 2), CL_FLOWINFO_MAX, &flowinfo))
        || (size > 3
            && !read_uint(PyTuple_GET_ITEM(object, 3), UINT32_MAX, &scope_id))) {
        return 0;
    }
    memset(inet6, 0, sizeof(*inet6));
    if (!read_literal(PyTuple_GET_ITEM(object, 0), AF_INET6, &inet6->sin6_addr)) {
        return 0;
    }
    inet6->sin6_family = AF_INET6;
    inet6->sin6_port = htons((uint16_t)port);
    inet6->sin6_flowinfo = htonl((uint32_t)flowinfo);
    inet6->sin6_scope_id = (uint32_t)scope_id;
    addr->length = sizeof(*inet6);
    return 1;
}

/* A path ends with a NUL; an abstract name (it begins with one) is as long as it is. */
static int
local_from_object(Addr *addr, PyObject *object)
{
    struct sockaddr_un *local = &addr->u.local;
    PyObject *encoded;
    if (PyUnicode_Check(object)) {
        encoded = PyUnicode_EncodeFSDefault(object);
        if (encoded == NULL) {
            return -1;
        }
    }
    else if (PyBytes_Check(object)) {
        encoded = Py_NewRef(object);
    }
    else {
        return 0;
    }
    const char *path = PyBytes_AS_STRING(encoded);
    size_t size = (size_t)PyBytes_GET_SIZE(encoded);
    bool is_abstract = size == 0 || path[0] == '\0';
    int rc = 0;
    if (size + !is_abstract <= sizeof(local->sun_path)) {
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, path, size + !is_abstract);
        addr->length =
            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + !is_abstract);
        rc = 1;
    }
    Py_DECREF(encoded);
    return rc;
}

int
addr_from_object(Addr *addr, int family, PyObject *object)
{
    switch (family) {
    case AF_INET:
        return inet_from_object(addr, object);
    case AF_INET6:
        return inet6_from_object(addr, object);
    case AF_UNIX:
        return local_from_object(addr, object);
    default:
        return 0;
    }
}

PyObject *
addr_resolved_object(int family, PyObject *object)
{
    if (family != AF_INET6 || PyTuple_GET_SIZE(object) == 4) {
        return Py_NewRef(object);
    }
    PyObject *zero = PyLong_FromLong(0);
    if (zero == NULL) {
        return NULL;
    }
    PyObject *flowinfo =
        PyTuple_GET_SIZE(object) > 2 ? PyTuple_GET_ITEM(object, 2) : zero;
    PyObject *result = PyTuple_Pack(4, PyTuple_GET_ITEM(object, 0),
                                    PyTuple_GET_ITEM(object, 1), flowinfo, zero);
    Py_DECREF(zero);
    return result;
}

/* -- to Python --------------------------------------------------------------------- */

/* Writes number in decimal; returns the end. */
static char *
write_uint8(char *out, unsigned number)
{
    if (number >= 100) {
        *out++ = (char)('0' + number / 100);
    }
    if (number >= 10) {
        *out++ = (char)('0' + number / 10 % 10);
    }
    *out++ = (char)('0' + number % 10);
    return out;
}

/* New ref: (items...), each stolen; NULL when one of them is. */
static PyObject *
pack_stolen(Py_ssize_t count, PyObject **items)
{
    PyObject *tuple = PyTuple_New(count);
    bool failed = tuple == NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        failed = failed || items[i] == NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (failed) {
            Py_XDECREF(items[i]);
        }
        else {
            PyTuple_SET_ITEM(tuple, i, items[i]);
        }
    }
    if (failed) {
        Py_XDECREF(tuple);
        return NULL;
    }
    return tuple;
}

/* inet_ntop formats by printf, which costs as much as the rest of a small recvfrom. */
static PyObject *
inet_to_object(const struct sockaddr_in *inet)
{
    const uint8_t *bytes = (const uint8_t *)&inet->sin_addr;
    char text[INET_ADDRSTRLEN];
    char *end = write_uint8(text, bytes[0]);
    for (int i = 1; i < 4; i++) {
        *end++ = '.';
        end = write_uint8(end, bytes[i]);
    }
    PyObject *items[2] = {PyUnicode_FromStringAndSize(text, end - text),
                          PyLong_FromLong(ntohs(inet->sin_port))};
    return pack_stolen(2, items);
}

static PyObject *
inet6_to_object(const struct sockaddr_in6 *inet6)
{
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(AF_INET6, &inet6->sin6_addr, text, sizeof(text)) == NULL) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    PyObject *items[4] = {PyUnicode_FromString(text),
                          PyLong_FromLong(ntohs(inet6->sin6_port)),
                          PyLong_FromUnsignedLong(ntohl(inet6->sin6_flowinfo)),
                          PyLong_FromUnsignedLong(inet6->sin6_scope_id)};
    return pack_stolen(4, items);
}

static PyObject *
local_to_object(const Addr *addr)
{
    const size_t header = offsetof(struct sockaddr_un, sun_path);
    const char *path = addr->u.local.sun_path;
    size_t size = addr->length > header ? addr->length - header : 0;
    if (size > sizeof(addr->u.local.sun_path)) {
        size = sizeof(addr->u.local.sun_path);
    }
    if (size > 0 && path[0] == '\0') {
        return PyBytes_FromStringAndSize(path, (Py_ssize_t)size);
    }
    return PyUnicode_DecodeFSDefaultAndSize(path, (Py_ssize_t)strnlen(path, size));
}

PyObject *
addr_to_object(const Addr *addr)
{
    if (addr->length == 0) {
        return Py_NewRef(Py_None);
    }
    switch (addr->u.any.sa_family) {
    case AF_INET:
        return inet_to_object(&addr->u.inet);
    case AF_INET6:
        return inet6_to_object(&addr->u.inet6);
    case AF_UNIX:
        return local_to_object(addr);
    default:
        return Py_BuildValue("iy#", (int)addr->u.any.sa_family, addr->u.any.sa_data,
                             (Py_ssize_t)sizeof(addr->u.any.sa_data));
    }
}
