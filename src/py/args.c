/* The argument parser of every FASTCALL|KEYWORDS method and tp_init. Called with the GIL
 * held; keeps no state. The common call (positional only, a right number) copies
 * pointers and nothing else; keywords are compared as C strings; only errors allocate.
 *
 * The messages, and the order in which faults are looked for (unexpected or doubled
 * keywords, too many positional, missing positional, missing keyword-only), are those
 * of a Python function. "self" counts as one of its positional arguments when the
 * function's name has a dot. */
#include "args.h"

#include <string.h>

static int
spec_count(const ArgSpec *spec)
{
    int count = 0;
    while (spec->names[count] != NULL) {
        count++;
    }
    return count;
}

/* How many arguments the caller does not write: self. */
static int
spec_hidden(const ArgSpec *spec)
{
    return strchr(spec->function, '.') != NULL;
}

/* The function's name as the running version prints it. */
static const char *
spec_shown_name(const ArgSpec *spec)
{
    const char *dot = CL_HAVE_QUALNAME_IN_ERRORS ? NULL : strrchr(spec->function, '.');
    return dot == NULL ? spec->function : dot + 1;
}

static bool
name_equals(PyObject *key, const char *name)
{
    if (CL_LIKELY(PyUnicode_CheckExact(key) && PyUnicode_IS_COMPACT_ASCII(key))) {
        return strcmp((const char *)PyUnicode_1BYTE_DATA(key), name) == 0
               && (size_t)PyUnicode_GET_LENGTH(key) == strlen(name);
    }
    return PyUnicode_CompareWithASCIIString(key, name) == 0;
}

/* -- errors: each returns -1 ------------------------------------------------------- */

static int
fail_multiple(const ArgSpec *spec, PyObject *key)
{
    PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'",
                 spec_shown_name(spec), key);
    return -1;
}

/* New ref: the name that `key` was perhaps meant to be, or NULL, with no exception. */
static PyObject *
suggest_name(const ArgSpec *spec, PyObject *key)
{
    PyObject *module = NULL;
    PyObject *suggestion = NULL;
    PyObject *candidates = PyList_New(0);
    if (candidates == NULL) {
        goto done;
    }
    for (int i = -spec_hidden(spec); i < 0 || spec->names[i] != NULL; i++) {
        PyObject *name = PyUnicode_FromString(i < 0 ? "self" : spec->names[i]);
        if (name == NULL || PyList_Append(candidates, name) < 0) {
            Py_XDECREF(name);
            goto done;
        }
        Py_DECREF(name);
    }
    module = PyImport_ImportModule("_suggestions");
    if (module != NULL) {
        suggestion = PyObject_CallMethod(module, "_generate_suggestions", "(OO)",
                                         candidates, key);
    }
    if (suggestion == Py_None) {
        Py_CLEAR(suggestion);
    }
done:
    PyErr_Clear();
    Py_XDECREF(module);
    Py_XDECREF(candidates);
    return suggestion;
}

static int
fail_unexpected(const ArgSpec *spec, PyObject *key)
{
    const char *function = spec_shown_name(spec);
    PyObject *suggestion = CL_HAVE_KEYWORD_SUGGESTIONS ? suggest_name(spec, key) : NULL;
    if (suggestion != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "%s() got an unexpected keyword argument '%U'. Did you mean '%S'?",
                     function, key, suggestion);
        Py_DECREF(suggestion);
    }
    else {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                     function, key);
    }
    return -1;
}

static int
fail_too_many(const ArgSpec *spec, Py_ssize_t nargs, PyObject *const *values)
{
    int hidden = spec_hidden(spec);
    int most = spec->positional + hidden;
    int least = spec->required + hidden;
    Py_ssize_t given = nargs + hidden;
    int keyword_only = 0;
    for (int i = spec->positional; spec->names[i] != NULL; i++) {
        keyword_only += values[i] != NULL;
    }
    char takes[64];
    if (least < most) {
        PyOS_snprintf(takes, sizeof(takes), "from %d to %d", least, most);
    }
    else {
        PyOS_snprintf(takes, sizeof(takes), "%d", most);
    }
    char more[96] = "";
    if (keyword_only > 0) {
        PyOS_snprintf(more, sizeof(more),
                      " positional argument%s (and %d keyword-only argument%s)",
                      given != 1 ? "s" : "", keyword_only,
                      keyword_only != 1 ? "s" : "");
    }
    PyErr_Format(PyExc_TypeError,
                 "%s() takes %s positional argument%s but %zd%s %s given",
                 spec_shown_name(spec), takes, least < most || most != 1 ? "s" : "",
                 given, more, given == 1 && keyword_only == 0 ? "was" : "were");
    return -1;
}

/* names[first .. end-1] that have no value: "'a'", "'a' and 'b'", "'a', 'b', and 'c'" */
static int
fail_missing(const ArgSpec *spec, const char *kind, int first, int end,
             PyObject *const *values)
{
    char list[512] = "";
    int missing = 0;
    for (int i = first; i < end; i++) {
        missing += values[i] == NULL;
    }
    size_t length = 0;
    int seen = 0;
    for (int i = first; i < end; i++) {
        if (values[i] != NULL) {
            continue;
        }
        seen++;
        const char *before = seen == 1        ? ""
                             : seen < missing ? ", "
                             : missing == 2   ? " and "
                                              : ", and ";
        int added = PyOS_snprintf(list + length, sizeof(list) - length, "%s'%s'",
                                  before, spec->names[i]);
        if (added < 0 || (size_t)added >= sizeof(list) - length) {
            break;
        }
        length += (size_t)added;
    }
    PyErr_Format(PyExc_TypeError, "%s() missing %d required %s argument%s: %s",
                 spec_shown_name(spec), missing, kind, missing != 1 ? "s" : "", list);
    return -1;
}

/* -- parsing ----------------------------------------------------------------------- */

static int
store_keyword(const ArgSpec *spec, PyObject *key, PyObject *value, PyObject **values)
{
    if (CL_UNLIKELY(!PyUnicode_Check(key))) {
        PyErr_Format(PyExc_TypeError, "%s() keywords must be strings",
                     spec_shown_name(spec));
        return -1;
    }
    for (int i = 0; spec->names[i] != NULL; i++) {
        if (name_equals(key, spec->names[i])) {
            if (CL_UNLIKELY(values[i] != NULL)) {
                return fail_multiple(spec, key);
            }
            values[i] = value;
            return 0;
        }
    }
    if (spec_hidden(spec) && name_equals(key, "self")) {
        return fail_multiple(spec, key);
    }
    return fail_unexpected(spec, key);
}

/* What is checked once every given value stands in its place. */
static int
check_values(const ArgSpec *spec, Py_ssize_t nargs, PyObject *const *values)
{
    if (CL_UNLIKELY(nargs > spec->positional && !spec->varargs)) {
        return fail_too_many(spec, nargs, values);
    }
    for (int i = 0; i < spec->required; i++) {
        if (CL_UNLIKELY(values[i] == NULL)) {
            return fail_missing(spec, "positional", 0, spec->required, values);
        }
    }
    if (spec->required_keywords) {
        int count = spec_count(spec);
        for (int i = spec->positional; i < count; i++) {
            if (CL_UNLIKELY(values[i] == NULL)) {
                return fail_missing(spec, "keyword-only", spec->positional, count,
                                    values);
            }
        }
    }
    return 0;
}

static void
store_positional(const ArgSpec *spec, PyObject *const *args, Py_ssize_t nargs,
                 PyObject **values)
{
    Py_ssize_t taken = nargs < spec->positional ? nargs : spec->positional;
    int i = 0;
    for (; i < taken; i++) {
        values[i] = args[i];
    }
    for (; spec->names[i] != NULL; i++) {
        values[i] = NULL;
    }
}

int
args_parse(const ArgSpec *spec, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames, PyObject **values)
{
    store_positional(spec, args, nargs, values);
    if (CL_LIKELY(kwnames == NULL && nargs >= spec->required
                  && (nargs <= spec->positional || spec->varargs)
                  && !spec->required_keywords)) {
        return 0;
    }
    if (kwnames != NULL) {
        Py_ssize_t count = PyTuple_GET_SIZE(kwnames);
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *key = PyTuple_GET_ITEM(kwnames, i);
            if (store_keyword(spec, key, args[nargs + i], values) < 0) {
                return -1;
            }
        }
    }
    return check_values(spec, nargs, values);
}

int
args_parse_tuple(const ArgSpec *spec, PyObject *args, PyObject *kwargs,
                 PyObject **values)
{
    Py_ssize_t nargs = PyTuple_GET_SIZE(args);
    store_positional(spec, ((PyTupleObject *)args)->ob_item, nargs, values);
    if (kwargs != NULL) {
        /* Nobody else holds this dict: it was made for the call. */
        Py_ssize_t position = 0;
        PyObject *key;
        PyObject *value;
        while (PyDict_Next(kwargs, &position, &key, &value)) {
            if (store_keyword(spec, key, value, values) < 0) {
                return -1;
            }
        }
    }
    return check_values(spec, nargs, values);
}
