/* The door: definition and execution of the extension module cloop._cloop.
 *
 * Multi-phase initialisation with one State per module, hence per interpreter. The
 * import system calls in, with the GIL held. Types are made in the order of the floors,
 * each finished before anybody can see it. PyInit__cloop is the only symbol that the
 * shared object exports. */
#include "core/future.h"
#include "core/handle.h"
#include "core/loop.h"
#include "core/task.h"
#include "io/child.h"
#include "io/datagram.h"
#include "io/fdwatch.h"
#include "io/listener.h"
#include "io/pipe.h"
#include "io/reader.h"
#include "io/sockops.h"
#include "io/stream.h"
#include "py/faults.h"
#include "py/state.h"
#include "tls/tls.h"

PyDoc_STRVAR(module_doc, "The C half of cloop: use it through the package cloop.");

static State *
state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

/* The methods of io/ belong to the Loop, whose type core/ and looptype.c define: here
 * the floors meet. Before the type is handed out. */
static int
add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    for (PyMethodDef *def = methods; def->ml_name != NULL; def++) {
        PyObject *descriptor = PyDescr_NewMethod(type, def);
        if (descriptor == NULL) {
            return -1;
        }
        int rc = PyDict_SetItemString(type->tp_dict, def->ml_name, descriptor);
        Py_DECREF(descriptor);
        if (rc < 0) {
            return -1;
        }
    }
    PyType_Modified(type);
    return 0;
}

static int
module_exec(PyObject *module)
{
    State *state = state_of_module(module);
    if (state_init(state) < 0) {
        return -1;
    }
    if (transport_check_base(state->asyncio_Transport) < 0
        || transport_check_base(state->asyncio_DatagramTransport) < 0
        || transport_check_base(state->asyncio_ReadTransport) < 0) {
        return -1;
    }
    /* As on stock, where all transports of sockets are asyncio.Transports. */
    PyObject *datagram_bases =
        PyTuple_Pack(2, state->asyncio_Transport, state->asyncio_DatagramTransport);
    if (datagram_bases == NULL) {
        return -1;
    }
    int rc = 0;
    const struct {
        PyType_Spec *spec;
        PyObject *base;
        PyTypeObject **slot;
    } types[] = {
        {&handle_spec, state->asyncio_Handle, &state->HandleType},
#if CL_HAVE_SAFE_HANDLES
        {&safe_handle_spec, state->asyncio_ThreadSafeHandle, &state->SafeHandleType},
#endif
        {&timer_handle_spec, state->asyncio_TimerHandle, &state->TimerHandleType},
        {&future_spec, state->asyncio_Future, &state->FutureType},
        {&future_iter_spec, NULL, &state->FutureIterType},
        {&task_spec, state->asyncio_Task, &state->TaskType},
        {&loop_spec, NULL, &state->LoopType},
        {&stream_spec, state->asyncio_Transport, &state->StreamTransportType},
        {&datagram_spec, datagram_bases, &state->DatagramTransportType},
        {&read_pipe_spec, state->asyncio_ReadTransport, &state->ReadPipeTransportType},
        /* As on stock, whose mixin for flow control is one. */
        {&write_pipe_spec, state->asyncio_Transport, &state->WritePipeTransportType},
        {&listener_spec, NULL, &state->ListenerType},
        {&tls_spec, state->FlowControlMixin, &state->SSLTransportType},
        {&sockop_spec, NULL, &state->SockOpType},
        {&reader_op_spec, NULL, &state->ReaderOpType},
        {&native_reader_spec, state->StreamReader, &state->NativeReaderType},
        {&native_writer_spec, state->StreamWriter, &state->NativeWriterType},
        {&native_protocol_spec, state->StreamReaderProtocol,
         &state->NativeProtocolType},
    };
    for (size_t i = 0; rc == 0 && i < CL_COUNT_OF(types); i++) {
        rc = state_add_type(module, types[i].spec, types[i].base, types[i].slot);
    }
    Py_DECREF(datagram_bases);
    if (rc < 0 || task_type_adopt_future(state) < 0 || stream_complete_type(state) < 0
        || reader_complete_types(state) < 0 || datagram_complete_type(state) < 0
        || pipe_complete_types(state) < 0 || tls_complete_type(state) < 0
        || add_methods(state->LoopType, fdwatch_methods) < 0
        || add_methods(state->LoopType, sockops_methods) < 0
        || PyModule_AddFunctions(module, task_functions) < 0
        || PyModule_AddFunctions(module, child_functions) < 0
        || PyModule_AddFunctions(module, tls_functions) < 0
        /* for tests that say which way is taken */
        || PyModule_AddObjectRef(module, "_fastpath", CL_FASTPATH ? Py_True : Py_False)
               < 0) {
        return -1;
    }
    return faults_add(module);
}

/* Traverse and clear may be called before exec: the state is not there yet then. */
static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = state_of_module(module);
    return state != NULL ? state_traverse(state, visit, arg) : 0;
}

static int
module_clear(PyObject *module)
{
    State *state = state_of_module(module);
    if (state != NULL) {
        state_clear(state);
    }
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

struct PyModuleDef cloop_module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_cloop",
    .m_doc = module_doc,
    .m_size = sizeof(State),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

CL_EXPORT PyMODINIT_FUNC
PyInit__cloop(void)
{
    return PyModuleDef_Init(&cloop_module_def);
}
