/* The module's state: making, visiting, dropping, and finding it from a type.
 *
 * state_init is called once per interpreter by the module's exec slot, before any type
 * of ours exists; the rest by the module's slots and by the types' tp_new. Every member
 * is NULL or a strong reference at any time, so that traverse and clear may come early.
 */
#include "state.h"

#include <string.h>

#if !CL_HAVE_TYPE_MODULE
/* 3.8 keeps no module in a heap type: ours stands in the type's dict under this name. */
#define CL_MODULE_KEY "__cloop_module__"
#endif

/* -- making ------------------------------------------------------------------------ */

/* New ref: an attribute, or "Class.attribute" of the module. */
static PyObject *
get_path(PyObject *module, const char *path)
{
    const char *dot = strchr(path, '.');
    if (dot == NULL) {
        return PyObject_GetAttrString(module, path);
    }
    PyObject *name = PyUnicode_FromStringAndSize(path, dot - path);
    PyObject *owner = name == NULL ? NULL : PyObject_GetAttr(module, name);
    PyObject *found = owner == NULL ? NULL : get_path(owner, dot + 1);
    Py_XDECREF(owner);
    Py_XDECREF(name);
    return found;
}

/* *slot: New ref, or NULL when it is not there and not required. 0 or -1. */
static int
import_object(const char *module_name, const char *name, int required, PyObject **slot)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return -1;
    }
    *slot = get_path(module, name);
    Py_DECREF(module);
    if (*slot != NULL) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    if (required) {
        PyErr_Format(PyExc_ImportError,
                     "cloop needs %s.%s, which this Python does not have", module_name,
                     name);
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* Our structs lie behind the base's at a constant offset: does the base fit? */
static int
check_base(PyObject *base, Py_ssize_t limit)
{
    if (!PyType_Check(base)) {
        PyErr_Format(PyExc_ImportError, "cloop needs a class as its base, not %R",
                     base);
        return -1;
    }
    Py_ssize_t size = ((PyTypeObject *)base)->tp_basicsize;
    if (size > limit) {
        PyErr_Format(PyExc_ImportError,
                     "cloop cannot extend %R: its objects have %zd bytes in this "
                     "Python, and this build of cloop leaves room for %zd",
                     base, size, limit);
        return -1;
    }
    return 0;
}

/* New ref: op.name when that is there and of exactly this type, else NULL. No
 * exception. */
static PyObject *
get_exact(PyObject *op, const char *name, PyTypeObject *type)
{
    PyObject *value = PyObject_GetAttrString(op, name);
    if (value == NULL) {
        PyErr_Clear();
    }
    else if (!Py_IS_TYPE(value, type)) {
        Py_CLEAR(value);
    }
    return value;
}

/* The set in the WeakSet that asyncio.all_tasks() reads; none from 3.14 on. */
static int
find_task_registry(State *state)
{
    if (CL_HAVE_TASK_LIST) {
        return 0;
    }
    PyObject *weak_set =
        state->scheduled_tasks != NULL ? state->scheduled_tasks : state->all_tasks;
    if (weak_set == NULL) {
        return 0;
    }
    PyObject *data = get_exact(weak_set, "data", &PySet_Type);
    PyObject *iterating = get_exact(weak_set, "_iterating", &PySet_Type);
    PyObject *pending = get_exact(weak_set, "_pending_removals", &PyList_Type);
    if (data == NULL || iterating == NULL || pending == NULL) {
        Py_XDECREF(data);
        Py_XDECREF(iterating);
        Py_XDECREF(pending);
        return 0; /* somebody's own WeakSet: use _register_task then */
    }
    state->task_registry = data;
    state->registry_iterating = iterating;
    state->registry_pending = pending;
    return 0;
}

/* *flag = sys.flags.name. 0 or -1. */
static int
read_flag(const char *name, bool *flag)
{
    PyObject *flags = PySys_GetObject("flags");
    PyObject *value = flags == NULL ? NULL : PyObject_GetAttrString(flags, name);
    int truth = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    *flag = truth > 0;
    return truth < 0 ? -1 : 0;
}

int
state_init(State *state)
{
#define CL_MEMBER(name, module, path, required)                                        \
    if (import_object(module, path, required, &state->name) < 0) {                     \
        return -1;                                                                     \
    }
    CL_STATE_IMPORTS(CL_MEMBER)
#undef CL_MEMBER
#define CL_MEMBER(name, text)                                                          \
    state->name = PyUnicode_InternFromString(text);                                    \
    if (state->name == NULL) {                                                         \
        return -1;                                                                     \
    }
    CL_STATE_NAMES(CL_MEMBER)
#undef CL_MEMBER
    state->empty_tuple = PyTuple_New(0);
    if (state->empty_tuple == NULL) {
        return -1;
    }
    state->names_loop = PyTuple_Pack(1, state->str_loop);
    state->names_context = PyTuple_Pack(1, state->str_context);
    if (state->names_loop == NULL || state->names_context == NULL) {
        return -1;
    }
    if (read_flag("dev_mode", &state->is_dev_mode) < 0
        || read_flag("ignore_environment", &state->ignores_environment) < 0) {
        return -1;
    }
    state->next_task_name = 1;
    if (check_base(state->asyncio_Future, CL_FUTURE_BASE) < 0
        || check_base(state->asyncio_Task, CL_FUTURE_BASE) < 0
        || check_base(state->asyncio_Handle, CL_HANDLE_BASE) < 0
        || (CL_HAVE_SAFE_HANDLES
            && check_base(state->asyncio_ThreadSafeHandle, CL_HANDLE_BASE) < 0)
        || check_base(state->asyncio_TimerHandle, CL_HANDLE_BASE) < 0) {
        return -1;
    }
    return find_task_registry(state);
}

int
state_traverse(State *state, visitproc visit, void *arg)
{
#define CL_MEMBER(name) Py_VISIT(state->name);
    CL_STATE_TYPES(CL_MEMBER)
#undef CL_MEMBER
#define CL_MEMBER(name, module, path, required) Py_VISIT(state->name);
    CL_STATE_IMPORTS(CL_MEMBER)
#undef CL_MEMBER
    /* The names are strings: they refer to nothing. */
    Py_VISIT(state->empty_tuple);
    Py_VISIT(state->names_loop);
    Py_VISIT(state->names_context);
    Py_VISIT(state->task_registry);
    Py_VISIT(state->registry_iterating);
    Py_VISIT(state->registry_pending);
    Py_VISIT(state->tls_why);
    Py_VISIT(state->spare_stop);
    return 0;
}

void
state_clear(State *state)
{
#define CL_MEMBER(name) Py_CLEAR(state->name);
    CL_STATE_TYPES(CL_MEMBER)
#undef CL_MEMBER
#define CL_MEMBER(name, module, path, required) Py_CLEAR(state->name);
    CL_STATE_IMPORTS(CL_MEMBER)
#undef CL_MEMBER
#define CL_MEMBER(name, text) Py_CLEAR(state->name);
    CL_STATE_NAMES(CL_MEMBER)
#undef CL_MEMBER
    Py_CLEAR(state->names_loop);
    Py_CLEAR(state->names_context);
    Py_CLEAR(state->empty_tuple);
    Py_CLEAR(state->task_registry);
    Py_CLEAR(state->registry_iterating);
    Py_CLEAR(state->registry_pending);
    Py_CLEAR(state->tls_why);
    Py_CLEAR(state->spare_stop);
    spares_clear(&state->spares);
}

/* -- finding ----------------------------------------------------------------------- */

/* Borrowed; our module when it made `type` itself, else NULL; with an exception when
 * there is no memory for looking. */
#if !CL_HAVE_TYPE_MODULE
static PyObject *
module_of_type(PyTypeObject *type)
{
    /* tp_dict rather than an attribute: neither metaclass nor base is asked. */
    PyObject *key = PyUnicode_FromString(CL_MODULE_KEY);
    PyObject *module = key != NULL && type->tp_dict != NULL
                           ? PyDict_GetItemWithError(type->tp_dict, key)
                           : NULL;
    Py_XDECREF(key);
    return module != NULL && PyModule_Check(module)
                   && PyModule_GetDef(module) == &cloop_module_def
               ? module
               : NULL;
}
#elif !CL_HAVE_MODULE_BY_DEF
static PyObject *
module_of_type(PyTypeObject *type)
{
    if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        return NULL;
    }
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
    return module != NULL && PyModule_GetDef(module) == &cloop_module_def ? module
                                                                          : NULL;
}
#endif

State *
state_of_type(PyTypeObject *type)
{
#if CL_HAVE_MODULE_BY_DEF
    PyObject *module = PyType_GetModuleByDef(type, &cloop_module_def);
    return module != NULL ? PyModule_GetState(module) : NULL;
#else
    PyObject *mro = type->tp_mro;
    Py_ssize_t count = mro != NULL ? PyTuple_GET_SIZE(mro) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *module = module_of_type((PyTypeObject *)PyTuple_GET_ITEM(mro, i));
        if (module != NULL) {
            return PyModule_GetState(module);
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    PyErr_Format(PyExc_TypeError, "'%s' is not a type of cloop", type->tp_name);
    return NULL;
#endif
}

/* -- types ------------------------------------------------------------------------- */

#if !CL_HAVE_TYPE_MODULE
/* 3.8 does not know these two members of a spec. */
static void
set_offsets(PyTypeObject *type, PyType_Spec *spec)
{
    for (PyType_Slot *slot = spec->slots; slot->slot != 0; slot++) {
        if (slot->slot != Py_tp_members) {
            continue;
        }
        for (PyMemberDef *member = slot->pfunc; member->name != NULL; member++) {
            if (strcmp(member->name, "__dictoffset__") == 0) {
                type->tp_dictoffset = member->offset;
            }
            else if (strcmp(member->name, "__weaklistoffset__") == 0) {
                type->tp_weaklistoffset = member->offset;
            }
        }
    }
}
#endif

#if !CL_KEEPS_TYPE_SIGNATURE
/* Puts the spec's docstring in place of the copy from which the signature was cut, so
 * that inspect.signature() finds it. 0 or -1. */
static int
restore_signature(PyTypeObject *type, const PyType_Spec *spec)
{
    for (const PyType_Slot *slot = spec->slots; slot->slot != 0; slot++) {
        if (slot->slot == Py_tp_doc) {
            size_t size = strlen(slot->pfunc) + 1;
            char *doc = PyObject_Malloc(size);
            if (doc == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            memcpy(doc, slot->pfunc, size);
            PyObject_Free((void *)type->tp_doc);
            type->tp_doc = doc;
        }
    }
    return 0;
}
#endif

/* New ref: the heap type, which knows its module. */
static PyObject *
make_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyObject *bases = NULL;
    if (base != NULL) {
        bases = PyTuple_Check(base) ? Py_NewRef(base) : PyTuple_Pack(1, base);
        if (bases == NULL) {
            return NULL;
        }
    }
#if CL_HAVE_TYPE_MODULE
    PyObject *type = PyType_FromModuleAndSpec(module, spec, bases);
#else
    PyObject *type = PyType_FromSpecWithBases(spec, bases);
    if (type != NULL) {
        set_offsets((PyTypeObject *)type, spec);
        PyObject *dict = ((PyTypeObject *)type)->tp_dict;
        if (PyDict_SetItemString(dict, CL_MODULE_KEY, module) < 0) {
            Py_CLEAR(type);
        }
        else {
            PyType_Modified((PyTypeObject *)type);
        }
    }
#endif
#if !CL_KEEPS_TYPE_SIGNATURE
    if (type != NULL && restore_signature((PyTypeObject *)type, spec) < 0) {
        Py_CLEAR(type);
    }
#endif
    Py_XDECREF(bases);
    return type;
}

int
state_add_type(PyObject *module, PyType_Spec *spec, PyObject *base, PyTypeObject **slot)
{
    PyObject *type = make_type(module, spec, base);
    if (type == NULL) {
        return -1;
    }
    *slot = (PyTypeObject *)type;
    const char *dot = strrchr(spec->name, '.');
    const char *name = dot != NULL ? dot + 1 : spec->name;
    return name[0] == '_' ? 0 : PyModule_AddObjectRef(module, name, type);
}
